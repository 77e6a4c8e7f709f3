//! The errors of the command line that have an exit code of their own: see `exit.rs`.

/// A mistake in the input, with a sentence that gives the correction.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// The time of `--timeout` passed, with a sentence about the job.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TimedOut(pub(super) String);

/// A job ended without an exit code, with a sentence that says why.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(super) struct NoExitCode {
    pub(super) sentence: String,
    /// The job's status, such as `canceled`.
    pub(super) status: String,
}

/// A failure of a command that waits for a job. Exits with 125, because any other code could be
/// the job's own.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(super) struct WhileWaiting(pub(super) anyhow::Error);
