//! Measures a herd: many jobs due at one instant, until all have ended and all their containers are
//! gone.
//!
//! The limits are found first (`raw.rs`). The limits and the service then take turns, in a changing
//! order. Each peer has one turn.

use serde_json::{Map, Value, json};

use crate::Options;
use crate::engine_probe::EngineProbe;
use crate::ofelia::Ofelia;
use crate::raw::{self, Found, Way};
use crate::report::{Figures, table};
use crate::subjects::{ApScheduler, Subject, Tidetable, soon, warn_if_late, xargs};
use crate::{machine, plot, profile};

enum Worker {
    Limit(Way),
    Xargs(usize),
    /// A subject that gets its jobs before the instant.
    Told(Subject),
}

/// The number of jobs that started, and the seconds until all had ended and were gone. `gone` is
/// `None` for a subject that leaves its containers.
#[derive(Clone, Copy)]
struct Took {
    ran: usize,
    ended: f64,
    gone: Option<f64>,
}

pub async fn run(probe: &EngineProbe, options: &Options) -> Value {
    let found = raw::search(probe, options).await;
    found.print();
    let workers = workers(probe, &found, options);
    let took = measure(probe, &workers, options).await;
    let names: Vec<String> =
        workers.iter().zip(&took).map(|(worker, took)| name(worker, took, options.herd)).collect();
    let title = |what| {
        format!("{} jobs at one instant, network {}, until {what}, s", options.herd, probe.network)
    };
    let ended = rows(&title("all have ended"), &names, &took, |took| Some(took.ended));
    let gone = rows(&title("all containers are gone"), &names, &took, |took| took.gone);
    let rates: Vec<(String, f64)> =
        names.into_iter().zip(took.iter().map(|took| rate(took))).collect();
    print_rates(&rates);
    if let Some(folder) = &options.plots {
        plot::rates(&folder.join("herd.svg"), found.lines(), &rates);
    }
    let rates: Map<String, Value> =
        rates.into_iter().map(|(name, rate)| (name, json!(rate))).collect();
    let mut report = json!({
        "jobs": options.herd, "search": found.json(), "ended_s": ended, "gone_s": gone, "jobs_a_second": rates,
    });
    for worker in &workers {
        let Worker::Told(Subject::Tidetable(service)) = worker else { continue };
        let steps = profile::all(service);
        profile::print("tidetable: what its steps take in a herd, ms", &steps);
        report["steps_ms"] = profile::json(&steps);
    }
    report
}

/// Returns the subjects, with the limits first.
fn workers(probe: &EngineProbe, found: &Found, options: &Options) -> Vec<Worker> {
    let at_once = found.everything.starts;
    let mut told = vec![Subject::Tidetable(Tidetable::new(probe))];
    told.extend(
        options
            .python
            .as_deref()
            .map(|python| Subject::ApScheduler(ApScheduler::new(probe, python, at_once))),
    );
    told.extend(
        options.ofelias.iter().flat_map(|program| Ofelia::both(program)).map(Subject::Ofelia),
    );
    let xargs = machine::docker_client().map(|_| Worker::Xargs(at_once));
    let limits = [found.everything, found.prepared].map(Worker::Limit);
    limits.into_iter().chain(told.into_iter().map(Worker::Told)).chain(xargs).collect()
}

async fn measure(probe: &EngineProbe, workers: &[Worker], options: &Options) -> Vec<Vec<Took>> {
    let mut took = vec![Vec::new(); workers.len()];
    let (peers, ours): (Vec<usize>, Vec<usize>) =
        (0..workers.len()).partition(|which| is_peer(&workers[*which]));
    let turns = (0..options.herds).flat_map(|round| {
        (0..ours.len())
            .map(move |place| (round, place + round))
            .map(|(round, place)| (round, ours[place % ours.len()]))
    });
    for (round, which) in
        turns.collect::<Vec<_>>().into_iter().chain(peers.into_iter().map(|peer| (0, peer)))
    {
        let keys: Vec<String> =
            (0..options.herd).map(|n| probe.key(&format!("herd-{round}-{which}"), n)).collect();
        took[which].push(work_off(probe, &workers[which], &keys).await);
    }
    took
}

fn is_peer(worker: &Worker) -> bool {
    match worker {
        Worker::Limit(_) => false,
        Worker::Xargs(_) => true,
        Worker::Told(contestant) => contestant.is_peer(),
    }
}

async fn work_off(probe: &EngineProbe, worker: &Worker, keys: &[String]) -> Took {
    let begun = match worker {
        Worker::Limit(way) => way.work_off(probe, keys).await,
        Worker::Xargs(at_once) => tokio::task::block_in_place(|| xargs(probe, keys, *at_once)),
        Worker::Told(contestant) => {
            let prepared = contestant.prepare(probe, keys).await;
            let due = soon(keys.len());
            contestant.plan(probe, keys, &vec![due; keys.len()], prepared);
            warn_if_late(due, &contestant.name());
            due
        }
    };
    let ran = match worker {
        Worker::Told(contestant) => contestant.ran(probe, keys).await,
        Worker::Limit(_) | Worker::Xargs(_) => keys.to_vec(),
    };
    let last = |times: Vec<i64>| (times.into_iter().max().unwrap_or(begun) - begun) as f64 / 1e9;
    let ended = last(probe.wait(&ran, "ended", |life| life.ended).await);
    let mut leaves_them = false;
    if let Worker::Told(contestant) = worker {
        contestant.end(probe, keys).await;
        leaves_them = contestant.leaves_containers();
    }
    let gone = last(probe.wait(&ran, "been removed", |life| life.removed).await);
    Took { ran: ran.len(), ended, gone: (!leaves_them).then_some(gone) }
}

fn rows(
    title: &str,
    names: &[String],
    took: &[Vec<Took>],
    part: impl Fn(&Took) -> Option<f64>,
) -> Value {
    let values = took.iter().map(|took| took.iter().filter_map(&part).collect::<Vec<f64>>());
    let rows = names.iter().cloned().zip(values).filter(|(_, values)| !values.is_empty());
    let rows: Vec<(String, Figures)> =
        rows.map(|(name, values)| (name, Figures::of(&values))).collect();
    table(title, &rows);
    Value::Object(rows.iter().map(|(name, row)| (name.clone(), row.json(&rows[0].1))).collect())
}

/// Returns the jobs per second, as the median of the turns.
fn rate(took: &[Took]) -> f64 {
    Figures::of(&took.iter().map(|took| took.ran as f64 / took.ended).collect::<Vec<_>>()).median
}

/// Prints each rate relative to both limits, which are the first two.
fn print_rates(rates: &[(String, f64)]) {
    eprintln!(
        "\n| herd | jobs a second | beside the limit | beside the limit of containers made before |"
    );
    eprintln!("|---|---:|---:|---:|");
    for (name, rate) in rates {
        eprintln!("| {name} | {rate:.1} | {:.2} | {:.2} |", rate / rates[0].1, rate / rates[1].1);
    }
}

fn name(worker: &Worker, took: &[Took], jobs: usize) -> String {
    let name = match worker {
        Worker::Limit(way) => format!("limit: {}", way.name()),
        Worker::Xargs(at_once) => format!("xargs -P {at_once} docker run --rm"),
        Worker::Told(contestant) => contestant.name(),
    };
    match took.iter().map(|took| took.ran).min() {
        Some(ran) if ran < jobs => format!("{name}; only {ran} of {jobs} jobs"),
        _ => name,
    }
}
