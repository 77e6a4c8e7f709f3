//! Calls on one schedule: put, show, delete, pause, resume, trigger, next ticks, ledger.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::preview::{count_of, shown_in};
use crate::domain::job::origin::Generation;
use crate::domain::names::id::Timestamp;
use crate::domain::recurrence::Zone;
use crate::domain::schedule::ledger::LedgerRow;
use crate::domain::schedule::record::ScheduleRecord;
use crate::domain::text::date::rfc3339;
use crate::domain::text::units::shown;
use crate::domain::{
    names::schedule::ScheduleName,
    schedule::{Schedule, ScheduleFields},
};
use crate::http::auth::guard::Admitted;
use crate::http::etag::{self, expected};
use crate::http::problem::Problem;
use crate::http::query::{ChangeQuery, KnownQuery, NoQuery};
use crate::http::views::{
    DoneView, LedgerView, PreviewView, ScheduleView, TickView, WouldView, joined,
};
use crate::http::{json, state::Api};
use crate::scheduler::ScheduleError;

/// The number of ticks in a page of the ledger by default, and at most.
const PAGE: (usize, usize) = (100, 1_000);

/// Answers `GET /schedule/{name}` with the schedule and its tag.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: KnownQuery<NoQuery>,
) -> Result<Response, Problem> {
    Ok(tagged(StatusCode::OK, &api.record(&name).await?, Vec::new()))
}

/// Answers `PUT /schedule/{name}`: 201 for a new schedule, else 200.
pub(in crate::http) async fn put(
    State(api): State<Api>,
    Path(name): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let name = name_of(&name)?;
    let expected = expected(&headers, Generation)?;
    let fields: ScheduleFields = json::read(request).await?;
    if fields.spec.as_ref().is_some_and(|spec| spec.env_file.is_some()) {
        let detail = "`env_file` is a file of the server's machine, so only a definition of the config file has it";
        return Err(Problem::field("spec", "config_only", detail));
    }
    let schedule = Schedule::try_from(fields)
        .map_err(|bad| Problem::field(bad.field, "invalid_field", bad.detail))?;
    let zone = Zone::from(api.zone);
    if query.dry_run.0 {
        let put = api.scheduler.would_put_schedule(&name, schedule, zone, expected).await;
        let put = put.map_err(|error| problem(&name, error))?;
        let change = if put.is_new { "added" } else { "replaced" };
        let would = format!("schedule {name} would be {change}");
        return Ok(would_be(&put.record, put.warnings, would));
    }
    let put = api.scheduler.put_schedule(&by.caller, &name, schedule, zone, expected).await;
    let put = put.map_err(|error| problem(&name, error))?;
    let status = if put.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(tagged(status, &put.record, put.warnings))
}

