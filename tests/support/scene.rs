//! A server under a load of jobs that leave evidence, and the faults that a test can inject into
//! the server and its engine.
//!
//! One thread submits jobs while the test kills the server. The thread reads the server's address
//! anew for each call, because every new process listens on another port.

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

/// The time limit until one more job is over, once no more faults are injected: a fence, and the
/// longest job.
const REST: Duration = Duration::from_secs(180);

/// The interval at which the submitting thread looks for a running server.
const PAUSE: Duration = Duration::from_millis(5);

/// A server, its engine, and the folder of evidence.
pub struct Scene {
    pub server: Server,
    /// The engine, used by this test only: its event log is short, and the fate of a job may depend
    /// on it.
    pub daemon: Daemon,
    pub caller: Caller,
    pub rng: StdRng,
    pub kills: usize,
    evidence: tempfile::TempDir,
}

/// A client that finds the current process of the server.
#[derive(Clone, Default)]
pub struct Caller(Arc<Mutex<Option<String>>>);

impl Caller {
    /// Makes a call. Returns `None` if the server is down, or dies before it has answered.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let address = self.0.lock().unwrap().clone()?;
        call(&address, method, path, &[("content-type", "application/json")], body.as_bytes()).ok()
    }

    /// Submits a job once the server is up. Without an answer, the job may or may not have been
    /// accepted.
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

/// A thread that submits jobs until it is stopped.
pub struct Load {
    enough: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Posted>>,
}

impl Load {
    /// Pauses or resumes the submission of jobs.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Returns the number of jobs submitted so far.
    pub fn posted(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Stops the submission, and returns the submitted jobs in order.
    pub fn stop(self) -> Vec<Posted> {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("the submitting thread")
    }
}

impl Scene {
    /// Starts a server that uses this daemon.
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

    /// Starts a thread that submits at least `least` jobs, one after each `pause`, until it is
    /// stopped.
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

    /// Kills the server at a random moment, and starts it again after a while. May kill it once
    /// more during the start.
    pub fn kill_server(&mut self) {
        self.nap(0..700);
        self.server_goes();
        self.server_returns();
    }

    /// Kills the server, and leaves it down.
    pub fn server_goes(&mut self) {
        *self.caller.0.lock().unwrap() = None;
        self.server.kill();
        self.kills += 1;
    }

    /// Starts the server again. In one case of four, kills it once more during the start.
    pub fn server_returns(&mut self) {
        // One time in six, the pause may be long enough for most running jobs to end meanwhile.
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

    /// Stops the server gracefully, and starts it again.
    pub fn replace_server(&mut self) {
        *self.caller.0.lock().unwrap() = None;
        assert!(self.server.terminate().success(), "{}", self.server.log());
        self.server.up();
        self.publish();
    }

    /// Waits for a random number of milliseconds.
    pub fn nap(&mut self, milliseconds: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.rng.random_range(milliseconds)));
    }

    /// Waits until every job is over and every container is gone.
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

    /// Compares history with the evidence.
    pub fn check(&self, posted: &[Posted], allowed: Allowed) -> Tally {
        check(&self.server, self.evidence.path(), posted, allowed)
    }

    /// Counts the containers of this server on the engine.
    pub fn containers(&self) -> usize {
        let label = format!("label=tidetable.instance={}", self.server.instance());
        self.daemon.docker_says(&["ps", "-aq", "--filter", &label]).lines().count()
    }

    fn publish(&self) {
        *self.caller.0.lock().unwrap() =
            self.server.url().strip_prefix("http://").map(str::to_owned);
    }
}
