//! A soak test: mixed load with kills for any length of time. Afterwards memory, file handles,
//! threads, containers and disk have to be as before.
//!
//! The first half injects faults: the server is killed and replaced, the engine is killed and
//! restarted. The second half leaves the server alone, because a restart would hide a leak; its
//! engine still restarts in a long soak. Between the beginning and the end of the second half, both
//! at rest, nothing may have grown. Disk grows with history, so it is compared per job. `make soak`
//! takes an hour (`MINUTES=60`) and writes its samples to `target/soak.csv`; otherwise the load
//! lasts 24 seconds, the test about a minute.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::daemon::Daemon;
use crate::support::evidence::{Allowed, Kind, Posted, Work, is_part};
use crate::support::scene::{Caller, Load, Scene};
use rand::RngExt;
use rand::rngs::StdRng;

/// The growth that is allowed for a server at rest. Memory: each of glibc's eight arenas per core
/// keeps the most it ever needed (of 106 MB held after an hour, 25 were in use). Threads: a pool
/// keeps idle ones for some seconds.
const SLACK_KIB: u64 = 48 * 1024;
/// Pools keep their connections: three more readers of the store have three files each, and a
/// client of the engine may keep a few sockets.
const SLACK_FILES: u64 = 12;
const SLACK_THREADS: u64 = 8;
/// The most bytes of write-ahead log. The store checkpoints it at 4 MiB, a little later under load.
const MOST_WAL: u64 = 16 << 20;
/// The pause before a sample at rest. Idle threads and connections are closed sooner. A short soak
/// waits a third of it.
const QUIET: Duration = Duration::from_secs(15);
/// The interval between samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// The resources that the server uses at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rss_kib: u64,
    files: u64,
    threads: u64,
    containers: u64,
    disk: u64,
    wal: u64,
    jobs: u64,
}

impl Sample {
    fn of(scene: &Scene, jobs: usize) -> Self {
        let process = format!("/proc/{}", scene.server.pid().unwrap());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let data = scene.server.data_dir();
        Self {
            rss_kib: number("VmRSS:"),
            files: fs::read_dir(format!("{process}/fd")).unwrap().count() as u64,
            threads: number("Threads:"),
            containers: scene.containers() as u64,
            disk: size(&data),
            wal: fs::metadata(data.join("tidetable.db-wal")).map_or(0, |file| file.len()),
            jobs: jobs as u64,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rss_kib, files, threads, containers, disk, wal, jobs } = self;
        write!(f, "{rss_kib},{files},{threads},{containers},{disk},{wal},{jobs}")
    }
}

fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    fs::read_dir(path).map_or(0, |entries| entries.flatten().map(|entry| size(&entry.path())).sum())
}

/// A running soak test.
struct Soak {
    scene: Scene,
    load: Load,
    half: Duration,
    began: Instant,
    csv: fs::File,
    sampled: Instant,
    restarts: usize,
    /// Jobs with followed output that was wrong.
    misread: Arc<Mutex<Vec<String>>>,
}