/// Answers `DELETE /schedule/{name}` with 204, and a dry run with 200.
pub(in crate::http) async fn delete(
    State(api): State<Api>,
    Path(name): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = name_of(&name)?;
    let expected = expected(&headers, Generation)?;
    let deleted = match query.dry_run.0 {
        true => api.scheduler.would_delete_schedule(&name, expected).await,
        false => api.scheduler.delete_schedule(&by.caller, &name, expected).await,
    };
    if let Err(error) = deleted {
        return Err(api.near_schedules(name.as_str(), problem(&name, error)).await);
    }
    let would = format!("schedule {name} would be deleted, and its waiting jobs taken off");
    Ok(match query.dry_run.0 {
        true => Json(WouldView { would }).into_response(),
        false => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Answers `POST /schedule/{name}/pause` with the paused schedule.
pub(in crate::http) async fn pause(
    api: State<Api>,
    name: Path<String>,
    by: Admitted,
    query: KnownQuery<ChangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    set_paused(api, name, by, query, headers, true).await
}

/// Answers `POST /schedule/{name}/resume` with the resumed schedule.
pub(in crate::http) async fn resume(
    api: State<Api>,
    name: Path<String>,
    by: Admitted,
    query: KnownQuery<ChangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    set_paused(api, name, by, query, headers, false).await
}

async fn set_paused(
    State(api): State<Api>,
    Path(name): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    headers: HeaderMap,
    paused: bool,
) -> Result<Response, Problem> {
    let name = name_of(&name)?;
    let expected = expected(&headers, Generation)?;
    let changed = match query.dry_run.0 {
        true => api.scheduler.would_pause_schedule(&name, paused, expected).await,
        false => api.scheduler.pause_schedule(&by.caller, &name, paused, expected).await,
    };
    let record = match changed {
        Ok(record) => record,
        Err(error) => {
            return Err(api.near_schedules(name.as_str(), problem(&name, error)).await);
        }
    };
    if query.dry_run.0 {
        let change = if paused { "paused" } else { "resumed" };
        return Ok(would_be(&record, Vec::new(), format!("schedule {name} would be {change}")));
    }
    Ok(tagged(StatusCode::OK, &record, Vec::new()))
}

/// Answers `POST /schedule/{name}/trigger`: submits a job that is due now.
pub(in crate::http) async fn trigger(
    State(api): State<Api>,
    Path(name): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
) -> Result<(StatusCode, Json<DoneView>), Problem> {
    let name = name_of(&name)?;
    let accepted = match query.dry_run.0 {
        true => api.scheduler.would_trigger_schedule(&by.caller, &name).await,
        false => api.scheduler.trigger_schedule(&by.caller, &name).await,
    };
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            return Err(api.near_schedules(name.as_str(), problem(&name, error)).await);
        }
    };
    let job = accepted.job;
    if query.dry_run.0 {
        let would = format!("job {} of schedule {name} would be run now", job.name);
        let done = api.done(&job, would.clone()).with_warnings(accepted.warnings);
        return Ok((StatusCode::OK, Json(done.with_would(would).without_id())));
    }
    let message = format!("job {} with id {} of schedule {name} will be run now", job.name, job.id);
    Ok((StatusCode::CREATED, Json(api.done(&job, message).with_warnings(accepted.warnings))))
}

/// The query of `GET /schedule/{name}/next`.
#[derive(Deserialize)]
pub(in crate::http) struct NextQuery {
    n: Option<usize>,
}

/// Answers `GET /schedule/{name}/next?n=` with the next ticks. A paused schedule is answered as if
/// it were not paused.
pub(in crate::http) async fn next(
    State(api): State<Api>,
    Path(name): Path<String>,
    KnownQuery(query): KnownQuery<NextQuery>,
) -> Result<Json<PreviewView>, Problem> {
    let count = count_of("n", query.n).map_err(Problem::of_parameter)?;
    let record = api.record(&name).await?;
    let timetable = record.timetable();
    let zone = record.schedule.time_zone().unwrap_or(Zone::UTC);
    let left = record.schedule.max_runs().map_or(u64::MAX, |most| most.saturating_sub(record.runs));
    let count = count.min(usize::try_from(left).unwrap_or(count));
    let ticks = timetable.after(record.settled_until.max(api.scheduler.now()));
    let next = ticks.take(count).map(|tick| shown_in(zone, tick.nominal)).collect();
    Ok(Json(PreviewView { says: timetable.recurrence.describe(), next }))
}

/// The query of `GET /schedule/{name}/ledger`.
#[derive(Deserialize)]
pub(in crate::http) struct LedgerQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Answers `GET /schedule/{name}/ledger`: the outcome of its ticks, latest first. A deleted
/// schedule keeps its ledger.
pub(in crate::http) async fn ledger(
    State(api): State<Api>,
    Path(name): Path<String>,
    KnownQuery(query): KnownQuery<LedgerQuery>,
) -> Result<Json<LedgerView>, Problem> {
    let name = name_of(&name)?;
    let limit = query.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let before = query.cursor.as_deref().map(read_cursor).transpose()?;
    let rows = api.scheduler.ledger(&name, before, limit).await?;
    if rows.is_empty() && before.is_none() {
        api.record(name.as_str()).await?;
    }
    let is_full = rows.len() == limit;
    let next = rows.last().filter(|_| is_full).map(cursor);
    Ok(Json(LedgerView { ticks: rows.iter().map(tick).collect(), next }))
}

impl Api {
    async fn record(&self, name: &str) -> Result<ScheduleRecord, Problem> {
        let name = name_of(name)?;
        match self.scheduler.store().schedule(&name).await? {
            Some(record) => Ok(record),
            None => Err(self.near_schedules(name.as_str(), no_schedule(&name)).await),
        }
    }
}

fn name_of(text: &str) -> Result<ScheduleName, Problem> {
    text.parse::<ScheduleName>()
        .map_err(|error| Problem::field("name", "invalid_name", error.to_string()))
}

fn no_schedule(name: &ScheduleName) -> Problem {
    let detail = format!("there is no schedule `{name}`: `GET /schedules` lists those there are");
    Problem::new(StatusCode::NOT_FOUND, "no_such_schedule", detail)
}

fn problem(name: &ScheduleName, error: ScheduleError) -> Problem {
    match error {
        ScheduleError::InConfig => Problem::new(
            StatusCode::CONFLICT,
            "defined_in_config",
            format!(
                "the schedule `{name}` is in the server's config file: change it there, or choose another name"
            ),
        ),
        ScheduleError::NotFound => no_schedule(name),
        ScheduleError::Changed => Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "changed",
            format!(
                "schedule `{name}` is not what `If-Match` or `If-None-Match` says: read it, and decide again"
            ),
        ),
        ScheduleError::Refused(error) => error.into(),
    }
}

