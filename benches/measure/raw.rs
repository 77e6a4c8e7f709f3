//! The limit of a herd: the engine's API, called in the fastest way on this machine. A search finds
//! that way.
//!
//! Creates and starts are two queues, each with its own number of simultaneous calls. The end of
//! each container is read from the one stream of events. Containers are removed when all have
//! ended, or each one when it has ended.
//!
//! There are two limits. For a herd that was unknown before, all work falls on its instant. For a
//! herd that was known, the containers can exist already, and only the starts remain.

use serde_json::{Map, Value, json};

use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::Options;
use crate::engine_probe::{EngineProbe, now_ns};
use crate::plot::Line;

/// The number of simultaneous removals. They cost the engine little.
const REMOVALS: usize = 8;

/// A way to work off a herd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// The number of simultaneous creates. `None`: the containers exist before the instant.
    pub creates: Option<usize>,
    pub starts: usize,
    /// True to remove each container when it has ended, instead of all at the end.
    pub removes_early: bool,
}

/// The result of the search.
pub struct Found {
    pub everything: Way,
    pub prepared: Way,
    /// Every way that was tried, with its jobs per second.
    tried: Vec<(Way, f64)>,
}

impl Way {
    pub fn name(self) -> String {
        let removes = if self.removes_early { ", removed one by one" } else { "" };
        match self.creates {
            None => format!(
                "raw API calls, containers made before: {} starts at once{removes}",
                self.starts
            ),
            Some(creates) => {
                format!("raw API calls: {creates} creates, {} starts at once{removes}", self.starts)
            }
        }
    }

    /// Works off the herd, and returns the time of its begin. Afterwards all containers have ended
    /// and are gone.
    pub async fn work_off(self, probe: &EngineProbe, keys: &[String]) -> i64 {
        let prepared =
            if self.creates.is_none() { probe.create_all(keys).await } else { Vec::new() };
        let (made, to_start) = unbounded_channel();
        let (started, to_remove) = unbounded_channel();
        let begun = now_ns();
        futures::join!(
            self.create(probe, keys, prepared, made),
            self.start(probe, to_start, started),
            self.remove(probe, keys, to_remove)
        );
        begun
    }

    async fn create(
        self,
        probe: &EngineProbe,
        keys: &[String],
        prepared: Vec<String>,
        made: UnboundedSender<(String, String)>,
    ) {
        if let Some(creates) = self.creates {
            let create = |key: String| async { (probe.create(&key).await, key) };
            let all = futures::stream::iter(keys.to_vec()).map(create).buffer_unordered(creates);
            all.for_each(|(id, key)| async { made.send((key, id)).unwrap() }).await;
        } else {
            keys.iter().cloned().zip(prepared).for_each(|one| made.send(one).unwrap());
        }
    }

    async fn start(
        self,
        probe: &EngineProbe,
        to_start: UnboundedReceiver<(String, String)>,
        started: UnboundedSender<(String, String)>,
    ) {
        let start = |(key, id): (String, String)| async {
            probe.docker.start_container(&id, None).await.unwrap();
            (key, id)
        };
        let all = received(to_start).map(start).buffer_unordered(self.starts);
        all.for_each(|one| async { started.send(one).unwrap() }).await;
    }

    async fn remove(
        self,
        probe: &EngineProbe,
        keys: &[String],
        to_remove: UnboundedReceiver<(String, String)>,
    ) {
        let mut to_remove = received(to_remove).boxed();
        if !self.removes_early {
            let all: Vec<_> = to_remove.collect().await;
            probe.wait(keys, "ended", |life| life.ended).await;
            to_remove = futures::stream::iter(all).boxed();
        }
        let remove = |(key, id): (String, String)| async move {
            probe.wait(&[key], "ended", |life| life.ended).await;
            probe.remove(&id).await;
        };
        to_remove.map(remove).buffer_unordered(REMOVALS).collect::<Vec<()>>().await;
    }
}

fn received<T>(receiver: UnboundedReceiver<T>) -> impl futures::Stream<Item = T> {
    futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|one| (one, receiver))
    })
}

