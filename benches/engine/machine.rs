//! On what it was measured: said with the figures, which mean nothing without it.

use std::process::Command;

use serde_json::{Value, json};

use crate::lab::Lab;

pub async fn describe(lab: &Lab) -> Value {
    let engine = lab.docker.version().await.unwrap();
    let info = lab.docker.info().await.unwrap();
    let machine = json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mib": info.mem_total.unwrap_or(0) / (1 << 20),
        "kernel": engine.kernel_version,
        "engine": engine.version,
        "client": said("docker", &["version", "--format", "{{.Client.Version}}"]),
        "storage": info.driver,
        "network": lab.network,
        "tidetable": said(crate::common::binary(), &["--version"]),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "load_before": load(),
    });
    eprintln!("{machine:#}");
    machine
}

/// How many want the processors, over the last one, five and fifteen minutes.
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What a program says, on one line.
pub fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", "))
}
