//! Containers created ahead of time: they exist, fit the job, are removed when useless, and never
//! start before the due time. The service runs on the simulated engine, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use serde_json::{Value, json};
use tidetable::domain::job::origin::Origin;
use tidetable::domain::job::{Job, Status};
use tidetable::domain::names::id::{JobId, Timestamp};
use tidetable::domain::precondition::Precondition;
use tidetable::domain::recurrence::Zone;
use tidetable::engine::simulated::{
    Call, Costs, EventKind, Fault, RecordedEvent, Settings, SimulatedEngine, nth,
};
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Handle, JobRequest, Rules};

use crate::support::virtual_time::World;

const BEGIN: i64 = 1_700_002_800;
/// The time between a container's creation and its job's due time.
const AHEAD: Duration = Duration::from_secs(15);

impl World {
    fn staging() -> Self {
        let mut world = Self::new(BEGIN);
        world.settings.stage_ahead = AHEAD;
        world
    }

    /// Returns a world with an engine that has this fault in the first such call.
    fn where_wrong(call: Call, fault: Fault) -> Self {
        let mut world = Self::staging();
        let faults = Some(nth(call, 0, fault));
        world.engine =
            SimulatedEngine::new(world.clock.clone(), Settings { faults, ..Settings::default() });
        world
    }

    /// Returns the events of a job's containers, with the second of each.
    fn story(&self, job: JobId) -> Vec<(EventKind, i64)> {
        let of_job = |it: &RecordedEvent| it.owner.is_some_and(|owner| owner.job == job);
        let second = |at: Timestamp| at.timestamp() - BEGIN;
        self.engine
            .recorded_events()
            .into_iter()
            .filter(of_job)
            .map(|it| (it.what, second(it.at)))
            .collect()
    }
}

/// Submits a job that is due in `seconds`.
async fn submit(handle: &Handle, seconds: i64, spec: Value) -> JobId {
    submit_as(handle, "busybox", seconds, spec).await
}

