//! A restored backup of a server that had continued after the backup, on a real engine: nothing
//! runs twice.
//!
//! Containers leave evidence of their own, as in `tests/engines/crash.rs`: each appends a line to a file on
//! the host when it begins and one when it ends.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::{IMAGE, Server, eventually};
use serde_json::{Value, json};

/// Queue limits with one place in each queue. A job of a full queue waits, for any length of time.
const SHUT: &str = "[queues.first]\nmax_running = 1\n[queues.second]\nmax_running = 1\n";
const FIRST_OPEN: &str = "[queues.first]\nmax_running = 9\n[queues.second]\nmax_running = 1\n";

/// A server with jobs that may write into a folder of evidence, and an engine that no other test
/// uses. The engine's event log, which is short, shows the jobs that ran after the backup.
struct Scene {
    server: Server,
    daemon: Daemon,
    evidence: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (evidence, daemon) = (tempfile::tempdir().unwrap(), Daemon::start());
        let scene = Self { server: daemon.server(""), daemon, evidence };
        scene.configure(SHUT);
        scene
    }

    /// Writes this config, and waits until the server has read it.
    fn configure(&self, queues: &str) {
        let beside = self.server.dir().join("config.toml.new");
        let config = format!(
            "{queues}[policies.default]\nallow_mounts = ['{}']",
            self.evidence.path().display()
        );
        fs::write(&beside, config).unwrap();
        let read = |log: &str| log.matches("the config file was read again").count();
        let before = read(&self.server.log());
        fs::rename(beside, self.server.dir().join("config.toml")).unwrap();
        eventually("the config is read", || (read(&self.server.log()) > before).then_some(()));
    }

    /// Submits a job that writes its beginning and its end.
    fn job(&self, date: &str) -> String {
        self.submit(json!({"date": date}), "true")
    }

    /// Submits a job that waits for a place in this queue.
    fn job_of(&self, queue: &str) -> String {
        self.submit(json!({"date": "now", "queue": queue}), "true")
    }

    /// Submits a job of this queue that runs until [`Scene::let_go`].
    fn long_job_of(&self, queue: &str) -> String {
        self.submit(
            json!({"date": "now", "queue": queue}),
            "until [ -e /evidence/go-$TIDETABLE_JOB_ID ]; do sleep 0.1; done",
        )
    }

    /// Changes the date of a waiting job to now.
    fn run_now(&self, id: &str) {
        let headers = [("content-type", "application/json")];
        let changed =
            self.server.call("PATCH", &format!("/job/{id}"), &headers, br#"{"date": "now"}"#);
        assert_eq!(changed.status, 200, "{}", changed.text());
    }

    fn let_go(&self, id: &str) {
        fs::write(self.evidence.path().join(format!("go-{id}")), "").unwrap();
    }

    fn submit(&self, mut job: Value, work: &str) -> String {
        let script = format!(
            "echo begin >> /evidence/$TIDETABLE_JOB_ID; {work}; echo end >> /evidence/$TIDETABLE_JOB_ID; exit 7"
        );
        (job["job_name"], job["network"], job["command"]) =
            (json!(IMAGE), json!("none"), json!(["sh", "-c", script]));
        job["mounts"] =
            json!([{"type": "bind", "source": self.evidence.path(), "target": "/evidence"}]);
        self.server.submit(job)
    }

    fn wrote(&self, id: &str) -> String {
        fs::read_to_string(self.evidence.path().join(id)).unwrap_or_default()
    }

    /// Takes a backup into a folder from which [`Scene::restore`] takes it.
    fn back_up(&self) {
        let mut command = Command::new(crate::support::binary());
        command
            .args(["backup", "--data-dir"])
            .args([self.server.data_dir(), self.server.dir().join("backup")]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Replaces the data directory by the backup, and starts the server.
    fn restore(&mut self) {
        fs::remove_dir_all(self.server.data_dir()).unwrap();
        fs::rename(self.server.dir().join("backup"), self.server.data_dir()).unwrap();
        self.server.up();
    }

    /// Checks that the job ran once from beginning to end, whatever history shows, and returns it.
    fn over_after_one_run(&self, id: &str) -> Value {
        let job = self.server.wait(id);
        assert_eq!(self.wrote(id), "begin\nend\n", "{job}\n{}", self.server.log());
        job
    }

    fn assert_has_its_result(&self, id: &str) -> Value {
        let job = self.over_after_one_run(id);
        let result = (&job["status"], &job["exit_code"], &job["attempt"]);
        assert_eq!(
            result,
            (&json!("failed"), &json!(7), &json!(1)),
            "{job}\n{}",
            self.server.log()
        );
        job
    }

    /// Lists the server's containers on the engine that have this label too.
    fn containers(&self, label: &str) -> String {
        let instance = format!("label=tidetable.instance={}", self.server.instance());
        self.daemon.docker_says(&[
            "ps",
            "-aq",
            "--filter",
            &instance,
            "--filter",
            &format!("label={label}"),
        ])
    }
}

#[test]
fn restored_backup_runs_nothing_twice() {
    let mut scene = Scene::new();
    // The engine's event log has to reach back past the backup by more than clocks may differ.
    let known = scene.job("now");
    scene.assert_has_its_result(&known);
    std::thread::sleep(Duration::from_secs(6));
    let [runs_through, runs_on] = ["first", "second"].map(|queue| {
        let id = scene.long_job_of(queue);
        scene.server.until(&id, "running");
        id
    });
    let finished = scene.job_of("first");
    let runs_now = scene.long_job_of("first");
    let exits_meanwhile = scene.long_job_of("first");
    let due_meanwhile = scene.job_of("second");
    let [later, moved_ahead] = [0, 1].map(|_| scene.job("1h"));
    for id in [&finished, &runs_now, &exits_meanwhile, &due_meanwhile] {
        scene.server.until(id, "queued");
    }
    scene.back_up();
    let accepted_since = scene.job("now");
    scene.assert_has_its_result(&accepted_since);
    scene.configure(FIRST_OPEN);
    scene.run_now(&moved_ahead);
    for id in [&finished, &moved_ahead] {
        scene.assert_has_its_result(id);
        let label = format!("tidetable.job={id}");
        eventually("its container is gone", || scene.containers(&label).is_empty().then_some(()));
    }
    scene.server.until(&runs_now, "running");
    scene.server.until(&exits_meanwhile, "running");
    scene.server.kill();
    scene.let_go(&exits_meanwhile);
    eventually("the short one has ended", || {
        (scene.wrote(&exits_meanwhile) == "begin\nend\n").then_some(())
    });
    scene.restore();

    // Containers that the engine still has are adopted, whatever the backup knew of them.
    assert_eq!(scene.server.until(&runs_now, "running")["attempt"], 1);
    scene.assert_has_its_result(&exits_meanwhile);
    // Jobs that the event log shows as started, and that have no container any more, do not run
    // again.
    for id in [&finished, &moved_ahead] {
        let job = scene.over_after_one_run(id);
        assert_eq!(
            (&job["status"], &job["reason"]),
            (&json!("unknown"), &json!("restored")),
            "{job}"
        );
        assert!(job["error"].as_str().unwrap().contains("restored backup"), "{job}");
    }
    // Jobs that the event log does not show as started run late.
    assert_eq!(scene.server.get(&format!("/job/{due_meanwhile}")).json()["status"], "queued");
    scene.let_go(&runs_on);
    let job = scene.assert_has_its_result(&due_meanwhile);
    assert!(job["lateness_ms"].as_i64().unwrap() > 500, "{job}");
    scene.run_now(&later);
    for id in [&runs_now, &runs_through] {
        scene.let_go(id);
    }
    for id in [&runs_now, &runs_through, &runs_on, &later] {
        scene.assert_has_its_result(id);
    }
    assert_eq!(
        scene.server.get(&format!("/job/{accepted_since}")).status,
        404,
        "the backup is older than this job"
    );
    eventually("all containers are gone", || {
        scene.containers("tidetable.job").is_empty().then_some(())
    });
    assert_eq!(scene.server.get(&format!("/job/{known}")).json()["status"], "failed");

    // Reconciliation happens once: after the next start, the store is like any other.
    scene.server.kill();
    let said = scene.server.log().matches("restored backup").count();
    scene.server.up();
    scene.assert_has_its_result(&scene.job("now"));
    assert_eq!(scene.server.log().matches("restored backup").count(), said);
}
