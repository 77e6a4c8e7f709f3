//! The dispatcher rests until something is due, and what is accepted meanwhile neither disturbs it for nothing nor is overlooked: the
//! service on the simulated engine, in virtual time. The store works on the thread of the test, so what this thread reads is what the
//! store reads.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use chrono::TimeDelta;
use tidetable::domain::id::JobId;
use tidetable::scheduler::{Handle, Order};

mod world;

use world::World;

const BEGIN: i64 = 1_700_002_800;
/// How many jobs are accepted.
const JOBS: usize = 50;

async fn submit(handle: &Handle, in_ms: i64) -> JobId {
    let spec = serde_json::from_str(r#"{"command": ["true"]}"#).unwrap();
    let due_at = handle.now() + TimeDelta::milliseconds(in_ms);
    handle.submit(Order { name: "busybox".parse().unwrap(), spec, due_at }).await.unwrap().job.id
}

/// The bytes that this thread has read.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// What is read while jobs are accepted that are due so long after, one each millisecond.
async fn read_for(in_ms: i64) -> u64 {
    let mut world = World::new(BEGIN);
    world
        .live(async |handle| {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let before = bytes_read();
            for _ in 0..JOBS {
                submit(&handle, in_ms).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            bytes_read() - before
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_far_off_does_not_make_the_dispatcher_look() {
    let (near, far) = (read_for(500).await, read_for(3_600_000).await);
    assert!(
        far * 2 < near,
        "{far} bytes for jobs that are far off, {near} for jobs that are due before it looks by itself"
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_due_before_the_dispatcher_would_look_again_is_started_in_time() {
    let mut world = World::new(BEGIN);
    let late = world
        .live(async |handle| {
            let mut late = Vec::new();
            for n in 0..JOBS {
                // At another moment of its rest each time, and due at another one.
                tokio::time::sleep(Duration::from_millis(2_000 + 37 * n as u64)).await;
                let id = submit(&handle, 23 * n as i64 % 999).await;
                let job = handle.wait(id, Duration::from_secs(60)).await.unwrap();
                late.push((job.state.run().unwrap().started_at - job.due_at).num_milliseconds());
            }
            late
        })
        .await;
    assert!(late.iter().all(|late| *late < 100), "{late:?} ms");
    world.is_whole();
}
