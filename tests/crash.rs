//! The promise on a real engine: the server is killed, and nothing is lost and nothing runs twice.
//!
//! Containers leave evidence of their own: each writes a line into a folder of the host when it begins and one when it
//! ends. What counts is whether history agrees with that, not with itself.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{IMAGE, Server, eventually};
use serde_json::{Value, json};

/// A folder of evidence, and a server whose jobs may write there.
struct Scene {
    server: Server,
    evidence: tempfile::TempDir,
}

impl Scene {
    fn new(flags: &[&str]) -> Self {
        let evidence = tempfile::tempdir().unwrap();
        let config = format!("[policies.default]\nallow_mounts = ['{}']", evidence.path().display());
        Self { server: Server::start(flags, &config, &[]), evidence }
    }

    /// A job that writes down its beginning and its end, and then exits with this code.
    fn job(&self, date: &str, seconds: f32, code: i32) -> String {
        let script = format!(
            "echo begin >> /evidence/$TIDETABLE_JOB_ID; echo said $TIDETABLE_JOB_ID; sleep {seconds}; echo end >> /evidence/$TIDETABLE_JOB_ID; exit {code}"
        );
        let mounts = json!([{"type": "bind", "source": self.evidence.path(), "target": "/evidence"}]);
        self.server.submit(json!({"job_name": IMAGE, "date": date, "command": ["sh", "-c", script], "mounts": mounts, "network": "none"}))
    }

    /// That the job ran once, whole, and that history says so.
    fn assert_ran_once(&self, id: &str, code: i32) {
        let job = self.server.wait(id);
        let wrote = std::fs::read_to_string(self.evidence.path().join(id)).unwrap_or_default();
        assert_eq!(wrote, "begin\nend\n", "{job}\n{}", self.server.log());
        assert_eq!((&job["exit_code"], &job["attempt"]), (&json!(code), &json!(1)), "{job}");
        assert_eq!(job["status"], if code == 0 { "succeeded" } else { "failed" }, "{job}");
        assert_eq!(self.server.get(&format!("/job/{id}/logs")).text(), format!("said {id}\n"));
    }

    /// How many of this server's containers are on the engine.
    fn containers(&self) -> usize {
        docker(&["ps", "-aq", "--filter", &format!("label=tidetable.instance={}", self.instance())]).lines().count()
    }

