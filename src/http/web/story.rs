//! The moments in the life of a job, in their order: accepted, due, started, ended.

use super::says;
use super::words::{self, Clock, Moment};
use crate::domain::job::{Job, Status};

/// A moment in the life of a job.
pub(super) struct Step {
    /// The status, as the class of the dot.
    pub(super) class: &'static str,
    pub(super) title: String,
    pub(super) at: Moment,
    pub(super) note: String,
}

/// Returns the moments of a job.
pub(super) fn of(job: &Job, clock: Clock) -> Vec<Step> {
    let step = |class, title: &str, at, note: String| Step {
        class,
        title: title.to_owned(),
        at: clock.moment(at),
        note,
    };
    let by = job.origin.as_ref().map(|origin| format!("by schedule {}", origin.schedule));
    let mut steps = vec![step("done", "accepted", job.created_at, by.unwrap_or_default())];
    let is_ahead = job.due_at > clock.now && !job.is_over();
    let class = if is_ahead { "scheduled" } else { "done" };
    steps.push(step(class, "due", job.due_at, String::new()));
    if let Some(run) = job.state.run() {
        let late = (run.started_at - job.due_at).num_milliseconds();
        let late = format!("{} late", words::took(late.max(0)));
        let class = if job.state.status() == Status::Running { "running" } else { "done" };
        steps.push(step(class, "started", run.started_at, late));
    }
    if let Some(end) = job.state.end() {
        let status = job.state.status();
        let code = job.state.exit_code().map(|code| format!("exit code {code}"));
        steps.push(step(
            status.as_str(),
            says::outcome(status),
            end.at,
            code.or_else(|| end.reason.map(|reason| reason.to_string())).unwrap_or_default(),
        ));
    }
    steps
}