impl Soak {
    fn begin(half: Duration) -> Self {
        let seed = std::env::var("SEED")
            .map_or_else(|_| rand::random_range(0..1_000_000), |seed| seed.parse().unwrap());
        eprintln!("soak: SEED={seed}, {} s", 2 * half.as_secs());
        let name = if is_long(half) { "target/soak.csv" } else { "target/soak-short.csv" };
        let mut csv = fs::File::create(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        writeln!(csv, "seconds,rss_kib,files,threads,containers,disk,wal,jobs").unwrap();
        let mut scene = Scene::new(Daemon::over_tls(true), seed);
        let misread = Arc::new(Mutex::new(Vec::new()));
        let told = misread.clone();
        let load = scene.load(0, Duration::from_millis(350), mixed, move |caller, job| {
            attend(caller, job, &told)
        });
        let now = Instant::now();
        Self { scene, load, half, began: now, csv, sampled: now, restarts: 0, misread }
    }

    /// Runs one half of the soak, and calls `trouble` at intervals.
    fn go_on(&mut self, mut trouble: impl FnMut(&mut Self)) {
        let every = (self.half / 8).clamp(Duration::from_secs(4), Duration::from_secs(40));
        let (begin, mut next) = (Instant::now(), Instant::now() + every);
        while begin.elapsed() < self.half {
            sleep(Duration::from_millis(200));
            if self.sampled.elapsed() >= SAMPLE_EVERY {
                self.sample();
            }
            // The last quarter is without faults, so no fence outlasts a short soak by much.
            if Instant::now() >= next && begin.elapsed() < self.half * 3 / 4 {
                trouble(self);
                next = Instant::now() + every;
            }
        }
    }

    fn sample(&mut self) -> Sample {
        self.sampled = Instant::now();
        let sample = Sample::of(&self.scene, self.load.posted());
        writeln!(self.csv, "{},{sample}", self.began.elapsed().as_secs()).unwrap();
        sample
    }

    /// Waits until every job is over and the server is idle, and takes a sample.
    fn rest(&mut self) -> Sample {
        self.load.pause(true);
        self.scene.rest();
        sleep(if is_long(self.half) { QUIET } else { QUIET / 3 });
        let sample = self.sample();
        self.load.pause(false);
        sample
    }

    fn restart_engine(&mut self) {
        self.restarts += 1;
        let kill = self.scene.rng.random_bool(0.5);
        let daemon = &mut self.scene.daemon;
        if kill {
            daemon.kill()
        } else {
            daemon.terminate()
        }
        self.scene.nap(0..2_000);
        self.scene.daemon.up();
    }
}

fn is_long(half: Duration) -> bool {
    half > Duration::from_secs(60)
}

/// Returns a random job from a mix of all kinds.
fn mixed(rng: &mut StdRng) -> Work {
    let plain = Work::plain(rng);
    match rng.random_range(0..20) {
        0 | 1 => Work { lines: rng.random_range(1_000..4_000), ..plain },
        2 | 3 => Work { kind: Kind::Retried, code: 3, run_ms: 100, ..plain },
        4 => Work { kind: Kind::TimedOut, run_ms: 60_000, ..plain },
        5 | 6 => Work { kind: Kind::Stopped, run_ms: 120_000, ..plain },
        7 | 8 => Work { kind: Kind::Canceled, ..plain },
        9 => Work { run_ms: 20_000, ..plain },
        _ => plain,
    }
}

/// Acts on a job as its caller: stops it, cancels it, waits for it, or follows its output.
fn attend(caller: &Caller, job: &Posted, misread: &Arc<Mutex<Vec<String>>>) {
    let (caller, misread, work) = (caller.clone(), misread.clone(), job.work.clone());
    let Some(id) = job.id.clone() else { return };
    spawn(move || match work.kind {
        Kind::Stopped => insist(&caller, &id, "POST", &format!("/job/{id}/stop")),
        Kind::Canceled => insist(&caller, &id, "DELETE", &format!("/job/{id}")),
        Kind::Plain if work.due_ms % 2 == 0 => {
            let Some(answer) = caller.call("GET", &format!("/job/{id}/logs?follow=true"), "")
            else {
                return;
            };
            if !is_part(&answer.text(), &work.output(&id)) {
                misread.lock().unwrap().push(format!("{id}: {}", answer.text()));
            }
        }
        Kind::Plain | Kind::Retried | Kind::TimedOut => {
            _ = caller.call("GET", &format!("/job/{id}/wait?timeout=60s"), "")
        }
    });
}

/// Repeats the call until the job is over.
fn insist(caller: &Caller, id: &str, method: &str, path: &str) {
    loop {
        sleep(Duration::from_millis(700));
        caller.call(method, path, "");
        let job = caller.call("GET", &format!("/job/{id}"), "");
        if job.is_some_and(|job| job.status != 200 || job.json()["finished_at"].is_string()) {
            return;
        }
    }
}

/// Lists the resources that grew between two samples at rest and should not have. History may grow.
fn grown(before: &Sample, after: &Sample) -> Vec<&'static str> {
    eprintln!("soak: at rest before: {before:?}\nsoak: at rest after:  {after:?}");
    let per_job = (
        before.disk / before.jobs,
        after.disk.saturating_sub(before.disk) / (after.jobs - before.jobs).max(1),
    );
    eprintln!(
        "soak: disk for each job: {} bytes in the first half, {} in the second",
        per_job.0, per_job.1
    );
    let grown = [
        ("memory", after.rss_kib > before.rss_kib + SLACK_KIB),
        ("file handles", after.files > before.files + SLACK_FILES),
        ("threads", after.threads > before.threads + SLACK_THREADS),
        ("containers", after.containers > before.containers),
        ("disk for each job", per_job.1 > per_job.0 * 3 / 2 + MOST_WAL / after.jobs),
        ("the database's log", after.wal > MOST_WAL),
    ];
    grown.iter().filter(|(_, has)| *has).map(|(what, _)| *what).collect()
}

#[test]
fn only_history_grows_under_load_with_kills() {
    let minutes: f64 = std::env::var("MINUTES").map_or(0.4, |minutes| minutes.parse().unwrap());
    let mut soak = Soak::begin(Duration::from_secs_f64(minutes * 30.0));
    let mut replaced = 0;
    soak.go_on(|soak| match soak.scene.rng.random_range(0..4) {
        0 | 1 => soak.scene.kill_server(),
        2 => {
            soak.scene.replace_server();
            replaced += 1;
        }
        _ => soak.restart_engine(),
    });
    let before = soak.rest();
    soak.go_on(|soak| {
        if is_long(soak.half) {
            soak.restart_engine();
        }
    });
    let mut after = soak.rest();
    // Resources that are released slowly on a busy machine get time for it.
    let end = Instant::now() + PATIENCE;
    while !grown(&before, &after).is_empty() && Instant::now() < end {
        sleep(Duration::from_secs(2));
        after = soak.rest();
    }
    let Soak { scene, load, restarts, misread, .. } = soak;
    let posted = load.stop();
    scene.rest();
    let tally = scene.check(&posted, Allowed { engine_killed: true, ..Allowed::default() });
    eprintln!(
        "soak: kills {}, replaced {replaced}, engine restarts {restarts}, {tally}",
        scene.kills
    );
    let grown = grown(&before, &after);
    tally.assert_kept();
    assert_eq!(*misread.lock().unwrap(), Vec::<String>::new(), "followed output");
    assert!(grown.is_empty(), "grown: {grown:?}");
}
