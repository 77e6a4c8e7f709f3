//! The context that all tasks of the scheduler share: the store, the engine, the clock, the rules,
//! and the state of each part.
//!
//! The modules here hold state and know nothing of the context. The parts that work with them are
//! outside.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::rules::Rules;
use crate::clock::{Clock, Rng};
use crate::domain::admission::pause::Pause;
use crate::domain::names::id::{EngineId, JobId, Timestamp};
use crate::engine::{Description, Engine, EngineError};
use crate::metrics::Metrics;
use crate::store::logs::LogStore;
use crate::store::{Store, StoreError};
use crate::sync::OrderedWatch;
use backlog::SkippedTicks;
use clearings::{Clearings, SweepFinding};
use drivers::DriverHandle;
use known_images::Names;
use staged::Stage;
use start_lead::StartLatencies;
use start_limit::StartLimit;
use wait_groups::WaitGroups;

pub(super) mod backlog;
pub(super) mod clearings;
pub(super) mod drivers;
pub(super) mod known_images;
pub(super) mod staged;
pub(super) mod start_lead;
pub(super) mod start_limit;
pub(super) mod wait_groups;

/// The state of the connection to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The engine does not answer.
    Down {
        error: String,
        /// Start of the outage.
        since: Timestamp,
    },
    /// The engine answers.
    Up(Description),
    /// Another engine answers than the one that holds our containers.
    Changed {
        /// The engine that the store knows.
        known: EngineId,
        /// The engine that answers.
        found: EngineId,
        /// Time at which the other engine was noticed.
        since: Timestamp,
    },
}

impl Health {
    /// Returns whether the engine answers and is the one that holds our containers.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

/// The pile-ups of a forecast, as seconds by the label of their limit, and its time.
pub(super) type PileUps = Option<(Timestamp, BTreeMap<String, f64>)>;

/// The state that all tasks of the scheduler share.
pub(super) struct Context {
    pub(super) store: Arc<dyn Store>,
    pub(super) logs: Arc<LogStore>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) metrics: Metrics,
    /// The last forecast of pile-ups, for metrics.
    pub(super) pile_ups: tokio::sync::Mutex<PileUps>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Rng,
    /// The current config. A decision reads it once, so that all of the decision rests on one
    /// version.
    pub(super) rules: Mutex<Arc<Rules>>,
    /// The time at which the current rules were set, in milliseconds since 1970.
    pub(super) rules_set_at: AtomicI64,
    /// Wakes the dispatcher.
    pub(super) wake: Notify,
    /// The end of the dispatcher's current rest, in milliseconds since 1970. `i64::MAX` while a
    /// round runs, so that every new job wakes the dispatcher.
    pub(super) rests_until: AtomicI64,
    pub(super) health: OrderedWatch<Health>,
    /// The pause of everything, as in the store.
    pub(super) pause: Mutex<Option<Pause>>,
    /// The drivers, ordered by job id so that they are woken in a reproducible order.
    pub(super) driver_handles: Mutex<BTreeMap<JobId, Arc<DriverHandle>>>,
    pub(super) start_limit: Arc<StartLimit>,
    /// Measured start times of the engine, used to start jobs that aim.
    pub(super) start_latencies: StartLatencies,
    /// Containers created ahead of their jobs' due times.
    pub(super) stage: Arc<Stage>,
    /// True once a sweep has compared every container since this process began.
    pub(super) swept: AtomicBool,
    /// The wait groups that have waiting jobs.
    pub(super) wait_groups: Mutex<WaitGroups>,
    /// Skipped ticks that the log has not mentioned yet.
    pub(super) backlog: Mutex<SkippedTicks>,
    /// The number of jobs that are being accepted and are not on disk yet.
    pub(super) coming: AtomicUsize,
    /// The finished attempts that are being cleared away.
    pub(super) clearings: Arc<Clearings>,
    /// Findings of a sweep that no task attends to yet.
    pub(super) found: mpsc::Sender<SweepFinding>,
    /// The engine's answers about bare image names.
    pub(super) names: Names,
    /// Notices for the operator about the config.
    pub(super) notices: Mutex<Vec<String>>,
}

impl Context {
    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether a sweep has found everything that earlier processes left on the engine.
    pub(super) fn is_swept(&self) -> bool {
        self.swept.load(Ordering::Relaxed)
    }

    pub(super) fn driver_handles(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<DriverHandle>>> {
        self.driver_handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn backlog(&self) -> MutexGuard<'_, SkippedTicks> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn driver_handle(&self, job: JobId) -> Option<Arc<DriverHandle>> {
        self.driver_handles().get(&job).cloned()
    }

    /// Wakes the dispatcher for a stored job that is due at `due_at`, unless its own next round
    /// comes earlier.
    pub(super) fn wake_for(&self, due_at: Timestamp) {
        if due_at.timestamp_millis() <= self.rests_until.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    pub(super) fn wake_driver(&self, job: JobId) {
        if let Some(driver_handle) = self.driver_handle(job) {
            driver_handle.wake.notify_one();
        }
    }
}

/// A retryable failure of the engine or the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransientError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
