//! The fate of ticks after a gap: the scheduler was killed, or its engine was out of reach.
//!
//! A run that ended in the gap is over by the engine's record, though the store still calls it
//! running. Each scripted run has a schedule of every five seconds, and a gap of thirteen seconds
//! during the run of its first tick. The engine answers slowly: with an instant engine, two
//! inspections would happen in the same instant.

use serde_json::{Value, json};
use tidetable::domain::job::origin::Origin;
use tidetable::domain::job::{Job, Reason, Status};
use tidetable::domain::names::id::JobId;
use tidetable::engine::simulated::RestartEffect;
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Handle, JobRequest};

use super::{BEGIN, name, put, sleep};
use crate::support::virtual_time::World;

/// The cause of the gap.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// The scheduler is killed.
    Killed,
    /// The connection to the engine is cut.
    Cut,
    /// The engine goes down and keeps its containers.
    Down,
}

const WAYS: [Away; 3] = [Away::Killed, Away::Cut, Away::Down];
/// The longest time in seconds until a scheduler finds an engine that is back.
const FOUND_AGAIN: u64 = 6;

pub(super) async fn millis(ms: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
}

/// Puts a schedule of every five seconds with these fields.
async fn put_beat(handle: &Handle, fields: Value) {
    let mut beat = json!({"every": "5s"});
    beat.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    put(handle, beat).await;
}

/// Returns each ledger row, the earliest first: due second, outcome with reason, job.
pub(super) async fn rows(handle: &Handle) -> Vec<(i64, String, Option<JobId>)> {
    let mut rows = handle.ledger(&name(), None, 1_000).await.unwrap();
    rows.reverse();
    let reason =
        |reason: Option<Reason>| reason.map(|reason| format!(" {reason}")).unwrap_or_default();
    let told = rows.iter().map(|row| {
        let outcome = format!("{}{}", row.outcome.unwrap().as_str(), reason(row.reason));
        (row.first.timestamp() - BEGIN, outcome, row.job)
    });
    told.collect()
}

/// Returns the outcomes of the ticks due at these seconds; `-` for a tick without a row.
async fn told<const N: usize>(handle: &Handle, seconds: [i64; N]) -> [String; N] {
    let rows = rows(handle).await;
    let of = |second| {
        rows.iter().find(|row| row.0 == second).map_or_else(|| "-".to_owned(), |row| row.1.clone())
    };
    seconds.map(of)
}

/// Returns the job that the ledger names for the tick due at this second.
async fn job_of(handle: &Handle, second: i64) -> Job {
    let row = rows(handle).await.into_iter().find(|row| row.0 == second);
    let id = row
        .and_then(|row| row.2)
        .unwrap_or_else(|| panic!("the tick at {second} has no row with a job"));
    handle.store().get(id).await.unwrap().unwrap()
}

/// Returns the unclaimed job of the tick due at this second.
async fn waiting_at(handle: &Handle, second: i64) -> Job {
    let jobs = handle.store().jobs_of(&name()).await.unwrap();
    jobs.into_iter()
        .find(|job| job.due_at.timestamp() - BEGIN == second && job.attempt.0 == 0)
        .unwrap()
}

/// Returns the start times of all processes, in milliseconds from the beginning.
fn began(world: &World) -> Vec<i64> {
    world
        .engine
        .runs()
        .iter()
        .map(|run| run.started_at.timestamp_millis() - BEGIN * 1_000)
        .collect()
}

/// Runs a schedule for six seconds, so that the run of its first tick goes on, then waits thirteen
/// seconds without a scheduler.
async fn begin(world: &mut World, fields: Value) {
    world
        .live(async |handle| {
            put_beat(&handle, fields).await;
            sleep(6).await;
        })
        .await;
    assert_eq!(began(world), [5_100]);
    sleep(13).await;
}

