//! Events: the rows of the journal as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::job::{Reason, Status, says};
use crate::domain::text::date::rfc3339;
use crate::store::{Entry, ObjectChange, Transition};

/// A change of a job, a schedule, a definition, the engine or the server. A job's event has the
/// fields from `job` to `says`; every other has `name` and `change`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// The number of the journal's row. Numbers increase, with gaps.
    pub seq: u64,
    /// The kind of the event: `job`, `schedule`, `definition`, `engine`, `server` or `gap`.
    pub kind: String,
    /// The time of the change, RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// The party that caused the change: a caller's name, `scheduler`, `schedule:NAME` or `config`.
    /// Null in rows of older versions.
    pub by: Option<String>,
    /// The job's id, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// The schedule that made the job. Absent for other jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The status before. Absent in the first event of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Status>)]
    pub from: Option<String>,
    /// The status after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Status>)]
    pub to: Option<String>,
    /// The code of the reason for the new status. Absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Reason>)]
    pub reason: Option<String>,
    /// The exit code of the process. Absent if none ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The number of the attempt; 0 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The event as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// The name of the schedule, the definition or the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The change, such as `created` or `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// The story of one job: its events, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoryView {
    pub events: Vec<EventView>,
    /// The `since` of the next page. Null if there is none.
    pub next: Option<u64>,
}

/// A stretch of events that were pruned before they could be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GapView {
    /// Always `gap`.
    pub kind: String,
    /// The first missing number.
    pub from_seq: u64,
    /// The last missing number.
    pub to_seq: u64,
}

impl EventView {
    pub fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Job(transition) => Self::of_job(transition),
            Entry::Other(change) => Self::of_other(change),
        }
    }

    pub fn of_job(t: &Transition) -> Self {
        let sentence = says::transition(t.to, t.reason, t.exit_code, t.attempt, t.error.as_deref());
        Self {
            seq: t.seq.0,
            kind: "job".to_owned(),
            at: rfc3339(t.at),
            by: t.by.as_ref().map(ToString::to_string),
            job: Some(t.job.to_string()),
            job_name: Some(t.job_name.clone()),
            schedule: t.schedule.clone(),
            from: t.from.map(|from| from.to_string()),
            to: Some(t.to.to_string()),
            reason: t.reason.map(|reason| reason.to_string()),
            exit_code: t.exit_code,
            attempt: Some(t.attempt),
            says: Some(sentence),
            name: None,
            change: None,
        }
    }

    fn of_other(change: &ObjectChange) -> Self {
        let says = format!("{} {} {}", change.kind, change.name, change.change.words());
        Self {
            seq: change.seq.0,
            kind: change.kind.to_string(),
            at: rfc3339(change.at),
            by: change.by.as_ref().map(ToString::to_string),
            job: None,
            job_name: None,
            schedule: None,
            from: None,
            to: None,
            reason: None,
            exit_code: None,
            attempt: None,
            says: Some(says),
            name: Some(change.name.clone()),
            change: Some(change.change.to_string()),
        }
    }
}
