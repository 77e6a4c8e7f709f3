//! The promise on a real engine: after a kill of the server, no job is lost and none runs twice.
//!
//! Containers leave evidence of their own: each appends a line to a file on the host when it begins
//! and one when it ends. History has to agree with that file, not only with itself.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::{IMAGE, Server, Tidy, eventually};
use serde_json::{Value, json};

/// A server with jobs that may write into a folder of evidence, and an engine that no other test
/// uses. A fence depends on the engine's event log, which is short.
struct Scene {
    server: Server,
    daemon: Daemon,
    evidence: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (evidence, daemon) = (tempfile::tempdir().unwrap(), Daemon::start());
        let config =
            format!("[policies.default]\nallow_mounts = ['{}']", evidence.path().display());
        Self { server: daemon.server(&config), daemon, evidence }
    }

    /// Submits a job that writes its beginning and its end, and then exits with this code.
    fn job(&self, date: &str, code: i32) -> String {
        self.submit(date, "true", code)
    }

    /// Submits a job that runs until [`Scene::let_go`].
    fn job_that_waits(&self, code: i32) -> String {
        self.submit("now", "until [ -e /evidence/go-$TIDETABLE_JOB_ID ]; do sleep 0.1; done", code)
    }

    fn let_go(&self, id: &str) {
        std::fs::write(self.evidence.path().join(format!("go-{id}")), "").unwrap();
    }

    fn submit(&self, date: &str, work: &str, code: i32) -> String {
        let script = format!(
            "echo begin >> /evidence/$TIDETABLE_JOB_ID; echo said $TIDETABLE_JOB_ID; {work}; echo end >> /evidence/$TIDETABLE_JOB_ID; exit {code}"
        );
        let mounts =
            json!([{"type": "bind", "source": self.evidence.path(), "target": "/evidence"}]);
        self.server.submit(json!({"job_name": IMAGE, "date": date, "command": ["sh", "-c", script], "mounts": mounts, "network": "none"}))
    }

    fn wrote(&self, id: &str) -> String {
        std::fs::read_to_string(self.evidence.path().join(id)).unwrap_or_default()
    }

    /// Checks that the job ran once from beginning to end, and that history agrees.
    fn assert_ran_once(&self, id: &str, code: i32) {
        let job = self.server.wait(id);
        assert_eq!(self.wrote(id), "begin\nend\n", "{job}\n{}", self.server.log());
        assert_eq!((&job["exit_code"], &job["attempt"]), (&json!(code), &json!(1)), "{job}");
        assert_eq!(job["status"], if code == 0 { "succeeded" } else { "failed" }, "{job}");
        assert_eq!(self.server.get(&format!("/job/{id}/logs")).text(), format!("said {id}\n"));
    }

    /// Counts the containers of this server on the engine.
    fn containers(&self) -> usize {
        let label = format!("label=tidetable.instance={}", self.server.instance());
        self.daemon.docker_says(&["ps", "-aq", "--filter", &label]).lines().count()
    }
}

#[test]
fn job_runs_on_docker_and_its_container_disappears() {
    let scene = Scene::new();
    let id = scene.job("now", 7);
    scene.assert_ran_once(&id, 7);
    eventually("its container is gone", || (scene.containers() == 0).then_some(()));
}

