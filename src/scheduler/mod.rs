//! The scheduler: what is due is claimed, started, watched, and finished.
//!
//! Five kinds of task, and one owner ([`Scheduler::run`]) that waits for all of them:
//!
//! - the *dispatcher* (`dispatch`) asks the store what is due, and claims it;
//! - a *driver* (`driver`) per job that is claimed and not yet over takes it step by step through the start
//!   protocol. It holds nothing that is not on disk or on the engine: dropping one at any point loses nothing;
//! - what an attempt that is over left on the engine is cleared away (`clear`): its output is kept, then its container goes;
//! - the *stager* (`stage`) has the engine create what is due soon, so that only `start` is left then;
//! - the *monitor* (`monitor`) keeps the connection to the engine, passes on its hints, and after every gap (and now
//!   and then) compares what the engine has with what the store says (`sweep`).
//!
//! They do not send each other work. Each reads the store, which is the truth; what passes between them are pokes
//! that carry nothing and may be lost or doubled. Callers act through a [`Handle`]: it writes to the store, then pokes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Dice};
use crate::domain::id::{EngineId, JobId, Timestamp};
use crate::engine::{Description, Engine, EngineError, PullProgress};
use crate::store::logs::LogStore;
use crate::store::{Store, StoreError};
use crate::watched::Watched;
use aim::Aims;
use alive::Alive;
use backlog::Backlog;
use clear::{Clearings, Leftover};
use holds::Holds;
use stage::Stage;
use turns::Turns;

mod admission;
mod aim;
mod alive;
mod backlog;
mod catalog;
mod clear;
mod declared;
mod definitions;
mod dispatch;
mod driver;
mod forecast;
mod handle;
mod holds;
mod launch;
mod monitor;
mod names;
mod output;
mod restore;
mod schedules;
mod secrets;
mod stage;
mod sweep;
mod turns;
mod waiting;

pub use catalog::{Catalog, Origin};
pub use definitions::{DefineError, Defined};
pub use handle::{Accepted, ActError, Handle, Order, SubmitError};
pub use output::{OutputError, OutputState, OutputStream};
pub use schedules::{Put, ScheduleError};
pub use secrets::{SecretSource, SecretSources};

/// The wall clock is read at least this often, so that a clock that was set, or a machine that slept, is noticed.
pub const LONGEST_NAP: Duration = Duration::from_secs(1);
/// How old an intent has to be before its container is put out of reach and asked about: longer than an engine still
/// works on a `start` whose caller is gone.
pub const SETTLE: Duration = Duration::from_secs(30);
/// How often everything is compared though nothing was heard.
pub const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How often a quiet engine is asked whether it is there.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// A container of ours whose job is not in the store is removed when it is older than this and does not run.
pub const ORPHAN_AGE: Duration = Duration::from_secs(10 * 60);
/// The first and the longest wait before something that failed is tried again.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How many due jobs are looked at in one round.
pub const ROUND: usize = 256;

/// How long before its `start` is to be called a job is claimed whose container is there: as long as it takes to claim it,
/// to look at the container, and to write the intent down.
pub const EARLY: TimeDelta = TimeDelta::milliseconds(10);
/// How long before a job is due its container is created, unless the config says otherwise.
pub const STAGE_AHEAD: Duration = Duration::from_secs(15);

// A sweep or a ping that comes more often than the wall clock is read would never be on time.
const _: () = assert!(
    LONGEST_NAP.as_millis() < PING_EVERY.as_millis()
        && PING_EVERY.as_millis() <= SWEEP_EVERY.as_millis()
);
// An orphan is given the time in which a `create` whose caller is gone may still arrive.
const _: () = assert!(SETTLE.as_millis() < ORPHAN_AGE.as_millis());

/// What the scheduler works with.
pub struct Parts {
    /// What is on disk.
    pub store: Arc<dyn Store>,
    /// Kept output.
    pub logs: Arc<LogStore>,
    /// What runs containers.
    pub engine: Arc<dyn Engine>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids.
    pub dice: Dice,
    /// What names stand for and what is allowed.
    pub catalog: Catalog,
    /// Numbers.
    pub settings: Settings,
}

/// What the config says. It may say something else while the scheduler runs ([`Handle::follow`]).
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What names stand for and what is allowed.
    pub catalog: Catalog,
    /// Numbers.
    pub settings: Settings,
}

impl Rules {
    /// How many jobs may run at once: as many as the server and the policy both allow.
    fn max_running(&self) -> usize {
        let by_policy = self.catalog.policy.max_running.map_or(usize::MAX, NonZeroUsize::get);
        self.settings.max_running.min(by_policy)
    }
}

/// Numbers that the config sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many jobs may run at once.
    pub max_running: usize,
    /// How many creates and starts the engine is given at once: past its knee an engine only gets slower.
    pub max_starting: usize,
    /// How long before a job is due its container is created, and its image pulled; zero: not before it is due.
    pub stage_ahead: Duration,
    /// Take the engine that answers now for ours, though another one was known.
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

