//! The scheduler: claims due jobs, starts and watches their containers, and records how they end.
//!
//! Five kinds of task do the work. One owner ([`Scheduler::run`]) waits for all of them:
//!
//! - the *dispatcher* (`dispatch`) asks the store for due jobs and claims them;
//! - a *driver* (`driver`) takes one claimed job step by step through the start protocol.
//!   Everything a driver holds is also on disk or on the engine, so dropping a driver at any point
//!   loses nothing;
//! - a *clearing* (`clear`) keeps the output of a finished attempt, then removes its container;
//! - the *stager* (`stage`) has the engine create containers for jobs that are due soon, so that
//!   only `start` remains;
//! - the *monitor* (`monitor`) keeps the connection to the engine and passes on its container
//!   events. After every gap, and now and then, it compares the engine's containers with the store
//!   (`sweep`).
//!
//! The tasks do not send each other work. Each one reads the store, which is the only truth.
//! Between tasks pass only wake-ups, which carry nothing and may be lost or doubled. Callers act
//! through a [`Handle`], which writes to the store and then wakes the task concerned.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Rng};
use crate::domain::names::id::{EngineId, JobId, Timestamp};
use crate::engine::{Description, Engine, EngineError, PullProgress};
use crate::store::logs::LogStore;
use crate::store::{Store, StoreError};
use crate::sync::OrderedWatch;
use backlog::Backlog;
use clear::{Clearings, Leftover};
use liveness::Liveness;
use stage::Stage;
use start_lead::StartLatencies;
use start_limit::StartLimit;
use wait_groups::WaitGroups;

mod admission;
mod backlog;
mod catalog;
mod clear;
mod declared;
mod definitions;
mod dispatch;
mod driver;
mod forecast;
mod handle;
mod launch;
mod liveness;
mod monitor;
mod names;
mod output;
mod restore;
mod schedules;
mod secrets;
mod stage;
mod start_lead;
mod start_limit;
mod sweep;
mod wait_groups;
mod waiting;

pub use catalog::{Catalog, Origin};
pub use definitions::{DefineError, Defined};
pub use handle::{Accepted, ActError, Handle, JobRequest, SubmitError};
pub use output::{OutputError, OutputState, OutputStream};
pub use schedules::{Put, ScheduleError};
pub use secrets::{SecretSource, SecretSources};

/// The longest time between two reads of the wall clock. A clock that was set, or a machine that
/// slept, is noticed within this time.
pub const LONGEST_NAP: Duration = Duration::from_secs(1);
/// The age of an intent at which the fence removes its container and queries the event log. Longer
/// than an engine still works on a `start` whose caller is gone.
pub const SETTLE: Duration = Duration::from_secs(30);
/// The interval between two comparisons of engine and store when no event arrives.
pub const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// The interval between two checks that a quiet engine is still there.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// The age at which a container of ours whose job is not in the store is removed, unless it runs.
pub const ORPHAN_AGE: Duration = Duration::from_secs(10 * 60);
/// The first and the longest wait before a failed action is retried.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The number of due jobs that one round considers.
pub const ROUND: usize = 256;

/// The head start of a claim: a job with a staged container is claimed this long before its `start`
/// is called. Covers claiming the job, inspecting the container and writing the intent.
pub const EARLY: TimeDelta = TimeDelta::milliseconds(10);
/// The default for how long before its due time a job's container is created.
pub const STAGE_AHEAD: Duration = Duration::from_secs(15);

// Sweeps and pings have to be rarer than reads of the wall clock, or they would never be on time.
const _: () = assert!(
    LONGEST_NAP.as_millis() < PING_EVERY.as_millis()
        && PING_EVERY.as_millis() <= SWEEP_EVERY.as_millis()
);
// A `create` whose caller is gone may still arrive before an orphan reaches this age.
const _: () = assert!(SETTLE.as_millis() < ORPHAN_AGE.as_millis());

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
}

/// The reloadable part of the config. [`Handle::set_rules`] replaces it while the scheduler runs.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Definitions, schedules, queues, policy and secrets from the config file.
    pub catalog: Catalog,
    /// Numeric limits from the config.
    pub settings: Settings,
}

impl Rules {
    /// Returns the number of jobs that may run at once: the smaller of the server's limit and the
    /// policy's.
    fn max_running(&self) -> usize {
        let by_policy = self.catalog.policy.max_running.map_or(usize::MAX, NonZeroUsize::get);
        self.settings.max_running.min(by_policy)
    }
}

/// Numeric limits from the config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of jobs that may run at once.
    pub max_running: usize,
    /// The number of creates and starts in flight at once. Beyond the knee of its throughput curve
    /// an engine only gets slower.
    pub max_starting: usize,
    /// The time before a job's due time at which its image is pulled and its container created.
    /// Zero turns staging off.
    pub stage_ahead: Duration,
    /// True to accept the engine that answers now although the store knows another one.
    pub accept_new_engine: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_running: 256,
            max_starting: 12,
            stage_ahead: STAGE_AHEAD,
            accept_new_engine: false,
        }
    }
}

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

