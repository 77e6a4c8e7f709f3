//! The checker: compares the API's final answers with the engine's own record and with the
//! requests.
//!
//! The checker follows Jepsen's test of Chronos, and is stricter. Every job is a target with a time
//! window, and its runs are matched with that window. A surplus run is a failure. A missed target
//! must give a reason, and the injected troubles must explain that reason.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tidetable::domain::names::id::{JobId, Timestamp};
use tidetable::engine::simulated::{EventKind, RecordedEvent, Run};

use crate::simulation::expectations::{RequestedJob, Troubles, by_attempt};
use crate::simulation::harness::{Client, Harness};
use crate::simulation::schedules::hold_ledgers;

/// The longest delay of a start that nothing hinders. The wall clock is read once a second, a
/// container takes 0.1 s, a doubtful start is resolved after half a minute, and jobs may wait for
/// each other.
const ON_TIME: Duration = Duration::from_secs(180);

/// The number of jobs by end, and of ticks by outcome; keys of ticks begin with [`TICK`].
pub type Tally = BTreeMap<String, u64>;
/// The prefix of the keys that count ticks.
pub const TICK: &str = "tick ";

struct Checker {
    troubles: Troubles,
    events: Vec<RecordedEvent>,
    runs: BTreeMap<(JobId, u32), Vec<Run>>,
}

/// Checks every guarantee at the end of a run and counts the ends.
pub async fn check(harness: &Harness, client: &Client) -> Result<Tally, String> {
    let jobs: Value = serde_json::from_str(&client.get("/jobs").await).unwrap();
    for map in ["scheduled", "running"] {
        if jobs[map].as_object().is_none_or(|map| !map.is_empty()) {
            return Err(format!("not all is over: {}", jobs[map]));
        }
    }
    let mut runs: BTreeMap<(JobId, u32), Vec<Run>> = BTreeMap::new();
    for run in harness.engine.runs() {
        if let Some(owner) = run.owner {
            runs.entry((owner.job, owner.attempt.0)).or_default().push(run);
        }
    }
    let checker = Checker {
        troubles: harness.expectations.troubles(),
        events: harness.engine.recorded_events(),
        runs,
    };
    let (targets, interfered) = (harness.expectations.targets(), harness.expectations.interfered());
    let mut tally = Tally::new();
    for (id, target) in &targets {
        let job = &jobs["history"][id.to_string()];
        checker.hold(*id, target, job, interfered.contains(id)).map_err(|what| {
            format!("{id} {what}\nasked for: {target:?}\nshown: {job}\nruns: {:?}", checker.of(*id))
        })?;
        is_kept(client, *id).await?;
        if !interfered.contains(id) {
            hold_output(client, *id, job, target).await?;
        }
        let reason = job["reason"].as_str().map(|reason| format!("/{reason}")).unwrap_or_default();
        *tally.entry(format!("{}{reason}", job["status"].as_str().unwrap_or("?"))).or_default() +=
            1;
    }
    tally.extend(hold_ledgers(harness, client, &jobs["history"]).await?);
    Ok(tally)
}

impl Checker {
    fn of(&self, id: JobId) -> Vec<&Run> {
        self.runs.iter().filter(|((job, _), _)| *job == id).flat_map(|(_, runs)| runs).collect()
    }

    fn hold(
        &self,
        id: JobId,
        target: &RequestedJob,
        job: &Value,
        is_interfered: bool,
    ) -> Result<(), String> {
        if job.is_null() {
            return Err("was acknowledged and is not in the history".to_owned());
        }
        let attempt = u32::try_from(job["attempt"].as_u64().unwrap()).unwrap();
        // Somebody else may start a container that was only created ahead.
        let mut later = self.runs.range((id, attempt + 1)..=(id, u32::MAX));
        if let Some((key, _)) = later.find(|(_, runs)| runs.iter().any(|run| !run.by_somebody_else))
        {
            return Err(format!("ran in attempt {}, of which history knows nothing", key.1));
        }
        // A container that somebody else renamed keeps running.
        if let Some(run) = self.of(id).iter().find(|run| run.ended.is_none() && !is_interfered) {
            return Err(format!("is over, and runs: {run:?}"));
        }
        self.hold_earlier_attempts(id, attempt)?;
        if !is_interfered {
            self.hold_kills(id, target)?;
        }
        let ours: Vec<&Run> = self.runs.get(&(id, attempt)).into_iter().flatten().collect();
        self.hold_status(id, target, job, &ours, is_interfered)?;
        if !is_interfered {
            self.hold_window(target, self.of(id).first().copied())?;
        }
        Ok(())
    }

