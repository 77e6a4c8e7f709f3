//! Ticks that come faster than they can start: limits on the waiting ticks of a schedule, and the
//! ledger rows of all others.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidetable::domain::job::Job;
use tidetable::domain::names::schedule::ScheduleName;
use tidetable::domain::precondition::Precondition;
use tidetable::domain::recurrence::Zone;
use tidetable::scheduler::Caller;
use tidetable::scheduler::Handle;

use super::away::{millis, rows};
use super::{BEGIN, name, put, schedule, sleep};
use crate::support::virtual_time::World;

/// The longest time in seconds for a round to decide a tick: the wall clock is read once a second.
const DECIDED_WITHIN: i64 = 2;
/// The largest number of waiting ticks of a schedule that allows overlap.
const MAX_BACKLOG: usize = 100;

/// Puts `count` schedules of every second with these fields.
async fn put_many(handle: &Handle, count: usize, fields: &Value) -> Vec<ScheduleName> {
    let mut names = Vec::new();
    for n in 0..count {
        let name: ScheduleName = format!("s{n}").parse().unwrap();
        let every_second = schedule(json!({"every": "1s"}));
        let mut every_second = serde_json::to_value(every_second).unwrap();
        every_second.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let schedule = serde_json::from_value(every_second).unwrap();
        handle
            .put_schedule(&Caller::anonymous(), &name, schedule, Zone::UTC, Precondition::Anything)
            .await
            .unwrap();
        names.push(name);
    }
    names
}

/// Returns the number of claimed jobs of a schedule, and of due jobs that wait.
async fn begun_and_waiting(handle: &Handle, name: &ScheduleName) -> (usize, usize) {
    let jobs = handle.store().jobs_of(name).await.unwrap();
    let now = handle.now();
    let is_due = |job: &&Job| (now - job.due_at).num_seconds() >= DECIDED_WITHIN;
    let begun = jobs.iter().filter(|job| job.attempt.0 > 0).count();
    (begun, jobs.iter().filter(|job| job.attempt.0 == 0).filter(is_due).count())
}

/// Checks that a schedule that skips has at most one claimed or waiting job, and that one with
/// `queue_one` has one waiting job besides. All other ticks must have a row. Returns outcomes with
/// reasons.
async fn holds_no_backlog(
    handle: &Handle,
    names: &[ScheduleName],
    overlap: &str,
) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for name in names {
        let (begun, waiting) = begun_and_waiting(handle, name).await;
        // While the engine is away nobody knows if claimed jobs still run, so a tick may wait for
        // them.
        let is_known = handle.health().is_up();
        let most = if overlap == "skip" && is_known { 1 } else { 1 + begun };
        assert!(begun + waiting <= most, "{overlap}, {name}: {begun} are begun and {waiting} wait");
        let due = handle.now().timestamp() - BEGIN - DECIDED_WITHIN;
        let rows = handle.ledger(name, None, 1_000).await.unwrap();
        let decided = rows.iter().filter(|row| row.first.timestamp() - BEGIN <= due).count();
        assert!(
            decided + waiting >= usize::try_from(due).unwrap(),
            "{overlap}, {name}: {decided} of {due} have a row"
        );
        let reason = |row: &tidetable::domain::schedule::ledger::LedgerRow| {
            row.reason.map(|reason| format!(" {reason}")).unwrap_or_default()
        };
        told.extend(
            rows.iter().map(|row| format!("{}{}", row.outcome.unwrap().as_str(), reason(row))),
        );
    }
    told
}

