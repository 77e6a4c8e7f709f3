//! The subjects of the measurements: the limit, the service, and peers at their best settings.
//!
//! Every subject gets the same keys and due times. The limit is a call of the engine's API at the
//! due time, by a timer of the kernel, for a container that exists already.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::json;
use tidetable::clock::{Clock, SystemClock};

use crate::engine_probe::{EngineProbe, LABEL, now_ns, until};
use crate::ofelia::Ofelia;
use crate::support::large_store::Vast;
use crate::support::{IMAGE, Server};

/// The program that drives a peer in Python.
const APSCHEDULER: &str = include_str!("apscheduler.py");
/// The lead between the last submission and the due time, and the further lead for each job. Both
/// exceed the time that a submission takes.
const LEAD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(30));
/// The time without an event of any container after which a peer is taken to start no more jobs.
const SILENCE: Duration = Duration::from_secs(15);
/// The log filter that makes the driver log its steps, for the profile.
const LOG: &str = "info,tidetable::scheduler::driver=debug";

pub enum Subject {
    /// The `start` of a container that was created before.
    PreparedStart,
    Tidetable(Tidetable),
    /// The commands of `cron` and `systemd-run`, with an exact timer.
    DockerRun,
    ApScheduler(ApScheduler),
    Ofelia(Ofelia),
}

impl Subject {
    pub fn name(&self) -> String {
        match self {
            Self::PreparedStart => "limit: start of a prepared container".to_owned(),
            Self::Tidetable(service) => service.name.clone(),
            Self::DockerRun => "exact timer + docker run -d".to_owned(),
            Self::ApScheduler(peer) => peer.name.clone(),
            Self::Ofelia(peer) => peer.name().to_owned(),
        }
    }

    /// Returns whether the subject is only here for comparison, so that no ratio is about it.
    pub fn is_peer(&self) -> bool {
        !matches!(self, Self::PreparedStart | Self::Tidetable(_))
    }

    /// Returns whether the subject accepts due times in whole seconds only.
    pub fn knows_only_seconds(&self) -> bool {
        matches!(self, Self::Ofelia(_))
    }

    /// Creates everything that has to exist before the jobs are due. Returns an item for each job,
    /// or none.
    pub async fn prepare(&self, probe: &EngineProbe, keys: &[String]) -> Vec<String> {
        match self {
            Self::PreparedStart => probe.create_all(keys).await,
            Self::Ofelia(peer) => peer.prepare(probe, keys).await,
            Self::Tidetable(_) | Self::DockerRun | Self::ApScheduler(_) => Vec::new(),
        }
    }

    /// Arranges that each job starts at its due time.
    pub fn plan(&self, probe: &EngineProbe, keys: &[String], due: &[i64], prepared: Vec<String>) {
        match self {
            Self::PreparedStart => {
                prepared.into_iter().zip(due).for_each(|(id, due)| start_at(probe, id, *due))
            }
            Self::Tidetable(service) => {
                tokio::task::block_in_place(|| service.submit(probe, keys, due))
            }
            Self::DockerRun => {
                keys.iter().zip(due).for_each(|(key, due)| docker_run_at(probe, key.clone(), *due))
            }
            Self::ApScheduler(peer) => peer.plan(keys, due),
            Self::Ofelia(peer) => peer.plan(keys, due, &prepared),
        }
    }

    /// Waits for the starts, and returns the keys of the jobs that started. A peer may never start
    /// some of them.
    pub async fn ran(&self, probe: &EngineProbe, keys: &[String]) -> Vec<String> {
        if self.is_peer() {
            probe.wait_until_silence(keys, SILENCE, |life| life.started).await;
        } else {
            probe.wait(keys, "started", |life| life.started).await;
        }
        keys.iter().filter(|key| probe.life(key).started.is_some()).cloned().collect()
    }

    /// Returns whether the containers of ended jobs stay until they are removed.
    pub fn leaves_containers(&self) -> bool {
        match self {
            Self::PreparedStart => true,
            Self::Ofelia(peer) => peer.is_prepared(),
            Self::Tidetable(_) | Self::DockerRun | Self::ApScheduler(_) => false,
        }
    }

    /// Removes everything that would stay. The containers of these jobs have ended.
    pub async fn end(&self, probe: &EngineProbe, keys: &[String]) {
        match self {
            Self::PreparedStart => probe.clear(keys).await,
            Self::Ofelia(peer) => {
                peer.end(probe, keys).await;
                probe.clear(keys).await;
            }
            Self::Tidetable(_) | Self::DockerRun | Self::ApScheduler(_) => {}
        }
    }
}

/// Returns a whole second that leaves enough time to submit this many jobs.
pub fn soon(jobs: usize) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    (now_ns() + nanos(LEAD.0) + nanos(LEAD.1) * count_of(jobs)) / SECOND * SECOND + SECOND
}

/// Warns if the jobs were due before all were submitted, because their figures would be
/// meaningless.
pub fn warn_if_late(due: i64, name: &str) {
    if now_ns() >= due {
        eprintln!("{name} was told too late: its figures say nothing");
    }
}

pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap()
}

pub fn count_of(number: usize) -> i64 {
    i64::try_from(number).unwrap()
}

