//! A job in a listing. The fields of [`JobView`] are borrowed from the job instead of copied,
//! because a listing may have a million jobs.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::Serialize;

use super::JobView;
use crate::domain::job::{Job, Reason, State};
use crate::domain::names::id::Timestamp;
use crate::domain::text::timestamp::FormattedTime;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// The fields of [`JobView`], in the same order. A listing shows neither the progress of a pull nor
/// the state of the output.
#[derive(Serialize)]
pub(in crate::api) struct JobLine<'a> {
    id: &'a str,
    job_name: &'a str,
    scheduled_in: FormattedTime,
    scheduled_to: FormattedTime,
    status: &'static str,
    created_at: FormattedTime,
    due_at: FormattedTime,
    started_at: Option<FormattedTime>,
    finished_at: Option<FormattedTime>,
    reason: Option<&'static str>,
    error: Option<&'a str>,
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_killed: Option<bool>,
    attempt: u32,
    image: Option<&'a str>,
    image_digest: Option<&'a str>,
    schedule: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    lateness_ms: Option<i64>,
    usage: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_unreachable_since: Option<FormattedTime>,
}

impl<'a> JobLine<'a> {
    /// Builds the line of the job with this id. The classic times are in this zone.
    pub(in crate::api) fn of(
        job: &'a Job,
        id: &'a str,
        zone: Tz,
        unreachable_since: Option<Timestamp>,
    ) -> Self {
        let run = job.state.run();
        let end = job.state.end();
        let exit = end.and_then(|end| end.exit.as_ref());
        let fields = job.spec.fields();
        Self {
            id,
            job_name: job.name.as_str(),
            scheduled_in: FormattedTime::classic(job.created_at, zone),
            scheduled_to: FormattedTime::classic(job.due_at, zone),
            status: job.state.status().as_str(),
            created_at: FormattedTime::rfc3339(job.created_at),
            due_at: FormattedTime::rfc3339(job.due_at),
            started_at: run.map(|run| FormattedTime::rfc3339(run.started_at)),
            finished_at: end.map(|end| FormattedTime::rfc3339(end.at)),
            reason: job.state.reason().map(Reason::as_str),
            error: error(job),
            exit_code: job.state.exit_code(),
            signal: exit.and_then(|exit| exit.signal()),
            oom_killed: exit.map(|exit| exit.oom_killed).filter(|oom| *oom),
            attempt: job.attempt.0,
            image: fields.image.as_ref().map(|image| image.as_str()),
            image_digest: run
                .and_then(|run| run.image_digest.as_ref())
                .map(|digest| digest.0.as_str()),
            schedule: job.origin.as_ref().map(|origin| origin.schedule.as_str()),
            labels: fields.labels.as_ref().map_or(&NO_LABELS, |labels| &labels.0),
            lateness_ms: run.map(|run| (run.started_at - job.due_at).num_milliseconds()),
            usage: None,
            engine_unreachable_since: unreachable_since.map(FormattedTime::rfc3339),
        }
    }
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
            usage: None,
            log: None,
            progress: None,
            engine_unreachable_since: line.engine_unreachable_since.map(stamp),
        }
    }
}

fn error(job: &Job) -> Option<&str> {
    match &job.state {
        State::Retrying(setback) => Some(&setback.error),
        State::Ended(end) => end.error.as_deref(),
        State::Scheduled
        | State::Queued(_)
        | State::Pulling
        | State::Starting(_)
        | State::Running(_)
        | State::Stopping(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::Status;
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
            origin: None,
        };
        let mut id = [0; 32];
        let line = JobLine::of(&job, job.id.hex(&mut id), Tz::Europe__Berlin, Some(at));
        let view = JobView::of(&job, Tz::Europe__Berlin).unreachable_since(Some(at));
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
