//! `GET /metrics`: the scrape of Prometheus.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::problem::Problem;
use crate::http::query::{KnownQuery, NoQuery};
use crate::http::state::Api;
use crate::metrics::{Format, render};

/// Answers `GET /metrics`: OpenMetrics for callers that name it in `Accept`, else the format 0.0.4.
pub(in crate::http) async fn scrape(
    State(api): State<Api>,
    _: KnownQuery<NoQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accepts.collect::<Vec<_>>().join(","));
    let text = render(api.scheduler.metrics(), api.scheduler.gauges().await, format);
    let text = text.map_err(|error| {
        let says = "the metrics cannot be written; the server's log says more";
        Problem::internal(StatusCode::INTERNAL_SERVER_ERROR, "internal", says, &error)
    })?;
    let head = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "Accept"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((head, text).into_response())
}
