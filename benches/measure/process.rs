//! What the kernel says of the server's process: its processor time and its memory.

use std::time::Duration;

use crate::common::Server;

/// Of a kernel's tick; the same on every Linux.
const TICKS_A_SECOND: f64 = 100.0;
/// A server that has used less than this for so long has nothing left to do of its own accord.
const CALM: (f64, Duration) = (0.02, Duration::from_millis(500));
const CALM_LOOKS: usize = 120;

/// Seconds of processor time since its start.
pub fn cpu_s(server: &Server) -> f64 {
    let stat = read(server, "stat");
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_A_SECOND
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Memory {
    /// All that it has in memory, the program itself included.
    pub resident: f64,
    /// Of that, what is not a file's.
    pub own: f64,
    /// The most it had since its start, or since [`forget_peak`].
    pub peak: f64,
}

pub fn memory(server: &Server) -> Memory {
    let of = |name| status_mib(server, name);
    Memory { resident: of("VmRSS:"), own: of("RssAnon:"), peak: of("VmHWM:") }
}

pub fn forget_peak(server: &Server) {
    std::fs::write(path(server, "clear_refs"), "5").unwrap();
}

/// Waits until it is idle: after its start it reads a large store once as a whole.
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
