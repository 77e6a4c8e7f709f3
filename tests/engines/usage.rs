//! The usage of a run, as the engine measured it.

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::{IMAGE, eventually};

#[test]
fn run_of_seconds_shows_its_usage() {
    let daemon = Daemon::start();
    let server = daemon.server("");
    let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 4";
    let id = server.submit(json!({"job_name": IMAGE, "date": "now", "network": "none",
        "command": ["sh", "-c", work]}));
    let job = eventually("the end", || {
        let job = server.get(&format!("/job/{id}")).json();
        (job["status"] == "succeeded").then_some(job)
    });
    let usage = &job["usage"];
    assert!(usage["samples"].as_u64() >= Some(1), "{usage}");
    assert!(usage["cpu_seconds"].as_f64() > Some(0.0), "{usage}");
    assert!(usage["memory_peak_bytes"].as_u64() > Some(10_000), "{usage}");
}

#[test]
fn run_without_a_sample_has_no_usage() {
    let daemon = Daemon::start();
    let server = daemon.server("");
    let id = server.submit(json!({"job_name": IMAGE, "date": "now", "network": "none",
        "command": ["true"]}));
    assert_eq!(server.wait(&id)["usage"], json!(null));
}