/// The state that all tasks of the scheduler share.
struct Shared {
    store: Arc<dyn Store>,
    logs: Arc<LogStore>,
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    rng: Rng,
    /// The current config. A decision reads it once, so that all of the decision rests on one
    /// version.
    rules: Mutex<Arc<Rules>>,
    /// Wakes the dispatcher.
    wake: Notify,
    /// The end of the dispatcher's current rest, in milliseconds since 1970. `i64::MAX` while a
    /// round runs, so that every new job wakes the dispatcher.
    rests_until: AtomicI64,
    health: OrderedWatch<Health>,
    /// The drivers, ordered by job id so that they are woken in a reproducible order.
    driver_handles: Mutex<BTreeMap<JobId, Arc<DriverHandle>>>,
    start_limit: Arc<StartLimit>,
    /// Measured start times of the engine, used to start jobs that aim.
    start_latencies: StartLatencies,
    /// Containers created ahead of their jobs' due times.
    stage: Arc<Stage>,
    /// True once a sweep has compared every container since this process began.
    swept: AtomicBool,
    /// The wait groups that have waiting jobs.
    wait_groups: Mutex<WaitGroups>,
    /// Skipped ticks that the log has not mentioned yet.
    backlog: Mutex<Backlog>,
    /// The number of jobs that are being accepted and are not on disk yet.
    coming: AtomicUsize,
    /// The finished attempts that are being cleared away.
    clearings: Arc<Clearings>,
    /// Findings of a sweep that no task attends to yet.
    found: mpsc::Sender<SweepFinding>,
    /// The engine's answers about bare image names.
    names: names::Names,
    /// Notices for the operator about the config.
    notices: Mutex<Vec<String>>,
}

/// A finding of a sweep that no task attends to yet.
enum SweepFinding {
    /// A job in the running map without a driver.
    Undriven(JobId),
    /// The remains of a finished attempt.
    LeftOver(Leftover),
}

/// The shared handle to a running driver.
#[derive(Default)]
struct DriverHandle {
    wake: Notify,
    alive: Liveness,
    progress: Mutex<Option<PullProgress>>,
}

impl Shared {
    fn rules(&self) -> Arc<Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether a sweep has found everything that earlier processes left on the engine.
    fn is_swept(&self) -> bool {
        self.swept.load(Ordering::Relaxed)
    }

    fn driver_handles(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<DriverHandle>>> {
        self.driver_handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn driver_handle(&self, job: JobId) -> Option<Arc<DriverHandle>> {
        self.driver_handles().get(&job).cloned()
    }

    /// Wakes the dispatcher for a stored job that is due at `due_at`, unless its own next round
    /// comes earlier.
    fn wake_for(&self, due_at: Timestamp) {
        if due_at.timestamp_millis() <= self.rests_until.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    fn wake_driver(&self, job: JobId) {
        if let Some(driver_handle) = self.driver_handle(job) {
            driver_handle.wake.notify_one();
        }
    }
}

/// A scheduler that does not run yet.
pub struct Scheduler {
    shared: Arc<Shared>,
    found: mpsc::Receiver<SweepFinding>,
}

impl Scheduler {
    /// Returns a scheduler made of `parts`, and the handle through which callers act.
    pub fn new(parts: Parts) -> (Self, Handle) {
        let (found_sender, found) = mpsc::channel(ROUND);
        let since = parts.clock.now();
        let health =
            OrderedWatch::new(Health::Down { error: "not connected yet".to_owned(), since });
        let shared = Arc::new(Shared {
            start_limit: StartLimit::new(parts.settings.max_starting),
            store: parts.store,
            logs: parts.logs,
            engine: parts.engine,
            clock: parts.clock,
            rng: parts.rng,
            rules: Mutex::new(Arc::new(Rules { catalog: parts.catalog, settings: parts.settings })),
            wake: Notify::new(),
            rests_until: AtomicI64::new(i64::MAX),
            health,
            driver_handles: Mutex::default(),
            start_latencies: StartLatencies::default(),
            stage: Arc::default(),
            swept: AtomicBool::default(),
            wait_groups: Mutex::default(),
            backlog: Mutex::default(),
            coming: AtomicUsize::default(),
            clearings: Arc::default(),
            found: found_sender,
            names: names::Names::default(),
            notices: Mutex::default(),
        });
        let handle = Handle::new(shared.clone());
        (Self { shared, found }, handle)
    }

    /// Runs until `stop` is cancelled, then lets every driver finish its current step. Containers
    /// go on running.
    ///
    /// Dropping the future instead equals a crash and is harmless. The crash tests do that.
    pub async fn run(self, stop: CancellationToken) {
        let mut monitor = JoinSet::new();
        monitor.spawn(monitor::run(self.shared.clone(), stop.clone()));
        monitor.spawn(names::run(self.shared.clone(), stop.clone()));
        dispatch::run(&self.shared, self.found, stop).await;
        while monitor.join_next().await.is_some() {}
    }
}

/// A retryable failure of the engine or the store.
#[derive(Debug, thiserror::Error)]
enum TransientError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A wait that doubles with every consecutive failure, from `BACKOFF.0` to `BACKOFF.1`.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(BACKOFF.0)
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACKOFF.1);
    }
}
