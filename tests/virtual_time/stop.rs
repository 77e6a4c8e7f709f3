//! A process that ignores the stop request ends with its grace period, no later: the service on the
//! simulated engine, in virtual time, over restarts.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use serde_json::{Value, json};
use tidetable::domain::job::origin::Origin;
use tidetable::domain::job::{Job, Status};
use tidetable::domain::names::id::JobId;
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Handle, JobRequest};

use crate::support::virtual_time::World;

const BEGIN: i64 = 1_700_002_800;

/// Returns the spec of a job that runs for an hour and ignores stop requests.
fn deaf(fields: Value) -> Value {
    let mut spec = json!({"command": ["sh", "-c", "trap '' TERM; sleep 3600"]});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

async fn submit(handle: &Handle, spec: Value) -> JobId {
    let order = JobRequest {
        name: "busybox".parse().unwrap(),
        spec: serde_json::from_value(spec).unwrap(),
        due_at: handle.now(),
        origin: Origin::Api,
    };
    let id = handle.submit(&Caller::anonymous(), order).await.unwrap().job.id;
    until(handle, id, Status::Running).await;
    id
}

async fn until(handle: &Handle, id: JobId, status: Status) {
    while handle.store().get(id).await.unwrap().unwrap().state.status() != status {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the status, the exit code, and the seconds from start to end.
async fn end(handle: &Handle, id: JobId) -> (Status, Option<i32>, i64) {
    let job: Job = handle.wait(id, Duration::from_secs(7_200)).await.unwrap();
    let run = job.state.run().unwrap();
    let lasted = job.state.end().unwrap().at - run.started_at;
    (job.state.status(), job.state.exit_code(), lasted.num_seconds())
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn grace(text: &str) -> Option<tidetable::domain::text::units::Span> {
    Some(text.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn max_timeout_ends_a_job_with_endless_grace() {
    let mut world = World::new(BEGIN);
    world.catalog.policy = toml::from_str("max_timeout = '2s'").unwrap();
    let seen = world
        .live(async |handle| {
            let id = submit(&handle, deaf(json!({"stop_grace": "30d"}))).await;
            end(&handle, id).await
        })
        .await;
    assert_eq!(seen, (Status::TimedOut, Some(137), 2));
}

#[tokio::test(start_paused = true)]
async fn endless_grace_is_cut_to_ten_minutes() {
    let mut world = World::new(BEGIN);
    let seen = world
        .live(async |handle| {
            let id = submit(&handle, deaf(json!({"stop_grace": "30d"}))).await;
            handle.stop(&Caller::anonymous(), id, None).await.unwrap();
            end(&handle, id).await
        })
        .await;
    assert_eq!(seen, (Status::Stopped, Some(137), 600));
}

#[tokio::test(start_paused = true)]
async fn second_stop_kills_at_once() {
    let mut world = World::new(BEGIN);
    let seen = world
        .live(async |handle| {
            let id = submit(&handle, deaf(json!({"stop_grace": "5m"}))).await;
            handle.stop(&Caller::anonymous(), id, None).await.unwrap();
            sleep(100).await;
            handle.stop(&Caller::anonymous(), id, None).await.unwrap();
            end(&handle, id).await
        })
        .await;
    assert_eq!(seen, (Status::Stopped, Some(137), 100));
}

#[tokio::test(start_paused = true)]
async fn grace_of_a_stop_overrides_the_jobs_grace() {
    for (of_the_stop, lasts) in [("0s", 0), ("7s", 7), ("5m", 300)] {
        let mut world = World::new(BEGIN);
        let seen = world
            .live(async |handle| {
                let id = submit(&handle, deaf(json!({"stop_grace": "1m"}))).await;
                handle.stop(&Caller::anonymous(), id, grace(of_the_stop)).await.unwrap();
                end(&handle, id).await
            })
            .await;
        assert_eq!(seen, (Status::Stopped, Some(137), lasts), "{of_the_stop}");
    }
}

#[tokio::test(start_paused = true)]
async fn later_grace_never_delays_the_kill() {
    let mut world = World::new(BEGIN);
    let seen = world
        .live(async |handle| {
            let id = submit(&handle, deaf(json!({"stop_grace": "1m"}))).await;
            handle.stop(&Caller::anonymous(), id, None).await.unwrap();
            sleep(10).await;
            assert_eq!(
                handle.stop(&Caller::anonymous(), id, grace("5m")).await.unwrap().state.status(),
                Status::Stopping
            );
            end(&handle, id).await
        })
        .await;
    assert_eq!(seen, (Status::Stopped, Some(137), 60));
}

#[tokio::test(start_paused = true)]
async fn stop_request_shortens_grace_after_timeout() {
    let mut world = World::new(BEGIN);
    let seen = world
        .live(async |handle| {
            let id = submit(&handle, deaf(json!({"stop_grace": "5m", "timeout": "10s"}))).await;
            until(&handle, id, Status::Stopping).await;
            sleep(20).await;
            handle.stop(&Caller::anonymous(), id, None).await.unwrap();
            end(&handle, id).await
        })
        .await;
    assert_eq!(seen, (Status::TimedOut, Some(137), 30));
}

#[tokio::test(start_paused = true)]
async fn grace_continues_over_a_restart() {
    for (fields, by_request, status, lasts) in [
        (json!({"stop_grace": "2m"}), true, Status::Stopped, 120),
        (json!({"stop_grace": "2m", "timeout": "10s"}), false, Status::TimedOut, 130),
    ] {
        let mut world = World::new(BEGIN);
        let id = world
            .live(async |handle| {
                let id = submit(&handle, deaf(fields.clone())).await;
                if by_request {
                    handle.stop(&Caller::anonymous(), id, None).await.unwrap();
                }
                until(&handle, id, Status::Stopping).await;
                sleep(30).await;
                id
            })
            .await;
        // A stop call lost in a kill is not repeated by itself: each new process sends one for the
        // remaining grace.
        sleep(20).await;
        let seen = world.live(async |handle| end(&handle, id).await).await;
        assert_eq!(seen, (status, Some(137), lasts));
    }
}

#[tokio::test(start_paused = true)]
async fn second_stop_kills_after_a_restart() {
    let mut world = World::new(BEGIN);
    let id = world
        .live(async |handle| {
            let id = submit(&handle, deaf(json!({"stop_grace": "10m"}))).await;
            handle.stop(&Caller::anonymous(), id, None).await.unwrap();
            sleep(5).await;
            id
        })
        .await;
    let seen = world
        .live(async |handle| {
            sleep(20).await;
            handle.stop(&Caller::anonymous(), id, None).await.unwrap();
            end(&handle, id).await
        })
        .await;
    assert_eq!(seen, (Status::Stopped, Some(137), 25));
}
