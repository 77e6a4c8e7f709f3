//! Schedules of the config file, over restarts and changes of the file.

use serde_json::{Value, json};
use tidetable::clock::Clock;
use tidetable::domain::precondition::Precondition;
use tidetable::domain::recurrence::Zone;
use tidetable::domain::schedule::record::ScheduleRecord;
use tidetable::scheduler::Caller;
use tidetable::scheduler::Handle;

use super::{BEGIN, HOUR, ledger, name, schedule, sleep};
use crate::support::virtual_time::World;

/// Puts this schedule into the config file, or removes it if `None`.
fn declare(world: &mut World, fields: Option<Value>) {
    world.catalog.schedules =
        fields.map(|fields| (name(), schedule(fields).in_zone(Zone::UTC))).into_iter().collect();
}

async fn record(handle: &Handle) -> ScheduleRecord {
    handle.store().schedule(&name()).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn config_schedule_keeps_its_period_over_restarts() {
    let mut world = World::new(BEGIN);
    let begun = world.clock.now();
    declare(&mut world, Some(json!({"every": "100m"})));
    for _ in 0..11 {
        world.live(async |_| sleep(HOUR / 2).await).await;
    }
    let (record, ticks) = world
        .live(async |handle| {
            sleep(60).await;
            (record(&handle).await, ledger(&handle).await)
        })
        .await;
    assert_eq!((record.generation.0, record.accepted_at), (1, begun));
    assert_eq!((ticks, world.runs()), (vec!["ran".to_owned(); 3], 3));
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn changed_config_schedule_runs_no_past_ticks() {
    let mut world = World::new(BEGIN);
    declare(&mut world, Some(json!({"cron": "0 * * * *", "catch_up": "none"})));
    world.live(async |_| sleep(2 * HOUR + 300).await).await;
    sleep(5 * HOUR).await;
    declare(&mut world, Some(json!({"cron": "*/10 * * * *", "catch_up": "all"})));
    let ticks = world
        .live(async |handle| {
            sleep(30).await;
            assert_eq!(record(&handle).await.generation.0, 2);
            assert_eq!(waiting(&handle).await, 1, "the job to come, and no other");
            sleep(20 * 60).await;
            ledger(&handle).await
        })
        .await;
    // Ticks before the change were decided by the earlier revision.
    let missed = "missed not_caught_up";
    assert_eq!(ticks, ["ran", "ran", missed, missed, missed, missed, missed, "ran", "ran"]);
    assert_eq!(world.runs(), 4);
    world.is_whole();
}

/// Returns the number of active and waiting jobs of the schedule.
async fn waiting(handle: &Handle) -> usize {
    handle.store().jobs_of(&name()).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn schedule_removed_from_config_never_runs_again() {
    let mut world = World::new(BEGIN);
    declare(&mut world, Some(json!({"cron": "0 * * * *"})));
    world.live(async |_| sleep(60).await).await;
    sleep(2 * HOUR).await;
    declare(&mut world, None);
    world
        .live(async |handle| {
            sleep(2 * HOUR).await;
            assert_eq!(handle.store().schedule(&name()).await.unwrap(), None);
            assert_eq!(waiting(&handle).await, 0);
        })
        .await;
    assert_eq!(world.runs(), 0);
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn manual_pause_lasts_until_config_says_otherwise() {
    let mut world = World::new(BEGIN);
    declare(&mut world, Some(json!({"cron": "0 * * * *"})));
    world
        .live(async |handle| {
            sleep(1).await;
            handle
                .pause_schedule(&Caller::anonymous(), &name(), true, Precondition::Anything)
                .await
                .unwrap();
        })
        .await;
    for (fields, is_paused) in [
        (json!({"cron": "0 * * * *"}), true),
        (json!({"cron": "30 * * * *"}), true),
        (json!({"cron": "30 * * * *", "paused": true}), true),
        (json!({"cron": "30 * * * *", "paused": false}), false),
    ] {
        declare(&mut world, Some(fields.clone()));
        let paused = world
            .live(async |handle| {
                sleep(HOUR).await;
                record(&handle).await.schedule.is_paused()
            })
            .await;
        assert_eq!(paused, is_paused, "{fields}");
    }
    assert_eq!(world.runs(), 1);
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn another_config_file_pauses_schedules_of_the_first() {
    let mut world = World::new(BEGIN);
    world.catalog.file.path = "/a.toml".to_owned();
    declare(&mut world, Some(json!({"cron": "0 * * * *"})));
    world.live(async |_| sleep(HOUR + 60).await).await;
    for path in ["", "/b.toml"] {
        world.catalog.file.path = path.to_owned();
        declare(&mut world, None);
        world
            .live(async |handle| {
                sleep(HOUR).await;
                assert!(record(&handle).await.is_aside(), "{path}");
                assert_eq!(handle.notices().len(), 1);
            })
            .await;
    }
    world.catalog.file.path = "/a.toml".to_owned();
    declare(&mut world, Some(json!({"cron": "0 * * * *"})));
    let ticks = world
        .live(async |handle| {
            sleep(HOUR).await;
            assert!(!record(&handle).await.schedule.is_paused() && handle.notices().is_empty());
            ledger(&handle).await
        })
        .await;
    assert_eq!(ticks, ["ran", "skipped paused", "skipped paused", "ran"]);
    world.is_whole();
}

#[tokio::test(start_paused = true)]
async fn manual_pause_outlasts_another_config_file() {
    let mut world = World::new(BEGIN);
    world.catalog.file.path = "/a.toml".to_owned();
    let fields = json!({"cron": "0 * * * *"});
    declare(&mut world, Some(fields.clone()));
    world
        .live(async |handle| {
            sleep(1).await;
            handle
                .pause_schedule(&Caller::anonymous(), &name(), true, Precondition::Anything)
                .await
                .unwrap();
        })
        .await;
    for path in ["/b.toml", "/a.toml"] {
        world.catalog.file.path = path.to_owned();
        world
            .live(async |handle| {
                sleep(HOUR).await;
                let record = record(&handle).await;
                assert_eq!(
                    (record.schedule.is_paused(), record.is_aside()),
                    (true, path == "/b.toml")
                );
            })
            .await;
    }
    assert_eq!(world.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn adopting_config_file_takes_over_schedules() {
    let mut world = World::new(BEGIN);
    world.catalog.file.path = "/a.toml".to_owned();
    declare(&mut world, Some(json!({"cron": "0 * * * *"})));
    world.live(async |_| sleep(60).await).await;
    world.catalog.file.path = "/b.toml".to_owned();
    declare(&mut world, Some(json!({"cron": "0 * * * *"})));
    world.live(async |handle| (sleep(60).await, assert!(record(&handle).await.is_aside())).1).await;
    world.catalog.file.adopts = true;
    world
        .live(async |handle| {
            (sleep(60).await, assert!(!record(&handle).await.schedule.is_paused())).1
        })
        .await;
    world.catalog.file.adopts = false;
    declare(&mut world, None);
    world
        .live(async |handle| {
            sleep(60).await;
            assert_eq!(
                handle.store().schedule(&name()).await.unwrap(),
                None,
                "it is this file's now"
            );
        })
        .await;
    world.is_whole();
}
