//! Another engine on the machine: it keeps its networks and containers, whatever the tests and
//! scripts start.
//!
//! A daemon with a network of its own stands for the machine with its engine. Everything that
//! starts on that network has to be gone afterwards, and nothing else may be missing.
//! `scripts/host.sh` compares, as it does after `make test`.
//!
//! A binary of its own: the comparison looks at the whole machine, so no other test may run beside it.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::IMAGE;
use crate::support::daemon::Daemon;

/// A machine with an engine that runs a container of another user.
struct Neighbour {
    daemon: Daemon,
    folder: tempfile::TempDir,
}

impl Neighbour {
    fn new() -> Self {
        let (daemon, folder) = (Daemon::start(), tempfile::tempdir().unwrap());
        daemon.docker_says(&["run", "-d", "--name", "somebodys", IMAGE, "sleep", "3600"]);
        let neighbour = Self { daemon, folder };
        std::fs::write(neighbour.before(), neighbour.host(&["snapshot"]).stdout).unwrap();
        let before = std::fs::read_to_string(neighbour.before()).unwrap();
        assert!(before.contains("link docker0,") && before.contains("image "), "{before}");
        neighbour
    }

    fn before(&self) -> PathBuf {
        self.folder.path().join("before")
    }

    fn host(&self, arguments: &[&str]) -> Output {
        let mut command = self.daemon.beside(script("host.sh").to_str().unwrap());
        succeeded(command.args(arguments).env("DOCKER_HOST", self.daemon.host()))
    }

    /// Runs one of the scripts in an environment in which it finds no engine.
    fn script(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = self.daemon.beside(script(name).to_str().unwrap());
        command.env("DOCKER_HOST", "unix:///nowhere.sock").env_remove("TIDETABLE_TEST_PODMAN");
        let folder = |name: &str| self.folder.path().join(name);
        command.env("TIDETABLE_ENGINE_DIR", folder("e")).env("TIDETABLE_PODMAN_DIR", folder("p"));
        succeeded(command.args(arguments))
    }

    fn assert_undisturbed(&self) {
        self.host(&["compare", self.before().to_str().unwrap()]);
        assert_eq!(
            self.daemon.docker_says(&["inspect", "-f", "{{.State.Running}}", "somebodys"]),
            "true"
        );
        let address = self.daemon.docker_says(&[
            "inspect",
            "-f",
            "{{.NetworkSettings.IPAddress}}",
            "somebodys",
        ]);
        self.daemon.docker_says(&["run", "--rm", IMAGE, "ping", "-c", "1", &address]);
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

fn succeeded(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn engine_scripts_leave_another_engine_alone() {
    let neighbour = Neighbour::new();
    for name in ["engine.sh", "podman.sh"] {
        neighbour.script(name, &["ensure"]);
    }
    neighbour.script("engine.sh", &["image"]);
    let host = format!("unix://{}", neighbour.folder.path().join("e/run/docker.sock").display());
    let ran = Command::new("docker")
        .args(["run", "--rm", IMAGE, "true"])
        .env("DOCKER_HOST", host)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    for name in ["engine.sh", "podman.sh"] {
        neighbour.script(name, &["release"]);
    }
    neighbour.assert_undisturbed();
}

#[test]
fn daemons_of_tests_leave_another_engine_alone() {
    let neighbour = Neighbour::new();
    let _there = neighbour.daemon.enter();
    for daemon in [Daemon::start(), Daemon::over_tls(false)] {
        daemon.docker_says(&["run", "--rm", IMAGE, "true"]);
        neighbour.assert_undisturbed();
    }
    neighbour.assert_undisturbed();
}

/// Proves that the comparison of `scripts/host.sh` can fail.
#[test]
fn host_comparison_notices_a_lost_bridge() {
    let neighbour = Neighbour::new();
    succeeded(neighbour.daemon.beside("ip").args(["link", "delete", "docker0"]));
    let mut command = neighbour.daemon.beside(script("host.sh").to_str().unwrap());
    let compared = command
        .arg("compare")
        .arg(neighbour.before())
        .env("DOCKER_HOST", neighbour.daemon.host())
        .output();
    let compared = compared.unwrap();
    let said = String::from_utf8_lossy(&compared.stderr).into_owned();
    assert!(!compared.status.success() && said.contains("- link docker0,"), "{said}");
}
