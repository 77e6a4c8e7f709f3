//! Opens the output of an attempt, or says why there is none.

use std::sync::Arc;

use super::output::{Attempts, Output, OutputError, Progress, Until};
use super::output_reader::Reader;
use crate::domain::job::{Job, Map, State, Status};
use crate::domain::names::id::{Attempt, JobId, Seq};
use crate::domain::output::Limit;
use crate::scheduler::context::{Context, Health};
use crate::store::StoreError;
use crate::store::logs::Kept;

/// The most journal rows to search for an attempt. An attempt has about five.
const MAX_ROWS: usize = 10_000;

/// Opens the output of a job.
pub(in crate::scheduler) async fn open(
    context: Arc<Context>,
    id: JobId,
    attempts: Attempts,
    until: Until,
) -> Result<Output, OutputError> {
    let watch = context.store.watch(id);
    let job = context.store.get(id).await?.ok_or(OutputError::NotFound)?;
    let attempt = match attempts {
        Attempts::Last => job.attempt,
        Attempts::From(attempt) | Attempts::Only(attempt) if attempt <= job.attempt => attempt,
        Attempts::From(attempt) | Attempts::Only(attempt) => {
            return Err(no_attempt(&context, &job, attempt).await?);
        }
    };
    let (progress, kept) = progress(&context, &job, attempt, attempts, until).await?;
    if until != Until::End && progress == Progress::Live && !context.health.look().is_up() {
        return Err(unreachable(&context));
    }
    let is_only = matches!(attempts, Attempts::Only(_));
    let limit = Limit::new(job.spec.log_limit());
    let blocks = Reader::new(context, id, watch, limit).read(attempt, is_only, until);
    Ok(Output { attempt, progress, kept, blocks })
}

/// Returns the state of an attempt's output, and the size of the kept output.
///
/// # Errors
/// Fails where the output should exist and does not, unless a follower waits for more.
async fn progress(
    context: &Context,
    job: &Job,
    attempt: Attempt,
    attempts: Attempts,
    until: Until,
) -> Result<(Progress, Option<Kept>), OutputError> {
    if attempt.0 == 0 {
        let over = job.is_over();
        return Ok((if over { Progress::Nothing } else { Progress::Waiting }, None));
    }
    if attempt == job.attempt && job.map() == Map::Running {
        let is_begun = match job.state {
            State::Starting(Some(_)) | State::Running(_) | State::Stopping(_) => true,
            State::Scheduled
            | State::Queued(_)
            | State::Retrying(_)
            | State::Pulling
            | State::Starting(None)
            | State::Ended(_) => false,
        };
        return Ok((if is_begun { Progress::Live } else { Progress::Waiting }, None));
    }
    // Asked before the disk is read, so that output kept in between is found.
    let may_be_unkept = context.may_be_unkept(job.id, attempt);
    if let Some(kept) = context.logs.summary(job.id, attempt).await? {
        return Ok((Progress::Complete, kept));
    }
    if may_be_unkept {
        return Ok((Progress::Live, None));
    }
    let waits = until == Until::End && !job.is_over() && !matches!(attempts, Attempts::Only(_));
    match has_run(context, job, attempt).await? {
        _ if waits => {}
        Some(true) => return Err(OutputError::Gone(attempt)),
        _ if !matches!(attempts, Attempts::Only(_)) => {}
        Some(false) => return Err(no_attempt(context, job, attempt).await?),
        None => return Err(OutputError::Gone(attempt)),
    }
    Ok((Progress::Nothing, None))
}

/// Returns whether the process of an attempt that has ended ran; `None` where neither the job nor
/// the journal says so.
async fn has_run(
    context: &Context,
    job: &Job,
    attempt: Attempt,
) -> Result<Option<bool>, StoreError> {
    match &job.state {
        State::Ended(end) if attempt == job.attempt => return Ok(Some(end.run.is_some())),
        State::Retrying(failed) if attempt == job.attempt => {
            return Ok(Some(failed.exit_code.is_some()));
        }
        State::Scheduled
        | State::Queued(_)
        | State::Retrying(_)
        | State::Pulling
        | State::Starting(_)
        | State::Running(_)
        | State::Stopping(_)
        | State::Ended(_) => {}
    }
    let rows = context.store.journal_of(job.id, Seq(0), MAX_ROWS).await?;
    let mut of_attempt = rows.iter().filter(|row| row.attempt == attempt.0).peekable();
    let is_known = of_attempt.peek().is_some();
    let ran = of_attempt.any(|row| row.to == Status::Running || row.exit_code.is_some());
    Ok(is_known.then_some(ran))
}

/// Returns the error for an attempt without output, with the attempts that have some.
async fn no_attempt(
    context: &Context,
    job: &Job,
    attempt: Attempt,
) -> Result<OutputError, StoreError> {
    let kept = context.logs.attempts(job.id, job.attempt).await?;
    Ok(OutputError::NoAttempt { attempt, last: job.attempt, kept })
}

fn unreachable(context: &Context) -> OutputError {
    let (error, since) = match &*context.health.look() {
        Health::Down { error, since } => (error.clone(), Some(*since)),
        Health::Changed { since, .. } => {
            ("another engine answers at its address".to_owned(), Some(*since))
        }
        Health::Up(_) => ("it is just back".to_owned(), None),
    };
    OutputError::Unreachable { error, since }
}
