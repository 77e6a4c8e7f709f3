//! A renamed container of ours is still found, by its stored id and by its labels. The service runs
//! on the simulated engine, in virtual time, over restarts.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use chrono::TimeDelta;
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tidetable::domain::container::Owner;
use tidetable::domain::job::origin::Origin;
use tidetable::domain::job::{Job, Status};
use tidetable::domain::names::id::{Attempt, ContainerName, JobId};
use tidetable::domain::names::image::JobName;
use tidetable::engine::Launch;
use tidetable::engine::simulated::EventKind;
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Attempts, Handle, JobRequest, Until};

use crate::support::virtual_time::World;

const BEGIN: i64 = 1_700_002_800;

async fn submit(handle: &Handle, in_s: i64, spec: Value) -> JobId {
    let name: JobName = "busybox".parse().unwrap();
    let due_at = handle.now() + TimeDelta::seconds(in_s);
    handle
        .submit(
            &Caller::anonymous(),
            JobRequest {
                name,
                spec: serde_json::from_value(spec).unwrap(),
                due_at,
                origin: Origin::Api,
            },
        )
        .await
        .unwrap()
        .job
        .id
}

fn says_and_exits(after_s: u32) -> Value {
    json!({"command": ["sh", "-c", format!("echo said; sleep {after_s}; exit 7")], "timeout": "1h"})
}

async fn job(handle: &Handle, id: JobId) -> Job {
    handle.store().get(id).await.unwrap().unwrap()
}

async fn end(handle: &Handle, id: JobId) -> Job {
    handle.wait(id, Duration::from_secs(600)).await.unwrap()
}

async fn output(handle: &Handle, id: JobId) -> String {
    let output = handle.output(id, Attempts::Last, Until::Now).await.unwrap();
    let blocks: Vec<_> = output.blocks.try_collect().await.unwrap();
    blocks
        .iter()
        .flat_map(|block| {
            block
                .lines
                .iter()
                .map(|line| String::from_utf8(line.text.to_vec()).unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Waits until the job's container exists.
async fn made(world_engine: &tidetable::engine::simulated::SimulatedEngine, id: JobId) {
    while world_engine.container_of(id).is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_running(handle: &Handle, id: JobId) {
    while job(handle, id).await.state.status() != Status::Running {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn rename(world: &tidetable::engine::simulated::SimulatedEngine, id: JobId) {
    world.rename(&world.container_of(id).unwrap(), "somebody-elses-word").unwrap();
}

fn creates(world: &World) -> usize {
    world.engine.recorded_events().iter().filter(|line| line.what == EventKind::Create).count()
}

fn assert_own_end(job: &Job) {
    assert_eq!((job.state.status(), job.state.exit_code()), (Status::Failed, Some(7)), "{job:?}");
}

#[tokio::test(start_paused = true)]
async fn renamed_container_ends_with_its_own_result() {
    let mut world = World::new(BEGIN);
    let engine = world.engine.clone();
    world
        .live(async |handle| {
            let id = submit(&handle, 0, says_and_exits(100)).await;
            until_running(&handle, id).await;
            rename(&engine, id);
            // The run spans several sweeps, and each inspects the container.
            assert_own_end(&end(&handle, id).await);
            assert_eq!(output(&handle, id).await, "said");
            tokio::time::sleep(Duration::from_secs(60)).await;
        })
        .await;
    assert!(world.engine.containers().is_empty(), "the container is removed");
}

#[tokio::test(start_paused = true)]
async fn output_of_a_renamed_container_is_shown_live() {
    let mut world = World::new(BEGIN);
    let engine = world.engine.clone();
    world
        .live(async |handle| {
            let id = submit(&handle, 0, says_and_exits(100)).await;
            until_running(&handle, id).await;
            rename(&engine, id);
            assert_eq!(output(&handle, id).await, "said");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn renamed_container_is_stopped_by_request_and_timeout() {
    for by_request in [true, false] {
        let mut world = World::new(BEGIN);
        let engine = world.engine.clone();
        let status = world
            .live(async |handle| {
                let spec = json!({"command": "sleep 1000", "timeout": "60s"});
                let id = submit(&handle, 0, spec).await;
                until_running(&handle, id).await;
                rename(&engine, id);
                if by_request {
                    handle.stop(&Caller::anonymous(), id, None).await.unwrap();
                }
                end(&handle, id).await.state.status()
            })
            .await;
        assert_eq!(status, if by_request { Status::Stopped } else { Status::TimedOut });
    }
}

#[tokio::test(start_paused = true)]
async fn container_renamed_while_down_is_adopted() {
    let mut world = World::new(BEGIN);
    for lasts_s in [10, 100] {
        let id = world
            .live(async |handle| {
                let id = submit(&handle, 0, says_and_exits(lasts_s)).await;
                until_running(&handle, id).await;
                id
            })
            .await;
        rename(&world.engine, id);
        tokio::time::sleep(Duration::from_secs(30)).await;
        world
            .live(async |handle| {
                assert_own_end(&end(&handle, id).await);
                assert_eq!(output(&handle, id).await, "said");
            })
            .await;
        world.is_whole();
    }
}

#[tokio::test(start_paused = true)]
async fn stranger_under_the_old_name_is_left_alone() {
    let mut world = World::new(BEGIN);
    let engine = world.engine.clone();
    world
        .live(async |handle| {
            let id = submit(&handle, 0, says_and_exits(100)).await;
            until_running(&handle, id).await;
            rename(&engine, id);
            let stranger =
                engine.create_behind_back(&launch(&job(&handle, id).await), false).unwrap();
            assert_own_end(&end(&handle, id).await);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(engine.containers().len(), 1);
            engine.remove_behind_back(&stranger);
        })
        .await;
}

/// Returns a foreign container under the name of the job's container.
fn launch(job: &Job) -> Launch {
    Launch {
        name: ContainerName::of(job.id, job.attempt),
        owner: Owner {
            instance: tidetable::domain::names::id::InstanceId::new([9; 16]),
            job: job.id,
            attempt: job.attempt,
        },
        spec_hash: job.spec_hash(),
        schedule: None,
        image: "busybox".parse().unwrap(),
        spec: job.spec.clone(),
        environment: Vec::new(),
        secrets: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn staged_container_renamed_while_down_is_used() {
    // The sweep finds the container while its job waits; the driver finds it if the job is due as
    // the server starts.
    for down_s in [2, 30] {
        let mut world = World::new(BEGIN);
        let engine = world.engine.clone();
        let id = world
            .live(async |handle| {
                let id = submit(&handle, 12, says_and_exits(1)).await;
                made(&engine, id).await;
                id
            })
            .await;
        rename(&world.engine, id);
        tokio::time::sleep(Duration::from_secs(down_s)).await;
        world.live(async |handle| assert_own_end(&end(&handle, id).await)).await;
        assert_eq!((creates(&world), world.runs()), (1, 1), "down for {down_s} s");
    }
}

#[tokio::test(start_paused = true)]
async fn name_taken_by_a_stranger_fails_the_attempt() {
    let mut world = World::new(BEGIN);
    let engine = world.engine.clone();
    world
        .live(async |handle| {
            let id = submit(&handle, 100, says_and_exits(1)).await;
            let mut to_come = job(&handle, id).await;
            to_come.attempt = Attempt(1);
            engine.create_behind_back(&launch(&to_come), false).unwrap();
            let job = end(&handle, id).await;
            assert_eq!(
                job.state.reason().map(|reason| reason.to_string()).as_deref(),
                Some("create_failed")
            );
        })
        .await;
}
