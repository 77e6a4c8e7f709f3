//! The harness: everything that outlives the scheduler (clock, engine, disk, expectations), and one
//! process of the whole service on it.
//!
//! A process consists of store, scheduler and API; the API is called as over the network.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tidetable::clock::{Clock, Rng};
use tidetable::domain::container::{Owner, SpecHash};
use tidetable::domain::job::{Job, Map};
use tidetable::domain::names::id::{Attempt, ContainerName, InstanceId, JobId, Timestamp};
use tidetable::engine::simulated::{Costs, Fault, Faults, Settings, SimulatedEngine};
use tidetable::engine::{Engine, Launch};
use tidetable::http::Api;
use tidetable::http::auth::guard::Guard;
use tidetable::scheduler::{self, Catalog, Parts, Scheduler};
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tidetable::store::{Filter, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::simulation::disk::Disk;
use crate::simulation::expectations::{Expectations, RequestedJob, ours};
use crate::simulation::failpoints::{Failpoints, Process};
use crate::simulation::instrumented::{InstrumentedEngine, InstrumentedStore};
use crate::simulation::limits::queues;
use crate::simulation::rules::Rule;
use crate::support::clock::VirtualClock;

/// The parameters of a run.
#[derive(Default)]
pub struct Setup {
    pub seed: u64,
    /// The longest duration of a commit.
    pub slowest_commit: Duration,
    /// Set if the engine says that it keeps containers running while it restarts.
    pub keeps_containers: bool,
    /// The faults of calls to the engine; they end when the run becomes calm.
    pub faults: Option<Faults>,
    /// The number of jobs that may run at once; 0 selects the default.
    pub max_running: usize,
    /// The rule that is switched off; `None` keeps all rules.
    pub off: Option<Rule>,
    /// Keeps the trace as text.
    pub keep_text: bool,
}

pub struct Harness {
    pub clock: Arc<VirtualClock>,
    pub engine: SimulatedEngine,
    pub expectations: Arc<Expectations>,
    pub disk: Arc<Disk>,
    pub failpoints: Arc<Failpoints>,
    calm: Arc<AtomicBool>,
    faults: Arc<AtomicU32>,
    settings: scheduler::Settings,
    seed: u64,
    off: Option<Rule>,
    keeps_containers: bool,
    lives: u64,
    dir: tempfile::TempDir,
}

/// A process of the service, with a caller of its API.
pub struct Service {
    pub process: Arc<Process>,
    pub client: Client,
    /// The scheduler and the store's writer. Dropping this future acts as `kill -9`.
    pub running: BoxFuture<'static, ()>,
}

/// A caller of the API.
#[derive(Clone)]
pub struct Client {
    router: Router,
    expectations: Arc<Expectations>,
    failpoints: Arc<Failpoints>,
}

impl Harness {
    pub fn new(setup: Setup) -> Self {
        let clock = Arc::new(VirtualClock::new());
        let (calm, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let faults = setup.faults.map(|faults| counted(faults, calm.clone(), count.clone()));
        let ms = Duration::from_millis;
        let costs =
            Costs { create: ms(20), start: ms(100), stop: ms(5), remove: ms(20), look: ms(2) };
        let engine = SimulatedEngine::new(
            clock.clone(),
            Settings { seed: setup.seed, costs, faults, ..Settings::default() },
        );
        let default = scheduler::Settings::default();
        let max_running =
            if setup.max_running == 0 { default.max_running } else { setup.max_running };
        let expectations = Arc::new(Expectations::new(engine.clone(), max_running));
        let harness = Self {
            disk: Arc::new(Disk::new(setup.seed)),
            failpoints: Arc::new(Failpoints::new(
                clock.clone(),
                expectations.clone(),
                setup.keep_text,
            )),
            settings: scheduler::Settings { max_running, ..default },
            calm,
            faults: count,
            seed: setup.seed,
            off: setup.off,
            keeps_containers: setup.keeps_containers,
            lives: 0,
            dir: folder(),
            clock,
            engine,
            expectations,
        };
        harness.disk.slow_down(setup.slowest_commit);
        harness.let_others_in();
        harness
    }

    /// Starts two foreign containers: one of another instance, one without labels.
    fn let_others_in(&self) {
        for (n, labelled) in [(1, true), (2, false)] {
            let owner = Owner {
                instance: InstanceId::new([8; 16]),
                job: JobId::from_bytes([n; 16]),
                attempt: Attempt(1),
            };
            let id = self.engine.create_behind_back(&launch(owner), labelled).unwrap();
            self.engine.start_behind_back(&id).unwrap();
            self.expectations.note_foreign(id);
        }
    }

    /// Starts the next process, on the same disk and engine.
    pub async fn open(&mut self) -> Service {
        self.lives += 1;
        // The tasks of the last process are gone once the runtime has polled them.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let process = Arc::new(Process::new(self.failpoints.clone()));
        let (store, writer) = SqliteStore::open(self.dir.path(), Threads::Inline, ours()).unwrap();
        self.hold_store(&*store).await;
        let logs = LogStore::open(&self.dir.path().join("logs"), Threads::Inline).unwrap();
        let instrumented = Arc::new(InstrumentedStore {
            store: store.clone(),
            process: process.clone(),
            expectations: self.expectations.clone(),
            disk: self.disk.clone(),
            off: self.off,
            held: Default::default(),
        });
        let engine = InstrumentedEngine {
            engine: self.engine.clone(),
            process: process.clone(),
            off: self.off,
            keeps_containers: self.keeps_containers,
            max_starting: self.settings.max_starting,
            starting: AtomicUsize::new(0),
        };
        let (scheduler, handle) = Scheduler::new(Parts {
            store: instrumented,
            logs: Arc::new(logs),
            engine: Arc::new(engine),
            clock: self.clock.clone(),
            rng: Rng::from_seed(self.seed.wrapping_mul(1_000).wrapping_add(self.lives)),
            catalog: Catalog { queues: queues(), ..Catalog::default() },
            settings: self.settings.clone(),
            metrics: Default::default(),
        });
        let api = Api::new(handle, chrono_tz::UTC, TaskTracker::new());
        let client = Client {
            router: api.router(Guard::default()),
            expectations: self.expectations.clone(),
            failpoints: self.failpoints.clone(),
        };
        self.failpoints.note(|| format!("life {} begins", self.lives));
        self.expectations.is_steady_from(self.clock.now());
        let running = async move {
            // The store is held here, so its lock is released together with this process.
            let _store = store;
            tokio::join!(scheduler.run(CancellationToken::new()), writer.run());
        };
        Service { process, client, running: running.boxed() }
    }

    async fn hold_store(&self, store: &dyn Store) {
        let mut snapshot = store.snapshot().await.unwrap();
        let mut jobs: Vec<Job> = Vec::new();
        for map in [Map::Scheduled, Map::Running, Map::History] {
            jobs.extend(snapshot.page(map, &Filter::default(), None, 1_000).await.unwrap());
        }
        if let Err(what) = self.expectations.hold_against(&jobs) {
            self.failpoints.fail(what);
        }
    }

    /// Ends all injected troubles.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.disk.refuse(0);
        self.expectations.disk_refuses(false);
        self.expectations.is_steady_from(self.clock.now());
        self.disk.slow_down(Duration::ZERO);
        let (faults, refusals) = (self.faults.load(Ordering::Relaxed), self.disk.refused());
        let now = self.clock.now();
        self.expectations
            .trouble(|t| (t.faults, t.refusals, t.until) = (faults, refusals, Some(now)));
    }

    /// Returns the names of our containers on the engine.
    pub async fn ours(&self) -> Vec<String> {
        self.engine
            .list(ours())
            .await
            .map(|all| all.into_iter().map(|listed| listed.name).collect())
            .unwrap_or_default()
    }

    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Returns a folder in memory, if there is one, because writes cost nothing there. `tests/storage/power`
/// covers power cuts.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}

fn counted(mut faults: Faults, calm: Arc<AtomicBool>, count: Arc<AtomicU32>) -> Faults {
    Box::new(move |call| {
        if calm.load(Ordering::Relaxed) {
            return Fault::None;
        }
        let fault = faults(call);
        count.fetch_add(u32::from(fault != Fault::None), Ordering::Relaxed);
        fault
    })
}

/// Returns a container as somebody else would create it.
pub fn launch(owner: Owner) -> Launch {
    Launch {
        name: ContainerName::of(owner.job, owner.attempt),
        owner,
        spec_hash: SpecHash("r".to_owned()),
        schedule: None,
        image: "busybox".parse().unwrap(),
        spec: serde_json::from_value(serde_json::json!({"command": "sleep 2"})).unwrap(),
        environment: Vec::new(),
        secrets: Vec::new(),
    }
}

impl Client {
    /// Makes one call, as over the network.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        // An id of the server's own would be random, and a problem shows it.
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let request = request.header("x-request-id", "simulated");
        let request = match body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string()))
                .unwrap(),
            None => request.body(Body::empty()).unwrap(),
        };
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
        let text = String::from_utf8(body.into()).unwrap();
        // The body of a server error contains a number that differs between runs.
        self.failpoints.note(|| {
            format!("{method} {path} → {status} {}", if status < 500 { &text } else { "" })
        });
        (status, text)
    }

    /// Submits a job. Returns its id, or `None` if the server failed.
    pub async fn submit(&self, job: &Value) -> Option<JobId> {
        let (status, text) = self.call("POST", "/job", Some(job)).await;
        if status >= 500 {
            return None;
        }
        assert_eq!(status, 201, "{job}: {text}");
        let done: Value = serde_json::from_str(&text).unwrap();
        let id = done["id"].as_str().unwrap().parse().unwrap();
        let due_at = done["due_at"].as_str().unwrap().parse().unwrap();
        self.expectations.acknowledged(
            id,
            RequestedJob {
                due_at,
                spec: job.clone(),
                cancel_asked: false,
                canceled: false,
                stop_asked: false,
            },
        );
        Some(id)
    }

    /// Notes that a schedule is requested.
    pub fn asks(&self, schedule: &str, fields: &Value) {
        self.expectations.said(|said| said.asks(schedule, fields, self.failpoints.now()));
    }

    /// Notes that the last request for this schedule was acknowledged.
    pub fn was_heard(&self, schedule: &str) {
        self.expectations.said(|said| said.was_heard(schedule, self.failpoints.now()));
    }

    /// Records in the trace that a guarantee does not hold, and ends the run.
    pub fn fail(&self, what: String) {
        self.failpoints.fail(what);
    }

    pub fn now(&self) -> Timestamp {
        self.failpoints.now()
    }

    pub fn acknowledge(&self, id: JobId, target: RequestedJob) {
        self.expectations.acknowledged(id, target);
    }

    pub async fn cancel(&self, id: JobId) {
        self.expectations.change_target(id, |target| target.cancel_asked = true);
        let (status, _) = self.call("DELETE", &format!("/job/{id}"), None).await;
        self.expectations.change_target(id, |target| target.canceled |= status == 200);
    }

    pub async fn stop(&self, id: JobId) {
        self.expectations.change_target(id, |target| target.stop_asked = true);
        let _late = self.call("POST", &format!("/job/{id}/stop"), None).await;
    }

    /// Gets an existing resource.
    pub async fn get(&self, path: &str) -> String {
        let (status, text) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {text}");
        text
    }
}
