//! Schedules over days, restarts and clocks that are set: the service on the simulated engine, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidetable::clock::{Clock, Dice};
use tidetable::domain::id::{InstanceId, Timestamp};
use tidetable::domain::ledger::LedgerRow;
use tidetable::domain::recurrence::Zone;
use tidetable::domain::schedule::ScheduleName;
use tidetable::engine::simulated::{Settings, SimulatedEngine};
use tidetable::scheduler::{Catalog, Expected, Handle, Parts, Scheduler};
use tidetable::store::check::check;
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const HOUR: u64 = 3_600;

/// Virtual time as a wall clock that can be set. It begins at a full hour.
struct VirtualClock(Instant, AtomicI64);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.0.elapsed().as_millis()).unwrap() + self.1.load(Ordering::Relaxed);
        Timestamp::from_timestamp_millis(1_700_002_800_000 + elapsed).unwrap()
    }
}

struct World {
    clock: Arc<VirtualClock>,
    engine: SimulatedEngine,
    dir: tempfile::TempDir,
    lives: u64,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock(Instant::now(), AtomicI64::new(0)));
        let engine = SimulatedEngine::new(clock.clone(), Settings::default());
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { clock, engine, dir, lives: 0 }
    }

    /// One life of the service, until `story` has ended; then it is killed.
    async fn live<T>(&mut self, story: impl AsyncFnOnce(Handle) -> T) -> T {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.lives += 1;
        let (store, writer) = SqliteStore::open(self.dir.path(), Threads::Inline, InstanceId::new([7; 16])).unwrap();
        let (scheduler, handle) = Scheduler::new(Parts {
            store: store.clone(),
            logs: Arc::new(LogStore::open(&self.dir.path().join("logs"), Threads::Inline).unwrap()),
            engine: Arc::new(self.engine.clone()),
            clock: self.clock.clone(),
            dice: Dice::from_seed(self.lives),
            catalog: Catalog::default(),
            settings: Default::default(),
        });
        let running = async move {
            // Kept here, so that the lock goes with this life.
            let _store = store;
            tokio::join!(scheduler.run(CancellationToken::new()), writer.run());
        };
        tokio::select! {
            () = running => panic!("it ended by itself"),
            told = story(handle) => told,
        }
    }

    fn runs(&self) -> usize {
        self.engine.runs().len()
    }

    fn is_whole(&self) {
        let report = check(self.dir.path()).unwrap();
        assert!(report.whole, "{report}");
    }
}

fn name() -> ScheduleName {
    "a".parse().unwrap()
}