#[test]
fn killed_server_adopts_running_ended_and_waiting_jobs() {
    let mut scene = Scene::new();
    let (long, short) = (scene.job_that_waits(3), scene.job_that_waits(4));
    scene.server.until(&long, "running");
    scene.server.until(&short, "running");
    let later = scene.job("1h", 0);
    let due_meanwhile = scene.job("10s", 0);
    scene.server.kill();
    scene.let_go(&short);
    eventually("the short one has ended", || (scene.wrote(&short) == "begin\nend\n").then_some(()));
    std::thread::sleep(Duration::from_secs(12));
    scene.server.up();
    assert_eq!(scene.server.until(&long, "running")["attempt"], 1);
    scene.assert_ran_once(&short, 4);
    scene.assert_ran_once(&due_meanwhile, 0);
    assert!(
        scene.server.wait(&due_meanwhile)["lateness_ms"].as_i64().unwrap() > 500,
        "the job shows its lateness"
    );
    scene.let_go(&long);
    scene.assert_ran_once(&long, 3);
    let headers = [("content-type", "application/json")];
    assert_eq!(
        scene
            .server
            .call("PATCH", &format!("/job/{later}"), &headers, br#"{"date": "now"}"#)
            .status,
        200
    );
    scene.assert_ran_once(&later, 0);
}

#[test]
fn every_job_runs_once_despite_repeated_kills() {
    let mut scene = Scene::new();
    let jobs: Vec<String> =
        (0..12).map(|n| scene.submit(&format!("{}ms", n * 350), "sleep 0.3", n % 3)).collect();
    for pause_ms in [40, 130, 250, 410, 90, 600, 310, 170] {
        scene.server.kill();
        scene.server.up();
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
    for (id, n) in jobs.iter().zip(0..) {
        let job = scene.server.wait(id);
        // A job is fenced if the kill hits between its intent and its start: it starts half a
        // minute late, but once.
        assert_ne!(job["status"], "unknown", "{job}");
        scene.assert_ran_once(id, n % 3);
    }
    eventually("all containers are gone", || (scene.containers() == 0).then_some(()));
}

#[test]
fn stopped_server_leaves_its_containers_running() {
    let mut scene = Scene::new();
    let id = scene.job_that_waits(0);
    scene.server.until(&id, "running");
    assert!(scene.server.terminate().success());
    let running =
        scene.daemon.docker_says(&["ps", "-q", "--filter", &format!("label=tidetable.job={id}")]);
    assert_eq!(running.lines().count(), 1);
    scene.server.up();
    scene.let_go(&id);
    scene.assert_ran_once(&id, 0);
}

#[test]
fn removed_container_gives_unknown_and_no_second_run() {
    let scene = Scene::new();
    let id = scene.job_that_waits(0);
    eventually("it has begun", || (scene.wrote(&id) == "begin\n").then_some(()));
    scene.server.until(&id, "running");
    scene.daemon.docker_says(&["rm", "-f", &format!("tidetable-{id}-1")]);
    let job = scene.server.wait(&id);
    assert_eq!(
        (&job["status"], &job["reason"]),
        (&json!("unknown"), &json!("container_removed")),
        "{job}"
    );
    assert_eq!(scene.wrote(&id), "begin\n");
}

#[test]
fn renamed_container_is_stopped_and_adopted() {
    let mut scene = Scene::new();
    let (adopted, stopped) = (scene.job_that_waits(3), scene.job_that_waits(0));
    for id in [&adopted, &stopped] {
        scene.server.until(id, "running");
        scene.daemon.docker_says(&[
            "rename",
            &format!("tidetable-{id}-1"),
            &format!("renamed-{id}"),
        ]);
    }
    assert_eq!(
        scene.server.call("POST", &format!("/job/{stopped}/stop?grace=1s"), &[], b"").status,
        200
    );
    assert_eq!(scene.server.wait(&stopped)["status"], "stopped");
    scene.server.kill();
    scene.server.up();
    scene.let_go(&adopted);
    scene.assert_ran_once(&adopted, 3);
    eventually("its container is cleared away", || (scene.containers() == 0).then_some(()));
}

#[test]
fn foreign_container_is_left_alone() {
    let mut scene = Scene::new();
    let stranger = scene.daemon.docker_says(&[
        "create",
        "--label",
        "tidetable.instance=00000000000000000000000000000000",
        "--label",
        "tidetable.job=00000000000000000000000000000000",
        "--label",
        "tidetable.attempt=1",
        IMAGE,
        "true",
    ]);
    scene.server.kill();
    scene.server.up();
    scene.job("now", 0);
    let id = scene.job("now", 0);
    scene.assert_ran_once(&id, 0);
    let status = scene.daemon.docker_says(&["inspect", "--format", "{{.State.Status}}", &stranger]);
    assert_eq!(status, "created");
}

#[test]
fn server_starts_without_engine_and_continues_with_it() {
    let (dir, daemon) = (tempfile::tempdir().unwrap(), Daemon::start());
    let socket = dir.path().join("engine.sock");
    let host = format!("unix://{}", socket.display());
    let server = Server::start(&[], "", &[("DOCKER_HOST", &host)]);
    let ready = server.get("/readyz");
    assert_eq!((ready.status, &ready.json()["engine"]), (503, &json!("engine_unreachable")));
    let id = server
        .submit(json!({"job_name": IMAGE, "date": "now", "command": "true", "network": "none"}));
    let missed = server.submit(
        json!({"job_name": IMAGE, "date": "now", "command": "true", "start_deadline": "1s"}),
    );
    assert_eq!(server.until(&id, "queued")["reason"], "engine_unreachable");
    assert_eq!(server.wait(&missed)["status"], "missed");
    std::os::unix::fs::symlink(daemon.host().trim_start_matches("unix://"), &socket).unwrap();
    assert_eq!(server.wait(&id)["status"], "succeeded");
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn limits_and_settings_reach_the_container() {
    let scene = Scene::new();
    let script = "echo $(id -u) $(pwd) $(hostname) $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null); touch /x 2>/dev/null || echo read-only";
    let id = scene.server.submit(json!({"job_name": IMAGE, "date": "now", "command": ["sh", "-c", script], "user": "1000", "workdir": "/tmp",
        "hostname": "here", "memory": "64MiB", "read_only": true, "network": "none", "mounts": [{"type": "tmpfs", "target": "/tmp", "size": "1MiB"}]}));
    assert_eq!(scene.server.wait(&id)["status"], "succeeded");
    assert_eq!(
        scene.server.get(&format!("/job/{id}/logs")).text(),
        format!("1000 /tmp here {}\nread-only\n", 64 << 20)
    );
}

#[test]
fn podman_job_survives_a_killed_server() {
    let podman = std::env::var("TIDETABLE_TEST_PODMAN")
        .expect("TIDETABLE_TEST_PODMAN says where Podman is: run `make test`");
    let folder = tempfile::tempdir().unwrap();
    let policy = format!("[policies.default]\nallow_mounts = ['{}']", folder.path().display());
    let mut server =
        Tidy { server: Server::start(&[], &policy, &[("DOCKER_HOST", &podman)]), engine: podman };
    let command = json!([
        "sh",
        "-c",
        "echo before; until [ -e /go/on ]; do sleep 0.1; done; echo after; exit 9"
    ]);
    let mounts = json!([{"type": "bind", "source": folder.path(), "target": "/go"}]);
    let id = server
        .submit(json!({"job_name": IMAGE, "date": "now", "command": command, "network": "none", "mounts": mounts}));
    server.until(&id, "running");
    server.kill();
    std::fs::write(folder.path().join("on"), "").unwrap();
    server.up();
    let over = server.wait(&id);
    assert_eq!((&over["exit_code"], &over["attempt"]), (&json!(9), &json!(1)), "{over}");
    assert_eq!(server.get(&format!("/job/{id}/logs")).text(), "before\nafter\n");
}

#[test]
fn data_directory_allows_one_server_at_a_time() {
    let server = Server::simulated();
    let (code, said) =
        serve(&["--engine", "simulated", "--data-dir", server.data_dir().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("in use by another server"), "{said}");
}

#[test]
fn unusable_data_directory_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = |path: &Path, sentence: &str| {
        let (code, said) = serve(&["--engine", "simulated", "--data-dir", path.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(sentence) && !said.contains("panicked"), "{said}");
    };
    refused(&file.join("below"), "cannot be written");
    let damaged = dir.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(damaged.join("tidetable.db"), [b'x'; 8192]).unwrap();
    refused(&damaged, "is damaged");
}

/// Runs a server that should refuse to start, and returns its exit code and its standard error.
fn serve(flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(crate::support::binary())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(flags)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn public_address_without_token_file_is_refused() {
    let (code, said) = serve(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(2), "a flag given twice is a mistake of its own: {said}");
    let output = Command::new(crate::support::binary())
        .args(["serve", "--listen", "0.0.0.0:0", "--engine", "simulated"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--token-file"), "{said}");
}

#[test]
fn command_line_runs_follows_and_reports_a_job() {
    let daemon = Daemon::start();
    let server = daemon.server("");
    let tidetable = |arguments: &[&str]| {
        let output = Command::new(crate::support::binary())
            .arg("--server")
            .arg(server.url())
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, shown, _) = tidetable(&[
        "run",
        IMAGE,
        "--follow",
        "-e",
        "K=V",
        "--",
        "sh",
        "-c",
        "echo hello $K; exit 7",
    ]);
    assert_eq!((code, shown.as_str()), (Some(7), "hello V\n"));
    assert_eq!(tidetable(&["run", IMAGE, "--wait", "--", "true"]).0, Some(0));
    let (_, said, _) = tidetable(&["run", IMAGE, "--in", "1h", "--json"]);
    let id = serde_json::from_str::<Value>(&said).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(tidetable(&["ls"]).1.contains(&id));
    assert!(tidetable(&["inspect", &id]).1.contains("\"status\": \"scheduled\""));
    assert_eq!(tidetable(&["rm", &id]).0, Some(0));
    assert!(!tidetable(&["ls"]).1.contains(&id) && tidetable(&["ls", "-a"]).1.contains(&id));
    let (code, _, said) = tidetable(&["rm", &id]);
    assert_eq!(code, Some(5));
    assert!(said.contains("canceled already"), "{said}");
    assert_eq!(tidetable(&["wait", &id]).0, Some(125), "a job that did not run is no success");
    let (_, said, _) = tidetable(&["run", IMAGE, "--json", "--", "sleep", "600"]);
    let id = serde_json::from_str::<Value>(&said).unwrap()["id"].as_str().unwrap().to_owned();
    server.until(&id, "running");
    assert_eq!(tidetable(&["stop", &id]).0, Some(0));
    assert_eq!(
        tidetable(&["wait", &id]).0,
        Some(137),
        "process 1 of a container is deaf to SIGTERM: it is killed after the grace"
    );
    assert_eq!(tidetable(&["healthcheck"]).0, Some(0));
}