fn start_at(probe: &EngineProbe, id: String, due: i64) {
    let docker = probe.docker.clone();
    tokio::spawn(async move {
        until(due).await;
        docker.start_container(&id, None).await.unwrap();
    });
}

fn docker_run_at(probe: &EngineProbe, key: String, due: i64) {
    let mut command = docker_run(probe, &format!("{LABEL}={key}"));
    command.args(["--detach", IMAGE, "true"]);
    tokio::spawn(async move {
        until(due).await;
        let ran = tokio::task::spawn_blocking(move || command.status().unwrap()).await.unwrap();
        assert!(ran.success(), "docker run");
    });
}

fn docker_run(probe: &EngineProbe, label: &str) -> Command {
    let mut command = Command::new("docker");
    command
        .args(["run", "--rm", "--network", &probe.network, "--label", label])
        .stdout(Stdio::null());
    command
}

/// Runs `xargs -P`, which starts with the first key at once. Returns the time of its begin.
pub fn xargs(probe: &EngineProbe, keys: &[String], concurrency: usize) -> i64 {
    let run = docker_run(probe, &format!("{LABEL}={{}}"));
    let mut xargs = Command::new("xargs");
    xargs
        .args(["-P", &concurrency.to_string(), "-I{}"])
        .arg(run.get_program())
        .args(run.get_args());
    let mut xargs =
        xargs.args([IMAGE, "true"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let begun = now_ns();
    xargs.stdin.take().unwrap().write_all(keys.join("\n").as_bytes()).unwrap();
    assert!(xargs.wait().unwrap().success(), "xargs");
    begun
}

/// The service, as a process of its own.
pub struct Tidetable {
    name: String,
    pub server: Server,
    /// True if jobs have `aim`: their processes should be running at the due time, not started
    /// then.
    pub aims: bool,
    /// The submitted jobs: id, key, and due time in nanoseconds.
    pub jobs: Mutex<Vec<(String, String, i64)>>,
}

impl Tidetable {
    pub fn new(probe: &EngineProbe) -> Self {
        Self::start(probe, "tidetable", LOG)
    }

    /// Creates a service with this many other jobs waiting in its store.
    pub fn among(probe: &EngineProbe, waiting: u32) -> Self {
        let mut service = Self::start(probe, &format!("tidetable, {waiting} waiting"), LOG);
        service.server.terminate();
        crate::support::large_store::build(
            &service.server.data_dir(),
            Vast { jobs: waiting, history: 0, schedules: 0 },
            SystemClock.now(),
        );
        service.server.up();
        service
    }

    /// Creates a service that submits its jobs with `aim`.
    pub fn aiming(probe: &EngineProbe) -> Self {
        let mut service = Self::start(probe, "tidetable, aim", LOG);
        service.aims = true;
        service
    }

    /// Creates a service with the usual log level.
    pub fn quiet(probe: &EngineProbe) -> Self {
        Self::start(probe, "tidetable", "info")
    }

    fn start(probe: &EngineProbe, name: &str, log: &str) -> Self {
        let config = format!("[policies.default]\nallow_networks = ['{}']\n", probe.network);
        let server = Server::start(&[], &config, &[("TIDETABLE_LOG", log)]);
        Self { name: name.to_owned(), server, aims: false, jobs: Mutex::default() }
    }

    pub fn submit(&self, probe: &EngineProbe, keys: &[String], due: &[i64]) {
        for (key, due) in keys.iter().zip(due) {
            let date =
                DateTime::from_timestamp_nanos(*due).to_rfc3339_opts(SecondsFormat::Millis, true);
            let mut job = json!({
                "job_name": IMAGE, "date": date, "command": ["true"], "network": probe.network, "labels": {LABEL: key}
            });
            if self.aims {
                job["aim"] = true.into();
            }
            self.jobs.lock().unwrap().push((self.server.submit(job), key.clone(), *due));
        }
    }
}

impl Drop for Tidetable {
    fn drop(&mut self) {
        self.server.kill();
        self.server.remove_containers(&crate::support::docker_host());
    }
}

/// APScheduler with the engine's own Python library, as a process.
pub struct ApScheduler {
    name: String,
    child: Child,
    input: Mutex<ChildStdin>,
}

impl ApScheduler {
    /// Starts the process with this many threads for jobs.
    pub fn new(probe: &EngineProbe, python: &Path, threads: usize) -> Self {
        let mut child = Command::new(python)
            .args(["-u", "-c", APSCHEDULER, IMAGE, &probe.network, LABEL, &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("PEERS names a Python");
        let mut name = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut name).unwrap();
        assert!(!name.is_empty(), "the Python that PEERS names has APScheduler and docker");
        let input = Mutex::new(child.stdin.take().unwrap());
        Self { name: name.trim().to_owned(), child, input }
    }

    pub fn plan(&self, keys: &[String], due: &[i64]) {
        let jobs: Vec<_> = keys.iter().zip(due).map(|(key, due)| json!([key, due])).collect();
        writeln!(self.input.lock().unwrap(), "{}", json!(jobs)).unwrap();
    }
}

impl Drop for ApScheduler {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
