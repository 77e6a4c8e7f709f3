//! A backup is served after its original server went on: over the simulated engine, in virtual
//! time, from a seed.
//!
//! Each seed is a random run. Jobs are submitted, and at some moment the code of `tidetable backup`
//! takes a backup. The server goes on for a while, with the same and new jobs, and dies. The engine
//! may be restarted, or its event log may overflow. Then the backup is served, killed in mid-step a
//! few times, and left in peace.
//!
//! The checks use the engine's own record. `SEEDS=10000 cargo test --test restore_simulated` runs
//! more; `SEED=7 …` repeats one.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::clock::VirtualClock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidetable::clock::{Clock, Rng};
use tidetable::domain::job::origin::Origin;
use tidetable::domain::job::{Job, Map, Outcome, Reason, State};
use tidetable::domain::names::id::{InstanceId, JobId};
use tidetable::engine::simulated::{Costs, Settings, SimulatedEngine};
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Catalog, Handle, JobRequest, Parts, Scheduler};
use tidetable::store::backup::back_up;
use tidetable::store::check::check;
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tidetable::store::{Filter, Store};
use tokio_util::sync::CancellationToken;

/// The default number of seeds; `SEEDS` overrides it.
const SEEDS: u64 = 60;
/// More jobs than the engine's event log has room for.
const FLOOD: usize = 70;

struct Story {
    seed: u64,
    rng: StdRng,
    clock: Arc<VirtualClock>,
    engine: SimulatedEngine,
    dir: tempfile::TempDir,
    lives: u64,
    /// Jobs acknowledged before the backup began.
    before: Vec<JobId>,
    /// Set while the engine's event log reaches back to well before the backup.
    log_can_tell: bool,
}

