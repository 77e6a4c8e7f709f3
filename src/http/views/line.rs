//! A job in a listing. The fields of [`JobView`](super::JobView) are borrowed from the job instead
//! of copied, because a listing may have a million jobs.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::Serialize;

use super::usage::UsageView;
use crate::domain::job::{Job, Reason};
use crate::domain::names::id::Timestamp;
use crate::domain::text::timestamp::FormattedTime;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// The fields of [`JobView`](super::JobView), in the same order. A listing shows neither the
/// progress of a pull nor the state of the output.
#[derive(Serialize)]
pub(in crate::http) struct JobLine<'a> {
    pub(super) id: &'a str,
    pub(super) job_name: &'a str,
    pub(super) scheduled_in: FormattedTime,
    pub(super) scheduled_to: FormattedTime,
    pub(super) status: &'static str,
    pub(super) says: String,
    pub(super) created_at: FormattedTime,
    pub(super) due_at: FormattedTime,
    pub(super) started_at: Option<FormattedTime>,
    pub(super) finished_at: Option<FormattedTime>,
    pub(super) reason: Option<&'static str>,
    pub(super) error: Option<&'a str>,
    pub(super) exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oom_killed: Option<bool>,
    pub(super) attempt: u32,
    pub(super) image: Option<&'a str>,
    pub(super) image_digest: Option<&'a str>,
    pub(super) schedule: Option<&'a str>,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) lateness_ms: Option<i64>,
    pub(super) submitted_by: Option<String>,
    pub(super) engine: &'static str,
    pub(super) usage: Option<UsageView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) engine_unreachable_since: Option<FormattedTime>,
}

impl<'a> JobLine<'a> {
    /// Builds the line of the job with this id. The classic times are in this zone.
    pub(in crate::http) fn of(
        job: &'a Job,
        id: &'a str,
        zone: Tz,
        engine: &'static str,
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
            says: job.says(),
            created_at: FormattedTime::rfc3339(job.created_at),
            due_at: FormattedTime::rfc3339(job.due_at),
            started_at: run.map(|run| FormattedTime::rfc3339(run.started_at)),
            finished_at: end.map(|end| FormattedTime::rfc3339(end.at)),
            reason: job.state.reason().map(Reason::as_str),
            error: job.state.error(),
            exit_code: job.state.exit_code(),
            signal: exit.and_then(|exit| exit.signal()),
            oom_killed: exit.map(|exit| exit.oom_killed).filter(|oom| *oom),
            attempt: job.attempt.0,
            image: fields.image.as_ref().map(|image| image.as_str()),
            image_digest: run
                .and_then(|run| run.image_digest.as_ref())
                .map(|digest| digest.0.as_str()),
            schedule: job.origin.schedule().map(|origin| origin.schedule.as_str()),
            labels: fields.labels.as_ref().map_or(&NO_LABELS, |labels| &labels.0),
            lateness_ms: run.map(|run| (run.started_at - job.due_at).num_milliseconds()),
            submitted_by: job.submitted_by.as_ref().map(ToString::to_string),
            engine,
            usage: end.and_then(|end| end.usage).map(UsageView::from),
            engine_unreachable_since: unreachable_since.map(FormattedTime::rfc3339),
        }
    }
}
