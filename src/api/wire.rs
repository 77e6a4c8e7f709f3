//! The JSON types of the API's answers. Field names are a contract. The client and the command line
//! read the same types.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::domain::job::Job;
use crate::domain::names::id::Timestamp;
use crate::domain::schedule::ScheduleFields;
use crate::domain::text::date::rfc3339;
use crate::scheduler::{Defined, OutputState};

mod forecast;
mod line;

pub use forecast::{ForecastEntryView, ForecastView, OverlapView, PileUpView};
pub(super) use line::JobLine;

/// A job as the API shows it. The first five fields are the classic ones. Times among the others
/// are RFC 3339 in UTC with milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// The job's id, 32 hexadecimal digits.
    pub id: String,
    /// The name of a definition or an image, as the caller gave it.
    pub job_name: String,
    /// The time of acceptance, `DD-MM-YYYY HH:MM:SS` in the server's zone.
    pub scheduled_in: String,
    /// The due time, `DD-MM-YYYY HH:MM:SS` in the server's zone.
    pub scheduled_to: String,
    /// The job's status, such as `running`.
    pub status: String,
    /// The time of acceptance, RFC 3339.
    pub created_at: String,
    /// The due time, RFC 3339.
    pub due_at: String,
    /// The start of the process by the engine's clock. Null before the start.
    pub started_at: Option<String>,
    /// The end of the job. Null until it is over.
    pub finished_at: Option<String>,
    /// A code for the reason of a wait, a failure or an unknown result. Null without one.
    pub reason: Option<String>,
    /// The reason as a sentence. Null without one.
    pub error: Option<String>,
    /// The exit code of the process. Null if there is none.
    pub exit_code: Option<i32>,
    /// The signal that ended the process. Absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// True if the process ran out of memory, else absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<bool>,
    /// The number of the current or last attempt. 0 before the first.
    pub attempt: u32,
    /// The image to run. Null until it is known.
    pub image: Option<String>,
    /// The digest of the image that ran. Null if it is not known.
    pub image_digest: Option<String>,
    /// The schedule that created the job. Null for other jobs.
    pub schedule: Option<String>,
    /// The labels in the job's spec.
    pub labels: BTreeMap<String, String>,
    /// The time from the due time to the start of the process, in ms. Null before the start.
    pub lateness_ms: Option<i64>,
    /// The resources that the job used. Always null, because they are not measured yet.
    pub usage: Option<serde_json::Value>,
    /// The state of the job's output. Absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<OutputView>,
    /// The progress of the pull. Absent unless the status is `pulling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The time since which the job's state is unknown, because the engine does not answer. Absent
    /// while it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_unreachable_since: Option<String>,
}

/// The state of the output of a job's last attempt. Unknown values are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputView {
    /// The number of lines that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// The size of the kept output as a reader gets it, in bytes, line ends included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// True if there was more output than `log_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// True if the job is over and all its output is kept, or there is none.
    pub complete: bool,
}

/// The answer to `GET /jobs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneView {
    /// A sentence for a person.
    pub message: String,
    /// The job's id, 32 hexadecimal digits.
    pub id: String,
    /// The name of a definition or an image, as the caller gave it.
    pub job_name: String,
    /// The job's status after the call.
    pub status: String,
    /// The due time, `DD-MM-YYYY HH:MM:SS` in the server's zone.
    pub scheduled_to: String,
    /// The due time, RFC 3339.
    pub due_at: String,
    /// All warnings for the caller in one text. Absent without warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The warnings for the caller, one sentence each. Absent without warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The answer to `GET /definitions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionsView {
    /// The definitions by name.
    pub definitions: BTreeMap<String, DefinitionView>,
}

/// A definition in a list, without its spec. `GET /definition/{name}` returns the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionView {
    /// The image to run. Null if the definition has none.
    pub image: Option<String>,
    /// True if the definition is in the server's config file, and can only be changed there.
    pub read_only: bool,
    /// The tag to send as `If-Match`. Null for a read-only definition.
    pub etag: Option<String>,
    /// The time of the last change, RFC 3339. Null for a read-only definition.
    pub changed_at: Option<String>,
}

/// The answer to a call that changed a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A line of `GET /job/{id}/logs`, in NDJSON or as the data of a server-sent event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// The time of the line, RFC 3339 with nanoseconds.
    pub at: String,
    /// The output stream: `stdout` or `stderr`.
    pub stream: String,
    /// The text of the line. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// False if no line end followed the text.
    pub complete: bool,
}

/// The answer to `POST /preview`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewView {
    /// The recurrence or the date in words.
    pub says: String,
    /// The next times, RFC 3339 in the requested zone.
    pub next: Vec<String>,
}

/// A schedule as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// The answer to `GET /schedules`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulesView {
    /// The schedules by name.
    pub schedules: BTreeMap<String, ScheduleView>,
    /// The cursor of the next page. Null or absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of a schedule's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerView {
    /// The ticks with their outcomes, latest first.
    pub ticks: Vec<TickView>,
    /// The cursor of the next page. Null if there is none.
    pub next: Option<String>,
}

/// A tick and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickView {
    /// The nominal time of the tick, RFC 3339.
    pub due_at: String,
    /// The outcome: `ran`, `skipped`, `missed` or `caught_up`. Empty while the tick's job waits.
    pub outcome: String,
    /// A code for the reason. Null without one.
    pub reason: Option<String>,
    /// The id of the job that ran for the tick. Null without one. A tick that was caught up may
    /// name the job of a later tick that covers it.
    pub job: Option<String>,
}

/// The answer to `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// The program's name, always `tidetable`.
    pub name: String,
    pub version: String,
}

/// The answer to `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl DoneView {
    /// Adds these warnings, one by one and as one text.
    pub fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warning: joined(&warnings), warnings, ..self }
    }
}

/// Joins all warnings into one text. Returns `None` without warnings.
pub(super) fn joined(warnings: &[String]) -> Option<String> {
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

impl JobView {
    /// Builds the view of a job. The classic times are in this zone.
    pub fn of(job: &Job, zone: Tz) -> Self {
        JobLine::of(job, job.id.hex(&mut [0; 32]), zone, None).into()
    }

    /// Adds the state of the job's output.
    #[must_use]
    pub fn with_output(mut self, OutputState { kept, complete }: OutputState) -> Self {
        self.log = Some(OutputView {
            lines: kept.map(|kept| kept.lines),
            bytes: kept.map(|kept| kept.bytes),
            truncated: kept.map(|kept| kept.truncated),
            complete,
        });
        self
    }

    /// Marks the job's state as unknown since this instant. `None`: the state is known.
    #[must_use]
    pub fn unreachable_since(mut self, since: Option<Timestamp>) -> Self {
        self.engine_unreachable_since = since.map(rfc3339);
        self
    }
}
