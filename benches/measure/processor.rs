//! Whose processor time it was: that of one process, and that of an engine with all that it starts.
//!
//! A shim is nobody's child, and runc is its own: only a control group sees them all. So dockerd and containerd are put into one while
//! they are measured, and back afterwards. Where that cannot be, it is the two of them with the children they have reaped.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

/// Clock ticks a second, in what Linux says to programs.
const TICKS: f64 = 100.0;

/// An engine on this machine.
pub struct Engine {
    pids: Vec<u32>,
    group: Option<Group>,
}

impl Engine {
    /// Who listens at this socket, and its containerd. Nothing of an engine elsewhere.
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

    /// What `seconds` counts.
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

/// Seconds that this process has had, without its children.
pub fn seconds(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| ticks(&stat, 11..13))
}

/// A control group of the benchmark's own, below the root of those that count processor time.
struct Group {
    folder: PathBuf,
    /// Where its processes were.
    before: PathBuf,
}

impl Group {
    /// Of these processes, if this machine lets us.
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
            // It may have ended.
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

/// The fields after the name, which may have spaces: the state is the first.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn ticks(stat: &[String], fields: std::ops::Range<usize>) -> f64 {
    stat[fields].iter().filter_map(|ticks| ticks.trim().parse::<f64>().ok()).sum::<f64>() / TICKS
}
