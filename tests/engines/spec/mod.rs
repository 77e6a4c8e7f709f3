//! Every field of a spec, compared with the view from inside a real container: environment, user,
//! limits, mounts, network, capabilities.
//!
//! `fields` has the table of cases; `callers` the ways to write a spec; `endings` the fields that
//! show only when a container ends; `secrets` the secrets and env files.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod callers;
mod endings;
mod fields;
mod secrets;

use std::process::Command;

use crate::support::{IMAGE, Server};
use serde_json::{Value, json};

/// An engine, a folder of the host, and a server with callers that may do almost everything.
struct Scene {
    server: Server,
    folder: tempfile::TempDir,
    host: String,
    /// The name of a network and a volume that only this scene uses.
    name: String,
}

impl Scene {
    /// Creates a scene on Docker, with a network of its own.
    fn docker() -> Self {
        let scene = Self::new(crate::support::docker_host());
        scene.docker_cli(&["network", "create", &scene.name]);
        scene
    }

    fn podman() -> Self {
        Self::new(
            std::env::var("TIDETABLE_TEST_PODMAN")
                .expect("TIDETABLE_TEST_PODMAN says where Podman is: run `make test`"),
        )
    }

    fn new(host: String) -> Self {
        Self::with(host, DEFINITION, &[("given", "from the host\n")], &[])
    }

    /// Creates a scene with this config appended to its policy. `FOLDER` in the config stands for a
    /// folder with these files.
    fn with(
        host: String,
        config: &str,
        files: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("tidetable-spec-").tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_lowercase();
        let config = format!(
            "[policies.default]\nallow_mounts = ['{}']\nallow_networks = ['bridge', 'none', 'host', 'no-such-network', '{name}']\nallow_caps = ['NET_BIND_SERVICE']\nallow_privileged = true\n{config}",
            folder.path().display(),
        )
        .replace("FOLDER", &folder.path().display().to_string());
        let environment = [&[("DOCKER_HOST", host.as_str())], environment].concat();
        let server = Server::start(&[], &config, &environment);
        Self { server, folder, host, name }
    }

    fn docker_cli(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("docker").args(arguments).env("DOCKER_HOST", &self.host).output().unwrap();
        assert!(
            output.status.success(),
            "docker {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn output(&self, id: &str) -> String {
        self.server.get(&format!("/job/{id}/logs")).text()
    }

    /// Submits every case, waits for each, and compares its output.
    fn hold(&self, cases: Vec<Case>) {
        let posted: Vec<(Case, String)> = cases
            .into_iter()
            .map(|case| {
                let id = self.server.submit(case.job());
                (case, id)
            })
            .collect();
        let mut wrong = String::new();
        for (case, id) in posted {
            let (over, said) = (self.server.wait(&id), self.output(&id));
            if over["status"] != "succeeded" || said != case.says {
                wrong += &format!("{}:\n{said}instead of\n{}{over}\n", case.what, case.says);
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.server.kill();
        let quietly = |arguments: &[&str]| {
            Command::new("docker").args(arguments).env("DOCKER_HOST", &self.host).output()
        };
        self.server.remove_containers(&self.host);
        let _gone = quietly(&["network", "rm", &self.name]);
        let _gone = quietly(&["volume", "rm", "-f", &self.name]);
    }
}

/// A spec, and the output that its container has to write.
struct Case {
    name: &'static str,
    what: &'static str,
    spec: Value,
    says: String,
}

impl Case {
    /// Creates a case with a container that runs this script, unless the spec has a command.
    fn new(what: &'static str, mut spec: Value, script: &str, says: &str) -> Self {
        if spec.get("command").is_none() {
            spec["command"] = json!(["sh", "-c", script]);
        }
        if spec.get("network").is_none() {
            spec["network"] = json!("none");
        }
        Self { name: IMAGE, what, spec, says: says.to_owned() }
    }

    fn job(&self) -> Value {
        let mut job = self.spec.clone();
        job["job_name"] = json!(self.name);
        job["date"] = json!("now");
        // A job that blocks is a failure.
        job["timeout"] = json!("3m");
        job
    }
}

/// The definition in the config file.
const DEFINITION: &str = r#"
[definitions.JOB_A]
image = "busybox:latest"
entrypoint = ["sh", "-c"]
command = ["echo $K $L $TEAM; pwd; id -u; ulimit -n; echo $0"]
env = { K = "definition's", L = "definition's", TEAM = "a" }
workdir = "/srv"
user = "1000"
network = "none"
labels = { team = "a", kept = "yes" }
ulimits = [{ name = "nofile", soft = 100, hard = 200 }]
timeout = "3m"
"#;