impl Story {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(VirtualClock::new());
        let costs = Costs {
            start: Duration::from_millis(100),
            create: Duration::from_millis(20),
            ..Costs::default()
        };
        let engine =
            SimulatedEngine::new(clock.clone(), Settings { seed, costs, ..Settings::default() });
        let rng = StdRng::seed_from_u64(seed);
        // The folder is in memory, if possible: the speed of a disk does not matter here.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { seed, rng, clock, engine, dir, lives: 0, before: Vec::new(), log_can_tell: true }
    }

    async fn tell(mut self) {
        let (original, copy) = (self.dir.path().join("original"), self.dir.path().join("copy"));
        self.original(&original, &copy).await;
        match self.rng.random_range(0..4) {
            0 => {
                self.engine.restart(self.rng.random_bool(0.5));
                self.log_can_tell = false;
            }
            // Nobody serves the backup for a while, and some jobs become due.
            1 => tokio::time::sleep(Duration::from_secs(20)).await,
            _ => {}
        }
        for _ in 0..self.rng.random_range(0..4) {
            let length = Duration::from_millis(self.rng.random_range(1..400));
            let (_handle, running) = self.scheduler(&copy).await;
            let _killed = tokio::time::timeout(length, running).await;
        }
        let jobs = self.end_in_peace(&copy).await;
        self.hold(&jobs, &copy);
    }

    /// Runs the original server: it takes the backup, goes on, and dies in the middle of its work.
    async fn original(&mut self, original: &Path, copy: &Path) {
        let (handle, running) = self.scheduler(original).await;
        let life = async {
            let first = self.order(None, "true");
            handle.submit(&Caller::anonymous(), first).await.unwrap();
            // The event log must reach back beyond the backup by more than clocks may differ.
            tokio::time::sleep(Duration::from_secs(8)).await;
            for _ in 0..self.rng.random_range(1..12) {
                let order = self.random_order();
                self.before.push(handle.submit(&Caller::anonymous(), order).await.unwrap().job.id);
                tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..900))).await;
            }
            back_up(original, copy, self.clock.now()).unwrap();
            for _ in 0..self.rng.random_range(0..4) {
                let order = self.random_order();
                handle.submit(&Caller::anonymous(), order).await.unwrap();
                tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..4_000))).await;
            }
            if self.rng.random_ratio(1, 5) {
                self.log_can_tell = false;
                for _ in 0..FLOOD {
                    let order = self.order(None, "true");
                    handle.submit(&Caller::anonymous(), order).await.unwrap();
                }
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
        };
        tokio::select! {
            () = running => panic!("it ended by itself"),
            () = life => {}
        }
    }

    fn random_order(&mut self) -> JobRequest {
        let commands =
            ["true", "false", "sleep 1", "sleep 3", "sh -c 'sleep 2; exit 3'", "sleep 20"];
        let command = commands[self.rng.random_range(0..commands.len())];
        let delay = Duration::from_millis(self.rng.random_range(0..15_000));
        self.order(Some(delay), command)
    }

    fn order(&mut self, delay: Option<Duration>, command: &str) -> JobRequest {
        let on = ["exit_nonzero", "unknown"];
        let retry = match self.rng.random_range(0..4) {
            0 if delay.is_some() => {
                serde_json::json!({"attempts": 2, "delay": "2s", "on": &on[..1]})
            }
            1 if delay.is_some() => serde_json::json!({"attempts": 2, "delay": "2s", "on": on}),
            _ => serde_json::json!({"attempts": 0}),
        };
        let spec = serde_json::from_value(serde_json::json!({"command": command, "retry": retry}))
            .unwrap();
        JobRequest {
            name: "busybox".parse().unwrap(),
            spec,
            due_at: self.clock.now() + delay.unwrap_or_default(),
            origin: Origin::Api,
        }
    }

    async fn end_in_peace(&mut self, dir: &Path) -> Vec<Job> {
        let (handle, running) = self.scheduler(dir).await;
        let (seed, before) = (self.seed, self.before.clone());
        let settled = async move {
            for _ in 0..3_600 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let jobs = all_jobs(handle.store()).await;
                if jobs.iter().all(Job::is_over) {
                    for id in before {
                        assert!(jobs.iter().any(|job| job.id == id), "seed {seed}: {id} is lost");
                    }
                    assert_eq!(
                        handle.store().restored(handle.now()).await.unwrap(),
                        None,
                        "seed {seed}: the restored mark is cleared"
                    );
                    return jobs;
                }
            }
            panic!("seed {seed}: after an hour of peace it is not at rest");
        };
        tokio::select! {
            () = running => panic!("it ended by itself"),
            jobs = settled => jobs,
        }
    }

    async fn scheduler(&mut self, dir: &Path) -> (Handle, impl Future<Output = ()> + use<>) {
        // The tasks of the last process are gone once the runtime has polled them.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.lives += 1;
        let (store, writer) =
            SqliteStore::open(dir, Threads::Inline, InstanceId::new([7; 16])).unwrap();
        let (scheduler, handle) = Scheduler::new(Parts {
            store: store.clone(),
            logs: Arc::new(LogStore::open(&dir.join("logs"), Threads::Inline).unwrap()),
            engine: Arc::new(self.engine.clone()),
            clock: self.clock.clone(),
            rng: Rng::from_seed(self.seed * 1_000 + self.lives),
            catalog: Catalog::default(),
            settings: Default::default(),
            metrics: Default::default(),
        });
        let running = async move {
            // The store is held here, so its lock is released together with this process.
            let _store = store;
            tokio::join!(scheduler.run(CancellationToken::new()), writer.run());
        };
        (handle, running)
    }

    /// Compares the restored history with the engine's own record of both servers.
    fn hold(&self, jobs: &[Job], dir: &Path) {
        let seed = self.seed;
        let report = check(dir).unwrap();
        assert!(report.whole, "seed {seed}: {report}");
        let mut runs: BTreeMap<JobId, BTreeMap<u32, Vec<Option<i32>>>> = BTreeMap::new();
        for run in self.engine.runs() {
            let owner = run.owner.unwrap();
            let attempts = runs.entry(owner.job).or_default();
            attempts.entry(owner.attempt.0).or_default().push(run.ended.map(|(_, code)| code));
        }
        // A caller that asks for a retry of an unknown end accepts that the job may run twice.
        let consents = |id: &JobId| jobs.iter().any(|job| job.id == *id && consents(job));
        for (job, attempts) in runs.iter().filter(|(id, _)| self.log_can_tell || !consents(id)) {
            for (attempt, ends) in attempts {
                assert_eq!(
                    ends.len(),
                    1,
                    "seed {seed}: attempt {attempt} of {job} was started {} times",
                    ends.len()
                );
            }
        }
        for job in jobs {
            let State::Ended(end) = &job.state else { panic!("seed {seed}: {job:?} is not over") };
            let attempts: BTreeSet<u32> = runs
                .get(&job.id)
                .map(|attempts| attempts.keys().copied().collect())
                .unwrap_or_default();
            let allowed = job.spec.retry().attempts() + 1;
            assert!(attempts.len() <= allowed as usize, "seed {seed}: {attempts:?} {job:?}");
            let ran_with = runs
                .get(&job.id)
                .and_then(|attempts| attempts.get(&job.attempt.0))
                .map(|ends| ends[0]);
            match end.outcome {
                Outcome::Succeeded => assert_eq!(ran_with, Some(Some(0)), "seed {seed}: {job:?}"),
                Outcome::Failed => {
                    assert_eq!(
                        ran_with.flatten(),
                        end.exit.as_ref().map(|e| e.code),
                        "seed {seed}: {job:?}"
                    )
                }
                // If the event log reaches back far enough, only a job that ran gets this reason.
                Outcome::Unknown if end.reason == Some(Reason::Restored) => {
                    assert!(!self.log_can_tell || ran_with.is_some(), "seed {seed}: {job:?}");
                }
                // A container that was only created ahead looks like one with a pending start.
                Outcome::Unknown => {
                    assert!(!self.log_can_tell || ran_with.is_some(), "seed {seed}: {job:?}")
                }
                Outcome::TimedOut | Outcome::Stopped | Outcome::Canceled | Outcome::Missed => {
                    panic!("seed {seed}: nobody asked for that: {job:?}")
                }
            }
        }
    }
}

fn consents(job: &Job) -> bool {
    job.spec.retry().covers(Outcome::Unknown, Reason::Restored, None)
}

async fn all_jobs(store: &Arc<dyn Store>) -> Vec<Job> {
    let mut snapshot = store.snapshot().await.unwrap();
    let mut jobs = Vec::new();
    for map in [Map::Scheduled, Map::Running, Map::History] {
        jobs.extend(snapshot.page(map, &Filter::default(), None, 1_000).await.unwrap());
    }
    jobs
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(Story::new(seed).tell());
}

#[test]
fn restored_backup_repeats_no_run() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let told = std::panic::catch_unwind(|| run(seed));
        assert!(told.is_ok(), "repeat it with: SEED={seed} cargo test --test restore_simulated");
    }
}
