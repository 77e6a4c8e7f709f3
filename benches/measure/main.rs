//! What the service costs, beside the limit and beside peers: one module for each question.
//!
//! The server is a process of its own that is spoken to over HTTP. `lateness`, `herd`, `overhead` and `aim` ask what the service adds to
//! the engine at `DOCKER_HOST`; what is measured is what the engine's own events say, for everybody: the same image, network and machine,
//! in turns within one run. Beside it: the limit, which is the engine's API called with nothing around it, and peers. Tables on stderr,
//! JSON on stdout, plots in `PLOTS` (target/bench).
//!
//! `submit`, `remember` and `read` ask what accepting, keeping and showing jobs costs; they need no engine.
//!
//! `make bench`, or `make bench-NAME` for one of them. From the environment: `REQUESTS` (20000 a turn: `submit`), `JOBS` (200) and `PEER_JOBS` (20) at either rate, `WAITING`
//! (1000000: so many jobs in a second server's store), `AIM` (0; 1: jobs with `aim` beside the others; `make bench-aim`: so many, 1000),
//! `HERD` (200), `OVERHEAD` (1000 jobs), `ROUNDS` (4 and 3), `NETWORK` (host: the fastest there is), `PEERS` (a Python that has
//! APScheduler and docker), `OFELIA` and `OFELIA_NETRESEARCH` (programs), `SHORT=1` (whether it works, no figures).
//!
//! `make bench-read` needs no engine: `SIZES` (1000,100000,1000000: jobs in the stores that are read), `ROUNDS` (5). `make bench-watch`:
//! `IDLE` (30: seconds that a server is left at rest), `REAL` (200: containers that are watched).
//!
//! `cargo test` runs all of it in the short form: every figure is there, whatever it is.

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
#[path = "../../tests/common/mod.rs"]
mod common;
mod contestants;
mod herd;
mod http;
mod lab;
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
mod remember;
mod report;
mod submit;
#[path = "../../tests/scale/vast.rs"]
mod vast;
mod watch;

/// All that can be measured.
const ALL: [&str; 8] =
    ["lateness", "aim", "herd", "overhead", "submit", "remember", "read", "watch"];

/// How long it is measured.
pub struct Options {
    /// Jobs at one a second, and at ten a second; without any, that rate is left out.
    pub jobs: [usize; 2],
    /// Jobs of a peer, at either rate.
    pub peer_jobs: usize,
    /// Jobs that wait in the store of a second server; none: there is no second one.
    pub waiting: u32,
    /// Jobs that are due at one instant.
    pub herd: usize,
    /// Whether jobs with `aim` are measured beside the others.
    pub aims: bool,
    /// How many of them where they are all that is measured.
    pub aim: usize,
    /// Jobs whose processor time is counted.
    pub overhead: usize,
    /// Jobs in the large store of those that ask what many of them cost.
    pub many: u32,
    /// Requests of a turn over the most connections.
    pub requests: usize,
    /// In how many turns a rate's jobs are split.
    pub turns: usize,
    /// How often each works off the herd.
    pub herds: usize,
    /// How many starts at once are tried in search of the limit.
    pub concurrencies: Vec<usize>,
    /// What all containers are on.
    pub network: String,
    /// A Python with the peers' packages.
    pub python: Option<PathBuf>,
    /// Both Ofelias, or those that are there.
    pub ofelias: Vec<PathBuf>,
    /// Where plots go; none: there are none.
    pub plots: Option<PathBuf>,
    /// How many jobs are in the stores that are read.
    pub sizes: Vec<u32>,
    /// How often all of a store is read.
    pub rounds: usize,
    /// For how long it is polled.
    pub polled: Duration,
    /// How many single jobs are read.
    pub reads: usize,
    /// How much is watched.
    pub watched: watch::Watched,
}

impl Options {
    /// As long as it takes to see that everything works.
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

/// Measures these, and gives what was seen. An engine is needed only by those that ask one.
pub async fn run(what: &[&str], options: &Options) -> Value {
    let mut report = Map::from_iter([("machine".to_owned(), machine::describe())]);
    let mut lab = None;
    for what in what {
        let seen = match *what {
            "lateness" => {
                lateness::run(engine(&mut lab, &mut report, options).await, options).await
            }
            "herd" => herd::run(engine(&mut lab, &mut report, options).await, options).await,
            "read" => read::run(options).await,
            "watch" => watch::run(engine(&mut lab, &mut report, options).await, options).await,
            "overhead" => {
                overhead::run(engine(&mut lab, &mut report, options).await, options).await
            }
            "aim" => lateness::aim(engine(&mut lab, &mut report, options).await, options).await,
            "submit" => tokio::task::block_in_place(|| submit::run(options)),
            "remember" => tokio::task::block_in_place(|| remember::run(options)),
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

/// The engine, which is asked who it is when it is first needed.
async fn engine<'a>(
    lab: &'a mut Option<lab::Lab>,
    report: &mut Map<String, Value>,
    options: &Options,
) -> &'a lab::Lab {
    if lab.is_none() {
        let new = lab::Lab::new(&options.network).await;
        report.insert("engine".to_owned(), machine::describe_engine(&new).await);
        *lab = Some(new);
    }
    lab.as_ref().unwrap()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|wanted| !wanted.starts_with("--")).collect();
    // cargo says `--bench` to every benchmark, and not to a test.
    if arguments.iter().any(|argument| argument == "--bench") {
        println!(
            "{}",
            run(if wanted.is_empty() { &ALL } else { &wanted }, &Options::from_environment()).await
        );
    } else {
        every_row_has_figures(&wanted).await;
    }
}

/// As a test, which a filter may leave out, as it does with others.
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
