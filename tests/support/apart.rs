//! Network and mount namespaces for the tests, and a way to move a thread into the network of an
//! engine.
//!
//! The links, addresses, firewall rules and mounts of a daemon stay in its namespaces and disappear
//! with them. Other engines of the machine do not notice.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::net::sockopt::socket_peercred;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The shell command that holds the namespaces open. Brings up loopback and hides `/run`, which may
/// contain the socket of the machine's containerd: each dockerd has to start its own. Ends at the
/// end of its input, at the latest when the tests end.
const HOLD: &str =
    "ip link set lo up && mount -n -t tmpfs -o mode=755 tmpfs /run && echo ready && read end";

/// A process that holds a network namespace and a mount namespace open.
pub struct Apart {
    holder: Child,
}

impl Apart {
    /// Creates the namespaces. `folder` is only an argument of the holder: `make test` finds the
    /// leftovers of a killed run by this path.
    pub fn new(folder: &Path) -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "slave", "sh", "-c", HOLD])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has `unshare`");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(
            said, "ready\n",
            "a daemon of the tests needs its own namespaces: run as root, with `ip` of iproute2"
        );
        Self { holder }
    }

    /// Returns a command that runs `program` in the namespaces. Does not use `ip netns exec`: that
    /// mounts another `/sys`, in which dockerd misses its cgroups.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id())).args(["--net", "--mount", program]);
        command
    }

    /// Moves this thread into the network namespace until the result is dropped.
    pub fn enter(&self) -> Inside {
        Inside::of(self.holder.id())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ended = self.holder.wait();
    }
}

/// A stay of this thread, and of all that it starts, on another network. Dropping it moves the
/// thread back to its own network.
pub struct Inside {
    own: File,
}

impl Inside {
    fn of(pid: u32) -> Self {
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        go(&File::open(format!("/proc/{pid}/ns/net")).expect("the tests are root"));
        Self { own }
    }

    /// Moves this thread into the network of the engine at `host`. An engine reaches a registry on
    /// the loopback of that network only. Returns `None` if `host` is not a Unix socket or the
    /// process of the engine cannot be identified.
    pub fn of_engine(host: &str) -> Option<Self> {
        let socket =
            UnixStream::connect(host.strip_prefix("unix://")?).expect("the engine answers");
        let engine = socket_peercred(&socket).ok()?.pid.as_raw_nonzero().get();
        Some(Self::of(u32::try_from(engine).unwrap()))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        go(&self.own);
    }
}

fn go(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("the tests are root");
}
