//! A Docker daemon of the tests' own, which they may kill, freeze and cut off. Nothing else writes
//! to its event log.
//!
//! Needs root and Debian's docker.io; `make test` provides both. The daemon runs in its own
//! namespaces, so other engines of the machine keep their networks, files and containers. However a
//! test ends, the daemon is killed and everything of it is removed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::apart::{Apart, Inside};
use super::{IMAGE, Server, docker_host, eventually, signal};

/// The TCP port of the daemon in its own network.
const PORT: &str = "2376";

/// A Docker daemon, and the TLS certificates to reach it.
pub struct Daemon {
    /// The test's stay on the daemon's network; `None` if the daemon is reached by a socket.
    inside: Option<Inside>,
    dir: tempfile::TempDir,
    apart: Apart,
    is_over_tls: bool,
    live_restore: bool,
    /// The directory of its containers and its identity, relative to the daemon's folder.
    pub data: &'static str,
    child: Option<Child>,
}

/// The two ways in which a network fails.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Connections are refused, and open connections are reset.
    Refused,
    /// Packets to the daemon are dropped, so no answer arrives.
    Silence,
}

impl Daemon {
    /// Starts a daemon that listens on a Unix socket.
    pub fn start() -> Self {
        Self::new(false, false)
    }

    /// Starts a daemon that listens on TCP with TLS. Its network can be cut.
    pub fn over_tls(live_restore: bool) -> Self {
        Self::new(true, live_restore)
    }

    fn new(is_over_tls: bool, live_restore: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("tt").tempdir().unwrap();
        let apart = Apart::new(dir.path());
        if is_over_tls {
            certificates(dir.path());
        }
        let mut daemon =
            Self { inside: None, dir, apart, is_over_tls, live_restore, data: "data", child: None };
        daemon.up();
        daemon.load_image();
        daemon.inside = is_over_tls.then(|| daemon.apart.enter());
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the cgroup that holds the containers of this daemon, and of no other one.
    fn cgroup(&self) -> String {
        self.dir.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Returns the daemon's address in the form of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        match self.is_over_tls {
            true => format!("tcp://127.0.0.1:{PORT}"),
            false => format!("unix://{}", self.path("docker.sock").display()),
        }
    }

    /// Returns a command that runs `program` on the daemon's network, as if that were the
    /// machine's.
    pub fn beside(&self, program: &str) -> Command {
        self.apart.command(program)
    }

    /// Moves this thread onto the daemon's network until the result is dropped.
    pub fn enter(&self) -> Inside {
        self.apart.enter()
    }

