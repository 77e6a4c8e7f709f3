//! Reads the processor time and memory of the server's process from the kernel.

use std::time::Duration;

use crate::support::Server;

/// The kernel's ticks in a second, the same on every Linux.
const TICKS_A_SECOND: f64 = 100.0;
/// The processor time in seconds, and the period. A server that uses less in this period has
/// finished its background work.
const CALM: (f64, Duration) = (0.02, Duration::from_millis(500));
const CALM_LOOKS: usize = 120;

/// Returns the processor time since the start, in seconds.
pub fn cpu_s(server: &Server) -> f64 {
    let stat = read(server, "stat");
    // The name, in brackets, may contain any character.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_A_SECOND
}

/// The memory of a process, in MiB.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Memory {
    /// The memory in use, the program itself included.
    pub resident: f64,
    /// The part of `resident` that does not belong to a file.
    pub own: f64,
    /// The largest `resident` since the start, or since [`forget_peak`].
    pub peak: f64,
}

pub fn memory(server: &Server) -> Memory {
    let of = |name| status_mib(server, name);
    Memory { resident: of("VmRSS:"), own: of("RssAnon:"), peak: of("VmHWM:") }
}

pub fn forget_peak(server: &Server) {
    std::fs::write(path(server, "clear_refs"), "5").unwrap();
}

/// Waits until the server is idle. After its start, a server reads a large store completely once.
pub fn calm(server: &Server) {
    for _ in 0..CALM_LOOKS {
        let before = cpu_s(server);
        std::thread::sleep(CALM.1);
        if cpu_s(server) - before < CALM.0 {
            return;
        }
    }
    eprintln!("the server does not come to rest");
}

fn status_mib(server: &Server, name: &str) -> f64 {
    let status = read(server, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn read(server: &Server, what: &str) -> String {
    std::fs::read_to_string(path(server, what)).unwrap()
}

fn path(server: &Server, what: &str) -> String {
    format!("/proc/{}/{what}", server.pid().unwrap())
}
