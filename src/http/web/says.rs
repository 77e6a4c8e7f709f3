//! Sentences about jobs and ticks, as pages show them. The codes are in the details of a page.

use super::words::{self, Clock};
use crate::domain::job::{Job, Reason, State, Status};
use crate::domain::recurrence::Recurrence;
use crate::domain::schedule::record::ScheduleRecord;
use crate::domain::schedule::ledger::{self, LedgerRow, TickOutcome};

/// Returns a sentence on how a job stands or ended.
pub(super) fn job(job: &Job, clock: Clock) -> String {
    match &job.state {
        State::Scheduled => format!("due {}", clock.from_now(job.due_at)),
        State::Queued(wait) => {
            let since = words::rough((clock.now - wait.since).num_milliseconds().max(0));
            format!("waits since {since}: {}", wait_reason(wait.reason))
        }
        State::Retrying(failed) => {
            format!("tried again {}; {}", clock.from_now(job.due_at), failed.error)
        }
        State::Pulling => "pulling the image".to_owned(),
        State::Starting(_) => "starting".to_owned(),
        State::Running(_) => "running".to_owned(),
        State::Stopping(_) => "asked to stop".to_owned(),
        State::Ended(end) => {
            let took = end.run.as_ref().map(|run| (end.at - run.started_at).num_milliseconds());
            let took = took.map(|ms| words::took(ms.max(0)));
            match (&end.error, took) {
                (Some(error), _) => error.clone(),
                (None, Some(took)) => format!("{} after {took}", outcome(job.state.status())),
                (None, None) => outcome(job.state.status()).to_owned(),
            }
        }
    }
}

/// Returns the status as a person would say it.
pub(super) fn outcome(status: Status) -> &'static str {
    match status {
        Status::TimedOut => "timed out",
        Status::Canceled => "taken off the schedule",
        Status::Unknown => "end unknown",
        other => other.as_str(),
    }
}

/// Returns the reason of a wait as a person would say it.
pub(super) fn wait_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSlot => "all slots are in use",
        Reason::QueueFull => "its queue is full",
        Reason::MaxParallel => "as many jobs of its name run as may",
        Reason::EngineUnreachable => "the engine does not answer",
        Reason::EngineChanged => "another engine answers",
        Reason::Overlap => "the run before it is not over",
        Reason::Paused => "paused",
        other => other.as_str(),
    }
}

/// Returns when a schedule ticks, in words.
pub(super) fn recurrence(record: &ScheduleRecord, clock: Clock) -> String {
    match record.timetable().recurrence {
        Recurrence::Every(period, anchor) => {
            format!("every {period}, counted from {}", clock.clock(anchor))
        }
        cron @ Recurrence::Cron(..) => cron.describe(),
    }
}

/// Returns the outcome of a tick as a sentence. `status` is the status of the tick's own job.
pub(super) fn tick(row: &LedgerRow, status: Option<Status>) -> String {
    let why = row.reason.map(ledger::sentence);
    let because = |what: &str| why.map_or_else(|| what.to_owned(), |why| format!("{what}: {why}"));
    match (row.outcome, status) {
        (Some(TickOutcome::Ran), Some(status)) => match row.late {
            true => format!("{}, started late", outcome(status)),
            false => outcome(status).to_owned(),
        },
        (Some(TickOutcome::Ran), None) => "ran".to_owned(),
        (Some(TickOutcome::Skipped), _) => because("skipped"),
        (Some(TickOutcome::Missed), _) => because("missed"),
        (Some(TickOutcome::CaughtUp), _) => because("caught up"),
        (None, _) => "waits".to_owned(),
    }
}
