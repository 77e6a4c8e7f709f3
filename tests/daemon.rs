//! A Docker daemon of the tests' own, over TCP with TLS: the wiring of docker-in-docker, and what becomes of jobs when the
//! daemon is killed, restarted, or replaced.
//!
//! Wants root and Debian's docker.io, as `make test` sees to. The daemon is stopped and its mounts are undone however a
//! test ends.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{IMAGE, Server, eventually};
use serde_json::json;

/// A daemon, and the certificates to reach it.
struct Daemon {
    dir: tempfile::TempDir,
    port: u16,
    live_restore: bool,
    data: &'static str,
    child: Option<Child>,
}

impl Daemon {
    fn start(live_restore: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("tt").tempdir().unwrap();
        certificates(dir.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut daemon = Self { dir, port, live_restore, data: "data", child: None };
        daemon.up();
        daemon.load_image();
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn host(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    fn up(&mut self) {
        // A daemon that was killed leaves its pid files (its containerd dies with it), and will not start beside them.
        for file in ["pid", "exec/containerd/containerd.pid"] {
            let _none = std::fs::remove_file(self.path(file));
        }
        let mut command = Command::new("dockerd");
        command.arg("--host").arg(self.host()).args([
            "--tlsverify",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
        ]);
        command.arg(format!("--live-restore={}", self.live_restore));
        for (flag, file) in [
            ("--data-root", self.data),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--tlscacert", "ca.pem"),
            ("--tlscert", "cert.pem"),
            ("--tlskey", "key.pem"),
        ] {
            command.arg(flag).arg(self.path(file));
        }
        std::fs::write(self.path("daemon.json"), "{}").unwrap();
        command.arg("--config-file").arg(self.path("daemon.json"));
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.child =
            Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("dockerd is installed: run `make test`"));
        eventually("the daemon answers", || self.docker(&["version"]).status.success().then_some(()));
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn docker(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("docker")
            .args(["--tlsverify", "--host"])
            .arg(self.host())
            .args(arguments)
            .env("DOCKER_CERT_PATH", self.dir.path())
            .env_remove("DOCKER_HOST")
            .output()
            .unwrap()
    }

    fn load_image(&self) {
        let saved = self.path("image.tar");
        let save = Command::new("docker")
            .args(["save", "-o"])
            .arg(&saved)
            .arg(IMAGE)
            .env("DOCKER_HOST", common::docker_host())
            .status()
            .unwrap();
        assert!(save.success(), "the engine of the tests has {IMAGE}: run `make test`");
        assert!(self.docker(&["load", "-i", saved.to_str().unwrap()]).status.success());
    }

    /// A server on this daemon.
    fn server(&self) -> Server {
        let environment = [
            ("DOCKER_HOST", self.host()),
            ("DOCKER_TLS_VERIFY", "1".to_owned()),
            ("DOCKER_CERT_PATH", self.dir.path().display().to_string()),
        ];
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Server::start(&[], "", &environment)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            common::signal(child.id(), "TERM");
            let _ = child.wait();
        }
        // What a killed daemon left: its containerd, the shims of containers that ran on, and mounts.
        let dir = self.dir.path().display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if pid != std::process::id() && String::from_utf8_lossy(&command).contains(&dir) {
                let _ = Command::new("kill").arg("-9").arg(pid.to_string()).status();
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|mount| mount.starts_with(&dir)) {
            let _ = Command::new("umount").args(["-l", mount]).stderr(Stdio::null()).status();
        }
    }
}

/// A CA, and one certificate that serves both ends, as `openssl` makes them.
fn certificates(dir: &Path) {
    std::fs::write(
        dir.join("ext"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth",
    )
    .unwrap();
    for step in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tidetable-test-ca -keyout ca-key.pem -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out request.pem",
        "x509 -req -days 2 -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile ext -out cert.pem",
    ] {
        let made = Command::new("openssl")
            .args(step.split(' '))
            .current_dir(dir)
            .stderr(Stdio::null())
            .status()
            .expect("openssl is installed");
        assert!(made.success(), "{step}");
    }
}

fn job(command: &str) -> serde_json::Value {
    json!({"job_name": IMAGE, "date": "now", "network": "none", "command": ["sh", "-c", command]})
}

#[test]
fn a_job_runs_over_tcp_with_tls() {
    let daemon = Daemon::start(false);
    let server = daemon.server();
    let id = server.submit(job("echo over TLS; exit 3"));
    assert_eq!(server.wait(&id)["exit_code"], 3);
    assert_eq!(server.get(&format!("/job/{id}/logs")).text(), "over TLS\n");
}

#[test]
fn a_daemon_that_is_killed_ends_its_containers_and_the_jobs_say_that_it_was_the_engine() {
    let mut daemon = Daemon::start(false);
    let server = daemon.server();
    let id = server.submit(job("sleep 300"));
    server.until(&id, "running");
    daemon.kill();
    eventually("readiness is red", || (server.get("/readyz").status == 503).then_some(()));
    let away = server.get(&format!("/job/{id}")).json();
    assert_eq!(away["status"], "running", "a broken connection is not a failed job");
    assert!(away["engine_unreachable_since"].is_string());
    let waiting = server.submit(job("true"));
    assert_eq!(server.until(&waiting, "queued")["reason"], "engine_unreachable");
    daemon.up();
    let over = server.wait(&id);
    assert_eq!((&over["status"], &over["reason"]), (&json!("failed"), &json!("engine_restarted")), "{over}");
    assert_eq!(server.wait(&waiting)["status"], "succeeded", "what waited goes on");
}

#[test]
fn with_live_restore_a_container_survives_the_daemon_and_has_its_own_exit_code() {
    let mut daemon = Daemon::start(true);
    let server = daemon.server();
    let id = server.submit(job("echo before; sleep 6; echo after; exit 5"));
    server.until(&id, "running");
    daemon.kill();
    std::thread::sleep(Duration::from_secs(1));
    daemon.up();
    let over = server.wait(&id);
    assert_eq!(
        (&over["status"], &over["exit_code"], &over["attempt"]),
        (&json!("failed"), &json!(5), &json!(1)),
        "{over}"
    );
}

#[test]
fn another_daemon_at_the_same_address_is_not_worked_with() {
    let mut daemon = Daemon::start(false);
    let server = daemon.server();
    let id = server.submit(job("sleep 300"));
    server.until(&id, "running");
    daemon.kill();
    // Another identity, and nothing of what was there.
    daemon.data = "another-data";
    daemon.up();
    eventually("readiness says so", || (server.get("/readyz").json()["engine"] == "engine_changed").then_some(()));
    let waiting = server.submit(job("true"));
    assert_eq!(server.until(&waiting, "queued")["reason"], "engine_changed");
    assert_eq!(server.get(&format!("/job/{id}")).json()["status"], "running", "what cannot be seen is not given up");
}
