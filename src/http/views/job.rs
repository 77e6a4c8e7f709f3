//! A job as the API shows it.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::job::origin::Origin;
use crate::domain::job::{Job, Reason, Status};
use crate::domain::names::id::Timestamp;
use crate::domain::spec::JobSpec;
use crate::domain::text::date::rfc3339;
use crate::domain::text::timestamp::FormattedTime;
use crate::scheduler::OutputState;
use crate::store::Transition;

use super::line::JobLine;
use super::usage::UsageView;

/// A job as the API shows it. The first five fields are the classic ones. Times among the others
/// are RFC 3339 in UTC with milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// The job's id, 32 hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    pub id: String,
    /// The name of a definition or an image, as the caller gave it.
    pub job_name: String,
    /// The time of acceptance, `DD-MM-YYYY HH:MM:SS` in the server's zone.
    pub scheduled_in: String,
    /// The due time, `DD-MM-YYYY HH:MM:SS` in the server's zone.
    pub scheduled_to: String,
    /// The job's status, such as `running`.
    #[schema(value_type = Status)]
    pub status: String,
    /// How the job stands or ended, as a sentence.
    #[serde(default)]
    pub says: String,
    /// The time of acceptance, RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// The due time, RFC 3339.
    #[schema(format = DateTime)]
    pub due_at: String,
    /// The start of the process by the engine's clock. Null before the start.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// The end of the job. Null until it is over.
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// A code for the reason of a wait, a failure or an unknown result. Null without one.
    #[schema(value_type = Option<Reason>)]
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
    /// The party that submitted the job: a caller's name, or `schedule:NAME`. Null for jobs of older
    /// versions.
    #[serde(default)]
    pub submitted_by: Option<String>,
    /// The engine of the job's container.
    #[serde(default)]
    pub engine: String,
    /// The resources that the last attempt used. Null while it runs, for a run that was too short
    /// for a sample, and on an engine that measures nothing.
    pub usage: Option<UsageView>,
    /// The spec as resolved; secrets by name. Absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub spec: Option<JobSpec>,
    /// The attempts so far, the first first. Absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
    /// The job that this one runs again. Absent for other jobs, and in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<String>,
    /// The state of the job's output. Absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<OutputView>,
    /// The progress of the pull. Absent unless the status is `pulling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The time since which the job's state is unknown, because the engine does not answer. Absent
    /// while it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub engine_unreachable_since: Option<String>,
}

/// One attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The start of the process. Null if none is known to have started.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// The end of the attempt. Null while it goes on.
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    pub exit_code: Option<i32>,
    /// The code of the reason for the end. Null for a success, and while the attempt goes on.
    #[schema(value_type = Option<Reason>)]
    pub reason: Option<String>,
    /// The reason as a sentence.
    pub error: Option<String>,
}

/// The state of the output of a job's last attempt. Unknown values are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// The time after which the output may be deleted, RFC 3339. Null: it is kept without limit.
    #[serde(default)]
    pub kept_until: Option<String>,
}

impl JobView {
    /// Builds the view of a job. The classic times are in this zone.
    pub fn of(job: &Job, zone: Tz, engine: &'static str) -> Self {
        JobLine::of(job, job.id.hex(&mut [0; 32]), zone, engine, None).into()
    }

    /// Adds what only the answer about a single job shows: the spec, and the attempts in the job's
    /// journal.
    #[must_use]
    pub fn with_story(mut self, job: &Job, story: &[Transition]) -> Self {
        self.spec = Some(job.spec.clone());
        self.attempts = Some(attempts(job, story));
        self.rerun_of = match &job.origin {
            Origin::Rerun(of) => Some(of.to_string()),
            Origin::Api | Origin::Schedule(_) => None,
        };
        self
    }