fn words(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn skipped_ticks_never_pile_up_without_slots() {
    let mut world = World::new(BEGIN);
    world.settings.max_running = 2;
    world
        .live(async |handle| {
            let names = put_many(&handle, 50, &json!({"spec": {"command": "sleep 1"}})).await;
            let mut told = BTreeSet::new();
            for _ in 0..3 {
                millis(10_500).await;
                told = holds_no_backlog(&handle, &names, "skip").await;
            }
            let allowed = words(&["ran", "skipped overlap", "skipped still_waiting"]);
            assert!(told.is_subset(&allowed) && told.contains("skipped still_waiting"), "{told:?}");
            for name in &names {
                let rows = handle.ledger(name, None, 1_000).await.unwrap();
                assert!(
                    rows.iter().any(|row| row.outcome.unwrap().as_str() == "ran"),
                    "{name} has run at least once"
                );
            }
        })
        .await;
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn ticks_never_pile_up_behind_full_queue() {
    for overlap in ["skip", "queue_one"] {
        let mut world = World::new(BEGIN);
        world.catalog.queues = serde_json::from_value(json!({"one": 1})).unwrap();
        world
            .live(async |handle| {
                let spec = json!({"command": "sleep 3", "queue": "one"});
                let names = put_many(&handle, 10, &json!({"overlap": overlap, "spec": spec})).await;
                put(&handle, json!({"every": "1s", "overlap": "allow"})).await;
                let mut told = BTreeSet::new();
                for _ in 0..4 {
                    millis(10_500).await;
                    told = holds_no_backlog(&handle, &names, overlap).await;
                }
                let allowed = words(&["ran", "skipped overlap", "skipped still_waiting"]);
                assert!(
                    told.is_subset(&allowed) && told.contains("skipped still_waiting"),
                    "{overlap}: {told:?}"
                );
                assert!(
                    rows(&handle).await.len() > 38,
                    "a schedule outside the queue is not delayed"
                );
            })
            .await;
        world.is_whole();
    }
}

/// While the engine is away a tick waits by the store's word alone. Later ticks need not wait.
#[tokio::test(start_paused = true)]
async fn ticks_never_pile_up_while_engine_is_away() {
    for overlap in ["skip", "queue_one"] {
        let mut world = World::new(BEGIN);
        let engine = world.engine.clone();
        world
            .live(async |handle| {
                let names = put_many(&handle, 3, &json!({"overlap": overlap})).await;
                sleep(3).await;
                engine.cut(true);
                millis(30_500).await;
                holds_no_backlog(&handle, &names, overlap).await;
            })
            .await;
        world.is_whole();
    }
}

/// Ticks that may overlap pile up to a bound, and the ledger says so.
#[tokio::test(start_paused = true)]
async fn at_most_hundred_overlapping_ticks_wait() {
    let mut world = World::new(BEGIN);
    let engine = world.engine.clone();
    world
        .live(async |handle| {
            put(&handle, json!({"every": "1s", "overlap": "allow"})).await;
            millis(2_500).await;
            engine.cut(true);
            for _ in 0..13 {
                sleep(10).await;
                let (_, waiting) = begun_and_waiting(&handle, &name()).await;
                assert!(waiting <= MAX_BACKLOG, "{waiting} wait");
            }
            let told = rows(&handle).await;
            let over = told.iter().filter(|row| row.1 == "skipped backlog").count();
            assert!((26..=32).contains(&over), "130 came, 100 wait: {over} {told:?}");
            engine.cut(false);
            sleep(10).await;
            let told = rows(&handle).await;
            let over = told.iter().filter(|row| row.1 == "skipped backlog").count();
            let ran = told.iter().filter(|row| row.1 == "ran").count();
            assert_eq!(ran + over, told.len(), "all waiting ticks have run: {told:?}");
            assert!(told.len() > 138, "{}", told.len());
        })
        .await;
    world.is_whole();
}

/// Checks that each missed tick runs, one after another, if all are caught up: they are not skipped
/// for each other.
async fn catches_all_up(overlap: &str) {
    let mut world = World::new(BEGIN);
    let every = json!({"every": "5s", "overlap": overlap, "catch_up": "all", "spec": {"command": "sleep 0.5"}});
    world
        .live(async |handle| {
            put(&handle, every).await;
            sleep(8).await;
        })
        .await;
    sleep(23).await;
    // At second 31 the ticks due at 10, 15 … 30 are missed, and all can run before the next is due.
    let told = world
        .live(async |handle| {
            millis(3_900).await;
            rows(&handle).await
        })
        .await;
    let of_missed: Vec<&str> =
        told.iter().filter(|row| (10..=30).contains(&row.0)).map(|row| row.1.as_str()).collect();
    let expected = ["caught_up", "caught_up", "caught_up", "caught_up", "ran"];
    assert_eq!(of_missed, expected, "{overlap}");
    let runs = world.engine.runs();
    let overlaps =
        runs.windows(2).any(|pair| pair[0].ended.is_none_or(|(end, _)| end > pair[1].started_at));
    assert!(!overlaps, "{overlap}: {runs:?}");
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn all_missed_ticks_run_with_overlap_skip() {
    catches_all_up("skip").await;
}

#[tokio::test(start_paused = true)]
async fn all_missed_ticks_run_with_overlap_queue_one() {
    catches_all_up("queue_one").await;
}

#[tokio::test(start_paused = true)]
async fn all_missed_ticks_run_with_overlap_replace() {
    catches_all_up("replace").await;
}
