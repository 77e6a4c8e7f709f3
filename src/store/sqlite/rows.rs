//! Converts jobs to rows and back.

use rusqlite::Row;

use super::errors::failed;
use crate::domain::job::origin::{Generation, Origin, ScheduledBy};
use crate::domain::job::wait_group::WaitGroup;
use crate::domain::job::{Job, State, Status};
use crate::domain::names::actor::Actor;
use crate::domain::names::id::{Attempt, JobId, Timestamp, Version};
use crate::domain::spec::JobSpec;
use crate::store::error::StoreError;

/// The columns of a job, in the order in which [`job`] reads them.
pub(super) const JOB_COLUMNS: &str = "id, version, name, spec, created_at, due_at, attempt, status, detail, schedule, generation, nominal, submitted_by, rerun_of";

/// A job as statement parameters. Times are in milliseconds.
pub(super) struct JobRow {
    pub(super) id: JobId,
    pub(super) version: i64,
    pub(super) name: String,
    pub(super) spec: String,
    pub(super) created_at: i64,
    pub(super) due_at: i64,
    pub(super) priority: i32,
    pub(super) start_deadline: Option<i64>,
    pub(super) attempt: u32,
    pub(super) status: &'static str,
    pub(super) detail: Option<String>,
    pub(super) schedule: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) nominal: Option<i64>,
    pub(super) queue: Option<String>,
    pub(super) wait_group: Option<String>,
    pub(super) submitted_by: Option<String>,
    pub(super) rerun_of: Option<JobId>,
    pub(super) started_at: Option<i64>,
    pub(super) ended_at: Option<i64>,
}

impl JobRow {
    pub(super) fn of(job: &Job) -> Result<Self, StoreError> {
        let unwritable = |error: serde_json::Error| {
            StoreError::Failed(format!("job {} cannot be written: {error}", job.id))
        };
        let origin = job.origin.schedule();
        Ok(Self {
            id: job.id,
            version: number(job.version.0),
            name: job.name.to_string(),
            spec: serde_json::to_string(&job.spec).map_err(unwritable)?,
            created_at: job.created_at.timestamp_millis(),
            due_at: job.due_at.timestamp_millis(),
            priority: job.spec.fields().priority.unwrap_or(0),
            start_deadline: job.start_deadline().map(|at| at.timestamp_millis()),
            attempt: job.attempt.0,
            status: job.state.status().as_str(),
            detail: job.state.detail().map_err(unwritable)?,
            schedule: origin.map(|origin| origin.schedule.to_string()),
            generation: origin.map(|origin| number(origin.generation.0)),
            nominal: origin.and_then(|origin| origin.nominal).map(|at| at.timestamp_millis()),
            queue: job.spec.fields().queue.as_ref().map(ToString::to_string),
            wait_group: job.state.wait_group().map(hold_text).transpose().map_err(unwritable)?,
            submitted_by: job.submitted_by.as_ref().map(ToString::to_string),
            rerun_of: match &job.origin {
                Origin::Rerun(of) => Some(*of),
                Origin::Api | Origin::Schedule(_) => None,
            },
            started_at: job.state.run().map(|run| run.started_at.timestamp_millis()),
            ended_at: job.state.end().map(|end| end.at.timestamp_millis()),
        })
    }
}

/// Returns the text that stands for a wait group. Equal groups have equal texts.
pub(super) fn hold_text(wait_group: &WaitGroup) -> Result<String, serde_json::Error> {
    serde_json::to_string(wait_group)
}

/// Converts a number to SQLite's signed integer; none of ours comes near the difference.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Converts an integer of SQLite; none that we write is negative.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Reads the job from a row of [`JOB_COLUMNS`].
pub(super) fn job(row: &Row<'_>) -> Result<Job, StoreError> {
    let id = JobId::from_bytes(row.get::<_, [u8; 16]>(0).map_err(failed)?);
    let damaged = |what: &str| StoreError::Damaged(format!("job {id}: its {what} cannot be read"));
    let status = Status::from_word(text(row, 7)?).ok_or_else(|| damaged("status"))?;
    let detail = row.get_ref(8).and_then(|detail| Ok(detail.as_str_or_null()?)).map_err(failed)?;
    Ok(Job {
        id,
        version: Version(unsigned(row.get(1).map_err(failed)?)),
        name: text(row, 2)?.parse().map_err(|_| damaged("name"))?,
        spec: serde_json::from_str(text(row, 3)?)
            .map(JobSpec::accepted_before)
            .map_err(|_| damaged("spec"))?,
        created_at: instant(row.get(4).map_err(failed)?).ok_or_else(|| damaged("time"))?,
        due_at: instant(row.get(5).map_err(failed)?).ok_or_else(|| damaged("due time"))?,
        attempt: Attempt(row.get(6).map_err(failed)?),
        state: State::from_parts(status, detail).map_err(|_| damaged("state"))?,
        origin: origin(row, &damaged)?,
        submitted_by: row
            .get_ref(12)
            .and_then(|by| Ok(by.as_str_or_null()?.map(Actor::from_text)))
            .map_err(failed)?,
    })
}

/// Borrows a text from SQLite without copying it.
fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    row.get_ref(column).and_then(|text| Ok(text.as_str()?)).map_err(failed)
}

fn origin(row: &Row<'_>, damaged: &dyn Fn(&str) -> StoreError) -> Result<Origin, StoreError> {
    let Some(schedule) = row.get::<_, Option<String>>(9).map_err(failed)? else {
        let rerun_of: Option<[u8; 16]> = row.get(13).map_err(failed)?;
        return Ok(rerun_of.map_or(Origin::Api, |of| Origin::Rerun(JobId::from_bytes(of))));
    };
    let nominal: Option<i64> = row.get(11).map_err(failed)?;
    Ok(Origin::Schedule(ScheduledBy {
        schedule: schedule.parse().map_err(|_| damaged("schedule"))?,
        generation: Generation(unsigned(row.get(10).map_err(failed)?)),
        nominal: nominal.map(|at| instant(at).ok_or_else(|| damaged("tick"))).transpose()?,
    }))
}

pub(super) fn instant(millis: i64) -> Option<Timestamp> {
    Timestamp::from_timestamp_millis(millis)
}