async fn put(handle: &Handle, fields: Value) {
    let mut schedule = json!({"job_name": "busybox", "spec": {"command": "true"}});
    schedule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let schedule = serde_json::from_value(schedule).unwrap();
    handle.put_schedule(&name(), schedule, Zone::UTC, Expected::Anything).await.unwrap();
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// What became of its ticks, the earliest first: outcome and reason.
async fn ledger(handle: &Handle) -> Vec<String> {
    let mut rows: Vec<LedgerRow> = handle.ledger(&name(), None, 1_000).await.unwrap();
    rows.reverse();
    let ticks: BTreeSet<_> = rows.iter().map(|row| (row.generation, row.first)).collect();
    assert_eq!(ticks.len(), rows.len(), "a tick has one row");
    let reason = |row: &LedgerRow| row.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
    rows.iter().map(|row| format!("{}{}", row.outcome.unwrap().as_str(), reason(row))).collect()
}

#[tokio::test(start_paused = true)]
async fn each_tick_runs_once_through_restarts_and_each_is_in_the_ledger() {
    let mut world = World::new();
    world.live(async |handle| put(&handle, json!({"cron": "0 * * * *"})).await).await;
    for _ in 0..12 {
        // Killed in whatever it does: a few seconds before, at, and after a full hour.
        world.live(async |_| sleep(HOUR / 2 - 3).await).await;
    }
    let ticks = world
        .live(async |handle| {
            sleep(60).await;
            ledger(&handle).await
        })
        .await;
    let hours = (world.clock.now().timestamp() - 1_700_002_800) / 3_600;
    assert_eq!(ticks, vec!["ran"; usize::try_from(hours).unwrap()]);
    assert_eq!(world.runs(), ticks.len());
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_caught_up_as_the_schedule_says() {
    const TOO_OLD: &str = "missed outside_window";
    const STOOD_FOR: &str = "caught_up caught_up";
    const NOT: &str = "missed not_caught_up";
    for (catch_up, expected, runs) in [
        ("last", [TOO_OLD, TOO_OLD, STOOD_FOR, STOOD_FOR, "caught_up"], 1),
        ("none", [TOO_OLD, TOO_OLD, NOT, NOT, NOT], 0),
        ("all", [TOO_OLD, TOO_OLD, "caught_up", "caught_up", "caught_up"], 3),
    ] {
        let mut world = World::new();
        let schedule =
            json!({"cron": "0 * * * *", "catch_up": catch_up, "catch_up_window": "150m", "overlap": "allow"});
        world.live(async |handle| put(&handle, schedule).await).await;
        sleep(5 * HOUR + 300).await;
        let ticks = world
            .live(async |handle| {
                sleep(30).await;
                ledger(&handle).await
            })
            .await;
        assert_eq!((ticks, world.runs()), (expected.iter().map(|t| (*t).to_owned()).collect(), runs), "{catch_up}");
        world.is_whole();
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_runs_no_tick_twice() {
    let mut world = World::new();
    let clock = world.clock.clone();
    let ticks = world
        .live(async |handle| {
            put(&handle, json!({"cron": "0 * * * *"})).await;
            sleep(HOUR + 60).await;
            clock.1.fetch_sub(120_000, Ordering::Relaxed);
            sleep(300).await;
            clock.1.fetch_add(2 * 3_600_000, Ordering::Relaxed);
            sleep(60).await;
            ledger(&handle).await
        })
        .await;
    assert_eq!(ticks, ["ran", "caught_up caught_up", "caught_up"]);
    assert_eq!(world.runs(), 2);
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn what_overlaps_is_skipped_queued_let_go_or_replaces() {
    let long = json!({"command": "sleep 5400"});
    for (overlap, expected, runs) in [
        ("skip", vec!["ran", "skipped overlap", "ran"], 2),
        ("queue_one", vec!["ran", "ran"], 2),
        ("allow", vec!["ran", "ran", "ran"], 3),
        ("replace", vec!["ran", "ran", "ran"], 3),
    ] {
        let mut world = World::new();
        let ticks = world
            .live(async |handle| {
                put(&handle, json!({"cron": "0 * * * *", "overlap": overlap, "spec": long})).await;
                sleep(3 * HOUR + 600).await;
                ledger(&handle).await
            })
            .await;
        assert_eq!((ticks, world.runs()), (expected.iter().map(|t| (*t).to_owned()).collect(), runs), "{overlap}");
        world.is_whole();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_skips_max_runs_ends_and_a_failure_pauses() {
    let mut world = World::new();
    let ticks = world
        .live(async |handle| {
            put(&handle, json!({"cron": "0 * * * *", "max_runs": 2})).await;
            sleep(HOUR + 60).await;
            handle.pause_schedule(&name(), true, Expected::Anything).await.unwrap();
            sleep(2 * HOUR).await;
            assert_eq!(ledger(&handle).await, ["ran", "skipped paused", "skipped paused"], "also while it lasts");
            handle.pause_schedule(&name(), false, Expected::Anything).await.unwrap();
            sleep(5 * HOUR).await;
            assert!(handle.store().jobs_of(&name()).await.unwrap().is_empty(), "nothing waits any more");
            ledger(&handle).await
        })
        .await;
    assert_eq!((ticks.join(", "), world.runs()), ("ran, skipped paused, skipped paused, ran".into(), 2));

    let mut world = World::new();
    let failing = json!({"cron": "0 * * * *", "pause_on_failure": true, "spec": {"command": "false"}});
    let paused = world
        .live(async |handle| {
            put(&handle, failing).await;
            sleep(3 * HOUR).await;
            handle.store().schedule(&name()).await.unwrap().unwrap().schedule.is_paused()
        })
        .await;
    assert_eq!((paused, world.runs()), (true, 1));
    world.is_whole();
}
