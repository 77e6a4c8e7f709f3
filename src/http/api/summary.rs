//! `GET /summary`: the figures of the server at a glance, of one snapshot of the store.

use axum::Json;
use axum::extract::State;
use chrono::TimeDelta;

use crate::http::problem::Problem;
use crate::http::query::{KnownQuery, NoQuery};
use crate::http::state::Api;
use crate::http::views::SummaryView;

/// Answers `GET /summary`.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    _: KnownQuery<NoQuery>,
) -> Result<Json<SummaryView>, Problem> {
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
        Ok(SummaryView::of(&totals, &health, limit, now, loaded_at, self.scheduler.paused()))
    }
}
