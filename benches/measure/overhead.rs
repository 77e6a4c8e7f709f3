//! Measures overhead: the service's processor time for each job, relative to the engine's.
//!
//! Short jobs run at a steady rate. Everything counts, between the first submission and the removal
//! of the last container. The same containers run by raw calls in turns with the service. The
//! difference is the part of the engine's own time that the service causes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Options;
use crate::engine_probe::{EngineProbe, until};
use crate::processor::{self, Engine};
use crate::subjects::{Tidetable, count_of, nanos, soon};

/// The time between two jobs.
const PERIOD: Duration = Duration::from_millis(100);
const TURNS: usize = 2;
/// The divisor for the number of jobs that are run by raw calls.
const RAW_SHARE: usize = 5;

/// The processor time for this many jobs, in seconds.
#[derive(Clone, Copy, Default)]
struct Spent {
    jobs: usize,
    service: f64,
    engine: f64,
}

pub async fn run(probe: &EngineProbe, options: &Options) -> Value {
    let Some(engine) = Engine::at(&crate::support::docker_host()).await else {
        let reason =
            "the engine is not behind a socket of this machine: its processor time cannot be seen";
        eprintln!("{reason}");
        return json!({"left_out": reason});
    };
    let service = Tidetable::quiet(probe);
    let (mut ours, mut raw) = (Spent::default(), Spent::default());
    for turn in 0..TURNS {
        let count = options.overhead.div_ceil(TURNS);
        ours.add(measure(probe, &engine, Some(&service), (turn, count)).await);
        raw.add(measure(probe, &engine, None, (turn, count.div_ceil(RAW_SHARE))).await);
    }
    print(&engine, ours, raw);
    json!({
        "jobs": ours.jobs, "counted_of_the_engine": engine.counted(), "tidetable_s": ours.per_1000(ours.service),
        "engine_s": ours.per_1000(ours.engine), "engine_by_raw_calls_s": raw.per_1000(raw.engine),
        "tidetable_beside_engine": ours.service / ours.engine,
    })
}

async fn measure(
    probe: &EngineProbe,
    engine: &Engine,
    service: Option<&Tidetable>,
    (turn, jobs): (usize, usize),
) -> Spent {
    let whose = if service.is_some() { "overhead" } else { "overhead-raw" };
    let keys: Vec<String> = (0..jobs).map(|n| probe.key(&format!("{whose}-{turn}"), n)).collect();
    let spent = || {
        (
            service.and_then(|service| service.server.pid()).map_or(0.0, processor::seconds),
            engine.seconds(),
        )
    };
    let before = spent();
    // Later jobs are submitted while the first ones run.
    let first = soon(0);
    let due: Vec<i64> = (0..jobs).map(|n| first + nanos(PERIOD) * count_of(n)).collect();
    match service {
        Some(service) => tokio::task::block_in_place(|| service.submit(probe, &keys, &due)),
        None => run_raw(probe, &keys, &due).await,
    }
    probe.wait(&keys, "been removed", |life| life.removed).await;
    let after = spent();
    Spent { jobs, service: after.0 - before.0, engine: after.1 - before.1 }
}

/// Creates, starts and removes each container by one call each.
async fn run_raw(probe: &EngineProbe, keys: &[String], due: &[i64]) {
    let one = |(key, due): (&String, &i64)| {
        let (key, due) = (key.clone(), *due);
        async move {
            until(due).await;
            let id = probe.create(&key).await;
            probe.docker.start_container(&id, None).await.unwrap();
            probe.wait(&[key], "ended", |life| life.ended).await;
            probe.remove(&id).await;
        }
    };
    futures::future::join_all(keys.iter().zip(due).map(one)).await;
}

fn print(engine: &Engine, ours: Spent, raw: Spent) {
    let of_engine = ours.per_1000(ours.engine);
    eprintln!(
        "\n| processor time for 1,000 jobs, of {} | s | beside the engine |\n|---|---:|---:|",
        ours.jobs
    );
    let row = |name: &str, seconds: f64| {
        eprintln!("| {name} | {seconds:.2} | {:.1} % |", 100.0 * seconds / of_engine);
    };
    row(&format!("the engine ({}), run by tidetable", engine.counted()), of_engine);
    row("tidetable", ours.per_1000(ours.service));
    row("the engine, run by raw calls", raw.per_1000(raw.engine));
}

impl Spent {
    fn add(&mut self, more: Self) {
        *self = Self {
            jobs: self.jobs + more.jobs,
            service: self.service + more.service,
            engine: self.engine + more.engine,
        };
    }

    fn per_1000(&self, seconds: f64) -> f64 {
        seconds * 1000.0 / self.jobs as f64
    }
}
