//! Calls on one job: submit, show, reschedule, cancel, stop, rerun, wait.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::created::created;
use super::idempotency;
use crate::domain::admission::caller::Caller;
use crate::domain::job::origin::Origin;
use crate::domain::job::{Job, Map, Status};
use crate::domain::names::id::{JobId, Seq, Timestamp};
use crate::domain::text::date::{self, Due, classic_format, rfc3339};
use crate::domain::text::units::Span;
use crate::http::auth::guard::Admitted;
use crate::http::body::{NewJob, no_date, read_field};
use crate::http::problem::Problem;
use crate::http::query::{ChangeQuery, Flag, KnownQuery, NoQuery};
use crate::http::state::Api;
use crate::http::views::{DoneView, JobView};
use crate::scheduler::{Accepted, ActError, Health, JobRequest};
use crate::store::RequestKey;

/// The longest time that one `wait` call stays open.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// The most transitions that an answer about a job is made from.
const MAX_STORY: usize = 10_000;
/// The smallest number of digits to which an id can be shortened.
const FEWEST_DIGITS: usize = 4;

/// Answers `POST /job`: accepts a job, with or without an idempotency key.
pub(in crate::http) async fn submit(
    State(api): State<Api>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency::key(request.headers(), &by)?;
    let new = NewJob::read(request, &|date| api.due(date).err()).await?;
    if query.dry_run.0 {
        return api.would_submit(&by.caller, key, new).await;
    }
    match key {
        Some(key) => api.submit_idempotent(&by.caller, key, new).await,
        None => api.submit(&by.caller, new).await,
    }
}

/// Answers `POST /job/{id}/rerun`: submits a new job with the resolved spec of the old one, due now
/// or at a `date`.
pub(in crate::http) async fn rerun(
    State(api): State<Api>,
    Path(id): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let due = api.due(read_field(request, "date").await?.as_deref().unwrap_or("now"))?;
    let old = api.job(&id).await?;
    let origin = Origin::Rerun(old.id);
    let request = JobRequest { name: old.name, spec: old.spec, due_at: due.at, origin };
    if query.dry_run.0 {
        return Ok(api.would_accept(&api.scheduler.would_submit(&by.caller, request).await?, &due));
    }
    let accepted = api.scheduler.submit(&by.caller, request).await?;
    Ok(created(api.accepted(&accepted, &due)))
}

/// Answers `PATCH /job/{id}`: sets another date for a job that waits.
pub(in crate::http) async fn reschedule(
    State(api): State<Api>,
    Path(id): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    request: Request,
) -> Result<Json<DoneView>, Problem> {
    let due = api.due(&read_field(request, "date").await?.ok_or_else(no_date)?)?;
    let id = api.find(&id).await?;
    let job = match query.dry_run.0 {
        true => api.scheduler.would_reschedule(id, due.at).await,
        false => api.scheduler.reschedule(&by.caller, id, due.at).await,
    };
    let job = job.map_err(|error| Problem::from_reschedule(id, error))?;
    if query.dry_run.0 {
        let would =
            format!("job {} with id {id} would be scheduled to run {}", job.name, due.phrase);
        return Ok(Json(api.done(&job, would.clone()).with_would(would)));
    }
    Ok(Json(api.done(&job, scheduled(&job, &due))))
}

/// Returns the classic sentence of `POST /job`.
fn scheduled(job: &Job, due: &Due) -> String {
    format!("job {} with id {} will be scheduled to run {}", job.name, job.id, due.phrase)
}

/// Answers `GET /job/{id}` with the job.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: KnownQuery<NoQuery>,
) -> Result<Json<JobView>, Problem> {
    let job = api.job(&id).await?;
    let story = api.scheduler.store().journal_of(job.id, Seq(0), MAX_STORY).await?;
    Ok(Json(api.view(&job).await.with_story(&job, &story)))
}

/// Answers `DELETE /job/{id}`: takes a waiting job off the schedule.
pub(in crate::http) async fn cancel(
    State(api): State<Api>,
    Path(id): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
) -> Result<Json<DoneView>, Problem> {
    api.cancel(&by.caller, &id, query.dry_run.0).await
}

/// The query of `DELETE /job`.
#[derive(Deserialize)]
pub(in crate::http) struct CancelQuery {
    job_id: Option<String>,
    #[serde(default)]
    dry_run: Flag,
}

/// Answers `DELETE /job` with `job_id` in the query or in the body.
pub(in crate::http) async fn cancel_named(
    State(api): State<Api>,
    by: Admitted,
    KnownQuery(query): KnownQuery<CancelQuery>,
    request: Request,
) -> Result<Json<DoneView>, Problem> {
    let id = match query.job_id {
        Some(id) => id,
        None => read_field(request, "job_id").await?.ok_or_else(|| {
            Problem::field(
                "job_id",
                "missing_field",
                "`job_id` is missing: give it in the path (`DELETE /job/{id}`), as a query, or as a form field",
            )
        })?,
    };
    api.cancel(&by.caller, &id, query.dry_run.0).await
}

