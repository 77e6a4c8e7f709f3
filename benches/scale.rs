//! Measures the cost of a million jobs: the same calls to an empty store and to a full one, side by
//! side.
//!
//! The store, the scheduler and the API run in this process, in real time, over the simulated
//! engine. The binary is left out. The table goes to stderr, JSON to stdout: `make bench-scale`
//! (`JOBS=1000000`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may, and it is there to print"
)]

#[path = "../tests/support/large_store.rs"]
mod large_store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use large_store::Vast;
use tidetable::clock::{Clock, Rng, SystemClock};
use tidetable::domain::names::id::InstanceId;
use tidetable::engine::simulated::{Settings, SimulatedEngine};
use tidetable::http::Api;
use tidetable::http::auth::guard::Guard;
use tidetable::scheduler::{Catalog, Parts, Scheduler};
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// The number of jobs that are posted one after the other, and then read back.
const POSTS: usize = 3_000;
/// The number of reads of each page.
const PAGES: usize = 100;
/// The number of jobs that are started at their due times, and the time between two of them.
const FIRED: usize = 200;
const APART: Duration = Duration::from_millis(20);

/// Runs the service once, and returns the milliseconds that each step took.
async fn live(dir: &Path, jobs: u32) -> BTreeMap<&'static str, f64> {
    large_store::build(
        dir,
        Vast { jobs, history: jobs / 10, schedules: jobs / 100 },
        SystemClock.now(),
    );
    let mut took = BTreeMap::new();
    let begun = Instant::now();
    let (store, writer) = SqliteStore::open(dir, Threads::Pool, InstanceId::new([7; 16])).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (scheduler, handle) = Scheduler::new(Parts {
        store: store.clone(),
        logs: Arc::new(LogStore::open(&dir.join("logs"), Threads::Pool).unwrap()),
        engine: Arc::new(SimulatedEngine::new(clock.clone(), Settings::default())),
        clock,
        rng: Rng::from_system(),
        catalog: Catalog::default(),
        settings: Default::default(),
        metrics: Default::default(),
    });
    let stop = CancellationToken::new();
    let scheduling = tokio::spawn(scheduler.run(stop.clone()));
    let writing = tokio::spawn(writer.run());
    let api = Api::new(handle, chrono_tz::UTC, TaskTracker::new()).router(Guard::new([], []));
    while call(&api, get("/readyz")).await.0 != StatusCode::OK {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    call(&api, get("/jobs?limit=100")).await;
    took.insert("1 start to first answer", millis(begun.elapsed()));

    let begun = Instant::now();
    store.verify().await.unwrap();
    took.insert("9 check beside the service", millis(begun.elapsed()));

    let (mut ids, mut posts) = (Vec::new(), Vec::new());
    for _ in 0..POSTS {
        let begun = Instant::now();
        let (status, body) = call(&api, post("30h")).await;
        posts.push(begun.elapsed());
        assert_eq!(status, StatusCode::CREATED);
        ids.push(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    took.insert("2 POST p50", percentile(&mut posts, 50));
    took.insert("3 POST p99", percentile(&mut posts, 99));
    let mut gets = Vec::new();
    for id in &ids {
        let begun = Instant::now();
        call(&api, get(&format!("/job/{id}"))).await;
        gets.push(begun.elapsed());
    }
    took.insert("4 GET p50", percentile(&mut gets, 50));
    for (name, query) in [
        ("5 page p50", ""),
        ("6 page of a name p50", "&job_name=busybox"),
        ("7 page of a label p50", "&label=n%3D1"),
    ] {
        let mut pages = Vec::new();
        for _ in 0..PAGES {
            let begun = Instant::now();
            call(&api, get(&format!("/jobs?limit=100{query}"))).await;
            pages.push(begun.elapsed());
        }
        took.insert(name, percentile(&mut pages, 50));
    }
    took.insert("8 fired late p50", percentile(&mut fire(&api).await, 50));
    stop.cancel();
    scheduling.await.unwrap();
    store.close().await;
    writing.await.unwrap();
    took
}

/// Returns the lateness of jobs that were started.
async fn fire(api: &Router) -> Vec<Duration> {
    let mut ids = Vec::new();
    for n in 0..FIRED {
        let due = SystemClock.now()
            + chrono::TimeDelta::from_std(
                Duration::from_secs(1) + APART * u32::try_from(n % 8).unwrap(),
            )
            .unwrap();
        let (_, body) = call(api, post(&due.to_rfc3339())).await;
        ids.push(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        tokio::time::sleep(APART).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut late = Vec::new();
    for id in ids {
        let (_, body) = call(api, get(&format!("/job/{id}"))).await;
        let job: serde_json::Value = serde_json::from_slice(&body).unwrap();
        late.push(Duration::from_millis(job["lateness_ms"].as_u64().expect("it was started")));
    }
    late
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()
}

fn post(date: &str) -> Request<Body> {
    let body = format!(
        r#"{{"job_name": "busybox", "date": "{date}", "command": ["true"], "labels": {{"n": "1"}}}}"#
    );
    let request = Request::post("/job")
        .header("host", "localhost")
        .header("content-type", "application/json");
    request.body(Body::from(body)).unwrap()
}

async fn call(api: &Router, request: Request<Body>) -> (StatusCode, Bytes) {
    let answer = api.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    (status, axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap())
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    millis(times[(times.len() - 1) * percent / 100])
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[tokio::main]
async fn main() {
    let jobs: u32 = std::env::var("JOBS").map_or(1_000_000, |jobs| jobs.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut lives = Vec::new();
    for (name, jobs) in [("empty", 0), ("full", jobs)] {
        let place = dir.path().join(name);
        std::fs::create_dir(&place).unwrap();
        lives.push(live(&place, jobs).await);
    }
    eprintln!("{:<28} {:>10} {:>10} {:>6}", "ms", "empty", "full", "ratio");
    for (what, empty) in &lives[0] {
        let full = lives[1][what];
        // A small store is checked when it is opened, so its later check takes no time.
        let ratio = if *empty < 0.01 { "-".to_owned() } else { format!("{:.2}", full / empty) };
        eprintln!("{:<28} {empty:>10.3} {full:>10.3} {ratio:>6}", &what[2..]);
    }
    println!("{}", serde_json::json!({"jobs": jobs, "empty": lives[0], "full": lives[1]}));
}
