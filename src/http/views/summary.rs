//! The JSON types of the summary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::admission::pause::Pause;
use crate::domain::job::{Map, Status};
use crate::domain::names::id::Timestamp;
use crate::domain::text::date::rfc3339;
use crate::scheduler::Health;
use crate::store::Totals;

/// The answer to `GET /summary`. All times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SummaryView {
    /// The server's time.
    #[schema(format = DateTime)]
    pub now: String,
    pub jobs: SummaryJobsView,
    pub slots: SlotsView,
    /// The number of jobs that are due and have not begun.
    pub backlog: u64,
    /// The due time of the next job. Null without one.
    #[schema(format = DateTime)]
    pub next_due_at: Option<String>,
    /// The number of jobs that ended in the last 24 hours, by status.
    pub ended_24h: BTreeMap<String, u64>,
    /// The lateness of the starts of these jobs. Null without starts.
    pub lateness_ms: Option<LatenessView>,
    pub engines: Vec<EngineView>,
    pub store: StoreView,
    /// The time at which the config was read last.
    #[schema(format = DateTime)]
    pub config_loaded_at: String,
    /// The pause of all starts. Null while nothing is paused.
    pub paused: Option<PausedView>,
}

/// The pause of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PausedView {
    /// The end of the pause. Null if it has none.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// The caller's reason. Null without one.
    pub why: Option<String>,
    /// The name of the caller who paused.
    pub by: String,
}

impl From<Pause> for PausedView {
    fn from(pause: Pause) -> Self {
        Self { until: pause.until.map(rfc3339), why: pause.why, by: pause.by }
    }
}

/// The number of jobs in each map and of each status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SummaryJobsView {
    pub scheduled: u64,
    pub running: u64,
    pub history: u64,
    pub by_status: BTreeMap<String, u64>,
}

/// The slots for running jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotsView {
    pub used: u64,
    /// The number of jobs that may run at once. Null without a limit.
    pub limit: Option<usize>,
}

/// The lateness of starts in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LatenessView {
    pub p50: i64,
    pub p99: i64,
}

/// An engine and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineView {
    /// `docker`, `podman` or `simulated`; `engine` before the first connection.
    pub name: String,
    /// `up`, `down`, or `changed` if another engine answers than the one with our containers.
    pub state: String,
    /// The engine's version. Null while it does not answer.
    pub version: Option<String>,
    /// The time since which the engine is down or changed. Null while it is up.
    #[schema(format = DateTime)]
    pub since: Option<String>,
}

/// The store's figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreView {
    /// The number of jobs.
    pub jobs: u64,
    /// The size of the database in bytes.
    pub bytes: u64,
    /// The time at which the oldest job was accepted. Null without jobs.
    #[schema(format = DateTime)]
    pub oldest_at: Option<String>,
    /// The free space on the data directory's disk in bytes. Null if it cannot be read.
    pub disk_free_bytes: Option<u64>,
}

impl SummaryView {
    /// Builds the summary. `limit` is the number of jobs that may run at once.
    pub fn of(
        totals: &Totals,
        health: &Health,
        limit: usize,
        now: Timestamp,
        config_loaded_at: Timestamp,
        pause: Option<Pause>,
    ) -> Self {
        let of = |map: Map| {
            let of_map = totals.by_status.iter().filter(|(status, _)| status.map() == map);
            of_map.map(|(_, count)| count).sum()
        };
        let named = |counts: &[(Status, u64)]| {
            counts.iter().map(|(status, count)| (status.to_string(), *count)).collect()
        };
        let queued = totals.by_status.iter().find(|(status, _)| *status == Status::Queued);
        Self {
            now: rfc3339(now),
            jobs: SummaryJobsView {
                scheduled: of(Map::Scheduled),
                running: of(Map::Running),
                history: of(Map::History),
                by_status: named(&totals.by_status),
            },
            slots: SlotsView {
                used: of(Map::Running),
                limit: Some(limit).filter(|limit| *limit < usize::MAX),
            },
            backlog: queued.map_or(0, |(_, count)| *count),
            next_due_at: totals.next_due_at.map(rfc3339),
            ended_24h: named(&totals.ended),
            lateness_ms: totals.lateness_ms.map(|(p50, p99)| LatenessView { p50, p99 }),
            engines: vec![EngineView::of(health)],
            store: StoreView {
                jobs: totals.by_status.iter().map(|(_, count)| count).sum(),
                bytes: totals.bytes,
                oldest_at: totals.oldest_at.map(rfc3339),
                disk_free_bytes: totals.disk_free_bytes,
            },
            config_loaded_at: rfc3339(config_loaded_at),
            paused: pause.map(PausedView::from),
        }
    }
}

impl EngineView {
    fn of(health: &Health) -> Self {
        let away = |state: &str, since: Timestamp| Self {
            name: "engine".to_owned(),
            state: state.to_owned(),
            version: None,
            since: Some(rfc3339(since)),
        };
        match health {
            Health::Up(engine) => Self {
                name: engine.kind.to_owned(),
                state: "up".to_owned(),
                version: Some(engine.version.clone()),
                since: None,
            },
            Health::Down { since, .. } => away("down", *since),
            Health::Changed { since, .. } => away("changed", *since),
        }
    }
}