    fn instance(&self) -> String {
        let log = self.server.log();
        let at = log.find("instance=").expect("the log says which instance") + "instance=".len();
        log[at..at + 32].to_owned()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let ours = docker(&["ps", "-aq", "--filter", &format!("label=tidetable.instance={}", self.instance())]);
        for id in ours.lines() {
            docker(&["rm", "-f", id]);
        }
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .env("DOCKER_HOST", common::docker_host())
        .output()
        .expect("the docker client runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_job_runs_on_the_real_engine_and_its_container_is_gone_afterwards() {
    let scene = Scene::new(&[]);
    let id = scene.job("now", 0.1, 7);
    scene.assert_ran_once(&id, 7);
    eventually("its container is gone", || (scene.containers() == 0).then_some(()));
}

#[test]
fn after_kill_dash_nine_what_runs_is_adopted_what_ended_has_its_result_and_what_waits_still_runs() {
    let mut scene = Scene::new(&[]);
    let long = scene.job("now", 6.0, 3);
    let short = scene.job("now", 1.0, 4);
    let due_meanwhile = scene.job("3s", 0.1, 0);
    let later = scene.job("7s", 0.1, 0);
    scene.server.until(&long, "running");
    scene.server.until(&short, "running");
    scene.server.kill();
    std::thread::sleep(Duration::from_secs(4));
    scene.server.up();
    assert_eq!(scene.server.until(&long, "running")["attempt"], 1);
    scene.assert_ran_once(&short, 4);
    scene.assert_ran_once(&due_meanwhile, 0);
    assert!(scene.server.wait(&due_meanwhile)["lateness_ms"].as_i64().unwrap() > 500, "how late it was is said");
    scene.assert_ran_once(&long, 3);
    scene.assert_ran_once(&later, 0);
}

#[test]
fn killed_again_and_again_at_any_moment_every_job_runs_once() {
    let mut scene = Scene::new(&[]);
    let jobs: Vec<String> = (0..12).map(|n| scene.job(&format!("{}ms", n * 350), 0.3, n % 3)).collect();
    for pause_ms in [40, 130, 250, 410, 90, 600, 310, 170] {
        scene.server.kill();
        scene.server.up();
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
    for (id, n) in jobs.iter().zip(0..) {
        let job = scene.server.wait(id);
        // Killed between the intent and the start, a job is fenced: it starts half a minute late, but once.
        assert_ne!(job["status"], "unknown", "{job}");
        scene.assert_ran_once(id, n % 3);
    }
    eventually("all containers are gone", || (scene.containers() == 0).then_some(()));
}

#[test]
fn a_server_that_is_asked_to_stop_leaves_its_containers_running() {
    let mut scene = Scene::new(&[]);
    let id = scene.job("now", 5.0, 0);
    scene.server.until(&id, "running");
    assert!(scene.server.terminate().success());
    assert_eq!(docker(&["ps", "-q", "--filter", &format!("label=tidetable.job={id}")]).lines().count(), 1);
    scene.server.up();
    scene.assert_ran_once(&id, 0);
}

#[test]
fn a_container_that_somebody_removed_leaves_unknown_and_no_second_run() {
    let scene = Scene::new(&[]);
    let id = scene.job("now", 30.0, 0);
    scene.server.until(&id, "running");
    docker(&["rm", "-f", &format!("tidetable-{id}-1")]);
    let job = scene.server.wait(&id);
    assert_eq!((&job["status"], &job["reason"]), (&json!("unknown"), &json!("container_removed")), "{job}");
    assert_eq!(std::fs::read_to_string(scene.evidence.path().join(&id)).unwrap(), "begin\n");
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let mut scene = Scene::new(&[]);
    let stranger = docker(&[
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
    scene.job("now", 0.1, 0);
    let id = scene.job("now", 0.1, 0);
    scene.assert_ran_once(&id, 0);
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", stranger.trim()]).trim(), "created");
    docker(&["rm", stranger.trim()]);
}

#[test]
fn a_server_starts_without_its_engine_and_goes_on_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let host = format!("unix://{}", socket.display());
    let server = Server::start(&[], "", &[("DOCKER_HOST", &host)]);
    let ready = server.get("/readyz");
    assert_eq!((ready.status, &ready.json()["engine"]), (503, &json!("engine_unreachable")));
    let id = server.submit(json!({"job_name": IMAGE, "date": "now", "command": "true", "network": "none"}));
    let missed = server.submit(json!({"job_name": IMAGE, "date": "now", "command": "true", "start_deadline": "1s"}));
    assert_eq!(server.until(&id, "queued")["reason"], "engine_unreachable");
    assert_eq!(server.wait(&missed)["status"], "missed");
    std::os::unix::fs::symlink(common::docker_host().trim_start_matches("unix://"), &socket).unwrap();
    assert_eq!(server.wait(&id)["status"], "succeeded");
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn limits_and_settings_arrive_in_the_container() {
    let scene = Scene::new(&[]);
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
fn on_podman_a_job_survives_the_servers_death_just_the_same() {
    let podman =
        std::env::var("TIDETABLE_TEST_PODMAN").expect("TIDETABLE_TEST_PODMAN says where Podman is: run `make test`");
    let mut server = Server::start(&[], "", &[("DOCKER_HOST", &podman)]);
    let command = json!(["sh", "-c", "echo before; sleep 4; echo after; exit 9"]);
    let id = server.submit(json!({"job_name": IMAGE, "date": "now", "command": command, "network": "none"}));
    server.until(&id, "running");
    server.kill();
    server.up();
    let over = server.wait(&id);
    assert_eq!((&over["exit_code"], &over["attempt"]), (&json!(9), &json!(1)), "{over}");
    assert_eq!(server.get(&format!("/job/{id}/logs")).text(), "before\nafter\n");
}

#[test]
fn a_data_directory_has_one_server_at_a_time() {
    let server = Server::simulated();
    let (code, said) = serve(&["--engine", "simulated", "--data-dir", server.data_dir().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("in use by another server"), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_refused_with_a_sentence() {
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

/// How a server ends that should not start, and what it says.
fn serve(flags: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(common::binary()).args(["serve", "--listen", "127.0.0.1:0"]).args(flags).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_open_door_is_refused_before_anything_else() {
    let (code, said) = serve(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(2), "a flag given twice is a mistake of its own: {said}");
    let output = Command::new(common::binary())
        .args(["serve", "--listen", "0.0.0.0:0", "--engine", "simulated"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--token-file"), "{said}");
}

#[test]
fn the_command_line_runs_waits_shows_and_says_how_it_went() {
    let server = Server::real();
    let tidetable = |arguments: &[&str]| {
        let output = Command::new(common::binary()).arg("--server").arg(server.url()).args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, shown, _) =
        tidetable(&["run", IMAGE, "--follow", "-e", "K=V", "--", "sh", "-c", "echo hello $K; exit 7"]);
    assert_eq!((code, shown.as_str()), (Some(7), "hello V\n"));
    assert_eq!(tidetable(&["run", IMAGE, "--wait", "--", "true"]).0, Some(0));
    let (_, said, _) = tidetable(&["run", IMAGE, "--in", "1h", "--json"]);
    let id = serde_json::from_str::<Value>(&said).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(tidetable(&["ls"]).1.contains(&id));
    assert!(tidetable(&["inspect", &id]).1.contains("\"status\": \"scheduled\""));
    assert_eq!(tidetable(&["rm", &id]).0, Some(0));
    assert!(!tidetable(&["ls"]).1.contains(&id) && tidetable(&["ls", "-a"]).1.contains(&id));
    let (code, _, said) = tidetable(&["rm", &id]);
    assert_eq!(code, Some(1));
    assert!(said.contains("canceled already"), "{said}");
    assert_eq!(tidetable(&["wait", &id]).0, Some(125), "a job that did not run is no success");
    let (_, said, _) = tidetable(&["run", IMAGE, "--json", "--", "sleep", "60"]);
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
