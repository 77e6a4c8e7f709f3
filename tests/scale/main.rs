//! A store with very many jobs and schedules starts, answers and fires like an empty one.
//!
//! The measure is the number of bytes read, never the time taken. `make scale` runs it with a
//! million jobs (`JOBS=1000000`). The store works on the test's thread, so the bytes that this
//! thread reads are the store's.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../support/clock.rs"]
mod clock;
#[path = "../support/large_store.rs"]
mod large_store;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use clock::VirtualClock;
use futures::StreamExt;
use large_store::Vast;
use serde_json::Value;
use tidetable::clock::{Clock, Rng};
use tidetable::domain::job::origin::Origin;
use tidetable::domain::names::id::{InstanceId, JobId};
use tidetable::engine::simulated::{Settings, SimulatedEngine};
use tidetable::http::Api;
use tidetable::http::auth::guard::Guard;
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Catalog, Handle, JobRequest, Parts, Scheduler};
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// The number of jobs on a page.
const PAGE: usize = 100;
/// The number of jobs that become due during a measurement.
const DUE: usize = 40;
/// The extra bytes that a deeper tree may cost: 64 pages of the database.
const DEPTH: u64 = 64 * 4_096;

/// The measured queries, each with a full page in both stores.
const QUERIES: [&str; 9] = [
    "",
    "&state=scheduled",
    "&state=succeeded",
    "&job_name=of-a-schedule",
    "&label=team%3Dt01",
    "&label=team%3Dt01&state=scheduled",
    "&label=team%3Dt01&state=history",
    "&job_name=name-001&label=team%3Dt00",
    "&job_name=name-001",
];

/// Returns the number of bytes that this thread has read.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Returns this process's peak memory since the last call, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    // The write restarts the peak from the memory in use now.
    let _not_everywhere = fs::write("/proc/self/clear_refs", "5");
    kilobytes * 1_024
}

/// Bytes read during one process of the service, by purpose, and its peak memory in bytes.
#[derive(Debug)]
struct Seen {
    to_open: u64,
    to_answer: u64,
    pages: Vec<u64>,
    schedules: u64,
    to_run: u64,
    memory: u64,
}

/// Runs one process of the service on a store of this size.
async fn live(size: Vast) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(VirtualClock::starting_at(1_790_000_000_000));
    large_store::build(dir.path(), size, clock.now());
    // The call forgets the memory used to build the store.
    peak_memory();
    let before_memory = peak_memory();
    let before = bytes_read();
    let (store, writer) =
        SqliteStore::open(dir.path(), Threads::Inline, InstanceId::new([7; 16])).unwrap();
    let to_open = bytes_read() - before;
    let engine = SimulatedEngine::new(clock.clone(), Settings::default());
    let (scheduler, handle) = Scheduler::new(Parts {
        store: store.clone(),
        logs: Arc::new(LogStore::open(&dir.path().join("logs"), Threads::Inline).unwrap()),
        engine: Arc::new(engine.clone()),
        clock,
        rng: Rng::from_seed(7),
        catalog: Catalog::default(),
        settings: Default::default(),
        metrics: Default::default(),
    });
    let api =
        Api::new(handle.clone(), chrono_tz::UTC, TaskTracker::new()).router(Guard::new([], []));
    let running = async { tokio::join!(scheduler.run(CancellationToken::new()), writer.run()) };
    let watch = async {
        let before = bytes_read();
        first_answer(&api, &handle).await;
        let to_answer = bytes_read() - before;
        let mut pages = Vec::new();
        for query in QUERIES {
            pages.push(page(&api, &format!("/jobs?limit={PAGE}{query}")).await);
        }
        let schedules = page(&api, &format!("/schedules?limit={PAGE}")).await;
        let to_run = run_those_that_are_due(&handle, &engine).await;
        read_all(&api).await;
        let memory = peak_memory().saturating_sub(before_memory);
        Seen { to_open, to_answer, pages, schedules, to_run, memory }
    };
    tokio::select! {
        _ = running => panic!("it ended by itself"),
        seen = watch => seen,
    }
}

/// Waits until the service has looked for due jobs and answers.
async fn first_answer(api: &Router, handle: &Handle) {
    while !handle.health().is_up() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = api.clone().oneshot(get("/readyz")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()
}

/// Reads a page that must be full. Returns the bytes read for it.
async fn page(api: &Router, path: &str) -> u64 {
    let before = bytes_read();
    let answer = api.clone().oneshot(get(path)).await.unwrap();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let read = bytes_read() - before;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let entries = |map: &str| body[map].as_object().map_or(0, serde_json::Map::len);
    let shown: usize = ["running", "scheduled", "history", "schedules"].map(entries).iter().sum();
    let expected = if path.contains("job_name=name-001") { 1..=PAGE } else { PAGE..=PAGE };
    assert!(expected.contains(&shown), "{path}: {shown}");
    read
}

/// Submits jobs that become due, and checks that exactly these run. Returns the bytes read.
async fn run_those_that_are_due(handle: &Handle, engine: &SimulatedEngine) -> u64 {
    let mut expected = BTreeSet::<JobId>::new();
    for n in 0..DUE {
        let due_at =
            handle.now() + chrono::TimeDelta::milliseconds(2_000 + 10 * i64::try_from(n).unwrap());
        let spec =
            serde_json::from_str(r#"{"command": ["true"], "labels": {"team": "t01"}}"#).unwrap();
        let order =
            JobRequest { name: "busybox".parse().unwrap(), spec, due_at, origin: Origin::Api };
        expected.insert(handle.submit(&Caller::anonymous(), order).await.unwrap().job.id);
    }
    let before = bytes_read();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let read = bytes_read() - before;
    let ran: Vec<JobId> =
        engine.runs().iter().filter_map(|run| run.owner.map(|owner| owner.job)).collect();
    assert_eq!(ran.len(), DUE, "each once");
    assert_eq!(BTreeSet::from_iter(ran), expected);
    read
}

/// Reads the streamed lists to their ends.
async fn read_all(api: &Router) {
    for path in ["/jobs", "/schedules"] {
        let answer = api.clone().oneshot(get(path)).await.unwrap();
        let mut chunks = answer.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            chunk.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn large_store_reads_no_more_than_small_one() {
    let jobs: u32 = std::env::var("JOBS").map_or(100_000, |jobs| jobs.parse().unwrap());
    // Both stores have the same content on a page, and more jobs of a name and of a label than a
    // page holds.
    let few = live(Vast { jobs: 30_000, history: 30_000, schedules: 200 }).await;
    let many = live(Vast { jobs, history: jobs / 2, schedules: jobs / 10 }).await;
    eprintln!("{few:#?}\n{many:#?}");
    let as_little = |what: &str, few: u64, many: u64| {
        assert!(many <= few * 2 + DEPTH, "{what}: {many} bytes, not {few}")
    };
    as_little("to open", few.to_open, many.to_open);
    as_little("to answer", few.to_answer, many.to_answer);
    for (query, (few, many)) in QUERIES.iter().zip(few.pages.iter().zip(&many.pages)) {
        as_little(query, *few, *many);
    }
    as_little("a page of schedules", few.schedules, many.schedules);
    as_little("to run what is due", few.to_run, many.to_run);
    assert!(
        many.memory < few.memory + (32 << 20),
        "{} bytes of memory, not {}",
        many.memory,
        few.memory
    );
}
