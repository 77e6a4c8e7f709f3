//! Who is measured: the limit, the service, and peers at their best settings.
//!
//! All get the same: keys, and when each is due. The limit is the engine's API, called at that instant by a timer of the kernel, for a
//! container that is there already.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::json;
use tidetable::clock::{Clock, SystemClock};

use crate::common::{IMAGE, Server};
use crate::lab::{LABEL, Lab, now_ns, until};
use crate::ofelia::Ofelia;
use crate::vast::{self, Vast};

/// A program for the peer that is a library of another language.
const APSCHEDULER: &str = include_str!("apscheduler.py");
/// All are told this much ahead, and so much more for each job: more than it takes to tell.
const LEAD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(30));
/// Once nothing has been heard of any container for so long, a peer will not start what it has not started.
const SILENCE: Duration = Duration::from_secs(15);
/// What the driver says of its steps, for the profile.
const LOG: &str = "info,tidetable::scheduler::driver=debug";

pub enum Contestant {
    /// `start` of a container that was made before.
    PreparedStart,
    Tidetable(Tidetable),
    /// What `cron` and `systemd-run` do, with a timer that is exact.
    DockerRun,
    ApScheduler(ApScheduler),
    Ofelia(Ofelia),
}

impl Contestant {
    pub fn name(&self) -> String {
        match self {
            Self::PreparedStart => "limit: start of a prepared container".to_owned(),
            Self::Tidetable(service) => service.name.clone(),
            Self::DockerRun => "exact timer + docker run -d".to_owned(),
            Self::ApScheduler(peer) => peer.name.clone(),
            Self::Ofelia(peer) => peer.name().to_owned(),
        }
    }

    /// Whether it is here for comparison: not what the ratios are about.
    pub fn is_peer(&self) -> bool {
        !matches!(self, Self::PreparedStart | Self::Tidetable(_))
    }

    /// Whether what it is told can be due at whole seconds only.
    pub fn knows_only_seconds(&self) -> bool {
        matches!(self, Self::Ofelia(_))
    }

    /// Makes what has to be there before these are due.
    pub async fn prepare(&self, lab: &Lab, keys: &[String]) -> Vec<String> {
        match self {
            Self::PreparedStart => lab.create_all(keys).await,
            Self::Ofelia(peer) => peer.prepare(lab, keys).await,
            Self::Tidetable(_) | Self::DockerRun | Self::ApScheduler(_) => Vec::new(),
        }
    }

    /// Has each of these started when it is due.
    pub fn plan(&self, lab: &Lab, keys: &[String], due: &[i64], prepared: Vec<String>) {
        match self {
            Self::PreparedStart => {
                prepared.into_iter().zip(due).for_each(|(id, due)| start_at(lab, id, *due))
            }
            Self::Tidetable(service) => {
                tokio::task::block_in_place(|| service.submit(lab, keys, due))
            }
            Self::DockerRun => {
                keys.iter().zip(due).for_each(|(key, due)| docker_run_at(lab, key.clone(), *due))
            }
            Self::ApScheduler(peer) => peer.plan(keys, due),
            Self::Ofelia(peer) => peer.plan(keys, due, &prepared),
        }
    }

    /// Those of these that it has started, or ever will.
    pub async fn ran(&self, lab: &Lab, keys: &[String]) -> Vec<String> {
        if self.is_peer() {
            lab.wait_until_silence(keys, SILENCE, |life| life.started).await;
        } else {
            lab.wait(keys, "started", |life| life.started).await;
        }
        keys.iter().filter(|key| lab.life(key).started.is_some()).cloned().collect()
    }

    /// Whether containers of its jobs are there until they are put away.
    pub fn leaves_containers(&self) -> bool {
        match self {
            Self::PreparedStart => true,
            Self::Ofelia(peer) => peer.is_prepared(),
            Self::Tidetable(_) | Self::DockerRun | Self::ApScheduler(_) => false,
        }
    }

