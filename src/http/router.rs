//! The routes of the API, and the layers around them.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;
use tower_http::trace::TraceLayer;

use super::api::{
    definitions, events, forecast, jobs, listing, logs, metrics, pause, preview, schedule_list,
    schedules, summary, system, tide,
};
use super::auth::guard;
use super::auth::guard::Guard;
use super::body::MAX_BODY_BYTES;
use super::problem::Problem;
use super::query::{KnownQuery, NoQuery};
use super::state::Api;
use super::web::negotiate;
use super::{answers, compression, metered, openapi, text, web};

/// The time after which a body is abandoned if nothing more of it arrives.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
impl Api {
    /// Returns all routes, behind the guard.
    pub fn router(self, guard: Guard) -> Router {
        let metrics = self.scheduler.metrics().clone();
        let (base, api) = (self.base.clone(), self.clone());
        let routes = Router::new()
            .route("/", get(index))
            .route("/jobs", get(listing::list))
            .route("/job", post(jobs::submit).delete(jobs::cancel_named))
            .route("/job/{id}", get(jobs::show).patch(jobs::reschedule).delete(jobs::cancel))
            .route("/job/{id}/wait", get(jobs::wait))
            .route("/job/{id}/rerun", post(jobs::rerun))
            .route("/job/{id}/stop", post(jobs::stop))
            .route("/job/{id}/logs", get(logs::show))
            .route("/job/{id}/events", get(events::story))
            .route("/events", get(events::stream))
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
            .route("/pause", post(pause::pause))
            .route("/resume", post(pause::resume))
            .route("/forecast", get(forecast::show))
            .route("/tide", get(tide::show))
            .route("/summary", get(summary::show))
            .route("/preview", post(preview::preview))
            .route("/healthz", get(system::healthz))
            .route("/readyz", get(system::readyz))
            .route("/version", get(system::version))
            .route("/assets/{file}", get(web::asset))
            .route("/openapi.json", get(openapi::show))
            .route("/docs", get(openapi::docs))
            .route("/metrics", get(metrics::scrape))
            .fallback(no_such_path)
            .with_state(self)
            .layer(middleware::from_fn(text::admit))
            .layer(middleware::from_fn(metered::note_route));
        // The routes are a service of their own: a router adds `Allow` when its answer leaves it.
        Router::new()
            .fallback_service(routes.clone())
            .layer(middleware::from_fn_with_state(web::pages(api, routes), negotiate::choose))
            .layer(middleware::from_fn(method_not_allowed))
            .layer(compression::layer())
            .layer(middleware::from_fn(compression::settle))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
            .layer(middleware::from_fn_with_state(Arc::new(guard), guard::admit))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn_with_state(metrics, metered::measure))
            .layer(middleware::from_fn_with_state(base.clone(), negotiate::show_problems))
            .layer(middleware::from_fn_with_state(base, negotiate::below_base))
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(|request: &Request| answers::span(request)),
            )
            .layer(middleware::from_fn(answers::finish))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(middleware::from_fn(answers::admit_id))
    }
}

async fn index(_: KnownQuery<NoQuery>) -> Redirect {
    Redirect::temporary("/jobs")
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
