//! A backup is served in place of a server that had gone on, on a real engine: nothing runs twice.
//!
//! Containers leave evidence of their own, as in `tests/crash.rs`: each writes a line into a folder of the host when it
//! begins and one when it ends.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::{IMAGE, Server, eventually};
use serde_json::{Value, json};

struct Scene {
    server: Server,
    evidence: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let evidence = tempfile::tempdir().unwrap();
        let config = format!("[policies.default]\nallow_mounts = ['{}']", evidence.path().display());
        Self { server: Server::start(&[], &config, &[]), evidence }
    }

    /// A job that writes down its beginning and its end.
    fn job(&self, date: &str, seconds: u32) -> String {
        let script = format!(
            "echo begin >> /evidence/$TIDETABLE_JOB_ID; sleep {seconds}; echo end >> /evidence/$TIDETABLE_JOB_ID; exit 7"
        );
        let mounts = json!([{"type": "bind", "source": self.evidence.path(), "target": "/evidence"}]);
        self.server.submit(json!({"job_name": IMAGE, "date": date, "command": ["sh", "-c", script], "mounts": mounts, "network": "none"}))
    }

    fn wrote(&self, id: &str) -> String {
        fs::read_to_string(self.evidence.path().join(id)).unwrap_or_default()
    }

    /// Takes a backup, and says how the jobs stand in it.
    fn back_up(&self) {
        let mut command = Command::new(common::binary());
        command.args(["backup", "--data-dir"]).args([self.server.data_dir(), self.server.dir().join("backup")]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Puts the backup in the place of what it was taken from.
    fn restore(&mut self) {
        fs::remove_dir_all(self.server.data_dir()).unwrap();
        fs::rename(self.server.dir().join("backup"), self.server.data_dir()).unwrap();
        self.server.up();
    }

    /// That the job ran once, whole, whatever history says.
    fn over_after_one_run(&self, id: &str) -> Value {
        let job = self.server.wait(id);
        assert_eq!(self.wrote(id), "begin\nend\n", "{job}\n{}", self.server.log());
        job
    }

    fn assert_has_its_result(&self, id: &str) -> Value {
        let job = self.over_after_one_run(id);
        let result = (&job["status"], &job["exit_code"], &job["attempt"]);
        assert_eq!(result, (&json!("failed"), &json!(7), &json!(1)), "{job}\n{}", self.server.log());
        job
    }

    fn containers(&self) -> String {
        let log = self.server.log();
        let at = log.find("instance=").expect("the log says which instance") + "instance=".len();
        docker(&["ps", "-aq", "--filter", &format!("label=tidetable.instance={}", &log[at..at + 32])])
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for id in self.containers().lines() {
            docker(&["rm", "-f", id]);
        }
    }
}

fn docker(arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    let output = command.args(arguments).env("DOCKER_HOST", common::docker_host()).output().expect("the docker client");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_backup_that_is_served_runs_nothing_again_that_ran_since_it_was_taken() {
    let mut scene = Scene::new();
    // The engine's log has to reach further back than the backup, by more than clocks may differ.
    let known = scene.job("now", 0);
    scene.assert_has_its_result(&known);
    std::thread::sleep(Duration::from_secs(6));
    let runs_through = scene.job("now", 20);
    scene.server.until(&runs_through, "running");
    let finished = scene.job("6s", 0);
    let runs_now = scene.job("7s", 14);
    let exits_meanwhile = scene.job("7s", 5);
    let due_meanwhile = scene.job("14s", 0);
    let later = scene.job("20s", 0);
    scene.back_up();
    let still = scene.server.get(&format!("/job/{finished}")).json();
    assert_eq!(still["status"], "scheduled", "this machine is too slow for this test: {still}");
    let accepted_since = scene.job("now", 0);
    scene.assert_has_its_result(&accepted_since);
    scene.assert_has_its_result(&finished);
    scene.server.until(&runs_now, "running");
    scene.server.until(&exits_meanwhile, "running");
    scene.server.kill();
    eventually("the short one has ended", || (scene.wrote(&exits_meanwhile) == "begin\nend\n").then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    scene.restore();

    // What the engine still has is adopted, whatever the backup knew of it.
    assert_eq!(scene.server.until(&runs_now, "running")["attempt"], 1);
    scene.assert_has_its_result(&exits_meanwhile);
    // What is gone from the engine and was started, by the engine's own log, is not run again.
    let job = scene.over_after_one_run(&finished);
    assert_eq!((&job["status"], &job["reason"]), (&json!("unknown"), &json!("restored")), "{job}");
    assert!(job["error"].as_str().unwrap().contains("restored backup"), "{job}");
    // What was not started, by the same log, runs late.
    let job = scene.assert_has_its_result(&due_meanwhile);
    assert!(job["lateness_ms"].as_i64().unwrap() > 500, "{job}");
    for id in [&runs_now, &runs_through, &later] {
        scene.assert_has_its_result(id);
    }
    assert_eq!(scene.server.get(&format!("/job/{accepted_since}")).status, 404, "the backup cannot know of it");
    eventually("all containers are gone", || scene.containers().is_empty().then_some(()));
    assert_eq!(scene.server.get(&format!("/job/{known}")).json()["status"], "failed");

    // It is seen to once: served again, it is a store like any other.
    scene.server.kill();
    let said = scene.server.log().matches("restored backup").count();
    scene.server.up();
    scene.assert_has_its_result(&scene.job("now", 0));
    assert_eq!(scene.server.log().matches("restored backup").count(), said);
}