pub(in crate::http) fn view(record: &ScheduleRecord) -> ScheduleView {
    ScheduleView {
        name: record.name.to_string(),
        source: record.source.as_str().to_owned(),
        fields: record.schedule.clone().into(),
        says: record.timetable().recurrence.describe(),
        pause_reason: record.is_aside().then(|| "config_file".to_owned()),
        next_due_at: record.next_tick.map(|ahead| rfc3339(ahead.nominal)),
        next_job: record.next_tick.map(|ahead| ahead.job.to_string()),
        runs: record.runs,
        warning: None,
        warnings: Vec::new(),
        would: None,
    }
}

/// Returns the answer to a dry run, without the tag of a stored generation.
fn would_be(record: &ScheduleRecord, warnings: Vec<String>, would: String) -> Response {
    let (warning, would) = (joined(&warnings), Some(would));
    Json(ScheduleView { warning, warnings, would, ..view(record) }).into_response()
}

fn tagged(status: StatusCode, record: &ScheduleRecord, warnings: Vec<String>) -> Response {
    let response =
        (status, Json(ScheduleView { warning: joined(&warnings), warnings, ..view(record) }))
            .into_response();
    etag::tagged(response, record.generation.0)
}

fn tick(row: &LedgerRow) -> TickView {
    TickView {
        due_at: rfc3339(row.first),
        outcome: row.outcome.map(|outcome| outcome.as_str().to_owned()).unwrap_or_default(),
        reason: row.reason.map(|reason| reason.to_string()),
        job: row.job.map(|job| job.to_string()),
    }
}

fn cursor(row: &LedgerRow) -> String {
    format!("{}-{}", row.first.timestamp_millis(), row.generation.0)
}

fn read_cursor(text: &str) -> Result<(Timestamp, Generation), Problem> {
    let read = || {
        let (first, generation) = text.split_once('-')?;
        let first = Timestamp::from_timestamp_millis(first.parse().ok()?)?;
        Some((first, Generation(generation.parse().ok()?)))
    };
    read().ok_or_else(|| {
        let detail =
            format!("`{}` is no cursor: take it from `next` of the page before", shown(text));
        Problem::field("cursor", "invalid_cursor", detail)
    })
}
