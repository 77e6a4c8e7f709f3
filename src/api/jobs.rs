//! One job: submit, show, cancel, stop, wait.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Api;
use super::body::{NewJob, read_job_id};
use super::error::Problem;
use super::wire::{DoneView, JobView};
use crate::domain::date::{self, rfc3339, seed_format};
use crate::domain::id::{JobId, Timestamp};
use crate::domain::job::{Job, Map, Status};
use crate::domain::units::Span;
use crate::scheduler::{ActError, Health, Order};

/// The longest that one `wait` call is kept.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// The fewest digits that an id can be shortened to.
const SHORTEST_PREFIX: usize = 4;

/// `POST /job`.
pub(super) async fn submit(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let new = NewJob::read(request).await?;
    let due = date::parse(&new.date, api.scheduler.now(), api.zone)
        .map_err(|error| Problem::field("date", "invalid_date", error.to_string()))?;
    let accepted = api.scheduler.submit(Order { name: new.name, spec: new.spec, due_at: due.at }).await?;
    let job = &accepted.job;
    let message = format!("job {} with id {} will be scheduled to run {}", job.name, job.id, due.phrase);
    let done = DoneView { warning: accepted.warning, ..api.done(job, message) };
    let mut response = (StatusCode::CREATED, Json(done)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/job/{}", job.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /job/{id}`.
pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<JobView>, Problem> {
    let id = api.find(&id).await?;
    let job = api.scheduler.store().get(id).await?.ok_or_else(|| Problem::no_job(&id.to_string()))?;
    Ok(Json(api.view(&job)))
}

/// `DELETE /job/{id}`.
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<DoneView>, Problem> {
    api.cancel(&id).await
}

/// `DELETE /job` with `job_id` as query or in the body.
pub(super) async fn cancel_named(
    State(api): State<Api>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Result<Json<DoneView>, Problem> {
    let id = match query.get("job_id").cloned() {
        Some(id) => id,
        None => read_job_id(request).await?.ok_or_else(|| {
            Problem::field(
                "job_id",
                "missing_field",
                "`job_id` is missing: give it in the path (`DELETE /job/{id}`), as a query, or as a form field",
            )
        })?,
    };
    api.cancel(&id).await
}

/// `POST /job/{id}/stop`.
pub(super) async fn stop(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<DoneView>, Problem> {
    let id = api.find(&id).await?;
    let job = api.scheduler.stop(id).await.map_err(|error| Problem::from_stop(id, error))?;
    let message = match job.state.status() {
        Status::Stopping => format!("job {} with id {id} is asked to stop", job.name),
        _ => format!("job {} with id {id} is stopped", job.name),
    };
    Ok(Json(api.done(&job, message)))
}

/// The query of `wait`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    timeout: Option<String>,
}

/// `GET /job/{id}/wait`: 200 with the job when it is over, 202 with the job as it is when the time is up.
pub(super) async fn wait(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Result<Query<WaitQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) =
        query.map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", rejection.body_text()))?;
    let timeout = match query.timeout {
        None => LONGEST_WAIT,
        Some(text) => wait_time(&text)?,
    };
    let id = api.find(&id).await?;
    let job = api.scheduler.wait(id, timeout).await.map_err(|error| match error {
        ActError::NotFound | ActError::Refused(_) => Problem::no_job(&id.to_string()),
        ActError::Store(error) => error.into(),
    })?;
    let status = if job.is_over() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(api.view(&job))).into_response())
}

/// A time in words, or a plain number of seconds.
fn wait_time(text: &str) -> Result<Duration, Problem> {
    let in_words = if text.parse::<u32>().is_ok() { format!("{text}s") } else { text.to_owned() };
    let span: Span = in_words.parse().map_err(|error: crate::domain::units::UnitError| {
        Problem::field("timeout", "invalid_timeout", error.to_string())
    })?;
    Ok(span.as_duration().min(LONGEST_WAIT))
}

impl Api {
    async fn cancel(&self, id: &str) -> Result<Json<DoneView>, Problem> {
        let id = self.find(id).await?;
        let job = self.scheduler.cancel(id).await.map_err(|error| Problem::from_cancel(id, error))?;
        let message = format!("job {} with id {id} is taken off the schedule", job.name);
        Ok(Json(self.done(&job, message)))
    }

    /// The id that a caller wrote, in full or shortened to its first digits.
    pub(super) async fn find(&self, text: &str) -> Result<JobId, Problem> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let prefix = text.to_ascii_lowercase();
        let is_hex = prefix.len() < 32 && prefix.chars().all(|c| c.is_ascii_hexdigit());
        if !is_hex || prefix.len() < SHORTEST_PREFIX {
            return Err(Problem {
                detail: format!(
                    "`{}` is not a job's id: an id has 32 hexadecimal digits, and can be shortened to its first {SHORTEST_PREFIX} or more",
                    crate::domain::units::shown(text)
                ),
                ..Problem::no_job(text)
            });
        }
        match self.scheduler.store().ids_with_prefix(&prefix, 2).await?.as_slice() {
            [] => Err(Problem::no_job(text)),
            [id] => Ok(*id),
            _ => Err(Problem::new(
                StatusCode::CONFLICT,
                "ambiguous_id",
                format!("more than one job's id begins with `{prefix}`: write more of it"),
            )),
        }
    }

    fn done(&self, job: &Job, message: String) -> DoneView {
        DoneView {
            message,
            id: job.id.to_string(),
            job_name: job.name.to_string(),
            status: job.state.status().to_string(),
            scheduled_to: seed_format(job.due_at, self.zone),
            due_at: rfc3339(job.due_at),
            warning: None,
        }
    }

    fn view(&self, job: &Job) -> JobView {
        let progress = (job.state.status() == Status::Pulling).then(|| self.scheduler.pull_progress(job.id)).flatten();
        let view = JobView::of(job, self.zone).unreachable_since(self.unreachable_since(job.map()));
        JobView { progress: progress.map(|progress| progress.to_string()), ..view }
    }

    /// Since when nothing is known of jobs in this map.
    pub(super) fn unreachable_since(&self, map: Map) -> Option<Timestamp> {
        match self.scheduler.health() {
            Health::Down { since, .. } | Health::Changed { since, .. } => (map == Map::Running).then_some(since),
            Health::Up(_) => None,
        }
    }
}
