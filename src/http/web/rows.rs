//! A job as a row of a list: its name, one line below it, and the figure at the end.

use super::links::Links;
use super::says;
use super::words::{self, Clock, Moment};
use crate::domain::job::{Job, Map, State, Status};

/// A job in a list.
pub(super) struct JobRow {
    pub(super) id: String,
    pub(super) href: String,
    pub(super) name: String,
    /// The status, as the class of the dot.
    pub(super) status: &'static str,
    /// The status in words.
    pub(super) outcome: &'static str,
    /// One line on where the job comes from and how it stands.
    pub(super) sub: String,
    pub(super) says: String,
    /// The end, or the due time of a job that waits.
    pub(super) at: Moment,
    /// The time that the process has run or ran; empty if it did not.
    pub(super) took: String,
    /// The start of a running process.
    pub(super) started: Option<String>,
    /// The share of the usual time that has passed, in percent; `None` if unknown.
    pub(super) progress: Option<i64>,
    pub(super) progress_says: String,
    /// The action that fits the state, as a path below the job's.
    pub(super) action: &'static str,
    pub(super) action_says: &'static str,
}

impl JobRow {
    /// Builds the row of a job. `usual` is the usual time of its name, in ms.
    pub(super) fn new(job: &Job, clock: Clock, links: &Links, usual: Option<i64>) -> Self {
        let (id, status) = (job.id.to_string(), job.state.status());
        let run = job.state.run();
        let until = job.state.end().map_or(clock.now, |end| end.at);
        let took = run.map(|run| (until - run.started_at).num_milliseconds().max(0));
        let progress = took
            .zip(usual)
            .filter(|_| status == Status::Running)
            .map(|(took, usual)| (took * 100 / usual.max(1)).min(100));
        let (action, action_says) = match job.map() {
            Map::Scheduled => ("cancel", "Take off"),
            Map::Running => ("stop", "Stop"),
            Map::History => ("rerun", "Run again"),
        };
        Self {
            href: links.job(&id),
            id,
            name: job.name.to_string(),
            status: status.as_str(),
            outcome: says::outcome(status),
            sub: origin(job, status),
            says: says::job(job, clock),
            at: clock.moment(job.state.end().map_or(job.due_at, |end| end.at)),
            took: took.map(words::took).unwrap_or_default(),
            started: run.filter(|_| !job.is_over()).map(|run| clock.moment(run.started_at).iso),
            progress,
            progress_says: usual
                .map(|usual| format!("usually takes {}", words::took(usual)))
                .unwrap_or_default(),
            action,
            action_says,
        }
    }
}

/// Returns where a job comes from and what it needs: `schedule orders · queue etl · attempt 2`.
fn origin(job: &Job, status: Status) -> String {
    let fields = job.spec.fields();
    let schedule = job.origin.schedule().map(|origin| format!("schedule {}", origin.schedule));
    let image = fields
        .image
        .as_ref()
        .filter(|image| image.as_str() != job.name.as_str())
        .map(ToString::to_string);
    let queue = fields.queue.as_ref().map(|queue| format!("queue {queue}"));
    let attempt = (job.attempt.0 > 1).then(|| format!("attempt {}", job.attempt.0));
    let state = (!matches!(
        (status, &job.state),
        (Status::Scheduled | Status::Running, _) | (_, State::Ended(_))
    ))
    .then(|| says::outcome(status).to_owned());
    let parts: Vec<String> =
        [state, schedule, image, queue, attempt].into_iter().flatten().collect();
    if parts.is_empty() { "once".to_owned() } else { parts.join(" · ") }
}
