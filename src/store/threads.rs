//! Where blocking work is done: file and SQLite calls never run on an async thread.
//!
//! Every piece of it is short, but for the check of a large store, which can be interrupted. A long-lived blocking loop would hang virtual time in tests, and could not be run inline.

/// Where blocking work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// On the runtime's blocking threads.
    Pool,
    /// Right here: for simulations on one thread, whose order of events has to be the same each time.
    Inline,
}

/// The work broke (it panicked), or the runtime is going down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Threads {
    /// Does a short piece of blocking work.
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