    /// Starts the daemon, for the first time or again, and waits until it answers.
    pub fn up(&mut self) {
        // A killed daemon leaves its pid files behind (its containerd dies with it), and refuses to
        // start beside them.
        for file in ["pid", "exec/containerd/containerd.pid"] {
            let _none = std::fs::remove_file(self.path(file));
        }
        let mut command = self.apart.command("dockerd");
        command.arg("--host").arg(self.host()).args([
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
        ]);
        command.arg(format!("--live-restore={}", self.live_restore));
        command
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .arg(format!("--cgroup-parent=/{}", self.cgroup()));
        for (flag, file) in
            [("--data-root", self.data), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            command.arg(flag).arg(self.path(file));
        }
        if self.is_over_tls {
            command.arg("--tlsverify");
            for (flag, file) in
                [("--tlscacert", "ca.pem"), ("--tlscert", "cert.pem"), ("--tlskey", "key.pem")]
            {
                command.arg(flag).arg(self.path(file));
            }
        }
        std::fs::write(self.path("daemon.json"), self.config().to_string()).unwrap();
        command.arg("--config-file").arg(self.path("daemon.json"));
        let log =
            std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.child = Some(
            command
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("dockerd is installed: run `make test`"),
        );
        eventually("the daemon answers", || {
            if let Some(ended) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("dockerd: {ended}\n{}", std::fs::read_to_string(self.path("log")).unwrap());
            }
            self.docker(&["version"]).status.success().then_some(())
        });
    }

    /// Returns the content of `daemon.json`. Up to version 24, dockerd keeps its identity in
    /// `/etc/docker`, which belongs to the machine, unless `deprecated-key-path` names another
    /// file.
    fn config(&self) -> Value {
        const KEY: &str = "deprecated-key-path";
        let knows = Command::new("sh")
            .args(["-c", "grep -qa \"$0\" \"$(command -v dockerd)\"", KEY])
            .status()
            .unwrap();
        if knows.success() {
            json!({KEY: self.path(&format!("{}.key", self.data))})
        } else {
            json!({})
        }
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends SIGTERM to the daemon, and waits until it has ended.
    pub fn terminate(&mut self) {
        let mut child = self.child.take().unwrap();
        signal(child.id(), "TERM");
        child.wait().unwrap();
    }

    /// Freezes the daemon: requests wait, and answers do not arrive.
    pub fn freeze(&self) {
        signal(self.child.as_ref().unwrap().id(), "STOP");
    }

    /// Lets a frozen daemon continue.
    pub fn thaw(&self) {
        signal(self.child.as_ref().unwrap().id(), "CONT");
    }

    /// Cuts the network to the daemon.
    pub fn cut(&self, how: Cut) {
        assert!(self.is_over_tls, "a socket cannot be cut");
        let rule: &[&str] = match how {
            Cut::Refused => &["-j", "REJECT", "--reject-with", "tcp-reset"],
            Cut::Silence => &["-j", "DROP"],
        };
        self.iptables(&[&["-A", "INPUT", "-p", "tcp", "--dport", PORT], rule].concat());
    }

    /// Repairs the network to the daemon.
    pub fn mend(&self) {
        self.iptables(&["-F", "INPUT"]);
    }

    fn iptables(&self, arguments: &[&str]) {
        let done = self
            .apart
            .command("iptables")
            .arg("-w")
            .args(arguments)
            .status()
            .expect("util-linux has `nsenter`");
        assert!(done.success(), "iptables {arguments:?}");
    }

    /// Runs the `docker` client against this daemon.
    pub fn docker(&self, arguments: &[&str]) -> Output {
        let mut command = self.apart.command("docker");
        if self.is_over_tls {
            command.arg("--tlsverify").env("DOCKER_CERT_PATH", self.dir.path());
        }
        command
            .arg("--host")
            .arg(self.host())
            .args(arguments)
            .env_remove("DOCKER_HOST")
            .output()
            .unwrap()
    }

    /// Runs the `docker` client against this daemon, and returns its standard output without
    /// surrounding white space.
    ///
    /// # Panics
    ///
    /// Panics if the client fails.
    pub fn docker_says(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        assert!(
            output.status.success(),
            "docker {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn load_image(&self) {
        let saved = self.path("image.tar");
        let save = Command::new("docker")
            .args(["save", "-o"])
            .arg(&saved)
            .arg(IMAGE)
            .env("DOCKER_HOST", docker_host())
            .status()
            .unwrap();
        assert!(save.success(), "the engine of the tests has {IMAGE}: run `make test`");
        self.docker_says(&["load", "-i", saved.to_str().unwrap()]);
    }

    /// Starts a server that uses this daemon, with these flags and this config.
    pub fn server_with(&self, flags: &[&str], config: &str) -> Server {
        let folder = self.dir.path().display().to_string();
        let host = self.host();
        let mut environment = vec![("DOCKER_HOST", host.as_str())];
        if self.is_over_tls {
            environment.extend([("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", folder.as_str())]);
        }
        Server::start(flags, config, &environment)
    }

    /// Starts a server that uses this daemon, with this config.
    pub fn server(&self, config: &str) -> Server {
        self.server_with(&[], config)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A killed daemon leaves its containerd, the shims of its containers, and the containers.
        // Mounts and links go with the namespaces.
        let dir = self.dir.path().display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if pid != std::process::id() && String::from_utf8_lossy(&command).contains(&dir) {
                let _ = Command::new("kill")
                    .arg("-9")
                    .arg(pid.to_string())
                    .stderr(Stdio::null())
                    .status();
            }
        }
        end_cgroup(&self.cgroup());
    }
}

/// Kills all processes in this cgroup, in every hierarchy, and removes it.
fn end_cgroup(name: &str) {
    let script = r#"for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ -d "$root/$0" ] || continue
        find "$root/$0" -name cgroup.procs -exec cat {} + | xargs -r kill -9
        sleep 0.1
        find "$root/$0" -depth -type d -exec rmdir {} +
    done"#;
    let _ = Command::new("sh").args(["-c", script, name]).stderr(Stdio::null()).status();
}

/// Makes a CA, and one certificate that serves both ends, with `openssl`.
fn certificates(dir: &Path) {
    let extensions =
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth";
    std::fs::write(dir.join("ext"), extensions).unwrap();
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