/// How the connection to the engine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does not answer; why and since when.
    Down {
        /// The last error.
        error: String,
        /// Since when.
        since: Timestamp,
    },
    /// It answers.
    Up(Description),
    /// Another engine answers than the one our containers are on.
    Changed {
        /// The one we know.
        known: EngineId,
        /// The one that answers.
        found: EngineId,
        /// Since when.
        since: Timestamp,
    },
}

impl Health {
    /// Whether the engine can be worked with.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

/// What all tasks of the scheduler share.
struct Shared {
    store: Arc<dyn Store>,
    logs: Arc<LogStore>,
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    dice: Dice,
    /// What the config says. A decision reads it once: what it rests on is of one moment.
    rules: Mutex<Arc<Rules>>,
    /// Something may be due.
    wake: Notify,
    /// Until when the dispatcher rests, in milliseconds since 1970; while it looks: for ever, so that whatever comes wakes it.
    rests_until: AtomicI64,
    health: Watched<Health>,
    /// In an order of their own, so that who is poked first is the same each time.
    seats: Mutex<BTreeMap<JobId, Arc<Seat>>>,
    starting: Arc<Turns>,
    /// How long the engine takes to start something.
    aims: Aims,
    /// What is on the engine ahead of its time.
    stage: Arc<Stage>,
    /// Whether everything on the engine was compared once since this process began.
    swept: AtomicBool,
    /// What jobs wait for that are held back.
    holds: Mutex<Holds>,
    /// Ticks that were skipped because others wait, for the log.
    backlog: Mutex<Backlog>,
    /// Jobs that are being accepted, and are not on disk yet.
    coming: AtomicUsize,
    /// What is being cleared away.
    clearings: Arc<Clearings>,
    /// What a sweep found that nobody sees to.
    found: mpsc::Sender<Found>,
    /// What the engine said of bare names of images.
    names: names::Names,
    /// What whoever runs the server should know of its config.
    notices: Mutex<Vec<String>>,
}

/// What nobody sees to.
enum Found {
    /// A job in the running map without a driver.
    Undriven(JobId),
    /// What an attempt left that is over.
    LeftOver(Leftover),
}

/// Where a driver can be reached.
#[derive(Default)]
struct Seat {
    poke: Notify,
    alive: Alive,
    progress: Mutex<Option<PullProgress>>,
}

impl Shared {
    fn rules(&self) -> Arc<Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether what processes before this one left on the engine is known.
    fn is_swept(&self) -> bool {
        self.swept.load(Ordering::Relaxed)
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self, job: JobId) -> Option<Arc<Seat>> {
        self.seats().get(&job).cloned()
    }

    /// Wakes the dispatcher for a job that is on disk and due then, unless it looks by itself before.
    fn wake_for(&self, due_at: Timestamp) {
        if due_at.timestamp_millis() <= self.rests_until.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    fn poke(&self, job: JobId) {
        if let Some(seat) = self.seat(job) {
            seat.poke.notify_one();
        }
    }
}

/// The scheduler, not yet running.
pub struct Scheduler {
    shared: Arc<Shared>,
    found: mpsc::Receiver<Found>,
}

impl Scheduler {
    /// A scheduler of these parts, and the handle through which callers act.
    pub fn new(parts: Parts) -> (Self, Handle) {
        let (found_sender, found) = mpsc::channel(ROUND);
        let since = parts.clock.now();
        let health = Watched::new(Health::Down { error: "not connected yet".to_owned(), since });
        let shared = Arc::new(Shared {
            starting: Turns::new(parts.settings.max_starting),
            store: parts.store,
            logs: parts.logs,
            engine: parts.engine,
            clock: parts.clock,
            dice: parts.dice,
            rules: Mutex::new(Arc::new(Rules { catalog: parts.catalog, settings: parts.settings })),
            wake: Notify::new(),
            rests_until: AtomicI64::new(i64::MAX),
            health,
            seats: Mutex::default(),
            aims: Aims::default(),
            stage: Arc::default(),
            swept: AtomicBool::default(),
            holds: Mutex::default(),
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

    /// Runs until `stop` is cancelled; then lets every driver finish the step in hand. Containers go on.
    ///
    /// Dropping the future instead is a crash, and harmless: that is what the crash tests do.
    pub async fn run(self, stop: CancellationToken) {
        let mut monitor = JoinSet::new();
        monitor.spawn(monitor::run(self.shared.clone(), stop.clone()));
        monitor.spawn(names::run(self.shared.clone(), stop.clone()));
        dispatch::run(&self.shared, self.found, stop).await;
        while monitor.join_next().await.is_some() {}
    }
}

/// What is to be tried again was not done: the engine did not do its part, or the store.
#[derive(Debug, thiserror::Error)]
enum Setback {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A wait that doubles with every failure in a row.
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