/// The run ended at 7, and the next ticks were due at 10 and 15. No run overlaps the tick at 15, so
/// it runs late.
#[tokio::test(start_paused = true)]
async fn last_missed_tick_runs_after_a_kill() {
    for overlap in ["skip", "queue_one", "replace", "allow"] {
        let mut world = World::with_slow_engine(BEGIN);
        begin(&mut world, json!({"overlap": overlap, "spec": {"command": "sleep 2"}})).await;
        let (ticks, first) = world
            .live(async |handle| {
                millis(900).await;
                (told(&handle, [5, 10, 15]).await, job_of(&handle, 5).await)
            })
            .await;
        assert_eq!(ticks, ["ran", "caught_up caught_up", "ran"], "{overlap}");
        let began = began(&world);
        assert!(began.len() == 2 && (19_000..20_000).contains(&began[1]), "{overlap}: {began:?}");
        // A later tick did not stop the run that had ended by itself.
        assert_eq!(
            (first.state.status(), first.state.exit_code()),
            (Status::Succeeded, Some(0)),
            "{overlap}"
        );
        world.is_whole();
    }
}

/// No run overlaps the tick due at 10, because the run before it ended at 7. Later ticks are
/// skipped while it waits, and none is skipped for a finished run.
#[tokio::test(start_paused = true)]
async fn tick_runs_when_the_engine_is_back() {
    for overlap in ["skip", "queue_one"] {
        for way in [Away::Cut, Away::Down] {
            let mut world = World::with_slow_engine(BEGIN);
            let engine = world.engine.clone();
            let ticks = world
                .live(async |handle| {
                    put_beat(&handle, json!({"overlap": overlap, "spec": {"command": "sleep 2"}}))
                        .await;
                    sleep(6).await;
                    leave(&engine, way);
                    sleep(13).await;
                    come_back(&engine, way);
                    sleep(FOUND_AGAIN).await;
                    told(&handle, [5, 10, 15]).await
                })
                .await;
            assert_eq!(ticks, ["ran", "ran", "skipped still_waiting"], "{overlap}, {way:?}");
            let began = began(&world);
            assert!(
                began.get(1).is_some_and(|ms| (19_000..25_000).contains(ms)),
                "{overlap}, {way:?}: {began:?}"
            );
            world.is_whole();
        }
    }
}

/// Only a run that goes on can be replaced. The newest waiting tick runs once the engine is back.
#[tokio::test(start_paused = true)]
async fn run_that_ended_unseen_is_not_replaced() {
    for way in [Away::Cut, Away::Down] {
        let mut world = World::with_slow_engine(BEGIN);
        let engine = world.engine.clone();
        let first = world
            .live(async |handle| {
                put_beat(
                    &handle,
                    json!({"overlap": "replace", "spec": {"command": "sh -c 'sleep 2; exit 3'"}}),
                )
                .await;
                sleep(6).await;
                leave(&engine, way);
                sleep(13).await;
                come_back(&engine, way);
                sleep(FOUND_AGAIN).await;
                job_of(&handle, 5).await
            })
            .await;
        assert_eq!(
            (first.state.status(), first.state.exit_code()),
            (Status::Failed, Some(3)),
            "{way:?}"
        );
        let began = began(&world);
        assert!(began.get(1).is_some_and(|ms| (19_000..25_000).contains(ms)), "{way:?}: {began:?}");
        world.is_whole();
    }
}

