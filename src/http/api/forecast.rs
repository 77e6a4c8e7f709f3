//! `GET /forecast`: shows the coming runs, and the times at which too many coincide.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use crate::http::problem::Problem;
use crate::http::query::KnownQuery;
use crate::http::state::Api;
use crate::http::views::ForecastView;

/// The hours to look ahead by default, and at most.
const HOURS: (u16, u16) = (24, 168);

/// The query of `GET /forecast`.
#[derive(Deserialize)]
pub(in crate::http) struct ForecastQuery {
    hours: Option<u16>,
}

/// Answers `GET /forecast?hours=`, by default for 24 hours.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    KnownQuery(query): KnownQuery<ForecastQuery>,
) -> Result<Json<ForecastView>, Problem> {
    let hours = query.hours.unwrap_or(HOURS.0);
    if !(1..=HOURS.1).contains(&hours) {
        let detail = format!("`hours` is {hours} and has to be between 1 and {}", HOURS.1);
        return Err(Problem::field("hours", "invalid_query", detail));
    }
    let snapshot = api.snapshot().await?;
    Ok(Json(ForecastView::of(&api.scheduler.forecast(hours, snapshot).await?)))
}
