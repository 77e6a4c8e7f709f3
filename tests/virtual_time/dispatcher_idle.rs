//! The dispatcher sleeps until a job is due. Jobs accepted meanwhile neither wake it needlessly nor
//! are overlooked.
//!
//! The service runs on the simulated engine, in virtual time. The store works on the test's thread,
//! so the bytes that this thread reads are the store's.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use chrono::TimeDelta;
use tidetable::domain::job::origin::Origin;
use tidetable::domain::names::id::JobId;
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Handle, JobRequest};

use crate::support::virtual_time::World;

const BEGIN: i64 = 1_700_002_800;
/// The number of accepted jobs.
const JOBS: usize = 50;

async fn submit(handle: &Handle, in_ms: i64) -> JobId {
    let spec = serde_json::from_str(r#"{"command": ["true"]}"#).unwrap();
    let due_at = handle.now() + TimeDelta::milliseconds(in_ms);
    handle
        .submit(
            &Caller::anonymous(),
            JobRequest { name: "busybox".parse().unwrap(), spec, due_at, origin: Origin::Api },
        )
        .await
        .unwrap()
        .job
        .id
}

/// Returns the number of bytes that this thread has read.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Returns the bytes read while jobs due in `in_ms` are accepted, one each millisecond.
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
async fn distant_job_does_not_wake_the_dispatcher() {
    let (near, far) = (read_for(500).await, read_for(3_600_000).await);
    assert!(
        far * 2 < near,
        "{far} bytes for jobs that are far off, {near} for jobs that are due before it looks by itself"
    );
}

#[tokio::test(start_paused = true)]
async fn job_due_during_dispatcher_sleep_starts_on_time() {
    let mut world = World::new(BEGIN);
    let late = world
        .live(async |handle| {
            let mut late = Vec::new();
            for n in 0..JOBS {
                // Each job arrives at another moment of the sleep, and is due at another one.
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
