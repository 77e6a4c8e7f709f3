//! A Docker daemon of the tests' own, over TCP with TLS, that may be killed, frozen, and cut off.
//!
//! Wants root and Debian's docker.io, as `make test` sees to. However a test ends, the daemon is stopped, its mounts are
//! undone, and its network is taken away.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use super::{IMAGE, Server, docker_host, eventually, signal};

/// A daemon, and the certificates to reach it.
pub struct Daemon {
    dir: tempfile::TempDir,
    place: Place,
    port: u16,
    live_restore: bool,
    /// Where it keeps its containers and its identity, below its folder.
    pub data: &'static str,
    child: Option<Child>,
}

/// On which network a daemon is.
enum Place {
    Here,
    Apart(Namespace),
}

/// How a network fails.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Connections are refused, and those that were there are reset.
    Refused,
    /// Nothing comes back.
    Silence,
}

impl Daemon {
    /// A daemon on this machine's loopback.
    pub fn start(live_restore: bool) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(Place::Here, port, live_restore)
    }

    /// A daemon on a network of its own, that can be cut.
    pub fn apart(live_restore: bool) -> Self {
        Self::start_at(Place::Apart(Namespace::new()), 2376, live_restore)
    }

    fn start_at(place: Place, port: u16, live_restore: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("tt").tempdir().unwrap();
        certificates(dir.path(), &place.address());
        let mut daemon = Self { dir, place, port, live_restore, data: "data", child: None };
        daemon.up();
        daemon.load_image();
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// In which its containers are: nobody else's are.
    fn cgroup(&self) -> String {
        self.dir.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    fn host(&self) -> String {
        format!("tcp://{}:{}", self.place.address(), self.port)
    }

    /// Starts it (again), and waits until it answers.
    pub fn up(&mut self) {
        // A daemon that was killed leaves its pid files (its containerd dies with it), and will not start beside them.
        for file in ["pid", "exec/containerd/containerd.pid"] {
            let _none = std::fs::remove_file(self.path(file));
        }
        let mut command = self.place.command("dockerd");
        command.arg("--host").arg(self.host()).args([
            "--tlsverify",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
        ]);
        command.arg(format!("--live-restore={}", self.live_restore)).arg(format!("--cgroup-parent=/{}", self.cgroup()));
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

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub fn terminate(&mut self) {
        let mut child = self.child.take().unwrap();
        signal(child.id(), "TERM");
        child.wait().unwrap();
    }

    /// It stands still: what is asked of it waits, answers do not come.
    pub fn freeze(&self) {
        signal(self.child.as_ref().unwrap().id(), "STOP");
    }

    /// It goes on where it was.
    pub fn thaw(&self) {
        signal(self.child.as_ref().unwrap().id(), "CONT");
    }

    /// Cuts the network to it.
    pub fn cut(&self, how: Cut) {
        self.namespace().cut(how);
    }

    /// Mends the network to it.
    pub fn mend(&self) {
        self.namespace().mend();
    }

    fn namespace(&self) -> &Namespace {
        match &self.place {
            Place::Apart(namespace) => namespace,
            Place::Here => panic!("its network is everybody's: start it apart"),
        }
    }

    /// What the `docker` client says to this.
    pub fn docker(&self, arguments: &[&str]) -> Output {
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
            .env("DOCKER_HOST", docker_host())
            .status()
            .unwrap();
        assert!(save.success(), "the engine of the tests has {IMAGE}: run `make test`");
        assert!(self.docker(&["load", "-i", saved.to_str().unwrap()]).status.success());
    }

    /// A server on this daemon, with this config.
    pub fn server(&self, config: &str) -> Server {
        let environment = [
            ("DOCKER_HOST", self.host()),
            ("DOCKER_TLS_VERIFY", "1".to_owned()),
            ("DOCKER_CERT_PATH", self.dir.path().display().to_string()),
        ];
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Server::start(&[], config, &environment)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that stands still hears nothing.
            for name in ["CONT", "TERM"] {
                signal(child.id(), name);
            }
            let _ = child.wait();
        }
        // What a killed daemon left: its containerd, the shims of containers that ran on, these, and mounts.
        let dir = self.dir.path().display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if pid != std::process::id() && String::from_utf8_lossy(&command).contains(&dir) {
                let _ = Command::new("kill").arg("-9").arg(pid.to_string()).status();
            }
        }
        end_cgroup(&self.cgroup());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|mount| mount.starts_with(&dir)) {
            let _ = Command::new("umount").args(["-l", mount]).stderr(Stdio::null()).status();
        }
    }
}

impl Place {
    fn address(&self) -> String {
        match self {
            Self::Here => "127.0.0.1".to_owned(),
            Self::Apart(namespace) => namespace.address(2),
        }
    }

    fn command(&self, program: &str) -> Command {
        match self {
            Self::Here => Command::new(program),
            Self::Apart(namespace) => namespace.command(program),
        }
    }
}

/// A network namespace with one wire to this machine, on two addresses of the block that is set aside for such tests.
struct Namespace {
    /// Also that of the end of the wire that is here.
    name: String,
    block: (u32, u8),
}

impl Namespace {
    fn new() -> Self {
        // Unlike in all tests of this machine that run at this time, or nearly.
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let namespace = Self { name: format!("tt{pid}-{next}"), block: (pid % 256, next % 64 * 4) };
        let name = &namespace.name;
        for step in [
            format!("netns add {name}"),
            format!("link add {name} type veth peer name eth0 netns {name}"),
            format!("address add {}/30 dev {name}", namespace.address(1)),
            format!("link set {name} up"),
            format!("-n {name} address add {}/30 dev eth0", namespace.address(2)),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} link set lo up"),
        ] {
            let done = Command::new("ip").args(step.split(' ')).status().expect("iproute2 is installed");
            assert!(done.success(), "ip {step}");
        }
        namespace
    }

    /// The first address is this machine's, the second the namespace's.
    fn address(&self, which: u8) -> String {
        format!("198.18.{}.{}", self.block.0, self.block.1 + which)
    }

    /// A program in the namespace. Not by `ip netns exec`: that mounts another `/sys`, and dockerd misses its cgroups.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    fn cut(&self, how: Cut) {
        let rule: &[&str] = match how {
            Cut::Refused => &["-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"],
            Cut::Silence => &["-j", "DROP"],
        };
        self.iptables(&[&["-A", "INPUT", "-i", "eth0"], rule].concat());
    }

    fn mend(&self) {
        self.iptables(&["-F", "INPUT"]);
    }

    fn iptables(&self, arguments: &[&str]) {
        let done = self.command("iptables").arg("-w").args(arguments).status().expect("iptables is installed");
        assert!(done.success(), "iptables {arguments:?}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The wire goes with it.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Ends what runs in this cgroup, in every hierarchy, and removes it.
fn end_cgroup(name: &str) {
    let script = r#"for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ -d "$root/$0" ] || continue
        find "$root/$0" -name cgroup.procs -exec cat {} + | xargs -r kill -9
        sleep 0.1
        find "$root/$0" -depth -type d -exec rmdir {} +
    done"#;
    let _ = Command::new("sh").args(["-c", script, name]).stderr(Stdio::null()).status();
}

/// A CA, and one certificate that serves both ends, as `openssl` makes them.
fn certificates(dir: &Path, address: &str) {
    std::fs::write(
        dir.join("ext"),
        format!("subjectAltName=IP:{address},DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth"),
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
