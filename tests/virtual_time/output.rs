//! Output and ends: nothing waits for output, and no output is lost because of that. The service
//! runs on the simulated engine, in virtual time, with output streams that are stuck.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use serde_json::{Value, json};
use tidetable::domain::job::Status;
use tidetable::domain::job::origin::Origin;
use tidetable::domain::names::id::{Attempt, InstanceId, JobId};
use tidetable::engine::Engine;
use tidetable::engine::simulated::{Call, Fault, Settings, SimulatedEngine, nth};
use tidetable::scheduler::Caller;
use tidetable::scheduler::{
    Attempts, Handle, JobRequest, OutputBlock, OutputError, OutputState, Progress, Until,
};
use tidetable::store::logs::Kept;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::virtual_time::World;

const BEGIN: i64 = 1_700_002_800;
/// Longer than everything that does not wait for output, and shorter than anything that does.
const SOON: Duration = Duration::from_secs(20);

/// Blocks the engine's output, and counts the calls for it.
#[derive(Default)]
struct Valve {
    is_stuck: AtomicBool,
    asked: AtomicUsize,
}

impl Valve {
    fn open(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
    }
}

/// Returns a world with an engine that gives no output until the valve is opened.
fn stuck() -> (World, Arc<Valve>) {
    let mut world = World::new(BEGIN);
    let valve = Arc::new(Valve { is_stuck: true.into(), asked: 0.into() });
    let of_the_engine = valve.clone();
    let faults = Box::new(move |call| {
        of_the_engine.asked.fetch_add(usize::from(call == Call::Logs), Ordering::Relaxed);
        let is_stuck = call == Call::Logs && of_the_engine.is_stuck.load(Ordering::Relaxed);
        if is_stuck { Fault::Hang(Duration::from_secs(60)) } else { Fault::None }
    });
    world.engine = SimulatedEngine::new(
        world.clock.clone(),
        Settings { faults: Some(faults), ..Settings::default() },
    );
    world.settings.max_running = 1;
    (world, valve)
}

async fn submit(handle: &Handle, spec: Value) -> JobId {
    let spec = serde_json::from_value(spec).unwrap();
    let order = JobRequest {
        name: "busybox".parse().unwrap(),
        spec,
        due_at: handle.now(),
        origin: Origin::Api,
    };
    handle.submit(&Caller::anonymous(), order).await.unwrap().job.id
}

async fn ends(handle: &Handle, job: JobId) -> Status {
    handle.wait(job, Duration::from_secs(3_600)).await.unwrap().state.status()
}

async fn output_of(handle: &Handle, job: JobId) -> OutputState {
    let job = handle.store().get(job).await.unwrap().unwrap();
    handle.output_state(&job).await
}

