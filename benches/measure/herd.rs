//! A herd: many jobs due at one instant, until all have ended and until all their containers are gone.
//!
//! The limit is what the engine's API reaches at its best: create, start, wait and remove, at as many at once as is fastest here. That
//! number is found first; then everybody takes turns, the limit at that number, and who begins changes.

use serde_json::{Map, Value, json};

use futures::StreamExt;

use crate::Options;
use crate::contestants::{ApScheduler, Tidetable, soon, warn_if_late, xargs};
use crate::lab::{Lab, now_ns};
use crate::report::{Figures, table};
use crate::{plot, profile};

enum Worker {
    /// The engine's API with so many at once.
    Raw(usize),
    Tidetable(Tidetable),
    Xargs(usize),
    ApScheduler(ApScheduler),
}

/// Seconds until all had ended, and until all were gone.
#[derive(Clone, Copy)]
struct Took {
    ended: f64,
    gone: f64,
}

pub async fn run(lab: &Lab, options: &Options) -> Value {
    let mut search = Vec::new();
    for concurrency in &options.concurrencies {
        let keys: Vec<String> = (0..options.herd).map(|n| lab.key(&format!("search-{concurrency}"), n)).collect();
        let took = work_off(lab, &Worker::Raw(*concurrency), &keys).await;
        eprintln!("raw, {concurrency} at once: {:.1} s, {:.1} a second", took.ended, per_second(options, took.ended));
        search.push((*concurrency, took.ended));
    }
    let (best, _) = search.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).expect("some concurrency is tried");
    if search.last().is_some_and(|(most, _)| *most == best) {
        eprintln!("{best} at once are the most that were tried: the limit may be beyond, and then it is no limit");
    }
    let mut workers = vec![Worker::Raw(best), Worker::Tidetable(Tidetable::new(lab, 0)), Worker::Xargs(best)];
    workers.extend(options.python.as_deref().map(|python| Worker::ApScheduler(ApScheduler::new(lab, python, best))));
    let took = measure(lab, &workers, options).await;
    if let Some(folder) = &options.plots {
        let search = search.iter().map(|(concurrency, took)| (*concurrency, per_second(options, *took)));
        plot::rates(&folder.join("herd.svg"), &search.collect::<Vec<_>>(), &rates(&workers, &took, options));
    }
    let ended = rows(lab, &workers, &took, "until all have ended, s", |took| took.ended);
    let gone = rows(lab, &workers, &took, "until all containers are gone, s", |took| took.gone);
    let search: Map<String, Value> = search.iter().map(|(n, took)| (n.to_string(), json!(took))).collect();
    let mut report = json!({
        "jobs": options.herd, "raw_s_by_concurrency": search, "best_concurrency": best, "ended_s": ended, "gone_s": gone,
    });
    for worker in &workers {
        let Worker::Tidetable(service) = worker else { continue };
        let steps = profile::all(service);
        profile::print("tidetable: what its steps take in a herd, ms", &steps);
        report["steps_ms"] = profile::json(&steps);
    }
    report
}

async fn measure(lab: &Lab, workers: &[Worker], options: &Options) -> Vec<Vec<Took>> {
    let mut took = vec![Vec::new(); workers.len()];
    for round in 0..options.herds {
        for place in 0..workers.len() {
            let which = (place + round) % workers.len();
            let keys: Vec<String> = (0..options.herd).map(|n| lab.key(&format!("herd-{round}-{which}"), n)).collect();
            took[which].push(work_off(lab, &workers[which], &keys).await);
        }
    }
    took
}

async fn work_off(lab: &Lab, worker: &Worker, keys: &[String]) -> Took {
    let due = vec![soon(keys.len()); keys.len()];
    let begun = match worker {
        Worker::Raw(concurrency) => raw(lab, keys, *concurrency).await,
        Worker::Xargs(concurrency) => tokio::task::block_in_place(|| xargs(lab, keys, *concurrency)),
        Worker::Tidetable(service) => {
            tokio::task::block_in_place(|| service.submit(lab, keys, &due));
            warn_if_late(due[0], "the herd");
            due[0]
        }
        Worker::ApScheduler(peer) => {
            peer.plan(keys, &due);
            due[0]
        }
    };
    let last = |times: Vec<i64>| (times.into_iter().max().unwrap_or(begun) - begun) as f64 / 1e9;
    let ended = last(lab.wait(keys, "ended", |life| life.ended).await);
    Took { ended, gone: last(lab.wait(keys, "been removed", |life| life.removed).await) }
}

/// Gives when it began.
async fn raw(lab: &Lab, keys: &[String], concurrency: usize) -> i64 {
    let begun = now_ns();
    let one = |key: String| async move {
        let id = lab.create(&key).await;
        lab.docker.start_container(&id, None).await.unwrap();
        lab.docker.wait_container(&id, None).for_each(|ended| async move { drop(ended.unwrap()) }).await;
        lab.docker.remove_container(&id, None).await.unwrap();
    };
    futures::stream::iter(keys.to_vec()).map(one).buffer_unordered(concurrency).collect::<Vec<()>>().await;
    begun
}

fn rows(lab: &Lab, workers: &[Worker], took: &[Vec<Took>], what: &str, part: impl Fn(&Took) -> f64) -> Value {
    let figures = took.iter().map(|took| Figures::of(&took.iter().map(&part).collect::<Vec<_>>()));
    let rows: Vec<(String, Figures)> = workers.iter().map(name).zip(figures).collect();
    table(&format!("herd on network {}, {what}", lab.network), &rows);
    Value::Object(rows.iter().map(|(name, row)| (name.clone(), row.json(&rows[0].1))).collect())
}

fn rates(workers: &[Worker], took: &[Vec<Took>], options: &Options) -> Vec<(String, f64)> {
    let rate = |took: &Vec<Took>| {
        let ended: Vec<f64> = took.iter().map(|took| took.ended).collect();
        per_second(options, Figures::of(&ended).median)
    };
    workers.iter().map(name).zip(took.iter().map(rate)).collect()
}

fn name(worker: &Worker) -> String {
    match worker {
        Worker::Raw(concurrency) => format!("limit: raw API calls, {concurrency} at once"),
        Worker::Tidetable(_) => "tidetable".to_owned(),
        Worker::Xargs(concurrency) => format!("xargs -P {concurrency} docker run --rm"),
        Worker::ApScheduler(peer) => peer.name().to_owned(),
    }
}

fn per_second(options: &Options, seconds: f64) -> f64 {
    options.herd as f64 / seconds
}
