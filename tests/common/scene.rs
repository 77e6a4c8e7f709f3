//! A server under a load of jobs that leave evidence, and what can be done to it and to its engine meanwhile.
//!
//! One thread submits, while the test kills. It knows the server by an address that changes with every life.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::daemon::Daemon;
use super::evidence::{Allowed, Posted, Tally, Work, check};
use super::{Answer, Server, call};

/// How long it may take until one more job is over, once nothing is done to them any more: a fence, and the longest job.
const REST: Duration = Duration::from_secs(180);

/// How long the submitting thread waits before it looks again.
const PAUSE: Duration = Duration::from_millis(5);

/// A server, its engine, and the folder of evidence.
pub struct Scene {
    pub server: Server,
    /// The engine: its log of events is short, and what becomes of a job may hang on it, so it is nobody else's.
    pub daemon: Daemon,
    pub caller: Caller,
    pub rng: StdRng,
    pub kills: usize,
    evidence: tempfile::TempDir,
}

/// A way to the server, whichever life it has.
#[derive(Clone, Default)]
pub struct Caller(Arc<Mutex<Option<String>>>);

impl Caller {
    /// None while it is down, and where it died over the answer.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let address = self.0.lock().unwrap().clone()?;
        call(&address, method, path, &[("content-type", "application/json")], body.as_bytes()).ok()
    }

    /// Submits a job once the server is up; whether it was taken may remain unknown.
    fn post(&self, number: usize, work: Work, evidence: &Path) -> Posted {
        while self.0.lock().unwrap().is_none() {
            sleep(PAUSE);
        }
        let id =
            self.call("POST", "/job", &work.request(number, evidence).to_string()).map(|answer| {
                assert_eq!(answer.status, 201, "{}", answer.text());
                answer.json()["id"].as_str().unwrap().to_owned()
            });
        Posted { work, id }
    }
}

/// Jobs that come, until they are told not to.
pub struct Load {
    enough: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Posted>>,
}

impl Load {
    /// No more for now, or on again.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// How many were submitted.
    pub fn posted(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// No more after these; what was submitted, in its order.
    pub fn stop(self) -> Vec<Posted> {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("the submitting thread")
    }
}

impl Scene {
    /// A server on this daemon.
    pub fn new(daemon: Daemon, seed: u64) -> Self {
        let evidence = tempfile::tempdir().unwrap();
        let config =
            format!("[policies.default]\nallow_mounts = ['{}']", evidence.path().display());
        let server = daemon.server(&config);
        let scene = Self {
            server,
            daemon,
            caller: Caller::default(),
            rng: StdRng::seed_from_u64(seed),
            kills: 0,
            evidence,
        };
        scene.publish();
        scene
    }

    /// Submits at least so many jobs, one after each pause, until it is stopped.
    pub fn load(
        &mut self,
        least: usize,
        pause: Duration,
        mut next: impl FnMut(&mut StdRng) -> Work + Send + 'static,
        mut also: impl FnMut(&Caller, &Posted) + Send + 'static,
    ) -> Load {
        let (enough, paused, count) = (Arc::default(), Arc::default(), Arc::default());
        let (caller, evidence) = (self.caller.clone(), self.evidence.path().to_owned());
        let mut rng = StdRng::seed_from_u64(self.rng.random());
        let load = (
            Arc::<AtomicBool>::clone(&enough),
            Arc::<AtomicBool>::clone(&paused),
            Arc::clone(&count),
        );
        let thread = std::thread::spawn(move || {
            let mut posted = Vec::new();
            let (enough, paused, count): (_, _, Arc<AtomicUsize>) = load;
            while posted.len() < least || !enough.load(Ordering::Relaxed) {
                if paused.load(Ordering::Relaxed) {
                    sleep(PAUSE);
                    continue;
                }
                let job = caller.post(posted.len(), next(&mut rng), &evidence);
                also(&caller, &job);
                posted.push(job);
                count.store(posted.len(), Ordering::Relaxed);
                sleep(pause);
            }
            posted
        });
        Load { enough, paused, count, thread }
    }

    /// Kills the server at some moment, perhaps again while it starts, and starts it after some time.
    pub fn kill_server(&mut self) {
        self.nap(0..700);
        self.server_goes();
        self.server_returns();
    }

    /// Kills the server.
    pub fn server_goes(&mut self) {
        *self.caller.0.lock().unwrap() = None;
        self.server.kill();
        self.kills += 1;
    }

    /// Starts the server again, in one of four cases after it was killed while it started.
    pub fn server_returns(&mut self) {
        // Now and then long enough for most of what runs to end meanwhile.
        let longest = if self.rng.random_ratio(1, 6) { 3_000 } else { 200 };
        self.nap(0..longest);
        if self.rng.random_ratio(1, 4) {
            let after = self.rng.random_range(0..60);
            self.server.die_young(Duration::from_millis(after));
            self.kills += 1;
        }
        self.server.up();
        self.publish();
    }

    /// Asks the server to stop, and starts it again.
    pub fn replace_server(&mut self) {
        *self.caller.0.lock().unwrap() = None;
        assert!(self.server.terminate().success(), "{}", self.server.log());
        self.server.up();
        self.publish();
    }

    /// Waits for some milliseconds.
    pub fn nap(&mut self, milliseconds: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.rng.random_range(milliseconds)));
    }

    /// Waits until every job is over and every container gone.
    pub fn rest(&self) {
        let (mut fewest, mut end) = (usize::MAX, Instant::now());
        loop {
            let maps = self.server.get("/jobs").json();
            let jobs: usize = ["scheduled", "running"]
                .map(|map| maps[map].as_object().unwrap().len())
                .iter()
                .sum();
            let left = jobs + self.containers();
            if left == 0 {
                return;
            }
            if left < fewest {
                (fewest, end) = (left, Instant::now() + REST);
            }
            assert!(
                Instant::now() < end,
                "{left} jobs and containers are left: {}\n{}",
                maps["running"],
                self.server.log()
            );
            sleep(Duration::from_millis(250));
        }
    }

    /// Holds history against evidence.
    pub fn check(&self, posted: &[Posted], allowed: Allowed) -> Tally {
        check(&self.server, self.evidence.path(), posted, allowed)
    }

    /// How many of this server's containers are on the engine.
    pub fn containers(&self) -> usize {
        let label = format!("label=tidetable.instance={}", self.server.instance());
        self.daemon.docker_says(&["ps", "-aq", "--filter", &label]).lines().count()
    }

    fn publish(&self) {
        *self.caller.0.lock().unwrap() =
            self.server.url().strip_prefix("http://").map(str::to_owned);
    }
}