/// The query of `POST /job/{id}/stop`.
#[derive(Deserialize)]
pub(in crate::http) struct StopQuery {
    grace: Option<String>,
    #[serde(default)]
    dry_run: Flag,
}

/// Answers `POST /job/{id}/stop`. The job is killed after `grace`, or at once if the call is
/// repeated.
pub(in crate::http) async fn stop(
    State(api): State<Api>,
    Path(id): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<StopQuery>,
) -> Result<Json<DoneView>, Problem> {
    let grace = query
        .grace
        .as_deref()
        .map(|text| seconds_or_words("grace", "invalid_grace", text))
        .transpose()?;
    let id = api.find(&id).await?;
    let job = match query.dry_run.0 {
        true => api.scheduler.would_stop(id, grace).await,
        false => api.scheduler.stop(&by.caller, id, grace).await,
    };
    let job = job.map_err(|error| Problem::from_stop(id, error))?;
    if query.dry_run.0 {
        let would = format!("job {} with id {id} would be asked to stop", job.name);
        return Ok(Json(api.done(&job, would.clone()).with_would(would)));
    }
    let message = match job.state.status() {
        Status::Stopping => format!("job {} with id {id} is asked to stop", job.name),
        _ => format!("job {} with id {id} is stopped", job.name),
    };
    Ok(Json(api.done(&job, message)))
}

/// The query of `GET /job/{id}/wait`.
#[derive(Deserialize)]
pub(in crate::http) struct WaitQuery {
    timeout: Option<String>,
}

/// Answers `GET /job/{id}/wait`: 200 with the job once it is over, 202 with its current state at
/// the timeout.
pub(in crate::http) async fn wait(
    State(api): State<Api>,
    Path(id): Path<String>,
    KnownQuery(query): KnownQuery<WaitQuery>,
) -> Result<Response, Problem> {
    let timeout = match query.timeout {
        None => LONGEST_WAIT,
        Some(text) => {
            seconds_or_words("timeout", "invalid_timeout", &text)?.as_duration().min(LONGEST_WAIT)
        }
    };
    let id = api.find(&id).await?;
    let job = api.scheduler.wait(id, timeout).await.map_err(|error| match error {
        ActError::NotFound | ActError::Refused(_) | ActError::Restoring | ActError::Denied(_) => {
            Problem::no_job(&id.to_string())
        }
        ActError::Store(error) => error.into(),
    })?;
    let status = if job.is_over() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(api.view(&job).await)).into_response())
}

/// Parses a duration in words, or a plain number of seconds.
fn seconds_or_words(field: &str, code: &str, text: &str) -> Result<Span, Problem> {
    let in_words = if text.parse::<u32>().is_ok() { format!("{text}s") } else { text.to_owned() };
    in_words.parse().map_err(|error: crate::domain::text::units::UnitError| {
        Problem::field(field, code, error.to_string())
    })
}

impl Api {
    async fn submit(&self, caller: &Caller, new: NewJob) -> Result<Response, Problem> {
        let due = self.due(&new.date)?;
        self.scheduler.may_write(&new.spec).map_err(Problem::denied)?;
        let request =
            JobRequest { name: new.name, spec: new.spec, due_at: due.at, origin: Origin::Api };
        let accepted = self.scheduler.submit(caller, request).await?;
        Ok(created(self.accepted(&accepted, &due)))
    }

    /// Submits a job at most once for each key. A repeated request gets the stored response before
    /// its date and the policy are checked again: the date may be past, and the policy may have
    /// changed. The write decides which of two simultaneous requests is the first.
    async fn submit_idempotent(
        &self,
        caller: &Caller,
        key: RequestKey,
        new: NewJob,
    ) -> Result<Response, Problem> {
        let body = idempotency::digest(&new);
        if let Some(earlier) = self.scheduler.stored_response(key).await? {
            return idempotency::replay(&earlier, body);
        }
        let due = self.due(&new.date)?;
        self.scheduler.may_write(&new.spec).map_err(Problem::denied)?;
        let request =
            JobRequest { name: new.name, spec: new.spec, due_at: due.at, origin: Origin::Api };
        let accepted = self.scheduler.prepare(caller, request).await?;
        let done = self.accepted(&accepted, &due);
        match self
            .scheduler
            .submit_idempotent(&accepted.job, &idempotency::stored_response(key, body, &done)?)
            .await?
        {
            Some(earlier) => idempotency::replay(&earlier, body),
            None => Ok(created(done)),
        }
    }

