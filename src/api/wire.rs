//! The shapes of the API's answers. Their names are a contract; the client and the command line read the same types.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::domain::date::rfc3339;
use crate::domain::id::Timestamp;
use crate::domain::job::Job;
use crate::domain::schedule::ScheduleFields;
use crate::scheduler::{Defined, OutputState};

mod forecast;
mod line;

pub use forecast::{ForecastEntryView, ForecastView, OverlapView, PileUpView};
pub(super) use line::JobLine;

/// A job as the API shows it. The first five fields are the seed's; times among the others are RFC 3339 with
/// milliseconds, UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// 32 hex digits.
    pub id: String,
    /// What the caller named.
    pub job_name: String,
    /// When it was accepted, `DD-MM-YYYY HH:MM:SS` in the server's zone.
    pub scheduled_in: String,
    /// When it is (or was) due, likewise.
    pub scheduled_to: String,
    /// Where it stands.
    pub status: String,
    /// When it was accepted.
    pub created_at: String,
    /// When it is (or was) due.
    pub due_at: String,
    /// When its process began, by the engine's clock.
    pub started_at: Option<String>,
    /// When it was over.
    pub finished_at: Option<String>,
    /// Why it waits, failed, or is not known: a code.
    pub reason: Option<String>,
    /// The same as a sentence.
    pub error: Option<String>,
    /// The exit code of its process.
    pub exit_code: Option<i32>,
    /// The signal that ended its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether it ran out of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<bool>,
    /// Which attempt runs or ran last; 0 before the first.
    pub attempt: u32,
    /// The image that it runs, once that is known.
    pub image: Option<String>,
    /// The digest of the image that ran.
    pub image_digest: Option<String>,
    /// The schedule that made it.
    pub schedule: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How much later than due its process began.
    pub lateness_ms: Option<i64>,
    /// What it used, once that is measured.
    pub usage: Option<serde_json::Value>,
    /// Its output; not in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<OutputView>,
    /// How far the pull has come, while it is `pulling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Since when nothing is known of it, because the engine does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_unreachable_since: Option<String>,
}

/// How the output of a job's last attempt stands. What is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputView {
    /// How many lines are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// How many bytes a reader gets of them, line ends included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether there was more than `log_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// Whether the job is over and all its output is kept, or there is none.
    pub complete: bool,
}

/// The answer to `GET /jobs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobsView {
    /// Between their claim and their result.
    pub running: BTreeMap<String, JobView>,
    /// Waiting.
    pub scheduled: BTreeMap<String, JobView>,
    /// Over.
    pub history: BTreeMap<String, JobView>,
    /// With `limit`: where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The answer to a call that did something to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneView {
    /// A sentence for a person.
    pub message: String,
    /// The job.
    pub id: String,
    /// What was named.
    pub job_name: String,
    /// Where the job stands now.
    pub status: String,
    /// When it is due, `DD-MM-YYYY HH:MM:SS` in the server's zone.
    pub scheduled_to: String,
    /// The same, RFC 3339.
    pub due_at: String,
    /// The warnings for the caller, in one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The same, each by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The answer to `GET /definitions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionsView {
    /// By name.
    pub definitions: BTreeMap<String, DefinitionView>,
}

/// A definition in a list; `GET /definition/{name}` has its spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionView {
    /// The image that it runs.
    pub image: Option<String>,
    /// Whether it is in the server's config file, and can only be changed there.
    pub read_only: bool,
    /// What to send as `If-Match`; of one that is read-only there is none.
    pub etag: Option<String>,
    /// When it was written.
    pub changed_at: Option<String>,
}

/// The answer to a call that did something to what has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedView {
    /// A sentence for a person.
    pub message: String,
    /// Its name.
    pub name: String,
    /// The warnings for the caller, in one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The same, each by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One line of `GET /job/{id}/logs` as NDJSON or as the data of a server-sent event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// When, RFC 3339 with nanoseconds.
    pub at: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// False where no line's end followed.
    pub complete: bool,
}

/// The answer to `POST /preview`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewView {
    /// What it means, in words.
    pub says: String,
    /// The next times, RFC 3339 in the zone asked for.
    pub next: Vec<String>,
}

/// A schedule as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleView {
    /// Its name.
    pub name: String,
    /// `api`, or `config` for one of the config file, which is changed there.
    pub source: String,
    /// What it says.
    #[serde(flatten)]
    pub fields: ScheduleFields,
    /// When it is due, in words.
    pub says: String,
    /// `config_file`, where it is paused because its config file is not read by this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_reason: Option<String>,
    /// The tick that is next, RFC 3339; nothing while it is paused, or when there is none to come.
    pub next_due_at: Option<String>,
    /// The job that waits for it.
    pub next_job: Option<String>,
    /// How many ticks ran.
    pub runs: u64,
    /// The warnings for the caller, in one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The same, each by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The answer to `GET /schedules`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulesView {
    /// By name.
    pub schedules: BTreeMap<String, ScheduleView>,
    /// With `limit`: where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerView {
    /// What became of ticks, the latest first.
    pub ticks: Vec<TickView>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What became of a tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickView {
    /// The nominal time.
    pub due_at: String,
    /// `ran`, `skipped`, `missed` or `caught_up`.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// The job that ran for it; for one that was caught up, perhaps that of a later tick, which stands for it.
    pub job: Option<String>,
}

/// The answer to `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// `tidetable`.
    pub name: String,
    /// The server's version.
    pub version: String,
}

/// The answer to `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyView {
    /// Whether jobs that are due are started.
    pub ready: bool,
    /// `ok`, or the code that says why not.
    pub engine: String,
    /// `ok`, or the code that says why not.
    pub store: String,
    /// How many jobs are due and have not begun; no more than 100,000 are counted.
    #[serde(default)]
    pub backlog: usize,
    /// A sentence, where something is not ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Sentences about the config: what is paused because of it. The server is ready all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl DoneView {
    /// The same, with these warnings.
    pub fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warning: joined(&warnings), warnings, ..self }
    }
}

/// All warnings in one text.
pub(super) fn joined(warnings: &[String]) -> Option<String> {
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

impl DefinitionView {
    /// This definition, under this tag.
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
    /// This job, with times in this zone where they are the seed's.
    pub fn of(job: &Job, zone: Tz) -> Self {
        JobLine::of(job, job.id.hex(&mut [0; 32]), zone, None).into()
    }

    /// The same, with how its output stands.
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

    /// The same, marked as not known since this instant.
    #[must_use]
    pub fn unreachable_since(mut self, since: Option<Timestamp>) -> Self {
        self.engine_unreachable_since = since.map(rfc3339);
        self
    }
}