async fn is_kept(handle: &Handle, job: JobId) {
    while !output_of(handle, job).await.complete {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn text(handle: &Handle, job: JobId, follow: bool) -> String {
    let until = if follow { Until::End } else { Until::Now };
    let output = handle.output(job, Attempts::Last, until).await.unwrap();
    let blocks: Vec<OutputBlock> = output.blocks.try_collect().await.unwrap();
    let lines = blocks.iter().flat_map(|block| block.lines.iter());
    lines.map(|line| String::from_utf8_lossy(line.text).into_owned() + "\n").collect()
}

async fn containers(engine: &SimulatedEngine) -> usize {
    engine.list(InstanceId::new([7; 16])).await.unwrap().len()
}

fn says(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

#[tokio::test(start_paused = true)]
async fn job_ends_without_waiting_for_output() {
    let (mut world, valve) = stuck();
    let engine = world.engine.clone();
    world
        .live(async |handle| {
            let began = Instant::now();
            let (first, second) =
                (submit(&handle, says("echo hello")).await, submit(&handle, says("echo")).await);
            assert_eq!(ends(&handle, first).await, Status::Succeeded);
            assert_eq!(ends(&handle, second).await, Status::Succeeded, "the slot is free");
            assert!(began.elapsed() < SOON);
            assert_eq!(output_of(&handle, first).await, OutputState::default());
            assert_eq!(containers(&engine).await, 2);
            valve.open();
            is_kept(&handle, first).await;
            let kept = Some(Kept { lines: 1, bytes: 6, truncated: false });
            assert_eq!(output_of(&handle, first).await, OutputState { complete: true, kept });
            assert_eq!(text(&handle, first, false).await, "hello\n");
            is_kept(&handle, second).await;
            tokio::time::sleep(SOON).await;
            assert_eq!(containers(&engine).await, 0);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn kill_before_output_is_stored_loses_none() {
    let (mut world, valve) = stuck();
    let engine = world.engine.clone();
    let job = world
        .live(async |handle| {
            let job = submit(&handle, says("echo hello; exit 3")).await;
            assert_eq!(ends(&handle, job).await, Status::Failed);
            job
        })
        .await;
    assert_eq!(world.kept(job, 1).await, None);
    valve.open();
    world
        .live(async |handle| {
            assert!(!output_of(&handle, job).await.complete, "nobody has looked yet");
            is_kept(&handle, job).await;
            tokio::time::sleep(SOON).await;
        })
        .await;
    assert_eq!(world.kept(job, 1).await.unwrap(), "hello\n");
    assert_eq!(containers(&engine).await, 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_server_leaves_output_to_the_next() {
    let (mut world, valve) = stuck();
    let (stop, stopped) = (CancellationToken::new(), world.stopped.clone());
    let job = world
        .live_until(stop.clone(), async |handle| {
            let job = submit(&handle, says("echo hello")).await;
            ends(&handle, job).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.cancel();
            let began = Instant::now();
            stopped.cancelled().await;
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            job
        })
        .await;
    assert_eq!(world.kept(job, 1).await, None);
    valve.open();
    world.live(async |handle| is_kept(&handle, job).await).await;
    assert_eq!(world.kept(job, 1).await.unwrap(), "hello\n");
}

#[tokio::test(start_paused = true)]
async fn next_attempt_starts_without_waiting_for_output() {
    let (mut world, valve) = stuck();
    let engine = world.engine.clone();
    let mut order = says("echo no; exit 3");
    order["retry"] = json!({"attempts": 1, "delay": "1s"});
    let job = world
        .live(async |handle| {
            let began = Instant::now();
            let job = submit(&handle, order).await;
            assert_eq!(ends(&handle, job).await, Status::Failed);
            assert!(began.elapsed() < SOON);
            valve.open();
            is_kept(&handle, job).await;
            tokio::time::sleep(Duration::from_secs(120)).await;
            job
        })
        .await;
    assert_eq!(world.kept(job, 1).await.unwrap(), "no\n");
    assert_eq!(world.kept(job, 2).await.unwrap(), "no\n");
    assert_eq!((world.runs(), containers(&engine).await), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn kept_container_is_read_once() {
    let (mut world, valve) = stuck();
    valve.open();
    let engine = world.engine.clone();
    let mut order = says("echo hello");
    order["keep_container"] = json!(true);
    let job = world
        .live(async |handle| {
            let job = submit(&handle, order).await;
            is_kept(&handle, job).await;
            tokio::time::sleep(Duration::from_secs(300)).await;
            job
        })
        .await;
    world.live(async |_| tokio::time::sleep(Duration::from_secs(300)).await).await;
    assert_eq!(world.kept(job, 1).await.unwrap(), "hello\n");
    assert_eq!((valve.asked.load(Ordering::Relaxed), containers(&engine).await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn output_is_readable_to_its_end_before_storing() {
    for follow in [true, false] {
        let mut world = World::new(BEGIN);
        let faults = Some(nth(Call::Logs, 0, Fault::Hang(Duration::from_secs(600))));
        world.engine =
            SimulatedEngine::new(world.clock.clone(), Settings { faults, ..Settings::default() });
        world
            .live(async |handle| {
                let job = submit(&handle, says("echo hello; printf end")).await;
                ends(&handle, job).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                let began = Instant::now();
                assert_eq!(text(&handle, job, follow).await, "hello\nend\n");
                assert!(began.elapsed() < SOON && !output_of(&handle, job).await.complete);
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn log_limit_holds_before_output_is_stored() {
    let (mut world, _) = stuck();
    let faults = Some(nth(Call::Logs, 0, Fault::Hang(Duration::from_secs(600))));
    world.engine =
        SimulatedEngine::new(world.clock.clone(), Settings { faults, ..Settings::default() });
    let mut order = says("echo one; echo two; echo three");
    order["log_limit"] = json!("8B");
    world
        .live(async |handle| {
            let job = submit(&handle, order).await;
            ends(&handle, job).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let said = "one\ntwo\ntidetable: the rest is not kept: `log_limit` is 8 bytes\n";
            assert_eq!(text(&handle, job, false).await, said);
            tokio::time::sleep(Duration::from_secs(700)).await;
            assert_eq!(text(&handle, job, false).await, said);
        })
        .await;
}

/// Returns the number of each line, with its text.
async fn numbered(handle: &Handle, job: JobId, until: Until) -> Vec<(u64, String)> {
    let output = handle.output(job, Attempts::Last, until).await.unwrap();
    let blocks: Vec<OutputBlock> = output.blocks.try_collect().await.unwrap();
    let lines = blocks.iter().flat_map(|block| (block.first..).zip(block.lines.iter()));
    lines.map(|(n, line)| (n, String::from_utf8(line.text.to_vec()).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn line_keeps_its_number_when_stored() {
    let mut world = World::new(BEGIN);
    world
        .live(async |handle| {
            let script = "echo one; sleep 60; echo two >&2; printf three; sleep 60";
            let job = submit(&handle, says(script)).await;
            tokio::time::sleep(Duration::from_secs(90)).await;
            let line = |number, text: &str| (number, text.to_owned());
            let all = [line(1, "one"), line(2, "two"), line(3, "three")];
            // A line without an end is not shown before the process ends.
            assert_eq!(numbered(&handle, job, Until::Now).await, all[..2]);
            assert_eq!(numbered(&handle, job, Until::Followed).await, all[..2]);
            assert_eq!(numbered(&handle, job, Until::End).await, all);
            is_kept(&handle, job).await;
            assert_eq!(numbered(&handle, job, Until::Followed).await, all);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn output_on_an_unreachable_engine_says_since_when() {
    let mut world = World::new(BEGIN);
    let engine = world.engine.clone();
    world
        .live(async |handle| {
            let job = submit(&handle, says("echo hello; sleep 600")).await;
            tokio::time::sleep(SOON).await;
            engine.cut(true);
            tokio::time::sleep(Duration::from_secs(60)).await;
            let read = handle.output(job, Attempts::Last, Until::Now).await;
            let since = match read.err() {
                Some(OutputError::Unreachable { since, .. }) => since.unwrap(),
                other => panic!("{other:?}"),
            };
            assert!(since < handle.now() && since.timestamp() >= BEGIN, "{since}");
            let followed = handle.output(job, Attempts::Last, Until::End).await.unwrap();
            assert_eq!(followed.progress, Progress::Live);
            engine.cut(false);
            let blocks: Vec<OutputBlock> = followed.blocks.try_collect().await.unwrap();
            assert_eq!((blocks.len(), blocks[0].first, blocks[0].lines.len()), (1, 1, 1));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn attempt_that_never_ran_differs_from_deleted_output() {
    let mut world = World::new(BEGIN);
    let faults = Some(nth(Call::Start, 0, Fault::DiskFull));
    world.engine =
        SimulatedEngine::new(world.clock.clone(), Settings { faults, ..Settings::default() });
    let logs = world.dir.path().join("logs");
    let mut order = says("echo hello");
    order["retry"] = json!({"attempts": 1, "delay": "1s"});
    world
        .live(async |handle| {
            let job = submit(&handle, order).await;
            assert_eq!(ends(&handle, job).await, Status::Succeeded);
            is_kept(&handle, job).await;
            let error = async |attempt| {
                let only = Attempts::Only(Attempt(attempt));
                handle.output(job, only, Until::Now).await.err()
            };
            let first = error(1).await;
            assert!(
                matches!(&first, Some(OutputError::NoAttempt { kept, .. }) if *kept == [Attempt(2)]),
                "{first:?}"
            );
            assert!(error(2).await.is_none());
            std::fs::remove_dir_all(logs).unwrap();
            let second = error(2).await;
            assert!(matches!(second, Some(OutputError::Gone(Attempt(2)))), "{second:?}");
        })
        .await;
}