/// The tick due at 5 waits for the engine. Of those that are missed after a kill, the last is one
/// too many beside it, also before the engine is back.
#[tokio::test(start_paused = true)]
async fn missed_tick_does_not_wait_beside_another() {
    for overlap in ["skip", "queue_one"] {
        for (catch_up, tenth) in
            [("last", "skipped still_waiting"), ("none", "missed not_caught_up")]
        {
            let mut world = World::with_slow_engine(BEGIN);
            let engine = world.engine.clone();
            let fields =
                json!({"overlap": overlap, "catch_up": catch_up, "spec": {"command": "sleep 2"}});
            world
                .live(async |handle| {
                    put_beat(&handle, fields).await;
                    sleep(2).await;
                    engine.cut(true);
                    sleep(4).await;
                })
                .await;
            sleep(13).await;
            let ticks = world
                .live(async |handle| {
                    millis(500).await;
                    let due = handle.store().jobs_of(&name()).await.unwrap();
                    let due: Vec<i64> = due
                        .iter()
                        .map(|job| job.due_at.timestamp() - BEGIN)
                        .filter(|second| *second < 20)
                        .collect();
                    assert_eq!(due, [5], "{overlap}, {catch_up}");
                    engine.cut(false);
                    sleep(FOUND_AGAIN).await;
                    told(&handle, [5, 10, 15]).await
                })
                .await;
            assert_eq!(ticks, ["ran", tenth, "skipped still_waiting"], "{overlap}, {catch_up}");
            world.is_whole();
        }
    }
}

/// The tick due at 5 waits for its queue until 7 ms before the next one is due. The next one, whose
/// container is ready, is considered then, too, and replaces nothing yet: the run of the tick due
/// at 5 is over when it is due.
#[tokio::test(start_paused = true)]
async fn nothing_is_replaced_before_the_next_tick_is_due() {
    let mut world = World::new(BEGIN);
    world.catalog.queues = serde_json::from_value(json!({"one": 1})).unwrap();
    let ticks = world
        .live(async |handle| {
            let spec = json!({"command": "sleep 7", "queue": "one"});
            let due_at = handle.now() + chrono::TimeDelta::milliseconds(2_993);
            let spec = serde_json::from_value(spec).unwrap();
            let order =
                JobRequest { name: "busybox".parse().unwrap(), spec, due_at, origin: Origin::Api };
            handle.submit(&Caller::anonymous(), order).await.unwrap();
            put_beat(
                &handle,
                json!({"overlap": "replace", "spec": {"command": "true", "queue": "one"}}),
            )
            .await;
            sleep(11).await;
            told(&handle, [5, 10]).await
        })
        .await;
    assert_eq!(ticks, ["ran", "ran"]);
    assert_eq!(began(&world), [2_993, 9_993, 10_000]);
    world.is_whole();
}

fn leave(engine: &tidetable::engine::simulated::SimulatedEngine, way: Away) {
    match way {
        Away::Killed => {}
        Away::Cut => engine.cut(true),
        Away::Down => engine.go_down(RestartEffect::Kept),
    }
}

fn come_back(engine: &tidetable::engine::simulated::SimulatedEngine, way: Away) {
    match way {
        Away::Killed => {}
        Away::Cut => engine.cut(false),
        Away::Down => engine.come_up(),
    }
}

/// Submits a job without a schedule and lets its process end unseen with `code` at second 2. Calls
/// `ask` at second 14, before any inspection, and returns the final job.
async fn ends_unseen(
    way: Away,
    fields: Value,
    code: i32,
    ask: impl AsyncFn(&Handle, JobId),
) -> Job {
    let mut world = World::with_slow_engine(BEGIN);
    let engine = world.engine.clone();
    let mut spec = json!({"command": format!("sh -c 'sleep 2; exit {code}'")});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let submit = async |handle: &Handle| {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        let order = JobRequest {
            name: "busybox".parse().unwrap(),
            spec,
            due_at: handle.now(),
            origin: Origin::Api,
        };
        let id = handle.submit(&Caller::anonymous(), order).await.unwrap().job.id;
        sleep(1).await;
        id
    };
    let finish = async |handle: &Handle, id| {
        ask(handle, id).await;
        engine.cut(false);
        come_back(&engine, way);
        handle.wait(id, std::time::Duration::from_secs(60)).await.unwrap()
    };
    match way {
        Away::Killed => {
            let id = world.live(async |handle| submit(&handle).await).await;
            sleep(13).await;
            // The cut keeps the scheduler from inspecting before `ask` is called.
            engine.cut(true);
            world.live(async |handle| finish(&handle, id).await).await
        }
        Away::Cut | Away::Down => {
            world
                .live(async |handle| {
                    let id = submit(&handle).await;
                    leave(&engine, way);
                    sleep(13).await;
                    finish(&handle, id).await
                })
                .await
        }
    }
}

