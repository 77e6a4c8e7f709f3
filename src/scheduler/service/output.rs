//! The types of a job's output, and the state that a job shows of it.

use futures::stream::BoxStream;
use tracing::error;

use crate::domain::job::{Job, Outcome};
use crate::domain::names::id::{Attempt, Timestamp};
use crate::domain::output::Lines;
use crate::scheduler::context::Context;
use crate::store::StoreError;
use crate::store::logs::Kept;

/// Blocks of output, oldest first.
pub type OutputStream = BoxStream<'static, Result<OutputBlock, OutputError>>;

/// The lines that were read at once. All are of one attempt and follow each other without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputBlock {
    pub attempt: Attempt,
    /// The number of the first line, counted from 1.
    pub first: u64,
    pub lines: Lines,
}

/// The attempts to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attempts {
    /// The current or last one. A follower goes on to the next ones.
    #[default]
    Last,
    /// This one. A follower goes on to the next ones.
    From(Attempt),
    /// This one alone.
    Only(Attempt),
}

/// The time at which reading ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// After the lines that exist now.
    #[default]
    Now,
    /// After the lines that a follower would have been sent by now. Numbers and amounts agree with
    /// those of `End`.
    Followed,
    /// When the job is over, or the only attempt.
    End,
}

/// The output of a job that was opened for reading.
pub struct Output {
    /// The attempt with which reading begins.
    pub attempt: Attempt,
    pub progress: Progress,
    /// Size of the attempt's kept output; `None` where that is unknown.
    pub kept: Option<Kept>,
    pub blocks: OutputStream,
}

/// The state of an attempt's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The process has not started.
    Waiting,
    /// The process runs, or its output is not kept yet.
    Live,
    /// All of the output is kept.
    Complete,
    /// The attempt ended, and no process is known to have run.
    Nothing,
}

/// The reason output cannot be shown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutputError {
    /// No job has this id.
    #[error("there is no such job")]
    NotFound,
    /// The job has no such attempt, or the attempt has no output.
    #[error("attempt {attempt} of {last} has no output")]
    NoAttempt {
        attempt: Attempt,
        /// The last attempt so far; 0 before the first.
        last: Attempt,
        /// The attempts whose output is kept.
        kept: Vec<Attempt>,
    },
    /// The process ran, but neither the disk nor the engine has its output.
    #[error("the output of attempt {0} is gone")]
    Gone(Attempt),
    /// The engine that holds the output does not answer.
    #[error("the output is on the engine, and the engine does not answer: {error}")]
    Unreachable {
        error: String,
        /// Start of the outage; `None` while the connection counts as up.
        since: Option<Timestamp>,
    },
    /// The store or the kept output cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The state of the output of a job's last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputState {
    /// True when no more lines will come: the job is over, and its output is kept or there is none.
    pub complete: bool,
    /// Size of the kept output; `None` where that is unknown.
    pub kept: Option<Kept>,
}

/// Returns the state of a job's output. A disk that cannot be read yields the default state.
pub(in crate::scheduler) async fn state(context: &Context, job: &Job) -> OutputState {
    let Some(end) = job.state.end() else { return OutputState::default() };
    let failed_to_run =
        matches!(end.outcome, Outcome::Failed | Outcome::Stopped | Outcome::TimedOut)
            && end.exit.is_none();
    if job.attempt.0 == 0 || failed_to_run {
        let nothing = Kept { lines: 0, bytes: 0, truncated: false };
        return OutputState { complete: true, kept: Some(nothing) };
    }
    // Asked before the disk is read, so that output kept in between is found.
    let may_be_unkept = context.may_be_unkept(job.id, job.attempt);
    match context.logs.summary(job.id, job.attempt).await {
        Ok(Some(kept)) => OutputState { complete: true, kept },
        Ok(None) => OutputState { complete: !may_be_unkept, kept: None },
        Err(failure) => {
            error!(job = %job.id, error = %failure, "the kept output cannot be read");
            OutputState::default()
        }
    }
}
