//! A schedule on a real engine, while the server is killed: every tick is in the ledger once, and
//! each run in the ledger has written its evidence once.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::{IMAGE, Server, eventually};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

/// The moments of the kills, in milliseconds after the start: on a tick, off a tick, and in
/// between.
const KILLS: [u64; 6] = [1_500, 700, 2_950, 1_010, 400, 2_200];

/// A server, and an engine that no other test uses, since its event log is short.
struct Scene {
    server: Server,
    _daemon: Daemon,
    evidence: tempfile::TempDir,
}

#[test]
fn each_tick_runs_once_despite_kills() {
    let (evidence, daemon) = (tempfile::tempdir().unwrap(), Daemon::start());
    let policy = format!("[policies.default]\nallow_mounts = ['{}']", evidence.path().display());
    let mut scene = Scene { server: daemon.server(&policy), _daemon: daemon, evidence };
    let mounts = json!([{"type": "bind", "source": scene.evidence.path(), "target": "/evidence"}]);
    let script = "echo $TIDETABLE_JOB_ID $TIDETABLE_SCHEDULE >> /evidence/begun";
    let spec = json!({"command": ["sh", "-c", script], "mounts": mounts, "network": "none"});
    let schedule = json!({"job_name": IMAGE, "every": "1s", "overlap": "allow", "catch_up": "all", "spec": spec});
    let json = [("content-type", "application/json")];
    let put = scene.server.call("PUT", "/schedule/beat", &json, schedule.to_string().as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    for kill in KILLS {
        sleep(Duration::from_millis(kill));
        scene.server.kill();
        scene.server.up();
    }
    sleep(Duration::from_secs(2));
    scene.server.post_form("/schedule/beat/pause", "");
    eventually("all of its jobs are over", || {
        let jobs = scene.server.get("/jobs?schedule=beat").json();
        ["scheduled", "running"]
            .iter()
            .all(|map| jobs[map].as_object().unwrap().is_empty())
            .then_some(())
    });

    let ledger = scene.server.get("/schedule/beat/ledger?limit=1000").json();
    let rows: Vec<&Value> = ledger["ticks"].as_array().unwrap().iter().rev().collect();
    let due = |row: &Value| row["due_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    for pair in rows.windows(2) {
        assert_eq!(
            due(pair[1]) - due(pair[0]),
            TimeDelta::seconds(1),
            "none is missing, and none is there twice: {pair:?}"
        );
    }
    let ran: Vec<&str> = rows
        .iter()
        .filter(|row| row["reason"].is_null())
        .map(|row| row["job"].as_str().unwrap())
        .collect();
    assert!(ran.len() > KILLS.len(), "{ledger}");
    let text = std::fs::read_to_string(scene.evidence.path().join("begun")).unwrap();
    let mut begun: BTreeMap<&str, u32> = BTreeMap::new();
    for line in text.lines() {
        *begun.entry(line.strip_suffix(" beat").unwrap()).or_default() += 1;
    }
    let expected: BTreeMap<&str, u32> = ran.iter().map(|job| (*job, 1)).collect();
    assert_eq!(begun, expected, "each run has written once, and nothing else has");
}
