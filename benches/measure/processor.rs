//! Counts processor time: of one process, and of an engine with all processes that it starts.
//!
//! A shim is a child of neither daemon, and runc is a child of its shim, so only a control group
//! covers all of them. dockerd and containerd are moved into a control group for the measurement,
//! and back afterwards. Where this is not possible, only both processes and the children that they
//! have reaped are counted.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

/// The clock ticks in a second, as Linux reports times to programs.
const TICKS: f64 = 100.0;

/// An engine on this machine.
pub struct Engine {
    pids: Vec<u32>,
    group: Option<Group>,
}

impl Engine {
    /// Returns the process that listens at this socket, with its containerd. `None` for an engine
    /// on another machine.
    pub async fn at(docker_host: &str) -> Option<Self> {
        let socket = UnixStream::connect(docker_host.strip_prefix("unix://")?).await.ok()?;
        let dockerd = u32::try_from(socket.peer_cred().ok()?.pid()?).ok()?;
        let containerds =
            || all().into_iter().filter(|pid| name(*pid).as_deref() == Some("containerd"));
        let own: Vec<u32> = containerds().filter(|pid| parent(*pid) == Some(dockerd)).collect();
        let pids: Vec<u32> = if own.is_empty() { containerds().collect() } else { own }
            .into_iter()
            .chain([dockerd])
            .collect();
        let group = Group::of(&pids);
        Some(Self { pids, group })
    }

    /// Returns the names of the processes that `seconds` covers.
    pub fn counted(&self) -> &'static str {
        match self.group {
            Some(_) => "dockerd, containerd, shims, runc",
            None => "dockerd, containerd",
        }
    }

    pub fn seconds(&self) -> f64 {
        match &self.group {
            Some(group) => group.seconds(),
            None => {
                self.pids.iter().filter_map(|pid| stat(*pid)).map(|stat| ticks(&stat, 11..15)).sum()
            }
        }
    }
}

/// Returns the processor time of this process in seconds, without its children.
pub fn seconds(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| ticks(&stat, 11..13))
}

/// A control group of the benchmark, below the root of the groups that count processor time.
struct Group {
    folder: PathBuf,
    /// The group in which the processes were before.
    before: PathBuf,
}

impl Group {
    /// Moves these processes into a new group. `None` if this machine does not allow it.
    fn of(pids: &[u32]) -> Option<Self> {
        let of_v1 = ["cpuacct", "cpu,cpuacct"]
            .into_iter()
            .find(|name| root(name).join("cpuacct.usage").exists());
        let root = root(of_v1.unwrap_or_default());
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", pids.first()?)).ok()?;
        let before = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let is_it = of_v1.map_or(controllers.is_empty(), |_| {
                controllers.split(',').any(|name| name == "cpuacct")
            });
            is_it.then(|| root.join(path.trim_start_matches('/')))
        })?;
        let folder = root.join(format!("tidetable-bench-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, before };
        let moved = pids
            .iter()
            .all(|pid| fs::write(group.folder.join("cgroup.procs"), pid.to_string()).is_ok());
        (moved && group.read().is_some()).then_some(group)
    }

    fn seconds(&self) -> f64 {
        self.read().expect("the control group is there")
    }

    fn read(&self) -> Option<f64> {
        if let Ok(nanoseconds) = fs::read_to_string(self.folder.join("cpuacct.usage")) {
            return Some(nanoseconds.trim().parse::<f64>().ok()? / 1e9);
        }
        let said = fs::read_to_string(self.folder.join("cpu.stat")).ok()?;
        let microseconds = said.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(microseconds.trim().parse::<f64>().ok()? / 1e6)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default().lines()
        {
            // The process may have ended.
            let _gone = fs::write(self.before.join("cgroup.procs"), pid);
        }
        if let Err(error) = fs::remove_dir(&self.folder) {
            eprintln!("{} stays: {error}", self.folder.display());
        }
    }
}

fn root(name: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(name)
}

fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Returns the fields after the process name, which may contain spaces. The first field is the
/// state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn ticks(stat: &[String], fields: std::ops::Range<usize>) -> f64 {
    stat[fields].iter().filter_map(|ticks| ticks.trim().parse::<f64>().ok()).sum::<f64>() / TICKS
}