/// A process that ended before the stop request has its own end, given by its exit code.
#[tokio::test(start_paused = true)]
async fn run_ended_before_stop_request_is_not_stopped() {
    for way in WAYS {
        for (code, status) in [(0, Status::Succeeded), (3, Status::Failed)] {
            let job = ends_unseen(way, json!({}), code, async |handle, id| {
                handle.stop(&Caller::anonymous(), id, None).await.unwrap();
            })
            .await;
            assert_eq!(
                (job.state.status(), job.state.exit_code()),
                (status, Some(code)),
                "{way:?}"
            );
        }
    }
}

/// A process that ended before its timeout has its own end, given by its exit code.
#[tokio::test(start_paused = true)]
async fn run_ended_before_timeout_is_not_timed_out() {
    for way in WAYS {
        for (code, status) in [(0, Status::Succeeded), (3, Status::Failed)] {
            let job = ends_unseen(way, json!({"timeout": "5s"}), code, async |_, _| {}).await;
            assert_eq!(
                (job.state.status(), job.state.exit_code()),
                (status, Some(code)),
                "{way:?}"
            );
        }
    }
}

/// Lets the ticks due at 10, 15 and 20 pass unseen, then calls `story` in the process that starts
/// at 24; the engine is out of reach if `is_cut`. The first two ticks must share the fate of the
/// third tick's job, and have no row while that job waits.
async fn stands_for_two(
    is_cut: bool,
    fields: Value,
    mut change: impl FnMut(&mut World),
    story: impl AsyncFnOnce(&Handle),
) -> [String; 4] {
    let mut world = World::with_slow_engine(BEGIN);
    let engine = world.engine.clone();
    change(&mut world);
    world
        .live(async |handle| {
            put_beat(&handle, fields).await;
            sleep(8).await;
        })
        .await;
    sleep(16).await;
    engine.cut(is_cut);
    change(&mut world);
    let ticks = world
        .live(async |handle| {
            millis(200).await;
            story(&handle).await;
            millis(100).await;
            let rows = rows(&handle).await;
            let job_at = |second: i64| rows.iter().find(|row| row.0 == second).map(|row| row.2);
            assert_eq!(job_at(10), job_at(20), "covered ticks name the job that covers them");
            assert_eq!(job_at(15), job_at(20), "covered ticks name the job that covers them");
            told(&handle, [5, 10, 15, 20]).await
        })
        .await;
    world.is_whole();
    ticks
}

fn covered(outcome: &str) -> [String; 4] {
    ["ran", outcome, outcome, outcome].map(str::to_owned)
}

const SHORT: &str = "sleep 2";

#[tokio::test(start_paused = true)]
async fn covered_ticks_have_no_row_while_job_waits() {
    let ticks =
        stands_for_two(true, json!({"spec": {"command": SHORT}}), |_| {}, async |_| {}).await;
    assert_eq!(ticks, covered("-"));
}

#[tokio::test(start_paused = true)]
async fn covered_ticks_are_caught_up_when_job_ran() {
    let ticks =
        stands_for_two(false, json!({"spec": {"command": SHORT}}), |_| {}, async |_| {}).await;
    assert_eq!(ticks, ["ran", "caught_up caught_up", "caught_up caught_up", "ran"]);
}

#[tokio::test(start_paused = true)]
async fn covered_ticks_are_skipped_when_job_is_canceled() {
    let cancel = async |handle: &Handle| {
        let job = waiting_at(handle, 20).await;
        handle.cancel(&Caller::anonymous(), job.id).await.unwrap();
    };
    let ticks = stands_for_two(true, json!({"spec": {"command": SHORT}}), |_| {}, cancel).await;
    assert_eq!(ticks, covered("skipped"));
}

