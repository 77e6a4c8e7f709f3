//! The objects in requests and answers, besides jobs and forecasts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::JobView;
use crate::domain::job::{Reason, Status};
use crate::domain::schedule::ScheduleFields;
use crate::domain::text::date::rfc3339;
use crate::scheduler::Defined;

/// The answer to `GET /jobs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobsView {
    /// The jobs between their claim and their result, by id.
    pub running: BTreeMap<String, JobView>,
    /// The jobs that wait to be claimed, by id.
    pub scheduled: BTreeMap<String, JobView>,
    /// The jobs that are over, by id.
    pub history: BTreeMap<String, JobView>,
    /// The cursor of the next page. Null or absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The answer to a call that created or changed a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoneView {
    /// A sentence for a person.
    pub message: String,
    /// The job's id, 32 hexadecimal digits. Absent for a job that a dry run would make.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The name of a definition or an image, as the caller gave it.
    pub job_name: String,
    /// The job's status after the call.
    #[schema(value_type = Status)]
    pub status: String,
    /// The due time, `DD-MM-YYYY HH:MM:SS` in the server's zone.
    pub scheduled_to: String,
    /// The due time, RFC 3339.
    #[schema(format = DateTime)]
    pub due_at: String,
    /// All warnings for the caller in one text. Absent without warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The warnings for the caller, one sentence each. Absent without warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// A sentence about the effect that the call would have. Absent unless `dry_run` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<String>,
}

/// The answer to `GET /definitions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionsView {
    /// The definitions by name.
    pub definitions: BTreeMap<String, DefinitionView>,
}

/// A definition in a list, without its spec. `GET /definition/{name}` returns the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionView {
    /// The image to run. Null if the definition has none.
    pub image: Option<String>,
    /// True if the definition is in the server's config file, and can only be changed there.
    pub read_only: bool,
    /// The tag to send as `If-Match`. Null for a read-only definition.
    pub etag: Option<String>,
    /// The time of the last change, RFC 3339. Null for a read-only definition.
    #[schema(format = DateTime)]
    pub changed_at: Option<String>,
}

/// The answer to a call that changed a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotedView {
    /// A sentence for a person.
    pub message: String,
    /// The name of the definition.
    pub name: String,
    /// All warnings for the caller in one text. Absent without warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The warnings for the caller, one sentence each. Absent without warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// A sentence about the effect that the call would have. Absent unless `dry_run` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<String>,
}

/// A line of `GET /job/{id}/logs`, in NDJSON or as the data of a server-sent event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogView {
    /// The number of the line, counted from 1 over both streams of the attempt.
    #[serde(default)]
    pub line: u64,
    /// The time of the line, RFC 3339 with nanoseconds.
    #[schema(format = DateTime)]
    pub at: String,
    /// The output stream: `stdout` or `stderr`.
    pub stream: String,
    /// The text of the line. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// False if no line end followed the text.
    pub complete: bool,
    /// False for a line that is shown only as context of a match. Absent without `grep`.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub is_match: Option<bool>,
}

/// The answer to `POST /preview`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewView {
    /// The recurrence or the date in words.
    pub says: String,
    /// The next times, RFC 3339 in the requested zone.
    pub next: Vec<String>,
}

/// A schedule as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    pub name: String,
    /// `api`, or `config` for a schedule in the config file, which has to be changed there.
    pub source: String,
    /// The fields as the caller or the config file set them.
    #[serde(flatten)]
    pub fields: ScheduleFields,
    /// The recurrence in words.
    pub says: String,
    /// `config_file` if the schedule is paused because this server does not read its config file,
    /// else absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_reason: Option<String>,
    /// The time of the next tick, RFC 3339. Null while the schedule is paused or has no tick left.
    #[schema(format = DateTime)]
    pub next_due_at: Option<String>,
    /// The id of the job that waits for the next tick. Null without one.
    pub next_job: Option<String>,
    /// The number of ticks that ran.
    pub runs: u64,
    /// All warnings for the caller in one text. Absent without warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The warnings for the caller, one sentence each. Absent without warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// A sentence about the effect that the call would have. Absent unless `dry_run` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<String>,
}

/// The answer to `GET /schedules`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SchedulesView {
    /// The schedules by name.
    pub schedules: BTreeMap<String, ScheduleView>,
    /// The cursor of the next page. Null or absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of a schedule's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerView {
    /// The ticks with their outcomes, latest first.
    pub ticks: Vec<TickView>,
    /// The cursor of the next page. Null if there is none.
    pub next: Option<String>,
}

/// A tick and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TickView {
    /// The nominal time of the tick, RFC 3339.
    #[schema(format = DateTime)]
    pub due_at: String,
    /// The outcome: `ran`, `skipped`, `missed` or `caught_up`. Empty while the tick's job waits.
    pub outcome: String,
    /// A code for the reason. Null without one.
    #[schema(value_type = Option<Reason>)]
    pub reason: Option<String>,
    /// The id of the job that ran for the tick. Null without one. A tick that was caught up may
    /// name the job of a later tick that covers it.
    pub job: Option<String>,
}

/// The answer to `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// The program's name, always `tidetable`.
    pub name: String,
    pub version: String,
}

/// The answer to `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadyView {
    /// True if jobs that are due are started.
    pub ready: bool,
    /// The state of the engine: `ok`, or a code for the problem.
    pub engine: String,
    /// The state of the store: `ok`, or a code for the problem.
    pub store: String,
    /// The number of jobs that are due and have not begun. The count stops at 100,000.
    #[serde(default)]
    pub backlog: usize,
    /// A sentence about the problem. Absent if the server is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Sentences about the parts of the config that are paused. They do not make the server
    /// unready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The answer to a dry run of a call that answers without a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WouldView {
    /// A sentence about the effect that the call would have.
    pub would: String,
}

impl DoneView {
    /// Adds the sentence about the effect that the call would have.
    #[must_use]
    pub fn with_would(self, would: String) -> Self {
        Self { would: Some(would), ..self }
    }

    /// Removes the id, which belongs to no job after a dry run.
    #[must_use]
    pub fn without_id(self) -> Self {
        Self { id: String::new(), ..self }
    }

    /// Adds these warnings, one by one and as one text.
    pub fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warning: joined(&warnings), warnings, ..self }
    }
}

/// Joins all warnings into one text. Returns `None` without warnings.
pub(in crate::http) fn joined(warnings: &[String]) -> Option<String> {
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

impl DefinitionView {
    /// Builds the view of a definition with this tag.
    pub fn of(defined: &Defined, etag: Option<String>) -> Self {
        Self {
            image: defined.spec.fields().image.as_ref().map(ToString::to_string),
            read_only: defined.kept.is_none(),
            etag,
            changed_at: defined.kept.map(|(_, at)| rfc3339(at)),
        }
    }
}
