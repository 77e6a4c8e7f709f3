//! Upgrades: a data directory that an earlier version wrote is opened by this one, with every job in
//! its state.
//!
//! `c38c697.tar.gz` is such a directory, left by a server that was killed, and `c38c697.json` names
//! its jobs by their states. `scripts/make_old_store.py` made both. A directory that a later version
//! writes is refused with a sentence (`storage/contract`).

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidetable::store::check::check;

use crate::support::Server;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/storage/upgrade")
}

/// Unpacks the old data directory.
fn old_store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar")
        .arg("xzf")
        .arg(folder().join("c38c697.tar.gz"))
        .arg("-C")
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    dir
}

/// Returns the jobs of the old store: the id for each state.
fn jobs() -> BTreeMap<String, String> {
    serde_json::from_str(&std::fs::read_to_string(folder().join("c38c697.json")).unwrap()).unwrap()
}

#[test]
fn old_store_is_whole() {
    let dir = old_store();
    let report = check(dir.path()).unwrap();
    assert!(report.whole, "{report}");
}

#[test]
fn old_store_is_served_with_every_job_in_its_state() {
    let dir = old_store();
    // Without an engine nothing moves, so each job is shown as it was stored.
    let server =
        Server::over(dir.path().to_owned(), &[], &[("DOCKER_HOST", "unix:///nowhere.sock")]);
    for (state, id) in jobs() {
        let job = server.get(&format!("/job/{id}")).json();
        assert_eq!(job["status"], *state, "{job}");
    }
    let kept = server.get(&format!("/job/{}/logs", jobs()["succeeded"])).text();
    assert_eq!(kept, "hello\n");
    assert!(server.get("/definition/REPORT").text().contains("\"report\""));
    let ledger = server.get("/schedule/often/ledger").json();
    let outcomes: Vec<&str> = ledger["ticks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tick| tick["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["ran", "ran"]);
    assert!(server.get("/schedule/nightly").json()["next_job"].is_string());
}

#[test]
fn old_jobs_go_on_after_an_upgrade() {
    let dir = old_store();
    // Its containers are gone with the simulated engine of the old server.
    let server = Server::simulated_on(dir.path().to_owned());
    for state in ["running", "stopping"] {
        let job = server.wait(&jobs()[state]);
        assert_eq!(
            (&job["status"], &job["reason"]),
            (&"unknown".into(), &"container_removed".into())
        );
    }
    assert_eq!(server.wait(&jobs()["queued"])["status"], "succeeded");
}
