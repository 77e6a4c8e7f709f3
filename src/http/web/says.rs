//! Sentences about jobs and ticks, as pages show them. The codes are in the details of a page.

use super::words::{self, Clock};
use crate::domain::job::{Job, Map, Reason, Status};
use crate::domain::recurrence::Recurrence;
use crate::domain::schedule::ledger::{self, LedgerRow, TickOutcome};
use crate::domain::schedule::record::ScheduleRecord;

/// Returns how a job stands or ended, for a list.
pub(super) fn job(job: &Job, clock: Clock) -> String {
    match job.state.status() {
        Status::Scheduled => format!("due {}", clock.distance(job.due_at)),
        Status::Succeeded => {
            let ran = job.state.run().zip(job.state.end());
            let took = ran.map(|(run, end)| (end.at - run.started_at).num_milliseconds());
            took.map_or_else(
                || job.says(),
                |ms| format!("succeeded after {}", words::took(ms.max(0))),
            )
        }
        _ => job.says(),
    }
}

/// Returns how a job stands or ended, as a sentence that begins with the outcome.
pub(super) fn whole(job: &Job) -> String {
    match (job.map(), job.state.status()) {
        // These sentences begin with the outcome.
        (_, Status::Canceled | Status::Missed) => words::sentence(&job.says()),
        (Map::History, _) => {
            words::sentence(&format!("{}: {}", outcome(job.state.status()), job.says()))
        }
        (Map::Running | Map::Scheduled, _) => words::sentence(&format!("it {}", job.says())),
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
