//! Runs blocking work: file and SQLite calls never run on an async thread.
//!
//! Every piece of work is short, except for the check of a large store, which can be interrupted. A
//! long blocking loop would stop virtual time in tests and could not run inline.

/// The threads for blocking work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The runtime's blocking threads.
    Pool,
    /// The caller's own thread: for simulations on one thread, where events must have the same
    /// order each time.
    Inline,
}

/// The error of work that panicked, or of a runtime that is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Threads {
    /// Runs a short piece of blocking work.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Broken> {
        match self {
            Self::Pool => tokio::task::spawn_blocking(work).await.map_err(|_| Broken),
            Self::Inline => Ok(work()),
        }
    }
}