/// Searches the number of simultaneous starts, then that of creates, and then whether to remove
/// early. The best two ways of either kind are tried again, so that the limit is not the result of
/// luck.
pub async fn search(probe: &EngineProbe, options: &Options) -> Found {
    let mut search = Search { probe, jobs: options.herd.div_ceil(2), tried: Vec::new() };
    for starts in &options.concurrencies {
        search.attempt(Way { creates: None, starts: *starts, removes_early: false }).await;
    }
    let best = search.best(|way| way.creates.is_none())[0];
    search.attempt(Way { removes_early: true, ..best }).await;
    let fewer = options.concurrencies.iter().copied().filter(|starts| *starts < best.starts).max();
    let more = options.concurrencies.iter().copied().filter(|starts| *starts > best.starts).min();
    for starts in fewer.into_iter().chain([best.starts]).chain(more) {
        for creates in [1, 2, 4] {
            search.attempt(Way { creates: Some(creates), starts, removes_early: false }).await;
        }
    }
    let everything = search.best(|way| way.creates.is_some())[0];
    search.attempt(Way { removes_early: true, ..everything }).await;
    for kind in [|way: &Way| way.creates.is_some(), |way: &Way| way.creates.is_none()] {
        for way in search.best(kind).into_iter().take(2) {
            search.attempt(way).await;
        }
    }
    let (everything, prepared) =
        (search.best(|way| way.creates.is_some())[0], search.best(|way| way.creates.is_none())[0]);
    let most = options.concurrencies.iter().max();
    if most.is_some_and(|most| prepared.starts >= *most) {
        eprintln!(
            "{} starts at once are the most that were tried: the limit may be beyond",
            prepared.starts
        );
    }
    Found { everything, prepared, tried: search.tried }
}

struct Search<'a> {
    probe: &'a EngineProbe,
    jobs: usize,
    tried: Vec<(Way, f64)>,
}

impl Search<'_> {
    async fn attempt(&mut self, way: Way) {
        let key = |n| self.probe.key(&format!("search-{}", self.tried.len()), n);
        let keys: Vec<String> = (0..self.jobs).map(key).collect();
        let begun = way.work_off(self.probe, &keys).await;
        let ended = self
            .probe
            .wait(&keys, "ended", |life| life.ended)
            .await
            .into_iter()
            .max()
            .unwrap_or(begun);
        let rate = self.jobs as f64 * 1e9 / (ended - begun) as f64;
        eprintln!("{}: {rate:.1} a second", way.name());
        self.tried.push((way, rate));
    }

    /// Returns the ways of a kind, the best first, by the mean of their rates.
    fn best(&self, kind: impl Fn(&Way) -> bool) -> Vec<Way> {
        let mut ways: Vec<(Way, f64)> =
            means(&self.tried).into_iter().filter(|(way, _)| kind(way)).collect();
        ways.sort_by(|a, b| b.1.total_cmp(&a.1));
        ways.into_iter().map(|(way, _)| way).collect()
    }
}

fn means(tried: &[(Way, f64)]) -> Vec<(Way, f64)> {
    let mut means: Vec<(Way, f64)> = Vec::new();
    for (way, _) in tried {
        if !means.iter().any(|(other, _)| other == way) {
            let rates: Vec<f64> =
                tried.iter().filter(|(other, _)| other == way).map(|(_, rate)| *rate).collect();
            means.push((*way, rates.iter().sum::<f64>() / rates.len() as f64));
        }
    }
    means
}

impl Found {
    pub fn print(&self) {
        eprintln!("\n| search of the limit | jobs a second |\n|---|---:|");
        for (way, rate) in means(&self.tried) {
            let best =
                if way == self.everything || way == self.prepared { " **best**" } else { "" };
            eprintln!("| {}{best} | {rate:.1} |", way.name());
        }
    }

    pub fn json(&self) -> Value {
        let tried: Map<String, Value> =
            means(&self.tried).into_iter().map(|(way, rate)| (way.name(), json!(rate))).collect();
        json!({
            "jobs_a_second": tried, "best_everything": self.everything.name(), "best_prepared": self.prepared.name(),
        })
    }

    /// Returns jobs per second by the number of simultaneous starts, with a line for each number of
    /// creates.
    pub fn lines(&self) -> Vec<Line> {
        let means = means(&self.tried);
        let of = |creates: Option<usize>| {
            let points =
                means.iter().filter(|(way, _)| way.creates == creates && !way.removes_early);
            let mut points: Vec<(f64, f64)> =
                points.map(|(way, rate)| (way.starts as f64, *rate)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let creates = creates.map_or("containers made before".to_owned(), |creates| {
                format!("{creates} creates at once")
            });
            (format!("raw API calls, {creates}"), points)
        };
        [None, Some(1), Some(2), Some(4)]
            .map(of)
            .into_iter()
            .filter(|(_, points)| !points.is_empty())
            .collect()
    }
}
