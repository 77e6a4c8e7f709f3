//! The scheduler's tasks: starts them, and waits for all of them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::clearings::SweepFinding;
use super::context::known_images::Names;
use super::context::start_lead::StartLatencies;
use super::context::start_limit::StartLimit;
use super::context::{Context, Health};
use super::reconcile::connection;
use super::rules::{Catalog, Rules, Settings};
use super::service::handle::Handle;
use super::timing::ROUND;
use super::{dispatch, names};
use crate::clock::{Clock, Rng};
use crate::engine::Engine;
use crate::engine::metered::MeteredEngine;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::store::logs::LogStore;
use crate::sync::OrderedWatch;

/// The dependencies and the initial config of a scheduler.
pub struct Parts {
    pub store: Arc<dyn Store>,
    /// The store of kept output.
    pub logs: Arc<LogStore>,
    pub engine: Arc<dyn Engine>,
    pub clock: Arc<dyn Clock>,
    /// The rng for ids.
    pub rng: Rng,
    /// Definitions, schedules, queues, policy and secrets from the config file.
    pub catalog: Catalog,
    /// Numeric limits from the config.
    pub settings: Settings,
    pub metrics: Metrics,
}

/// A scheduler that does not run yet.
pub struct Scheduler {
    context: Arc<Context>,
    found: mpsc::Receiver<SweepFinding>,
}

impl Scheduler {
    /// Returns a scheduler made of `parts`, and the handle through which callers act.
    pub fn new(parts: Parts) -> (Self, Handle) {
        let (found_sender, found) = mpsc::channel(ROUND);
        let since = parts.clock.now();
        let health =
            OrderedWatch::new(Health::Down { error: "not connected yet".to_owned(), since });
        let context = Arc::new(Context {
            start_limit: StartLimit::new(parts.settings.max_starting),
            store: parts.store,
            logs: parts.logs,
            engine: Arc::new(MeteredEngine::new(parts.engine, parts.metrics.clone())),
            metrics: parts.metrics,
            pile_ups: tokio::sync::Mutex::default(),
            clock: parts.clock,
            rng: parts.rng,
            rules: Mutex::new(Arc::new(Rules { catalog: parts.catalog, settings: parts.settings })),
            rules_set_at: AtomicI64::new(since.timestamp_millis()),
            wake: Notify::new(),
            rests_until: AtomicI64::new(i64::MAX),
            health,
            pause: Mutex::default(),
            driver_handles: Mutex::default(),
            start_latencies: StartLatencies::default(),
            stage: Arc::default(),
            swept: AtomicBool::default(),
            wait_groups: Mutex::default(),
            backlog: Mutex::default(),
            coming: AtomicUsize::default(),
            clearings: Arc::default(),
            found: found_sender,
            names: Names::default(),
            notices: Mutex::default(),
        });
        let handle = Handle::new(context.clone());
        (Self { context, found }, handle)
    }

    /// Runs until `stop` is cancelled, then lets every driver finish its current step. Containers
    /// go on running.
    ///
    /// Dropping the future instead equals a crash and is harmless. The crash tests do that.
    pub async fn run(self, stop: CancellationToken) {
        let mut monitor = JoinSet::new();
        monitor.spawn(connection::run(self.context.clone(), stop.clone()));
        monitor.spawn(names::run(self.context.clone(), stop.clone()));
        dispatch::run(&self.context, self.found, stop).await;
        while monitor.join_next().await.is_some() {}
    }
}
