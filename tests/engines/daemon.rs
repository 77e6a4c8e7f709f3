//! A Docker daemon of the tests' own, over TCP with TLS as in docker-in-docker: jobs while the
//! daemon is killed, restarted or replaced.
//!
//! Needs root and Debian's docker.io; `make test` provides both. However a test ends, the daemon is
//! stopped and its mounts are removed.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::{IMAGE, eventually};
use serde_json::json;

fn job(command: &str) -> serde_json::Value {
    json!({"job_name": IMAGE, "date": "now", "network": "none", "command": ["sh", "-c", command]})
}

#[test]
fn job_runs_over_tcp_with_tls() {
    let daemon = Daemon::over_tls(false);
    let server = daemon.server("");
    let id = server.submit(job("echo over TLS; exit 3"));
    assert_eq!(server.wait(&id)["exit_code"], 3);
    assert_eq!(server.get(&format!("/job/{id}/logs")).text(), "over TLS\n");
}

#[test]
fn jobs_of_a_killed_daemon_report_engine_restarted() {
    let mut daemon = Daemon::over_tls(false);
    let server = daemon.server("");
    let id = server.submit(job("sleep 3600"));
    server.until(&id, "running");
    daemon.kill();
    eventually("readiness is red", || (server.get("/readyz").status == 503).then_some(()));
    let away = server.get(&format!("/job/{id}")).json();
    assert_eq!(away["status"], "running", "a broken connection is not a failed job");
    assert!(away["engine_unreachable_since"].is_string());
    let waiting = server.submit(job("true"));
    assert_eq!(server.until(&waiting, "queued")["reason"], "engine_unreachable");
    daemon.up();
    let over = server.wait(&id);
    assert_eq!(
        (&over["status"], &over["reason"]),
        (&json!("failed"), &json!("engine_restarted")),
        "{over}"
    );
    assert_eq!(server.wait(&waiting)["status"], "succeeded", "a waiting job continues");
}

#[test]
fn live_restore_container_survives_and_keeps_exit_code() {
    let (mut daemon, folder) = (Daemon::over_tls(true), tempfile::tempdir().unwrap());
    let server = daemon
        .server(&format!("[policies.default]\nallow_mounts = ['{}']", folder.path().display()));
    let mut job = job("echo before; until [ -e /go/on ]; do sleep 0.1; done; echo after; exit 5");
    job["mounts"] = json!([{"type": "bind", "source": folder.path(), "target": "/go"}]);
    let id = server.submit(job);
    server.until(&id, "running");
    daemon.kill();
    std::thread::sleep(Duration::from_secs(1));
    daemon.up();
    std::fs::write(folder.path().join("on"), "").unwrap();
    let over = server.wait(&id);
    assert_eq!(
        (&over["status"], &over["exit_code"], &over["attempt"]),
        (&json!("failed"), &json!(5), &json!(1)),
        "{over}"
    );
}

#[test]
fn another_daemon_at_the_address_is_refused() {
    let mut daemon = Daemon::over_tls(false);
    let server = daemon.server("");
    let id = server.submit(job("sleep 3600"));
    server.until(&id, "running");
    daemon.kill();
    // The second daemon has another identity, and none of the first one's containers.
    daemon.data = "another-data";
    daemon.up();
    eventually("readiness says so", || {
        (server.get("/readyz").json()["engine"] == "engine_changed").then_some(())
    });
    let waiting = server.submit(job("true"));
    assert_eq!(server.until(&waiting, "queued")["reason"], "engine_changed");
    assert_eq!(
        server.get(&format!("/job/{id}")).json()["status"],
        "running",
        "a job on the other daemon is not given up"
    );
}
