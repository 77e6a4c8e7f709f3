//! Schedules over days, restarts and clock changes: the service on the simulated engine, in virtual
//! time.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::virtual_time::World;
use serde_json::{Value, json};
use tidetable::clock::Clock;
use tidetable::domain::precondition::Precondition;
use tidetable::domain::recurrence::Zone;
use tidetable::domain::schedule::ledger::LedgerRow;
use tidetable::domain::{names::schedule::ScheduleName, schedule::Schedule};
use tidetable::scheduler::Caller;
use tidetable::scheduler::Handle;

mod away;
mod counted;
mod declared;
mod pile_up;
mod year;

/// The full hour at which these runs begin, in seconds since 1970.
const BEGIN: i64 = 1_700_002_800;
const HOUR: u64 = 3_600;

fn name() -> ScheduleName {
    "a".parse().unwrap()
}

fn schedule(fields: Value) -> Schedule {
    let mut schedule = json!({"job_name": "busybox", "spec": {"command": "true"}});
    schedule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(schedule).unwrap()
}

async fn put(handle: &Handle, fields: Value) {
    handle
        .put_schedule(
            &Caller::anonymous(),
            &name(),
            schedule(fields),
            Zone::UTC,
            Precondition::Anything,
        )
        .await
        .unwrap();
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Returns outcome and reason of each tick, the earliest first.
async fn ledger(handle: &Handle) -> Vec<String> {
    let mut rows: Vec<LedgerRow> = handle.ledger(&name(), None, 1_000).await.unwrap();
    rows.reverse();
    let ticks: BTreeSet<_> = rows.iter().map(|row| (row.generation, row.first)).collect();
    assert_eq!(ticks.len(), rows.len(), "a tick has one row");
    let reason =
        |row: &LedgerRow| row.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
    rows.iter().map(|row| format!("{}{}", row.outcome.unwrap().as_str(), reason(row))).collect()
}

#[tokio::test(start_paused = true)]
async fn each_tick_runs_once_over_restarts() {
    let mut world = World::new(BEGIN);
    world.live(async |handle| put(&handle, json!({"cron": "0 * * * *"})).await).await;
    for _ in 0..12 {
        // Each kill falls into the middle of the work: a few seconds before, at, or after a full
        // hour.
        world.live(async |_| sleep(HOUR / 2 - 3).await).await;
    }
    let ticks = world
        .live(async |handle| {
            sleep(60).await;
            ledger(&handle).await
        })
        .await;
    let hours = (world.clock.now().timestamp() - BEGIN) / 3_600;
    assert_eq!(ticks, vec!["ran"; usize::try_from(hours).unwrap()]);
    assert_eq!(world.runs(), ticks.len());
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn missed_ticks_follow_the_catch_up_policy() {
    const TOO_OLD: &str = "missed outside_window";
    const STOOD_FOR: &str = "caught_up caught_up";
    const NOT: &str = "missed not_caught_up";
    for (catch_up, expected, runs) in [
        ("last", [TOO_OLD, TOO_OLD, STOOD_FOR, STOOD_FOR, "caught_up"], 1),
        ("none", [TOO_OLD, TOO_OLD, NOT, NOT, NOT], 0),
        ("all", [TOO_OLD, TOO_OLD, "caught_up", "caught_up", "caught_up"], 3),
    ] {
        let mut world = World::new(BEGIN);
        let schedule = json!({"cron": "0 * * * *", "catch_up": catch_up, "catch_up_window": "150m", "overlap": "allow"});
        world.live(async |handle| put(&handle, schedule).await).await;
        sleep(5 * HOUR + 300).await;
        let ticks = world
            .live(async |handle| {
                sleep(30).await;
                ledger(&handle).await
            })
            .await;
        assert_eq!(
            (ticks, world.runs()),
            (expected.iter().map(|t| (*t).to_owned()).collect(), runs),
            "{catch_up}"
        );
        world.is_whole();
    }
}

#[tokio::test(start_paused = true)]
async fn setting_the_clock_runs_no_tick_twice() {
    let mut world = World::new(BEGIN);
    let clock = world.clock.clone();
    let ticks = world
        .live(async |handle| {
            put(&handle, json!({"cron": "0 * * * *"})).await;
            sleep(HOUR + 60).await;
            clock.jump(-120_000);
            sleep(300).await;
            clock.jump(2 * 3_600_000);
            sleep(60).await;
            ledger(&handle).await
        })
        .await;
    assert_eq!(ticks, ["ran", "caught_up caught_up", "caught_up"]);
    assert_eq!(world.runs(), 2);
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn overlap_policy_skips_queues_allows_or_replaces() {
    let long = json!({"command": "sleep 5400"});
    for (overlap, expected, runs) in [
        ("skip", vec!["ran", "skipped overlap", "ran"], 2),
        ("queue_one", vec!["ran", "ran"], 2),
        ("allow", vec!["ran", "ran", "ran"], 3),
        ("replace", vec!["ran", "ran", "ran"], 3),
    ] {
        let mut world = World::new(BEGIN);
        let ticks = world
            .live(async |handle| {
                put(&handle, json!({"cron": "0 * * * *", "overlap": overlap, "spec": long})).await;
                sleep(3 * HOUR + 600).await;
                ledger(&handle).await
            })
            .await;
        assert_eq!(
            (ticks, world.runs()),
            (expected.iter().map(|t| (*t).to_owned()).collect(), runs),
            "{overlap}"
        );
        world.is_whole();
    }
}

#[tokio::test(start_paused = true)]
async fn pause_max_runs_and_pause_on_failure_work() {
    let mut world = World::new(BEGIN);
    let ticks = world
        .live(async |handle| {
            put(&handle, json!({"cron": "0 * * * *", "max_runs": 2})).await;
            sleep(HOUR + 60).await;
            handle
                .pause_schedule(&Caller::anonymous(), &name(), true, Precondition::Anything)
                .await
                .unwrap();
            sleep(2 * HOUR).await;
            assert_eq!(
                ledger(&handle).await,
                ["ran", "skipped paused", "skipped paused"],
                "rows appear during the pause"
            );
            handle
                .pause_schedule(&Caller::anonymous(), &name(), false, Precondition::Anything)
                .await
                .unwrap();
            sleep(5 * HOUR).await;
            assert!(
                handle.store().jobs_of(&name()).await.unwrap().is_empty(),
                "no job waits after max_runs"
            );
            ledger(&handle).await
        })
        .await;
    assert_eq!(
        (ticks.join(", "), world.runs()),
        ("ran, skipped paused, skipped paused, ran".into(), 2)
    );

    let mut world = World::new(BEGIN);
    let failing =
        json!({"cron": "0 * * * *", "pause_on_failure": true, "spec": {"command": "false"}});
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

#[tokio::test(start_paused = true)]
async fn restored_backup_skips_ticks_that_may_have_run() {
    let mut world = World::new(BEGIN);
    let hourly = json!({"cron": "0 * * * *", "catch_up": "all"});
    world
        .live(async |handle| {
            put(&handle, hourly).await;
            sleep(HOUR + 60).await;
        })
        .await;
    let backup = world.back_up();
    world.live(async |_| sleep(3 * HOUR).await).await;
    assert_eq!(world.runs(), 4);
    world.restore(&backup);
    let ticks = world
        .live(async |handle| {
            sleep(60).await;
            ledger(&handle).await
        })
        .await;
    // The second job was in the backup, and the engine knows that it ran.
    assert_eq!(ticks, ["ran", "ran", "missed restored", "missed restored"]);
    assert_eq!(world.runs(), 4);
    world.live(async |_| sleep(HOUR).await).await;
    assert_eq!(world.runs(), 5, "ticks continue");
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn forecast_matches_the_later_runs() {
    let mut world = World::new(BEGIN);
    let foretold = world
        .live(async |handle| {
            let spec = json!({"command": ["sh", "-c", "sleep 5400"]});
            put(&handle, json!({"every": "1h", "overlap": "skip", "spec": spec})).await;
            let forecast = async || {
                handle.forecast(6, handle.store().snapshot().await.unwrap()).await.unwrap()
            };
            let before = forecast().await;
            assert_eq!(
                (before.entries.len(), before.entries[0].expected, before.crossings.len()),
                (6, None, 0)
            );
            sleep(3 * HOUR + 60).await;
            forecast().await
        })
        .await;
    // A run lasts from 1:00 to 2:30, and one from 3:00 to 4:30: 4:00 is skipped, 5:00 runs, 6:00 is
    // skipped …
    let overlaps: Vec<bool> = foretold.entries.iter().map(|entry| entry.overlaps).collect();
    assert_eq!(overlaps, [true, false, true, false, true, false]);
    assert_eq!(foretold.entries[0].expected.map(|expected| expected.as_secs()), Some(5_400));
    let crossing = &foretold.crossings[0];
    assert_eq!((&crossing.schedule, crossing.runs), (&name(), 3));
    let before = world.runs();
    world.live(async |_| sleep(6 * HOUR).await).await;
    assert_eq!(world.runs() - before, overlaps.iter().filter(|overlaps| !**overlaps).count());
}