#[tokio::test(start_paused = true)]
async fn covered_ticks_are_missed_when_job_is_late() {
    let spec = json!({"command": SHORT, "start_deadline": "3s"});
    for is_cut in [false, true] {
        let ticks = stands_for_two(is_cut, json!({"spec": spec}), |_| {}, async |_| {}).await;
        assert_eq!(ticks, covered("missed deadline_passed"), "cut: {is_cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn covered_ticks_are_skipped_when_job_overlaps() {
    let ticks =
        stands_for_two(false, json!({"spec": {"command": "sleep 60"}}), |_| {}, async |_| {}).await;
    assert_eq!(ticks, covered("skipped overlap"));
}

#[tokio::test(start_paused = true)]
async fn covered_ticks_are_skipped_when_schedule_is_paused() {
    let pause = async |handle: &Handle| {
        handle
            .pause_schedule(&Caller::anonymous(), &name(), true, super::Precondition::Anything)
            .await
            .unwrap();
    };
    let ticks = stands_for_two(true, json!({"spec": {"command": SHORT}}), |_| {}, pause).await;
    assert_eq!(ticks, covered("skipped paused"));
}

#[tokio::test(start_paused = true)]
async fn covered_ticks_are_skipped_when_schedule_is_deleted() {
    let delete = async |handle: &Handle| {
        handle
            .delete_schedule(&Caller::anonymous(), &name(), super::Precondition::Anything)
            .await
            .unwrap();
    };
    let ticks = stands_for_two(true, json!({"spec": {"command": SHORT}}), |_| {}, delete).await;
    assert_eq!(ticks, covered("skipped schedule_deleted"));
}

#[tokio::test(start_paused = true)]
async fn covered_ticks_are_skipped_when_job_is_rejected() {
    let mut lives = 0;
    // The definition is missing in the second process.
    let change = |world: &mut World| {
        lives += 1;
        let spec = serde_json::from_value(json!({"image": "busybox", "command": SHORT})).unwrap();
        world.catalog.definitions =
            (lives == 1).then(|| ("JOB_A".to_owned(), spec)).into_iter().collect();
    };
    let ticks =
        stands_for_two(false, json!({"job_name": "JOB_A", "spec": {}}), change, async |_| {}).await;
    assert_eq!(ticks, covered("skipped no_such_job"));
}

/// An unseen failure still pauses the schedule, before a later tick runs, until it is resumed.
#[tokio::test(start_paused = true)]
async fn unseen_failure_pauses_before_later_ticks_run() {
    for overlap in ["skip", "queue_one", "replace", "allow"] {
        for way in WAYS {
            let mut world = World::with_slow_engine(BEGIN);
            let engine = world.engine.clone();
            let spec = json!({"command": "sh -c 'sleep 2; exit 1'"});
            let beat = json!({"overlap": overlap, "pause_on_failure": true, "spec": spec});
            let is_paused = async |handle: &Handle| {
                handle.store().schedule(&name()).await.unwrap().unwrap().schedule.is_paused()
            };
            let resumed = async |handle: &Handle| {
                sleep(FOUND_AGAIN).await;
                assert!(is_paused(handle).await, "{overlap}, {way:?}");
                assert_eq!(engine.runs().len(), 1, "{overlap}, {way:?}");
                handle
                    .pause_schedule(
                        &Caller::anonymous(),
                        &name(),
                        false,
                        super::Precondition::Anything,
                    )
                    .await
                    .unwrap();
                sleep(6).await;
            };
            if let Away::Killed = way {
                begin(&mut world, beat).await;
                world.live(async |handle| resumed(&handle).await).await;
            } else {
                world
                    .live(async |handle| {
                        put_beat(&handle, beat).await;
                        sleep(6).await;
                        leave(&engine, way);
                        sleep(13).await;
                        come_back(&engine, way);
                        resumed(&handle).await;
                    })
                    .await;
            }
            assert_eq!(world.runs(), 2, "{overlap}, {way:?}: runs continue after a resume");
            world.is_whole();
        }
    }
}
