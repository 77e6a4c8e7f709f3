//! `GET /summary`: the figures of the server at a glance, of one snapshot of the store.

use axum::Json;
use axum::extract::{Query, State};
use chrono::TimeDelta;
use serde::Deserialize;

use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::http::views::SummaryView;

/// The query of `GET /summary`, which has no parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NoQuery {}

/// Answers `GET /summary`.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    query: Result<Query<NoQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<SummaryView>, Problem> {
    let Query(NoQuery {}) = query.map_err(|rejection| Problem::query(&rejection.body_text()))?;
    Ok(Json(api.summary().await?))
}

impl Api {
    /// Returns the figures of the server.
    ///
    /// # Errors
    /// Returns a [`Problem`] if the store fails or is busy.
    pub(in crate::http) async fn summary(&self) -> Result<SummaryView, Problem> {
        let now = self.scheduler.now();
        let mut snapshot = self.snapshot().await?;
        let day_ago = now.checked_sub_signed(TimeDelta::hours(24)).unwrap_or(now);
        let totals = snapshot.totals(day_ago).await?;
        drop(snapshot);
        let (health, limit) = (self.scheduler.health(), self.scheduler.max_running());
        let loaded_at = self.scheduler.config_loaded_at();
        Ok(SummaryView::of(&totals, &health, limit, now, loaded_at))
    }
}
