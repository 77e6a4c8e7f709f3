//! The moments in the life of a job, from its rows in the journal.

use super::says;
use super::words::{self, Clock, Moment};
use crate::domain::admission::caller::Caller;
use crate::domain::job::{Job, Status};
use crate::domain::names::actor::Actor;
use crate::domain::names::id::Timestamp;
use crate::store::Transition;

/// The most moments of one story. Of a longer one, the middle is left out.
const MOST: usize = 24;
/// The first moments that stay when the middle is left out.
const FIRST: usize = 4;

/// A moment in the life of a job.
pub(super) struct Step {
    /// The status, as the class of the dot.
    pub(super) class: &'static str,
    pub(super) title: String,
    pub(super) at: Moment,
    pub(super) note: String,
}

/// Returns the moments of a job from all its transitions, oldest first.
pub(super) fn of(job: &Job, journal: &[Transition], clock: Clock) -> Vec<Step> {
    let passes = |index: usize| {
        // A start that went well is told by the process that began.
        let next = journal.get(index + 1).map(|row| row.to);
        !(journal[index].to == Status::Starting && next.is_some())
    };
    let rows = journal.iter().enumerate().filter(|(index, _)| passes(*index));
    let mut steps: Vec<Step> = rows.map(|(_, row)| told(job, row, clock)).collect();
    if steps.len() > MOST {
        let left_out = steps.len() - MOST;
        let more = words::count(left_out as u64, "more moment");
        steps.drain(FIRST..FIRST + left_out);
        if let Some(step) = steps.get_mut(FIRST) {
            step.note = format!("{} (after {more})", step.note);
        }
    }
    if job.due_at > clock.now && !job.is_over() {
        steps.push(Step {
            class: "scheduled",
            title: "due".to_owned(),
            at: clock.moment(job.due_at),
            note: clock.distance(job.due_at),
        });
    }
    steps
}

fn told(job: &Job, row: &Transition, clock: Clock) -> Step {
    let is_present = row.attempt == job.attempt.0;
    let run = job.state.run().filter(|_| is_present);
    let by = row.by.as_ref().map(by).unwrap_or_default();
    let code = row.exit_code.map(|code| format!("exit code {code}"));
    let reason = || row.reason.map(|reason| reason.to_string().replace('_', " "));
    let attempt = (row.attempt > 1).then(|| format!("attempt {}", row.attempt));
    let (class, title, at, note): (_, String, Timestamp, _) = match row.to {
        _ if row.from.is_none() => ("done", "accepted".into(), row.at, by),
        Status::Scheduled => ("done", "moved".into(), row.at, by),
        Status::Queued => {
            let why = row.reason.map(says::wait_reason).unwrap_or_default();
            ("queued", "waits".into(), row.at, why.to_owned())
        }
        Status::Retrying => (
            "failed",
            format!("attempt {} failed", row.attempt),
            row.at,
            code.or_else(reason).unwrap_or_default(),
        ),
        Status::Pulling => ("done", "pulls the image".into(), row.at, attempt.unwrap_or_default()),
        Status::Starting => ("done", "starts".into(), row.at, attempt.unwrap_or_default()),
        Status::Running => {
            let class = if job.state.status() == Status::Running { "running" } else { "done" };
            let late = run.map(|run| late(job, run.started_at));
            let at = run.map_or(row.at, |run| run.started_at);
            (class, "started".into(), at, attempt.or(late).unwrap_or_default())
        }
        Status::Stopping => ("done", "asked to stop".into(), row.at, by),
        ended => {
            let at = job.state.end().map_or(row.at, |end| end.at);
            let note = code.or_else(reason).unwrap_or_default();
            (ended.as_str(), says::outcome(ended).into(), at, note)
        }
    };
    Step { class, title, at: clock.moment(at), note }
}

/// Returns who caused a change: `by schedule orders`. Empty for a caller without a name.
fn by(actor: &Actor) -> String {
    match actor {
        Actor::Schedule(name) => format!("by schedule {name}"),
        Actor::Config => "by the config file".to_owned(),
        Actor::Scheduler => "by the scheduler".to_owned(),
        caller if *caller == Caller::anonymous().actor() => String::new(),
        Actor::Caller(name) => format!("by {name}"),
    }
}

fn late(job: &Job, started_at: Timestamp) -> String {
    format!("{} late", words::took((started_at - job.due_at).num_milliseconds().max(0)))
}