    /// Checks that a killed process had a cause: its timeout, a caller's stop, or an engine that
    /// went down.
    fn hold_kills(&self, id: JobId, target: &RequestedJob) -> Result<(), String> {
        let wanted = target.stop_asked
            || !target.spec["timeout"].is_null()
            || self.troubles.engine_kills > 0;
        match self.of(id).iter().find(|run| matches!(code(run), Some(137 | 143))) {
            Some(run) if !wanted => Err(format!("was killed, and nobody wanted that: {run:?}")),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that only a failed attempt is followed by another.
    fn hold_earlier_attempts(&self, id: JobId, attempt: u32) -> Result<(), String> {
        match self
            .runs
            .range((id, 0)..(id, attempt))
            .flat_map(|(_, runs)| runs)
            .find(|run| code(run) == Some(0))
        {
            Some(run) => Err(format!("succeeded and was tried again: {run:?}")),
            None => Ok(()),
        }
    }

    fn hold_status(
        &self,
        id: JobId,
        target: &RequestedJob,
        job: &Value,
        runs: &[&Run],
        is_interfered: bool,
    ) -> Result<(), String> {
        let status = job["status"].as_str().unwrap();
        if target.canceled && status != "canceled" {
            return Err("was taken off the schedule, and the caller was told so".to_owned());
        }
        let exit_code = job["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok());
        let by_us = runs.iter().filter(|run| !run.by_somebody_else).count();
        match status {
            "succeeded" | "failed" if exit_code.is_some() => {
                self.hold_result(job, exit_code, runs, is_interfered)
            }
            "failed" if by_us > 0 => Err(format!("did not run, it says, and did: {runs:?}")),
            // Between two attempts the last one has failed.
            "missed" | "canceled"
                if runs.iter().any(|run| !run.by_somebody_else && code(run) == Some(0)) =>
            {
                Err(format!("did not run to its end, it says, and did: {runs:?}"))
            }
            "failed" | "missed" if job["reason"].is_null() || job["error"].is_null() => {
                Err("does not say why".to_owned())
            }
            "succeeded" => Err("succeeded without an exit code".to_owned()),
            "canceled" if !target.cancel_asked && !is_replaced(job) => {
                Err("was canceled by nobody".to_owned())
            }
            "stopped" if !target.stop_asked => Err("was stopped by nobody".to_owned()),
            "timed_out" => self.hold_timeout(target, runs),
            "unknown" => self.explain(id, job, is_interfered),
            "failed" | "missed" | "canceled" | "stopped" => Ok(()),
            other => Err(format!("is {other}")),
        }
    }

    /// Checks that the job ran once, with this exit code, at the start time shown.
    fn hold_result(
        &self,
        job: &Value,
        exit_code: Option<i32>,
        runs: &[&Run],
        is_interfered: bool,
    ) -> Result<(), String> {
        let shown: Timestamp = job["started_at"].as_str().ok_or("has no start")?.parse().unwrap();
        if !runs.iter().any(|run| code(run) == exit_code && run.started_at == shown) {
            return Err(format!(
                "started at {shown} and ended with {exit_code:?}, it says; it did not: {runs:?}"
            ));
        }
        if (job["status"] == "succeeded") != (exit_code == Some(0)) {
            return Err(format!("is {} with {exit_code:?}", job["status"]));
        }
        // An engine that kept its containers over a restart has no log of their starts. Whoever kills
        // one then looks like that restart.
        let looks_restarted = is_interfered && self.troubles.engine_restarts > 0;
        if job["reason"] == "engine_restarted"
            && self.troubles.engine_kills == 0
            && !looks_restarted
        {
            return Err("was ended by an engine that did not restart".to_owned());
        }
        match runs.len() {
            1 => Ok(()),
            _ if is_interfered => Ok(()),
            times => Err(format!("ran {times} times in one attempt")),
        }
    }

    /// Checks that a timed-out process got its full time, unless the clock was set.
    fn hold_timeout(&self, target: &RequestedJob, runs: &[&Run]) -> Result<(), String> {
        let allowed = target.spec["timeout"]
            .as_str()
            .map(|text| text.trim_end_matches('s').parse::<i64>().unwrap());
        let Some(allowed) = allowed else { return Err("timed out without a timeout".to_owned()) };
        match runs.first().and_then(|run| Some((run.ended?.0 - run.started_at).num_seconds())) {
            Some(ran) if ran < allowed && self.troubles.clock_jumps == 0 => {
                Err(format!("was given {ran} s of its {allowed}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that `unknown` is never a guess: some injected trouble removed the evidence.
    fn explain(&self, id: JobId, job: &Value, is_interfered: bool) -> Result<(), String> {
        let attempt = u32::try_from(job["attempt"].as_u64().unwrap()).unwrap();
        let all = by_attempt(&self.events);
        let lines = all.get(&(id, attempt)).map(Vec::as_slice).unwrap_or_default();
        let ran = lines.iter().any(|line| line.what == EventKind::Start);
        let explained = match job["reason"].as_str() {
            _ if is_interfered => true,
            // The scheduler was killed in the fence after the removal, before a run was recorded.
            Some("container_removed") => job["started_at"].is_null() && self.troubles.kills > 0,
            // The container ran late, or the engine forgot, or its event log is dated by another
            // clock.
            Some("start_ambiguous") => {
                ran || self.troubles.engine_restarts + self.troubles.clock_jumps > 0
            }
            // The engine claims to keep containers, and found this one dead.
            Some("engine_restarted") => ran && self.troubles.engine_kills > 0,
            Some(_) | None => false,
        };
        if explained {
            Ok(())
        } else {
            Err(format!("is unknown, and nothing explains that: {lines:?}"))
        }
    }

    /// Checks that a job never starts early, and no later than the troubles explain.
    fn hold_window(&self, target: &RequestedJob, first: Option<&Run>) -> Result<(), String> {
        let Some(run) = first else { return Ok(()) };
        if run.started_at < target.due_at && !self.troubles.clock_set_back {
            return Err(format!(
                "started {} ms early",
                (target.due_at - run.started_at).num_milliseconds()
            ));
        }
        let from = self.troubles.until.map_or(target.due_at, |until| until.max(target.due_at));
        let late = (run.started_at - from).to_std().unwrap_or_default();
        if late > ON_TIME && self.troubles.clock_jumps == 0 {
            return Err(format!(
                "started {} s late, and nothing hindered it any more",
                late.as_secs()
            ));
        }
        Ok(())
    }
}

/// Returns true if a later tick of its schedule replaced the job between two attempts.
fn is_replaced(job: &Value) -> bool {
    job["reason"] == "overlap" && !job["schedule"].is_null() && job["attempt"] != 0
}

fn code(run: &Run) -> Option<i32> {
    run.ended.map(|(_, code)| code)
}

/// Waits up to 120 s until the API says that a finished job's output is complete.
async fn is_kept(client: &Client, id: JobId) -> Result<(), String> {
    for _ in 0..120 {
        let job: Value = serde_json::from_str(&client.get(&format!("/job/{id}")).await).unwrap();
        if job["log"]["complete"] == true {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Err(format!("{id} is over, and its output is not kept"))
}

/// Checks that a job that ran to its end has all of its output.
async fn hold_output(
    client: &Client,
    id: JobId,
    job: &Value,
    target: &RequestedJob,
) -> Result<(), String> {
    let said = target.spec["labels"]["says"].as_str();
    let ran_to_its_end = matches!(job["reason"].as_str(), None | Some("exit_nonzero"))
        && !job["exit_code"].is_null();
    let Some(said) = said.filter(|_| ran_to_its_end && job["status"] != "stopped") else {
        return Ok(());
    };
    let kept = client.get(&format!("/job/{id}/logs")).await;
    match kept == format!("{said}\n") {
        true => Ok(()),
        false => Err(format!("{id} said {said:?}; kept was {kept:?}")),
    }
}
