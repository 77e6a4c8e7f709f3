//! Network and mount namespaces of the tests' own, and the way of a thread into the network of an engine.
//!
//! What a daemon does to links, addresses and firewall rules, and what it mounts, stays in there and goes with it: no
//! other engine of the machine notices.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::net::sockopt::socket_peercred;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Makes loopback work, and hides `/run`, with a containerd of the machine's in it: each dockerd starts its own. Waits for
/// the end of its input, which comes at the latest with the end of the tests.
const HOLD: &str =
    "ip link set lo up && mount -n -t tmpfs -o mode=755 tmpfs /run && echo ready && read end";

/// Two namespaces, held by a process.
pub struct Apart {
    holder: Child,
}

impl Apart {
    /// New namespaces. The folder is only named, so that what is left of a run that was killed can be found by it.
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
            "a daemon of the tests wants namespaces of its own: root, and `ip` of iproute2"
        );
        Self { holder }
    }

    /// A program in there. Not by `ip netns exec`: that mounts another `/sys`, and dockerd misses its cgroups.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id())).args(["--net", "--mount", program]);
        command
    }

    /// Puts this thread on that network.
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

/// This thread, and all that it starts, on another network. It is back on its own when this is dropped.
pub struct Inside {
    own: File,
}

impl Inside {
    fn of(pid: u32) -> Self {
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        go(&File::open(format!("/proc/{pid}/ns/net")).expect("the tests are root"));
        Self { own }
    }

    /// On the network of the engine at this address, where its loopback is: only there does it find a registry. None
    /// where that is not to be known.
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
