//! The state of the server itself: alive, ready, version.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::pause;
use crate::http::query::{KnownQuery, NoQuery};
use crate::http::state::Api;
use crate::http::views::{ReadyView, VersionView};
use crate::scheduler::Health;
use crate::store::StoreError;

/// The largest number of waiting jobs that is counted.
const MAX_BACKLOG_SHOWN: usize = 100_000;

/// Answers `GET /healthz`. An answer proves only that the server runs.
pub(in crate::http) async fn healthz(_: KnownQuery<NoQuery>) -> Json<serde_json::Value> {
    Json(serde_json::json!({"status": "ok"}))
}

/// Answers `GET /readyz`: 200 if a job that is due now would start, else 503 with the reason.
pub(in crate::http) async fn readyz(
    State(api): State<Api>,
    _: KnownQuery<NoQuery>,
) -> (StatusCode, Json<ReadyView>) {
    let (engine, engine_says) = match api.scheduler.health() {
        Health::Up(_) => ("ok", None),
        Health::Down { .. } => (
            "engine_unreachable",
            Some("the engine does not answer; jobs that are due wait for it"),
        ),
        Health::Changed { .. } => (
            "engine_changed",
            Some("another engine answers than the one that has our containers; nothing is started"),
        ),
    };
    let kept = api.scheduler.store();
    let (store, store_says) = match kept.is_there().await.and(kept.engine().await) {
        Ok(_) => ("ok", None),
        Err(StoreError::Gone(_)) => (
            "store_gone",
            Some(
                "the data directory was deleted or exchanged: nothing is started; the server's log says what to do",
            ),
        ),
        Err(_) => ("store_failed", Some("the store cannot be read")),
    };
    // A store that cannot be read is reported above, so an uncounted backlog is shown as 0.
    let backlog = kept.backlog(MAX_BACKLOG_SHOWN).await.unwrap_or_default();
    let mut warnings = api.scheduler.notices();
    warnings.extend(api.scheduler.paused().as_ref().map(pause::sentence));
    let ready = engine == "ok" && store == "ok";
    let detail = store_says.or(engine_says).map(str::to_owned);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (engine, store, warnings) = (engine.to_owned(), store.to_owned(), warnings);
    (status, Json(ReadyView { ready, engine, store, backlog, detail, warnings }))
}

/// Answers `GET /version` with the server's version.
pub(in crate::http) async fn version(_: KnownQuery<NoQuery>) -> Json<VersionView> {
    Json(VersionView {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
