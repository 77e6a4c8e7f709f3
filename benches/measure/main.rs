//! Measures the cost of the service beside the limit and beside peers, with one module for each
//! question.
//!
//! The server is a process of its own, and the benchmark calls it over HTTP. `lateness`, `herd`,
//! `overhead` and `aim` measure the service's addition to the engine at `DOCKER_HOST`. For every
//! subject, the figures come from the engine's own events. All subjects have the same image,
//! network and machine, in turns within one run. The limit is the engine's API, called with nothing
//! around it. Tables go to stderr, JSON to stdout, and plots to `PLOTS` (target/bench).
//!
//! `submit`, `remember` and `read` measure the cost of accepting, keeping and showing jobs. They
//! need no engine.
//!
//! Run `make bench`, or `make bench-NAME` for one of them. Environment variables, with defaults:
//!
//! - `REQUESTS` (20000): requests in a turn of `submit`
//! - `JOBS` (200) and `PEER_JOBS` (20): jobs at either rate
//! - `WAITING` (1000000): jobs in the store of a second server, and in the large store of `submit`
//!   and `remember`
//! - `AIM` (0): 1 adds jobs with `aim` to the others; for `make bench-aim` their number (1000)
//! - `HERD` (200): jobs due at one instant
//! - `OVERHEAD` (1000): jobs with counted processor time
//! - `ROUNDS` (4 turns, 3 herds, 5 rounds of `read`)
//! - `NETWORK` (host, the fastest there is)
//! - `PEERS`: a Python with APScheduler and docker
//! - `OFELIA` and `OFELIA_NETRESEARCH`: programs
//! - `SIZES` (1000,100000,1000000): jobs in the stores of `read`
//! - `IDLE` (30): seconds that a server of `watch` is left at rest
//! - `REAL` (200): containers that `watch` watches
//! - `SHORT=1`: only checks that everything works, without usable figures
//!
//! `cargo test` runs everything in the short form, and checks that every figure exists.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may, and it is there to print"
)]

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

mod client;
mod engine_probe;
mod footprint;
mod herd;
mod http;
mod lateness;
mod machine;
mod ofelia;
mod overhead;
mod plot;
mod process;
mod processor;
mod profile;
mod raw;
mod read;
mod report;
mod subjects;
mod submit;
#[path = "../../tests/support/mod.rs"]
mod support;
mod watch;

/// The names of all measurements.
const ALL: [&str; 8] =
    ["lateness", "aim", "herd", "overhead", "submit", "remember", "read", "watch"];

/// The size and duration of the measurements.
pub struct Options {
    /// The jobs at one per second, and at ten per second. 0 leaves that rate out.
    pub jobs: [usize; 2],
    /// The jobs of a peer, at either rate.
    pub peer_jobs: usize,
    /// The jobs that wait in the store of a second server. 0: no second server.
    pub waiting: u32,
    /// The jobs that are due at one instant.
    pub herd: usize,
    /// True to measure jobs with `aim` beside the others.
    pub aims: bool,
    /// The jobs with `aim` in the measurement of `aim` alone.
    pub aim: usize,
    /// The jobs with counted processor time.
    pub overhead: usize,
    /// The jobs in the large store of the measurements that need one.
    pub many: u32,
    /// The requests of a turn over the largest number of connections.
    pub requests: usize,
    /// The number of turns into which the jobs of a rate are split.
    pub turns: usize,
    /// The number of times that each subject works off the herd.
    pub herds: usize,
    /// The numbers of simultaneous starts to try in the search of the limit.
    pub concurrencies: Vec<usize>,
    /// The network of all containers.
    pub network: String,
    /// A Python with the packages of the peers. `None`: without these peers.
    pub python: Option<PathBuf>,
    /// The Ofelia programs. Empty: without these peers.
    pub ofelias: Vec<PathBuf>,
    /// The folder for plots. `None`: no plots.
    pub plots: Option<PathBuf>,
    /// The numbers of jobs in the stores that are read.
    pub sizes: Vec<u32>,
    /// The number of times that each whole store is read.
    pub rounds: usize,
    /// The duration of the polling by callers.
    pub polled: Duration,
    /// The number of single jobs that are read.
    pub reads: usize,
    /// The size and duration of `watch`.
    pub watched: watch::Watched,
}

impl Options {
    /// Returns the smallest options with which every measurement runs.
    pub fn short() -> Self {
        let (jobs, turns, herds, concurrencies) = ([2, 0], 1, 1, vec![4]);
        let (waiting, herd, overhead, network) = (1_000, 8, 10, "none".to_owned());
        let (peer_jobs, aims, aim, python, ofelias, plots) = (2, false, 5, None, Vec::new(), None);
        let idle = Duration::from_secs(1);
        Self {
            jobs,
            peer_jobs,
            aims,
            aim,
            waiting,
            herd,
            overhead,
            many: 2_000,
            requests: 640,
            turns,
            herds,
            concurrencies,
            network,
            python,
            ofelias,
            plots,
            sizes: vec![100, 1_000],
            rounds: 1,
            polled: Duration::from_millis(100),
            reads: 100,
            watched: watch::Watched { idle, simulated: 20, real: 5, followers: 10, callers: 20 },
        }
    }

    fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &str| variable(name).map(|value| value.parse::<usize>().unwrap());
        if variable("SHORT").is_some_and(|short| short != "0") {
            return Self::short();
        }
        let jobs = number("JOBS");
        Self {
            jobs: [jobs.unwrap_or(200); 2],
            peer_jobs: number("PEER_JOBS").unwrap_or(20),
            waiting: number("WAITING").map_or(1_000_000, |waiting| u32::try_from(waiting).unwrap()),
            many: number("WAITING").map_or(1_000_000, |waiting| u32::try_from(waiting).unwrap()),
            requests: number("REQUESTS").unwrap_or(20_000),
            herd: number("HERD").unwrap_or(200),
            aims: variable("AIM").is_some_and(|aim| aim != "0"),
            aim: number("AIM").filter(|aim| *aim > 1).unwrap_or(1_000),
            overhead: number("OVERHEAD").unwrap_or(1_000),
            turns: number("ROUNDS").unwrap_or(4),
            herds: number("ROUNDS").unwrap_or(3),
            concurrencies: vec![1, 2, 4, 6, 8, 12, 16],
            network: variable("NETWORK").unwrap_or_else(|| "host".to_owned()),
            python: variable("PEERS").map(PathBuf::from),
            ofelias: ["OFELIA", "OFELIA_NETRESEARCH"]
                .iter()
                .filter_map(|name| Some(variable(name)?.into()))
                .collect(),
            plots: Some(variable("PLOTS").map_or_else(|| "target/bench".into(), PathBuf::from)),
            sizes: variable("SIZES").map_or_else(|| vec![1_000, 100_000, 1_000_000], sizes),
            rounds: number("ROUNDS").unwrap_or(5),
            polled: Duration::from_secs(2),
            reads: 5_000,
            watched: watch::Watched {
                idle: Duration::from_secs(number("IDLE").map_or(30, |seconds| seconds as u64)),
                simulated: 1_000,
                real: number("REAL").unwrap_or(200),
                followers: 100,
                callers: 1_000,
            },
        }
    }
}

/// Runs these measurements and returns their figures. Connects to an engine only for a measurement
/// that needs one.
pub async fn run(what: &[&str], options: &Options) -> Value {
    let mut report = Map::from_iter([("machine".to_owned(), machine::describe())]);
    let mut probe = None;
    for what in what {
        let seen = match *what {
            "lateness" => {
                lateness::run(engine(&mut probe, &mut report, options).await, options).await
            }
            "herd" => herd::run(engine(&mut probe, &mut report, options).await, options).await,
            "read" => read::run(options).await,
            "watch" => watch::run(engine(&mut probe, &mut report, options).await, options).await,
            "overhead" => {
                overhead::run(engine(&mut probe, &mut report, options).await, options).await
            }
            "aim" => lateness::aim(engine(&mut probe, &mut report, options).await, options).await,
            "submit" => tokio::task::block_in_place(|| submit::run(options)),
            "remember" => tokio::task::block_in_place(|| footprint::run(options)),
            other => panic!("`{other}` cannot be measured: {} can", ALL.join(", ")),
        };
        report.insert((*what).to_owned(), seen);
    }
    report.insert("load_after".to_owned(), machine::load().into());
    Value::Object(report)
}

fn sizes(list: String) -> Vec<u32> {
    list.split(',').map(|size| size.parse().unwrap()).collect()
}

/// Returns the engine. The first call connects to it and describes it.
async fn engine<'a>(
    probe: &'a mut Option<engine_probe::EngineProbe>,
    report: &mut Map<String, Value>,
    options: &Options,
) -> &'a engine_probe::EngineProbe {
    if probe.is_none() {
        let new = engine_probe::EngineProbe::new(&options.network).await;
        report.insert("engine".to_owned(), machine::describe_engine(&new).await);
        *probe = Some(new);
    }
    probe.as_ref().unwrap()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|wanted| !wanted.starts_with("--")).collect();
    // cargo passes `--bench` to every benchmark, but not to a test.
    if arguments.iter().any(|argument| argument == "--bench") {
        println!(
            "{}",
            run(if wanted.is_empty() { &ALL } else { &wanted }, &Options::from_environment()).await
        );
    } else {
        every_row_has_figures(&wanted).await;
    }
}

/// Runs as a test. A filter may leave out measurements, as with other tests.
async fn every_row_has_figures(filters: &[&str]) {
    let asked = |what: &&str| filters.is_empty() || filters.contains(what);
    let asked: Vec<&str> = ALL.into_iter().filter(asked).collect();
    if !asked.is_empty() {
        let report = run(&asked, &Options::short()).await;
        for what in asked {
            assert_figures(what, &report[what]);
        }
    }
}

fn assert_figures(place: &str, value: &Value) {
    match value {
        Value::Object(parts) => {
            assert!(!parts.is_empty(), "{place} is empty");
            parts.iter().for_each(|(name, part)| assert_figures(&format!("{place}/{name}"), part));
        }
        Value::Array(parts) => parts.iter().for_each(|part| assert_figures(place, part)),
        Value::Null => panic!("{place} has no figure"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