    /// Puts away what would stay. The containers of these have ended.
    pub async fn end(&self, lab: &Lab, keys: &[String]) {
        match self {
            Self::PreparedStart => lab.clear(keys).await,
            Self::Ofelia(peer) => {
                peer.end(lab, keys).await;
                lab.clear(keys).await;
            }
            Self::Tidetable(_) | Self::DockerRun | Self::ApScheduler(_) => {}
        }
    }
}

/// A whole second that is far enough ahead for so many jobs to be told.
pub fn soon(jobs: usize) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    (now_ns() + nanos(LEAD.0) + nanos(LEAD.1) * count_of(jobs)) / SECOND * SECOND + SECOND
}

/// Figures of jobs that were due before all was told say nothing.
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

fn start_at(lab: &Lab, id: String, due: i64) {
    let docker = lab.docker.clone();
    tokio::spawn(async move {
        until(due).await;
        docker.start_container(&id, None).await.unwrap();
    });
}

fn docker_run_at(lab: &Lab, key: String, due: i64) {
    let mut command = docker_run(lab, &format!("{LABEL}={key}"));
    command.args(["--detach", IMAGE, "true"]);
    tokio::spawn(async move {
        until(due).await;
        let ran = tokio::task::spawn_blocking(move || command.status().unwrap()).await.unwrap();
        assert!(ran.success(), "docker run");
    });
}

fn docker_run(lab: &Lab, label: &str) -> Command {
    let mut command = Command::new("docker");
    command
        .args(["run", "--rm", "--network", &lab.network, "--label", label])
        .stdout(Stdio::null());
    command
}

/// `xargs -P`, which starts with the first; gives when.
pub fn xargs(lab: &Lab, keys: &[String], concurrency: usize) -> i64 {
    let run = docker_run(lab, &format!("{LABEL}={{}}"));
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

/// The service, as a process.
pub struct Tidetable {
    name: String,
    pub server: Server,
    /// Whether its jobs are to begin at their due time, not to be started then.
    pub aims: bool,
    /// The jobs that were submitted: id, key and due time.
    pub jobs: Mutex<Vec<(String, String, i64)>>,
}

impl Tidetable {
    pub fn new(lab: &Lab) -> Self {
        Self::start(lab, "tidetable", LOG)
    }

    /// One in whose store so many others wait.
    pub fn among(lab: &Lab, waiting: u32) -> Self {
        let mut service = Self::start(lab, &format!("tidetable, {waiting} waiting"), LOG);
        service.server.terminate();
        vast::build(
            &service.server.data_dir(),
            Vast { jobs: waiting, history: 0, schedules: 0 },
            SystemClock.now(),
        );
        service.server.up();
        service
    }

    /// One whose jobs have `aim`.
    pub fn aiming(lab: &Lab) -> Self {
        let mut service = Self::start(lab, "tidetable, aim", LOG);
        service.aims = true;
        service
    }

    /// One that says no more than usual.
    pub fn quiet(lab: &Lab) -> Self {
        Self::start(lab, "tidetable", "info")
    }

    fn start(lab: &Lab, name: &str, log: &str) -> Self {
        let config = format!("[policies.default]\nallow_networks = ['{}']\n", lab.network);
        let server = Server::start(&[], &config, &[("TIDETABLE_LOG", log)]);
        Self { name: name.to_owned(), server, aims: false, jobs: Mutex::default() }
    }

    pub fn submit(&self, lab: &Lab, keys: &[String], due: &[i64]) {
        for (key, due) in keys.iter().zip(due) {
            let date =
                DateTime::from_timestamp_nanos(*due).to_rfc3339_opts(SecondsFormat::Millis, true);
            let mut job = json!({
                "job_name": IMAGE, "date": date, "command": ["true"], "network": lab.network, "labels": {LABEL: key}
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
        self.server.remove_containers(&crate::common::docker_host());
    }
}

/// APScheduler with the engine's own library, as a process.
pub struct ApScheduler {
    name: String,
    child: Child,
    input: Mutex<ChildStdin>,
}

impl ApScheduler {
    /// With so many threads to run jobs in.
    pub fn new(lab: &Lab, python: &Path, threads: usize) -> Self {
        let mut child = Command::new(python)
            .args(["-u", "-c", APSCHEDULER, IMAGE, &lab.network, LABEL, &threads.to_string()])
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