    /// Decides about a submission. With a used key, the sentence says that nothing is new.
    async fn would_submit(
        &self,
        caller: &Caller,
        key: Option<RequestKey>,
        new: NewJob,
    ) -> Result<Response, Problem> {
        if let Some(key) = key {
            let body = idempotency::digest(&new);
            if let Some(earlier) = self.scheduler.stored_response(key).await? {
                let done = idempotency::replayed(&earlier, body)?;
                let would = format!(
                    "nothing would be added: this `Idempotency-Key` has made job {}",
                    done.id
                );
                return Ok(Json(done.with_would(would)).into_response());
            }
        }
        let due = self.due(&new.date)?;
        self.scheduler.may_write(&new.spec).map_err(Problem::denied)?;
        let request =
            JobRequest { name: new.name, spec: new.spec, due_at: due.at, origin: Origin::Api };
        Ok(self.would_accept(&self.scheduler.would_submit(caller, request).await?, &due))
    }

    fn would_accept(&self, accepted: &Accepted, due: &Due) -> Response {
        let would = format!("job {} would be scheduled to run {}", accepted.job.name, due.phrase);
        let done = self.done(&accepted.job, would.clone());
        let done = done.with_warnings(accepted.warnings.clone()).with_would(would);
        Json(done.without_id()).into_response()
    }

    async fn cancel(
        &self,
        caller: &Caller,
        id: &str,
        dry_run: bool,
    ) -> Result<Json<DoneView>, Problem> {
        let id = self.find(id).await?;
        let job = match dry_run {
            true => self.scheduler.would_cancel(id).await,
            false => self.scheduler.cancel(caller, id).await,
        };
        let job = job.map_err(|error| Problem::from_cancel(id, error))?;
        if dry_run {
            let would = format!("job {} with id {id} would be taken off the schedule", job.name);
            return Ok(Json(self.done(&job, would.clone()).with_would(would)));
        }
        let message = format!("job {} with id {id} is taken off the schedule", job.name);
        Ok(Json(self.done(&job, message)))
    }

    /// Returns the id that a caller wrote in full, or shortened to its first or last digits.
    pub(in crate::http) async fn find(&self, text: &str) -> Result<JobId, Problem> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let digits = text.to_ascii_lowercase();
        let is_hex = digits.len() < 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
        if !is_hex || digits.len() < FEWEST_DIGITS {
            return Err(Problem {
                detail: format!(
                    "`{}` is not a job's id: an id has 32 hexadecimal digits, and can be shortened to its first or last {FEWEST_DIGITS} or more",
                    crate::domain::text::units::shown(text)
                ),
                ..Problem::no_job(text)
            });
        }
        let store = self.scheduler.store();
        let mut found = store.ids_with_prefix(&digits, 2).await?;
        if found.len() < 2 {
            found.extend(store.ids_with_suffix(&digits, 2).await?);
        }
        found.sort();
        found.dedup();
        match found.as_slice() {
            [] => Err(Problem::no_job(text)),
            [id] => Ok(*id),
            _ => Err(Problem::new(
                StatusCode::CONFLICT,
                "ambiguous_id",
                format!("more than one job's id begins or ends with `{digits}`: write more of it"),
            )),
        }
    }

    /// Returns the job with the id that a caller wrote.
    async fn job(&self, text: &str) -> Result<Job, Problem> {
        let id = self.find(text).await?;
        self.scheduler.store().get(id).await?.ok_or_else(|| Problem::no_job(&id.to_string()))
    }

    /// Parses a `date` with the scheduler's clock and the server's zone.
    fn due(&self, date: &str) -> Result<Due, Problem> {
        date::parse(date, self.scheduler.now(), self.zone)
            .map_err(|error| Problem::field("date", "invalid_date", error.to_string()))
    }

    fn accepted(&self, accepted: &Accepted, due: &Due) -> DoneView {
        let job = &accepted.job;
        self.done(job, scheduled(job, due)).with_warnings(accepted.warnings.clone())
    }

    pub(in crate::http) fn done(&self, job: &Job, message: String) -> DoneView {
        DoneView {
            message,
            id: job.id.to_string(),
            job_name: job.name.to_string(),
            status: job.state.status().to_string(),
            scheduled_to: classic_format(job.due_at, self.zone),
            due_at: rfc3339(job.due_at),
            warning: None,
            warnings: Vec::new(),
            would: None,
        }
    }

    async fn view(&self, job: &Job) -> JobView {
        let progress = (job.state.status() == Status::Pulling)
            .then(|| self.scheduler.pull_progress(job.id))
            .flatten();
        let view = JobView::of(job, self.zone, self.engine)
            .unreachable_since(self.unreachable_since(job.map()));
        let view = view.with_output(self.scheduler.output_state(job).await);
        JobView { progress: progress.map(|progress| progress.to_string()), ..view }
    }

    /// Returns the instant since which the state of jobs in this map is unknown. `None`: the state
    /// is known.
    pub(in crate::http) fn unreachable_since(&self, map: Map) -> Option<Timestamp> {
        match self.scheduler.health() {
            Health::Down { since, .. } | Health::Changed { since, .. } => {
                (map == Map::Running).then_some(since)
            }
            Health::Up(_) => None,
        }
    }
}
