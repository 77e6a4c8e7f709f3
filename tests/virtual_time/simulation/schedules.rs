//! Schedules in random runs: the requests of callers, and the checks of the final ledgers.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde_json::{Value, json};
use tidetable::domain::names::id::{JobId, Timestamp};

use crate::simulation::checker::{TICK, Tally};
use crate::simulation::expectations::{RequestedJob, ours};
use crate::simulation::harness::{Client, Harness};
use crate::simulation::ticks::{Row, Ticks};

/// The names of schedules in random runs.
const NAMES: [&str; 2] = ["s", "t"];

impl Client {
    pub async fn put_schedule(&self, name: &str, schedule: &Value) {
        self.asks(name, schedule);
        let (status, text) = self.call("PUT", &format!("/schedule/{name}"), Some(schedule)).await;
        assert!(matches!(status, 200 | 201 | 500..), "{schedule}: {text}");
        if status < 300 {
            self.was_heard(name);
        }
    }

    /// Posts `pause`, `resume` or `trigger`. A triggered job is recorded as acknowledged.
    pub async fn tell_schedule(&self, name: &str, what: &str) {
        let (status, text) = self.call("POST", &format!("/schedule/{name}/{what}"), None).await;
        if status != 201 {
            return;
        }
        let done: Value = serde_json::from_str(&text).unwrap();
        let schedule = self.get(&format!("/schedule/{name}")).await;
        let spec = serde_json::from_str::<Value>(&schedule).unwrap()["spec"].clone();
        let due_at = done["due_at"].as_str().unwrap().parse().unwrap();
        let target =
            RequestedJob { due_at, spec, cancel_asked: false, canceled: false, stop_asked: true };
        self.acknowledge(done["id"].as_str().unwrap().parse().unwrap(), target);
    }
}

/// Plays callers with schedules; each schedule ends by itself. Some callers call often, others put
/// one schedule and leave.
pub async fn schedule(rng: &mut StdRng, client: &Client) {
    if rng.random_ratio(1, 2) {
        return std::future::pending().await;
    }
    let longest = if rng.random_bool(0.5) { 3_000 } else { 15_000 };
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..longest))).await;
        let name = NAMES.choose(rng).unwrap();
        match rng.random_range(0..9) {
            0..4 => client.put_schedule(name, &any(rng, client.now())).await,
            4 => client.tell_schedule(name, "pause").await,
            5 => client.tell_schedule(name, "resume").await,
            6 => client.tell_schedule(name, "trigger").await,
            _ => client.lay_hands_on(rng, name).await,
        }
        if let Err(what) = client.read_ledger(name).await {
            client.fail(what);
        }
    }
}

impl Client {
    /// Cancels a due job of the schedule that waits, or stops one that runs.
    async fn lay_hands_on(&self, rng: &mut StdRng, name: &str) {
        let (status, text) = self.call("GET", "/jobs", None).await;
        let Ok(jobs) = serde_json::from_str::<Value>(&text) else { return };
        for map in ["scheduled", "running"] {
            let is_due = |job: &Value| {
                job["due_at"].as_str().unwrap().parse::<Timestamp>().unwrap() <= self.now()
            };
            let is_meant = |job: &Value| job["schedule"] == name && is_due(job);
            let of_schedule =
                jobs[map].as_object().into_iter().flatten().filter(|(_, job)| is_meant(job));
            let ids: Vec<JobId> = of_schedule.map(|(id, _)| id.parse().unwrap()).collect();
            match ids.choose(rng).copied().filter(|_| status == 200) {
                Some(id) if map == "scheduled" => self.cancel(id).await,
                Some(id) => self.stop(id).await,
                None => {}
            }
        }
    }

    /// Checks that no ledger row shows an undecided tick. A row that says ran or caught up names a
    /// job that was claimed, and no row names a waiting job.
    async fn read_ledger(&self, name: &str) -> Result<(), String> {
        let (status, text) =
            self.call("GET", &format!("/schedule/{name}/ledger?limit=20"), None).await;
        let Some(ledger) = (status == 200).then(|| serde_json::from_str::<Value>(&text).unwrap())
        else {
            return Ok(());
        };
        for row in ledger["ticks"].as_array().into_iter().flatten() {
            let Some(job) = row["job"].as_str() else { continue };
            let (status, text) = self.call("GET", &format!("/job/{job}"), None).await;
            let Some(job) = (status == 200).then(|| serde_json::from_str::<Value>(&text).unwrap())
            else {
                return Ok(());
            };
            let waits = matches!(job["status"].as_str(), Some("scheduled" | "queued"))
                && job["attempt"] == 0;
            if waits {
                return Err(format!("{name}: {row} is told while its job waits: {job}"));
            }
        }
        Ok(())
    }
}

