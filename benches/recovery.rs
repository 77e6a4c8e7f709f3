//! Measures how long a new scheduler takes to rediscover the state of 10,000 jobs in flight.
//!
//! The benchmark runs over the simulated engine in real time. It drops the scheduler of 10,000
//! running jobs as a crash would. Half of the jobs end while no scheduler runs, and then another
//! scheduler starts on the same disk. The table goes to stderr, JSON to stdout: `make
//! bench-recovery`.
//!
//! The simulated engine answers at once, so the figures are the time of the scheduler and its disk.
//! A real engine adds its own time for each inspect.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may, and it is there to print"
)]

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tidetable::clock::{Clock, Rng, SystemClock};
use tidetable::domain::container::{Container, Evidence, EvidenceQuery, Owner};
use tidetable::domain::job::State;
use tidetable::domain::job::origin::Origin;
use tidetable::domain::names::id::{ContainerId, ContainerName, InstanceId, JobId, Timestamp};
use tidetable::domain::names::image::ImageRef;
use tidetable::engine::simulated::{Settings as EngineSettings, SimulatedEngine};
use tidetable::engine::{
    ContainerEvent, Description, Engine, EngineError, Launch, Listed, LogStream, PullProgress,
    SecretFile, Started,
};
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Catalog, Handle, JobRequest, Parts, Scheduler, Settings};
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The number of jobs in flight.
const JOBS: usize = 10_000;
/// The run time of the jobs that end while no scheduler runs, in seconds. All jobs must start
/// within it.
const SHORT: u64 = 60;
/// The run time of the other half, in seconds.
const LONG: u64 = 3_600;

/// The simulated engine, with a record of the containers that were inspected.
struct Watched {
    engine: SimulatedEngine,
    looked_at: Mutex<HashSet<String>>,
}

impl Watched {
    fn looks(&self) -> usize {
        self.looked_at.lock().unwrap().len()
    }
}

#[async_trait]
impl Engine for Watched {
    async fn describe(&self) -> Result<Description, EngineError> {
        self.engine.describe().await
    }
    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        self.engine.pull(image, platform, progress).await
    }
    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError> {
        self.engine.create(launch).await
    }
    async fn put_files(
        &self,
        container: &ContainerId,
        files: &[SecretFile],
    ) -> Result<(), EngineError> {
        self.engine.put_files(container, files).await
    }

    async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        self.engine.has_network(name).await
    }

    async fn has_image(&self, image: &ImageRef) -> Result<bool, EngineError> {
        self.engine.has_image(image).await
    }

    async fn start(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.engine.start(container).await
    }
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, EngineError> {
        let seen = self.engine.inspect(container).await;
        self.looked_at.lock().unwrap().insert(container.to_string());
        seen
    }
    async fn find(&self, owner: &Owner) -> Result<Option<Container>, EngineError> {
        self.engine.find(owner).await
    }
    async fn named(&self, name: &ContainerName) -> Result<Option<Container>, EngineError> {
        self.engine.named(name).await
    }
    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        self.engine.stop(container, grace).await
    }
    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.engine.remove(container).await
    }
    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
        self.engine.logs(container, follow).await
    }
    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError> {
        self.engine.list(instance).await
    }
    async fn events(
        &self,
        instance: InstanceId,
    ) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError> {
        self.engine.events(instance).await
    }
    async fn query_event_log(
        &self,
        container: &ContainerId,
        question: EvidenceQuery,
        since: Timestamp,
    ) -> Result<Evidence, EngineError> {
        self.engine.query_event_log(container, question, since).await
    }

    async fn started(
        &self,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<Started, EngineError> {
        self.engine.started(instance, since).await
    }
}

/// A running scheduler with its store.
struct Life {
    handle: Handle,
    store: Arc<SqliteStore>,
    task: JoinHandle<()>,
}

