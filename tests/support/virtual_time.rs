//! The scheduler in virtual time, on a store that outlives it, with a wall clock that can be set.

#![allow(dead_code, reason = "each binary of tests uses its part")]

use std::sync::Arc;
use std::time::Duration;

use super::clock::VirtualClock;
use futures::StreamExt;
use tidetable::clock::{Clock, Rng};
use tidetable::domain::names::id::{Attempt, InstanceId, JobId};
use tidetable::domain::output::Lines;
use tidetable::engine::simulated::{Costs, Settings, SimulatedEngine};
use tidetable::scheduler::{self, Catalog, Handle, Parts, Scheduler};
use tidetable::store::backup::back_up;
use tidetable::store::check::check;
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tokio_util::sync::CancellationToken;

/// Everything that outlives a process of the service.
pub(crate) struct World {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) engine: SimulatedEngine,
    pub(crate) dir: tempfile::TempDir,
    /// The content of the config file.
    pub(crate) catalog: Catalog,
    pub(crate) settings: scheduler::Settings,
    /// The number of processes so far.
    pub(crate) lives: u64,
    /// Cancelled when the scheduler has stopped on request.
    pub(crate) stopped: CancellationToken,
}

impl World {
    /// Creates a world with the clock at `begin`, in seconds since 1970, and an instant engine.
    pub(crate) fn new(begin: i64) -> Self {
        Self::with_costs(begin, Costs::default())
    }

    /// Creates a world with an engine as slow as real ones: its answers do not come in the same
    /// instant.
    pub(crate) fn with_slow_engine(begin: i64) -> Self {
        let ms = Duration::from_millis;
        Self::with_costs(
            begin,
            Costs { create: ms(20), start: ms(100), stop: ms(5), remove: ms(20), look: ms(2) },
        )
    }

    fn with_costs(begin: i64, costs: Costs) -> Self {
        let clock = Arc::new(VirtualClock::starting_at(begin * 1_000));
        let engine = SimulatedEngine::new(clock.clone(), Settings { costs, ..Settings::default() });
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self {
            clock,
            engine,
            dir,
            lives: 0,
            stopped: CancellationToken::new(),
            catalog: Catalog::default(),
            settings: Default::default(),
        }
    }

    /// Runs one process of the service until `story` ends, then kills it.
    pub(crate) async fn live<T>(&mut self, story: impl AsyncFnOnce(Handle) -> T) -> T {
        self.live_until(CancellationToken::new(), story).await
    }

    /// Runs one process until `story` ends. A `story` that cancels `stop` goes on while the service
    /// stops.
    pub(crate) async fn live_until<T>(
        &mut self,
        stop: CancellationToken,
        story: impl AsyncFnOnce(Handle) -> T,
    ) -> T {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        self.lives += 1;
        let stopped = self.stopped.clone();
        let (store, writer) =
            SqliteStore::open(self.dir.path(), Threads::Inline, InstanceId::new([7; 16])).unwrap();
        let (scheduler, handle) = Scheduler::new(Parts {
            store: store.clone(),
            logs: Arc::new(LogStore::open(&self.dir.path().join("logs"), Threads::Inline).unwrap()),
            engine: Arc::new(self.engine.clone()),
            clock: self.clock.clone(),
            rng: Rng::from_seed(self.lives),
            catalog: self.catalog.clone(),
            settings: self.settings.clone(),
            metrics: Default::default(),
        });
        let running = async move {
            // The store is held here, so its lock is released together with this process.
            let _store = store;
            tokio::select! {
                () = scheduler.run(stop.clone()) => stopped.cancel(),
                _ = writer.run() => {}
            }
            assert!(stop.is_cancelled(), "it ended by itself");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // Fixed order, so that a seed reproduces the run.
            biased;
            () = running => panic!("it ended by itself"),
            told = story(handle) => told,
        }
    }

    /// Copies the data on disk, as `tidetable backup` does.
    pub(crate) fn back_up(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        back_up(self.dir.path(), &dir.path().join("copy"), self.clock.now()).unwrap();
        dir
    }

    /// Serves that copy from now on.
    pub(crate) fn restore(&mut self, backup: &tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(backup.path().join("copy")).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
            }
        }
        self.dir = dir;
    }

    /// Returns the stored output of an attempt; `None` if none is stored.
    pub(crate) async fn kept(&self, job: JobId, attempt: u32) -> Option<String> {
        let logs = LogStore::open(&self.dir.path().join("logs"), Threads::Inline).unwrap();
        let blocks: Vec<_> = logs.read(job, Attempt(attempt)).await.unwrap()?.collect().await;
        let blocks: Vec<Lines> = blocks.into_iter().map(Result::unwrap).collect();
        let lines = blocks.iter().flat_map(Lines::iter);
        Some(lines.map(|line| String::from_utf8_lossy(line.text).into_owned() + "\n").collect())
    }

    /// Returns the number of started containers.
    pub(crate) fn runs(&self) -> usize {
        self.engine.runs().len()
    }

    /// Checks that the state on disk is intact.
    ///
    /// # Panics
    /// Panics with the report of `check` if the data is damaged.
    pub(crate) fn is_whole(&self) {
        let report = check(self.dir.path()).unwrap();
        assert!(report.whole, "{report}");
    }
}