    /// Adds the state of the job's output.
    #[must_use]
    pub fn with_output(mut self, OutputState { kept, complete }: OutputState) -> Self {
        self.log = Some(OutputView {
            lines: kept.map(|kept| kept.lines),
            bytes: kept.map(|kept| kept.bytes),
            truncated: kept.map(|kept| kept.truncated),
            complete,
            kept_until: None,
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

/// Returns the attempts that the journal tells of. The present or last attempt's start is the
/// engine's, that of earlier ones the time when we saw them run, or else claimed them.
fn attempts(job: &Job, story: &[Transition]) -> Vec<AttemptView> {
    let mut attempts: Vec<AttemptView> = Vec::new();
    let mut claimed_at = None;
    for t in story.iter().filter(|t| t.attempt > 0) {
        if attempts.last().is_none_or(|last| last.attempt != t.attempt) {
            let empty = AttemptView {
                attempt: t.attempt,
                started_at: None,
                finished_at: None,
                exit_code: None,
                reason: None,
                error: None,
            };
            attempts.push(empty);
        }
        let Some(last) = attempts.last_mut() else { continue };
        if t.to == Status::Starting {
            claimed_at = Some(rfc3339(t.at));
        }
        if t.to == Status::Running {
            last.started_at = Some(rfc3339(t.at));
        }
        // A queued job has ended no attempt, and a later end of a retrying job begins none.
        let ends = t.to == Status::Retrying || t.is_end();
        if ends && last.finished_at.is_none() {
            last.finished_at = Some(rfc3339(t.at));
            last.exit_code = t.exit_code;
            // A short process may end before we see it run. It began at or after the claim.
            if t.exit_code.is_some() {
                last.started_at = last.started_at.take().or(claimed_at.take());
            }
            last.reason = t.reason.map(|reason| reason.to_string());
            last.error = t.error.clone();
        }
    }
    if let Some((last, run)) = attempts.last_mut().zip(job.state.run()) {
        last.started_at = Some(rfc3339(run.started_at));
    }
    attempts
}

impl From<JobLine<'_>> for JobView {
    fn from(line: JobLine<'_>) -> Self {
        let stamp = |stamp: FormattedTime| stamp.to_string();
        Self {
            id: line.id.to_owned(),
            job_name: line.job_name.to_owned(),
            scheduled_in: stamp(line.scheduled_in),
            scheduled_to: stamp(line.scheduled_to),
            status: line.status.to_owned(),
            says: line.says,
            created_at: stamp(line.created_at),
            due_at: stamp(line.due_at),
            started_at: line.started_at.map(stamp),
            finished_at: line.finished_at.map(stamp),
            reason: line.reason.map(str::to_owned),
            error: line.error.map(str::to_owned),
            exit_code: line.exit_code,
            signal: line.signal,
            oom_killed: line.oom_killed,
            attempt: line.attempt,
            image: line.image.map(str::to_owned),
            image_digest: line.image_digest.map(str::to_owned),
            schedule: line.schedule.map(str::to_owned),
            labels: line.labels.clone(),
            lateness_ms: line.lateness_ms,
            submitted_by: line.submitted_by,
            engine: line.engine.to_owned(),
            usage: line.usage,
            spec: None,
            attempts: None,
            rerun_of: None,
            log: None,
            progress: None,
            engine_unreachable_since: line.engine_unreachable_since.map(stamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::State;
    use crate::domain::job::origin::Origin;
    use crate::domain::names::id::{Attempt, JobId, Version};

    /// Returns the JSON of a job in this state, in a listing and on its own.
    fn both(status: Status, detail: Option<&str>, spec: &str) -> [String; 2] {
        let at = Timestamp::from_timestamp_millis(1_624_195_528_250).expect("an instant");
        let job = Job {
            id: JobId::new(at, [7; 10]),
            version: Version(3),
            name: "JOB_\"A\"".parse().expect("a name"),
            spec: serde_json::from_str(spec).expect("a spec"),
            created_at: at,
            due_at: at,
            attempt: Attempt(1),
            state: State::from_parts(status, detail).expect("a state"),
            origin: Origin::Api,
            submitted_by: None,
        };
        let mut id = [0; 32];
        let line = JobLine::of(&job, job.id.hex(&mut id), Tz::Europe__Berlin, "docker", Some(at));
        let view = JobView::of(&job, Tz::Europe__Berlin, "docker").unreachable_since(Some(at));
        [serde_json::to_string(&line), serde_json::to_string(&view)].map(|text| text.expect("JSON"))
    }

    #[test]
    fn listing_and_single_job_have_equal_json() {
        let run =
            r#"{"container":"c","started_at":"2021-06-20T13:25:29Z","image_digest":"sha256:ab"}"#;
        let end = format!(
            r#"{{"at":"2021-06-20T13:25:30Z","reason":"oom_killed","error":"it \"died\"","run":{run},
            "exit":{{"code":137,"oom_killed":true,"at":"2021-06-20T13:25:30Z"}}}}"#
        );
        let labelled = r#"{"image":"busybox","labels":{"team":"a","b":"ü"}}"#;
        for (status, detail, spec) in [
            (Status::Scheduled, None, "{}"),
            (Status::Running, Some(run), labelled),
            (Status::Failed, Some(end.as_str()), labelled),
            (Status::Retrying, Some(r#"{"reason":"pull_failed","error":"no"}"#), "{}"),
        ] {
            let [line, view] = both(status, detail, spec);
            assert_eq!(line, view);
        }
        let [failed, _] = both(Status::Failed, Some(&end), labelled);
        assert!(
            failed.contains(r#""signal":9,"oom_killed":true,"attempt":1,"image":"busybox","image_digest":"sha256:ab""#)
        );
    }
}
