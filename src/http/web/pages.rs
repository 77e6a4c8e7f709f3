//! The routes of the pages.

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};

use super::{
    actions, definitions, forecast, job, job_form, jobs, schedule, schedule_form, schedules,
};
use crate::http::state::Api;
use crate::http::text;

/// Returns the routes of the pages. A path without a page goes to the API's routes.
pub(in crate::http) fn pages(api: Api, routes: Router) -> Router {
    Router::new()
        .route("/jobs", get(jobs::page))
        .route("/job", get(job_form::page).post(job_form::submit))
        .route("/job/{id}", get(job::page))
        .route("/job/{id}/stop", post(actions::stop))
        .route("/job/{id}/rerun", post(actions::rerun))
        .route("/job/{id}/cancel", post(actions::cancel))
        .route("/job/{id}/now", post(actions::run_now))
        .route("/schedules", get(schedules::page))
        .route("/schedule", get(schedule_form::page).post(schedule_form::save))
        .route("/schedule/{name}", get(schedule::page))
        .route("/schedule/{name}/edit", get(schedule_form::edit))
        .route("/schedule/{name}/pause", post(actions::pause))
        .route("/schedule/{name}/resume", post(actions::resume))
        .route("/schedule/{name}/trigger", post(actions::trigger))
        .route("/schedule/{name}/delete", post(actions::delete))
        .route("/definitions", get(definitions::page))
        .route("/definition/{name}", get(definitions::one))
        .route("/forecast", get(forecast::page))
        .route("/pause", post(actions::pause_all))
        .route("/resume", post(actions::resume_all))
        .with_state(api)
        .layer(middleware::from_fn(text::admit))
        .fallback_service(routes)
}