/// Returns a random schedule that ends by itself, after `max_runs` or at `end_at`.
fn any(rng: &mut impl Rng, now: Timestamp) -> Value {
    let mut one_of = |words: &[&'static str]| *words.choose(rng).unwrap();
    let (every, overlap) =
        (one_of(&["1s", "2s", "3s"]), one_of(&["skip", "queue_one", "allow", "replace"]));
    let commands =
        ["true", "false", "sleep 1", "sleep 2", "sleep 3", "sleep 5", "sh -c 'sleep 2; exit 3'"];
    let (catch_up, command) = (one_of(&["last", "last", "none", "all"]), one_of(&commands));
    let mut spec = json!({"command": command});
    for (field, value) in [
        ("start_deadline", json!("1s")),
        ("start_deadline", json!("4s")),
        ("timeout", json!("2s")),
        ("queue", json!("ticks")),
        ("retry", json!({"attempts": 1, "delay": "1s"})),
    ] {
        if rng.random_ratio(1, 8) {
            spec[field] = value;
        }
    }
    let mut schedule = json!({
        "job_name": "busybox", "every": every, "overlap": overlap, "catch_up": catch_up, "spec": spec,
        "pause_on_failure": rng.random_ratio(1, 4),
    });
    if rng.random_bool(0.5) {
        schedule["max_runs"] = json!(rng.random_range(1..4));
    } else {
        schedule["end_at"] =
            json!((now + TimeDelta::seconds(rng.random_range(2..25))).to_rfc3339());
    }
    schedule
}

/// Checks that every tick has one row. Every run of a schedule is in its ledger or was triggered,
/// and a row that says ran names a claimed job.
pub async fn hold_ledgers(
    harness: &Harness,
    client: &Client,
    history: &Value,
) -> Result<Tally, String> {
    let mut tally = Tally::new();
    let all = Ticks::new(&harness.expectations, &harness.engine);
    all.hold_stops()?;
    all.hold_pauses()?;
    let mut in_ledgers = BTreeSet::new();
    for name in NAMES {
        let (status, text) =
            client.call("GET", &format!("/schedule/{name}/ledger?limit=1000"), None).await;
        if status == 404 {
            continue;
        }
        let ledger: Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let rows = ledger["ticks"].as_array().ok_or("a ledger without ticks")?;
        let mut ticks = BTreeSet::new();
        for row in rows {
            let due_at: Timestamp = row["due_at"].as_str().unwrap().parse().unwrap();
            if !ticks.insert(due_at) {
                return Err(format!("{name} has two rows for {due_at}: {ledger}"));
            }
            hold_row(name, row, history, &mut in_ledgers)?;
            let told = told(name, row);
            all.hold_row(&told).map_err(|what| format!("{name}: the row {row} {what}"))?;
            let reason =
                row["reason"].as_str().map(|reason| format!("/{reason}")).unwrap_or_default();
            *tally
                .entry(format!("{TICK}{}{reason}", row["outcome"].as_str().unwrap()))
                .or_default() += 1;
        }
    }
    let begun = harness
        .engine
        .runs()
        .into_iter()
        .filter(|run| !run.by_somebody_else)
        .filter_map(|run| run.owner);
    let stray: Vec<JobId> = begun
        .filter(|owner| owner.instance == ours())
        .map(|owner| owner.job)
        .filter(|job| !in_ledgers.contains(job) && all.is_of_a_tick(*job))
        .collect();
    if stray.is_empty() { Ok(tally) } else { Err(format!("ran, and are in no ledger: {stray:?}")) }
}

/// Parses a row as the API shows it.
fn told<'a>(schedule: &'a str, row: &'a Value) -> Row<'a> {
    Row {
        schedule,
        due_at: row["due_at"].as_str().unwrap().parse().unwrap(),
        outcome: row["outcome"].as_str().unwrap(),
        reason: row["reason"].as_str(),
        job: row["job"].as_str().map(|id| id.parse().unwrap()),
    }
}

fn hold_row(
    name: &str,
    row: &Value,
    history: &Value,
    in_ledgers: &mut BTreeSet<JobId>,
) -> Result<(), String> {
    let job: Option<JobId> = row["job"].as_str().map(|id| id.parse().unwrap());
    let shown = job.map(|id| &history[id.to_string()]);
    let has_own =
        matches!(row["outcome"].as_str(), Some("ran" | "caught_up")) && row["reason"].is_null();
    match (has_own, job, shown) {
        (true, Some(job), Some(shown)) => {
            if shown["schedule"] != name || shown["attempt"].as_u64().unwrap_or(0) == 0 {
                return Err(format!("{row} ran, it says, and its job is {shown}"));
            }
            if !in_ledgers.insert(job) {
                return Err(format!("{row}: its job has another tick, too"));
            }
            Ok(())
        }
        (true, ..) => Err(format!("{row} ran without a job")),
        (false, _, Some(shown))
            if row["outcome"] == "skipped" && shown["attempt"].as_u64().unwrap_or(0) > 0 =>
        {
            Err(format!("{row} was skipped, it says, and its job is {shown}"))
        }
        (false, ..) => Ok(()),
    }
}