impl Life {
    fn begin(dir: &Path, engine: &Arc<Watched>) -> Self {
        let rng = Rng::from_system();
        let (store, writer) =
            SqliteStore::open(dir, Threads::Pool, InstanceId::new(rng.bytes())).unwrap();
        let (scheduler, handle) = Scheduler::new(Parts {
            store: store.clone(),
            logs: Arc::new(LogStore::open(&dir.join("logs"), Threads::Pool).unwrap()),
            engine: engine.clone(),
            clock: Arc::new(SystemClock),
            rng,
            catalog: Catalog::default(),
            settings: Settings { max_running: JOBS, max_starting: 256, ..Settings::default() },
            metrics: Default::default(),
        });
        let task = tokio::spawn(async move {
            tokio::join!(scheduler.run(CancellationToken::new()), writer.run());
        });
        Self { handle, store, task }
    }

    /// Drops the scheduler without a shutdown, and waits until its lock on the directory is
    /// released.
    async fn crash(self) {
        self.task.abort();
        let _aborted = self.task.await;
        let weak = Arc::downgrade(&self.store);
        drop((self.handle, self.store));
        until(|| async { weak.strong_count() == 0 }).await;
    }

    async fn running(&self, ids: &[JobId]) -> usize {
        let store = self.handle.store();
        let jobs = futures::stream::iter(ids).map(|id| store.get(*id)).buffer_unordered(64);
        jobs.filter(|job| {
            std::future::ready(
                matches!(job, Ok(Some(job)) if matches!(job.state, State::Running(_))),
            )
        })
        .count()
        .await
    }
}

async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn submit(life: &Life) -> Vec<JobId> {
    let due_at = SystemClock.now();
    futures::stream::iter(0..JOBS)
        .map(|n| {
            let seconds = if n % 2 == 0 { SHORT } else { LONG };
            let spec =
                format!(r#"{{"command": ["sh", "-c", "echo job {n}; sleep {seconds}; exit 3"]}}"#);
            let order = JobRequest {
                name: "busybox".parse().unwrap(),
                spec: serde_json::from_str(&spec).unwrap(),
                due_at,
                origin: Origin::Api,
            };
            async { life.handle.submit(&Caller::anonymous(), order).await.unwrap().job.id }
        })
        .buffer_unordered(256)
        .collect()
        .await
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EngineSettings { keep_record: false, ..EngineSettings::default() };
    let engine = Arc::new(Watched {
        engine: SimulatedEngine::new(Arc::new(SystemClock), settings),
        looked_at: Mutex::default(),
    });

    let begun = Instant::now();
    let first = Life::begin(dir.path(), &engine);
    let ids = submit(&first).await;
    until(|| async { engine.looks() == JOBS }).await;
    while first.running(&ids).await < JOBS {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let all_run = begun.elapsed();
    assert!(
        all_run < Duration::from_secs(SHORT),
        "the first have ended before the last was started"
    );
    first.crash().await;
    tokio::time::sleep(Duration::from_secs(SHORT + 1)).await;

    engine.looked_at.lock().unwrap().clear();
    let begun = Instant::now();
    let second = Life::begin(dir.path(), &engine);
    let opened = begun.elapsed();
    until(|| async { engine.looks() == JOBS }).await;
    let all_looked_at = begun.elapsed();
    until(|| async { second.handle.store().active().await.unwrap().len() == JOBS / 2 }).await;
    let all_recorded = begun.elapsed();
    assert_eq!(second.running(&ids).await, JOBS / 2, "the other half is still at work");

    let rows = [
        ("submitted_and_running_s", all_run),
        ("opened_s", opened),
        ("looked_at_s", all_looked_at),
        ("ends_recorded_s", all_recorded),
    ];
    for (what, took) in rows {
        eprintln!("{what:>24} {:8.3}", took.as_secs_f64());
    }
    let rows = rows.map(|(what, took)| (what.to_owned(), serde_json::json!(took.as_secs_f64())));
    let mut report = serde_json::Map::from_iter(rows);
    report.insert("jobs".to_owned(), JOBS.into());
    println!("{}", serde_json::Value::Object(report));
    second.crash().await;
}
