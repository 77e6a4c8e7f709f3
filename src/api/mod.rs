//! The HTTP API: its routes, its middleware, and the state that handlers share.
//!
//! Handlers read a request into domain types, call the scheduler's [`Handle`] (or read the store),
//! and shape the answer ([`wire`]). Every error is a [`Problem`], even if no handler made it: an
//! unknown path, a method that is not allowed, a body that is too large, a panic. [`guard`] decides
//! which callers are admitted, before any handler runs.
//!
//! The classic calls, such as `POST /job` and `GET /jobs`, keep the fields and sentences of the
//! original API word for word.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chrono_tz::Tz;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use tower_http::trace::TraceLayer;

use crate::scheduler::Handle;
use error::Problem;
use guard::Guard;

mod body;
mod compression;
mod definitions;
pub mod error;
mod etag;
mod forecast;
pub mod guard;
mod idempotency;
mod jobs;
mod json;
mod listing;
mod logs;
mod preview;
mod schedule_list;
mod schedules;
mod streamed;
mod system;
mod text;
pub mod wire;

pub use body::MAX_BODY_BYTES;

/// The time after which a body is abandoned if nothing more of it arrives.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The state that all handlers share.
#[derive(Clone)]
pub struct Api {
    scheduler: Handle,
    /// The time zone of dates without an offset, and of dates in the classic format.
    zone: Tz,
    /// The owner of the tasks that write long answers.
    writers: TaskTracker,
    /// The longest time that the reader of a long answer may take nothing of it.
    stall: Duration,
}

impl Api {
    /// Creates the API over this scheduler. `writers` owns the tasks that write long answers, so
    /// the server can wait for them when it stops.
    pub fn new(scheduler: Handle, zone: Tz, writers: TaskTracker) -> Self {
        Self { scheduler, zone, writers, stall: streamed::STALL }
    }

    /// Sets the time after which a reader that takes nothing of a long answer is dropped. The
    /// default is 30 s.
    #[must_use]
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// Returns all routes, behind the guard.
    pub fn router(self, guard: Guard) -> Router {
        Router::new()
            .route("/", get(|| async { Redirect::temporary("/jobs") }))
            .route("/jobs", get(listing::list))
            .route("/job", post(jobs::submit).delete(jobs::cancel_named))
            .route("/job/{id}", get(jobs::show).patch(jobs::reschedule).delete(jobs::cancel))
            .route("/job/{id}/wait", get(jobs::wait))
            .route("/job/{id}/rerun", post(jobs::rerun))
            .route("/job/{id}/stop", post(jobs::stop))
            .route("/job/{id}/logs", get(logs::show))
            .route("/definitions", get(definitions::list))
            .route(
                "/definition/{name}",
                get(definitions::show).put(definitions::put).delete(definitions::remove),
            )
            .route("/schedules", get(schedule_list::list))
            .route(
                "/schedule/{name}",
                get(schedules::show).put(schedules::put).delete(schedules::delete),
            )
            .route("/schedule/{name}/pause", post(schedules::pause))
            .route("/schedule/{name}/resume", post(schedules::resume))
            .route("/schedule/{name}/trigger", post(schedules::trigger))
            .route("/schedule/{name}/next", get(schedules::next))
            .route("/schedule/{name}/ledger", get(schedules::ledger))
            .route("/forecast", get(forecast::show))
            .route("/preview", post(preview::preview))
            .route("/healthz", get(system::healthz))
            .route("/readyz", get(system::readyz))
            .route("/version", get(system::version))
            .fallback(no_such_path)
            .with_state(self)
            .layer(middleware::from_fn(text::admit))
            .layer(middleware::from_fn(method_not_allowed))
            .layer(compression::layer())
            .layer(middleware::from_fn(compression::settle))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
            .layer(middleware::from_fn_with_state(Arc::new(guard), guard::admit))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(TraceLayer::new_for_http())
    }
}

async fn no_such_path(request: Request) -> Problem {
    let path = crate::domain::text::units::shown(request.uri().path());
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_path",
        format!("there is nothing at `{path}`: the API begins at `/jobs` and `POST /job`"),
    )
}

/// Adds our sentence to a 405, which axum sends with `Allow` but without a body.
async fn method_not_allowed(request: Request, next: Next) -> Response {
    let (method, path): (Method, String) =
        (request.method().clone(), crate::domain::text::units::shown(request.uri().path()));
    let response = next.run(request).await;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let allowed =
        allow.as_ref().and_then(|allow| allow.to_str().ok()).unwrap_or("others").to_owned();
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("`{method}` is not allowed on `{path}`; allowed: {allowed}"),
    );
    let mut answer = problem.into_response();
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let said = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("a panic");
    Problem::internal(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the server made a mistake; its log says more",
        &said,
    )
    .into_response()
}