async fn submit_as(handle: &Handle, name: &str, seconds: i64, spec: Value) -> JobId {
    let due_at = handle.now() + chrono::TimeDelta::seconds(seconds);
    let order = JobRequest {
        name: name.parse().unwrap(),
        spec: serde_json::from_value(spec).unwrap(),
        due_at,
        origin: Origin::Api,
    };
    handle.submit(&Caller::anonymous(), order).await.unwrap().job.id
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn ends(handle: &Handle, job: JobId) -> Status {
    handle.wait(job, Duration::from_secs(3_600)).await.unwrap().state.status()
}

#[tokio::test(start_paused = true)]
async fn container_is_created_ahead_and_starts_when_due() {
    let mut world = World::staging();
    let (soon, later) = world
        .live(async |handle| {
            sleep(1).await;
            let soon = submit(&handle, 5, json!({"command": "true"})).await;
            let later = submit(&handle, 60, json!({"command": "true"})).await;
            assert_eq!(ends(&handle, soon).await, Status::Succeeded);
            assert_eq!(ends(&handle, later).await, Status::Succeeded);
            (soon, later)
        })
        .await;
    let (made, started) = (EventKind::Create, EventKind::Start);
    assert_eq!(world.story(soon)[..2], [(made, 1), (started, 6)]);
    let of_later = world.story(later);
    assert!(
        matches!(of_later[..2], [(EventKind::Create, 45..=47), (EventKind::Start, 61)]),
        "{of_later:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn config_can_turn_staging_off() {
    let mut world = World::staging();
    world.settings.stage_ahead = Duration::ZERO;
    let job = world
        .live(async |handle| {
            let job = submit(&handle, 5, json!({"command": "true"})).await;
            ends(&handle, job).await;
            job
        })
        .await;
    assert_eq!(world.story(job)[..2], [(EventKind::Create, 5), (EventKind::Start, 5)]);
}

#[tokio::test(start_paused = true)]
async fn canceled_job_leaves_nothing_on_the_engine() {
    let mut world = World::staging();
    let job = world
        .live(async |handle| {
            let job = submit(&handle, 5, json!({"command": "true"})).await;
            sleep(2).await;
            handle.cancel(&Caller::anonymous(), job).await.unwrap();
            sleep(1).await;
            job
        })
        .await;
    assert_eq!(world.story(job), [(EventKind::Create, 0), (EventKind::Destroy, 2)]);
}

#[tokio::test(start_paused = true)]
async fn rescheduled_job_gets_a_new_container() {
    let mut world = World::staging();
    let job = world
        .live(async |handle| {
            let job = submit(&handle, 5, json!({"command": "true"})).await;
            sleep(2).await;
            handle
                .reschedule(
                    &Caller::anonymous(),
                    job,
                    handle.now() + chrono::TimeDelta::seconds(98),
                )
                .await
                .unwrap();
            assert_eq!(ends(&handle, job).await, Status::Succeeded);
            job
        })
        .await;
    let story = world.story(job);
    let [first, gone, made, started, ..] = story[..] else { panic!("{story:?}") };
    assert_eq!(
        (first, gone, started),
        ((EventKind::Create, 0), (EventKind::Destroy, 2), (EventKind::Start, 100))
    );
    assert!(matches!(made, (EventKind::Create, 84..=87)), "{made:?}");
}

#[tokio::test(start_paused = true)]
async fn definition_changed_at_last_moment_runs() {
    let mut world = World::staging();
    let (job, exit_code) = world
        .live(async |handle| {
            // A name without a definition at acceptance is resolved when the job is due.
            let job = submit_as(&handle, "NIGHTLY", 5, json!({})).await;
            let mut rules = Rules::default();
            for code in [3, 7] {
                let spec = json!({"image": "busybox", "command": format!("sh -c 'exit {code}'")});
                rules
                    .catalog
                    .definitions
                    .insert("NIGHTLY".to_owned(), serde_json::from_value(spec).unwrap());
                handle.set_rules(rules.clone());
                handle
                    .reschedule(
                        &Caller::anonymous(),
                        job,
                        handle.now() + chrono::TimeDelta::seconds(5),
                    )
                    .await
                    .unwrap();
                sleep(2).await;
            }
            rules.catalog.definitions.insert(
                "NIGHTLY".to_owned(),
                serde_json::from_value(json!({"image": "busybox", "command": "sh -c 'exit 9'"}))
                    .unwrap(),
            );
            handle.set_rules(rules);
            let job = handle.wait(job, Duration::from_secs(60)).await.unwrap();
            (job.id, job.state.exit_code())
        })
        .await;
    assert_eq!(exit_code, Some(9));
    let started = world.story(job).iter().filter(|(what, _)| *what == EventKind::Start).count();
    assert_eq!(started, 1);
}

#[tokio::test(start_paused = true)]
async fn missing_image_is_pulled_ahead() {
    let mut world = World::staging();
    let job = world
        .live(async |handle| {
            let job = submit_as(&handle, "pull-me", 10, json!({"command": "true"})).await;
            sleep(5).await;
            assert_eq!(
                handle.store().get(job).await.unwrap().unwrap().state.status(),
                Status::Scheduled
            );
            assert_eq!(ends(&handle, job).await, Status::Succeeded);
            job
        })
        .await;
    assert!(
        matches!(world.story(job)[..2], [(EventKind::Create, 1), (EventKind::Start, 10)]),
        "{:?}",
        world.story(job)
    );
}

#[tokio::test(start_paused = true)]
async fn pull_always_is_not_staged() {
    let mut world = World::staging();
    let job = world
        .live(async |handle| {
            let job = submit(&handle, 5, json!({"command": "true", "pull": "always"})).await;
            assert_eq!(ends(&handle, job).await, Status::Succeeded);
            job
        })
        .await;
    assert!(matches!(world.story(job)[0], (EventKind::Create, 5..)), "{:?}", world.story(job));
}

#[tokio::test(start_paused = true)]
async fn next_process_uses_or_removes_staged_containers() {
    let mut world = World::where_wrong(Call::Remove, Fault::Hang(Duration::from_secs(60)));
    let (runs, off) = world
        .live(async |handle| {
            let runs = submit(&handle, 8, json!({"command": "true"})).await;
            let off = submit(&handle, 8, json!({"command": "true"})).await;
            sleep(1).await;
            (runs, off)
        })
        .await;
    // The job is rescheduled, and the server is killed before it removes the container.
    world
        .live(async |handle| {
            handle
                .reschedule(
                    &Caller::anonymous(),
                    off,
                    handle.now() + chrono::TimeDelta::seconds(600),
                )
                .await
                .unwrap();
            sleep(1).await;
        })
        .await;
    world
        .live(async |handle| {
            assert_eq!(ends(&handle, runs).await, Status::Succeeded);
            sleep(30).await;
        })
        .await;
    assert_eq!(world.story(runs)[..2], [(EventKind::Create, 0), (EventKind::Start, 8)]);
    assert!(
        matches!(world.story(off)[..], [(EventKind::Create, 0), (EventKind::Destroy, 2..)]),
        "{:?}",
        world.story(off)
    );
}

#[tokio::test(start_paused = true)]
async fn staging_is_limited_to_max_running() {
    let mut world = World::staging();
    world.settings.max_running = 3;
    let jobs = world
        .live(async |handle| {
            let mut jobs = Vec::new();
            for _ in 0..8 {
                jobs.push(submit(&handle, 10, json!({"command": "sleep 1"})).await);
            }
            sleep(9).await;
            for job in &jobs {
                assert_ne!(ends(&handle, *job).await, Status::Failed);
            }
            jobs
        })
        .await;
    let ahead = jobs
        .iter()
        .filter(|job| matches!(world.story(**job)[0], (EventKind::Create, 0..10)))
        .count();
    assert_eq!(ahead, 3);
    assert!(
        jobs.iter().all(|job| world
            .story(*job)
            .iter()
            .filter(|(it, _)| *it == EventKind::Start)
            .count()
            == 1)
    );
}

#[tokio::test(start_paused = true)]
async fn due_job_waits_for_pending_create() {
    let mut world = World::where_wrong(Call::Create, Fault::Late(Duration::from_secs(4)));
    let job = world
        .live(async |handle| {
            let job = submit(&handle, 2, json!({"command": "true"})).await;
            assert_eq!(ends(&handle, job).await, Status::Succeeded);
            job
        })
        .await;
    assert_eq!(world.story(job)[..2], [(EventKind::Create, 4), (EventKind::Start, 4)]);
}

#[tokio::test(start_paused = true)]
async fn pausing_a_schedule_removes_its_staged_container() {
    let mut world = World::staging();
    let name = "tick".parse().unwrap();
    world
        .live(async |handle| {
            let schedule =
                json!({"job_name": "busybox", "spec": {"command": "true"}, "every": "10s"});
            let schedule = serde_json::from_value(schedule).unwrap();
            handle
                .put_schedule(
                    &Caller::anonymous(),
                    &name,
                    schedule,
                    Zone::UTC,
                    Precondition::Anything,
                )
                .await
                .unwrap();
            sleep(2).await;
            handle
                .pause_schedule(&Caller::anonymous(), &name, true, Precondition::Anything)
                .await
                .unwrap();
            sleep(1).await;
        })
        .await;
    let what: Vec<EventKind> =
        world.engine.recorded_events().into_iter().map(|it| it.what).collect();
    assert_eq!(what, [EventKind::Create, EventKind::Destroy]);
}

/// Returns the delay of the job's process after its due time, in milliseconds.
fn late(job: &Job) -> i64 {
    (job.state.run().unwrap().started_at - job.due_at).num_milliseconds()
}

#[tokio::test(start_paused = true)]
async fn aimed_job_begins_on_time_after_measured_starts() {
    let mut world = World::staging();
    let costs = Costs {
        start: Duration::from_millis(160),
        create: Duration::from_millis(30),
        ..Costs::default()
    };
    world.engine =
        SimulatedEngine::new(world.clock.clone(), Settings { costs, ..Settings::default() });
    let late = world
        .live(async |handle| {
            let mut late_by = Vec::new();
            for _ in 0..16 {
                let job = submit(&handle, 1, json!({"command": "true", "aim": true})).await;
                assert_eq!(late(&handle.wait(job, Duration::from_secs(60)).await.unwrap()), 160);
            }
            for spec in [
                json!({"command": "true", "aim": true}),
                json!({"command": "true", "aim": true, "aim_tolerance": "20ms"}),
                json!({"command": "true"}),
                json!({"command": "true", "aim": true, "network": "none"}),
                json!({"command": "true", "aim": true, "pull": "always"}),
            ] {
                let job = submit(&handle, 3, spec).await;
                late_by.push(late(&handle.wait(job, Duration::from_secs(60)).await.unwrap()));
            }
            late_by
        })
        .await;
    let [aimed, tolerant, plain, other_network, not_staged] = late[..] else { panic!("{late:?}") };
    assert_eq!((plain, other_network), (160, 160));
    assert_eq!((aimed, tolerant), (20, 0), "an eighth of the fastest is the margin");
    assert!(not_staged >= 160, "{not_staged}");
}

#[tokio::test(start_paused = true)]
async fn aimed_job_is_stopped_after_start_was_called() {
    let mut world = World::staging();
    let costs = Costs { start: Duration::from_millis(500), ..Costs::default() };
    world.engine =
        SimulatedEngine::new(world.clock.clone(), Settings { costs, ..Settings::default() });
    let (status, started) = world
        .live(async |handle| {
            for _ in 0..16 {
                let job = submit(&handle, 1, json!({"command": "true"})).await;
                ends(&handle, job).await;
            }
            let job = submit(&handle, 3, json!({"command": "sleep 60", "aim": true})).await;
            tokio::time::sleep(Duration::from_millis(2_700)).await;
            let status = handle.store().get(job).await.unwrap().unwrap().state.status();
            handle.stop(&Caller::anonymous(), job, None).await.unwrap();
            assert_eq!(ends(&handle, job).await, Status::Stopped);
            (status, job)
        })
        .await;
    assert_eq!(status, Status::Starting, "`start` was called");
    assert_eq!(
        world.story(started).iter().filter(|(what, _)| *what == EventKind::Start).count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn late_submitted_job_is_still_aimed() {
    let mut world = World::staging();
    let costs = Costs { start: Duration::from_millis(400), ..Costs::default() };
    world.engine =
        SimulatedEngine::new(world.clock.clone(), Settings { costs, ..Settings::default() });
    let late = world
        .live(async |handle| {
            for _ in 0..16 {
                let job = submit(&handle, 1, json!({"command": "true"})).await;
                ends(&handle, job).await;
            }
            // The dispatcher sleeps for a second and would wake after the time of the `start` call.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let job = submit(&handle, 1, json!({"command": "true", "aim": true})).await;
            late(&handle.wait(job, Duration::from_secs(60)).await.unwrap())
        })
        .await;
    assert_eq!(late, 50, "an eighth of the fastest is the margin");
}
