//! Describes the machine and the engine. Figures mean nothing without this description.

use std::process::Command;

use serde_json::{Value, json};

use crate::engine_probe::EngineProbe;

pub fn describe() -> Value {
    let machine = json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": first_line("/proc/meminfo"),
        "kernel": first_line("/proc/sys/kernel/osrelease"),
        "tidetable": said(crate::support::binary(), &["--version"]),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "load_before": load(),
    });
    eprintln!("{machine:#}");
    machine
}

pub async fn describe_engine(probe: &EngineProbe) -> Value {
    let engine = json!({
        "version": probe.docker.version().await.unwrap().version,
        "client": docker_client().unwrap_or_else(|| "none: its rows are left out".to_owned()),
        "storage": probe.docker.info().await.unwrap().driver,
        "network": probe.network,
    });
    eprintln!("{engine:#}");
    engine
}

fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// Returns the load averages over the last 1, 5 and 15 minutes.
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Returns the version of the engine's own client. `None` if it is not installed.
pub fn docker_client() -> Option<String> {
    said("docker", &["version", "--format", "{{.Client.Version}}"])
}

/// Returns the output of a program on one line. `None` if the program fails.
pub fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", "))
}
