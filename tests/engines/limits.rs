//! Queues and `max_parallel` on a real engine, while the server is killed. Each container appends
//! its beginning and its end to one shared file. At no point of that file may more containers run
//! than the limit allows.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::{IMAGE, Server, eventually};
use serde_json::{Value, json};

/// A server with jobs that may write into a folder of evidence, and an engine that no other test
/// uses.
struct Scene {
    server: Server,
    _daemon: Daemon,
    evidence: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (evidence, daemon) = (tempfile::tempdir().unwrap(), Daemon::start());
        let config = format!(
            "[queues.etl]\nmax_running = 2\n[policies.default]\nallow_mounts = ['{}']",
            evidence.path().display()
        );
        Self { server: daemon.server(&config), _daemon: daemon, evidence }
    }

    /// Submits a job that takes a second and writes into this file.
    fn submit(&self, file: &str, limits: &Value) -> String {
        self.submit_that(file, "sleep 1", limits)
    }

    /// Submits a job that does `work` between its beginning and its end.
    fn submit_that(&self, file: &str, work: &str, limits: &Value) -> String {
        let script = format!(
            "echo begin $TIDETABLE_JOB_ID >> /evidence/{file}; {work}; echo end >> /evidence/{file}"
        );
        let mounts =
            json!([{"type": "bind", "source": self.evidence.path(), "target": "/evidence"}]);
        let mut job = json!({"job_name": IMAGE, "date": "now", "command": ["sh", "-c", script], "mounts": mounts, "network": "none"});
        job.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        self.server.submit(job)
    }

    /// Returns the highest number of containers between beginning and end at once, and the jobs in
    /// the order of their beginnings.
    fn wrote(&self, file: &str) -> (usize, Vec<String>) {
        let text = std::fs::read_to_string(self.evidence.path().join(file)).unwrap();
        let (mut now, mut most, mut begun) = (0, 0, Vec::new());
        for line in text.lines() {
            match line.strip_prefix("begin ") {
                Some(job) => {
                    now += 1;
                    begun.push(job.to_owned());
                }
                None => now -= 1,
            }
            most = most.max(now);
        }
        (most, begun)
    }
}

#[test]
fn kills_never_exceed_queue_or_name_limits() {
    let mut scene = Scene::new();
    // Two jobs run on until both have begun, so the test sees that the limit of two is reached.
    let hold = "until [ -e /evidence/go ]; do sleep 0.1; done";
    let queue = json!({"queue": "etl"});
    let mut etl: Vec<String> = (0..2).map(|_| scene.submit_that("etl", hold, &queue)).collect();
    etl.extend((0..6).map(|_| scene.submit("etl", &queue)));
    eventually("two have begun", || {
        (scene.evidence.path().join("etl").exists() && scene.wrote("etl").1.len() == 2)
            .then_some(())
    });
    std::fs::write(scene.evidence.path().join("go"), "").unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(900));
        scene.server.kill();
        scene.server.up();
    }
    for id in &etl {
        assert_eq!(scene.server.wait(id)["status"], "succeeded");
    }
    // No other job of this name is running now.
    let single: Vec<String> =
        (0..4).map(|_| scene.submit("single", &json!({"max_parallel": 1}))).collect();
    for id in &single {
        assert_eq!(scene.server.wait(id)["status"], "succeeded");
    }
    for (file, mut jobs, most) in [("etl", etl, 2), ("single", single, 1)] {
        let (at_once, mut begun) = scene.wrote(file);
        assert_eq!(at_once, most, "{file}");
        begun.sort();
        jobs.sort();
        assert_eq!(begun, jobs, "each once");
    }
}

#[test]
fn full_queue_runs_by_priority_without_blocking_others() {
    let scene = Scene::new();
    let full =
        json!({"queue": "etl", "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"]});
    let busy: Vec<String> = (0..2).map(|_| scene.submit("busy", &full)).collect();
    busy.iter().for_each(|id| drop(scene.server.until(id, "running")));
    let low = scene.submit("order", &json!({"queue": "etl", "priority": -1}));
    let high = scene.submit("order", &json!({"queue": "etl", "priority": 7}));
    for id in [&low, &high] {
        assert_eq!(scene.server.until(id, "queued")["reason"], "queue_full");
    }
    let other = scene.submit("other", &json!({"priority": -9}));
    assert_eq!(scene.server.wait(&other)["status"], "succeeded");
    assert_eq!(scene.server.get(&format!("/job/{high}")).json()["status"], "queued");
    // Frees one place, so one of the two has to go first.
    scene.server.post_form(&format!("/job/{}/stop", busy[0]), "");
    scene.server.wait(&low);
    scene.server.wait(&high);
    assert_eq!(scene.wrote("order").1, [high, low]);
}
