//! The judge: what the API says at the end, held against the engine's own record and against what was asked for.
//!
//! In the manner of Jepsen's test of Chronos, and stricter: every job is a target with a window in time; its runs are
//! matched with it; a run too many is a failure, and a target that was not met has to say why, with a reason that what was
//! done to the story can explain.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tidetable::domain::id::{JobId, Timestamp};
use tidetable::engine::simulated::{Evidence, Happened, Run};

use crate::books::{Target, Troubles, by_attempt};
use crate::schedules::hold_ledgers;
use crate::universe::{Client, Universe};

/// How late a job may start when nothing hinders it: the wall clock is read once a second, a container takes 0.1 s, and
/// what was in doubt is settled after half a minute; jobs may wait for each other.
const ON_TIME: Duration = Duration::from_secs(180);

/// How the jobs of a story ended, and (after [`TICK`]) what became of ticks.
pub type Tally = BTreeMap<String, u64>;
/// How the words begin that tell of a tick.
pub const TICK: &str = "tick ";

struct Judge {
    troubles: Troubles,
    evidence: Vec<Evidence>,
    runs: BTreeMap<(JobId, u32), Vec<Run>>,
}

/// Holds all that is promised at the end of a story.
pub async fn judge(universe: &Universe, client: &Client) -> Result<Tally, String> {
    let jobs: Value = serde_json::from_str(&client.get("/jobs").await).unwrap();
    for map in ["scheduled", "running"] {
        if jobs[map].as_object().is_none_or(|map| !map.is_empty()) {
            return Err(format!("not all is over: {}", jobs[map]));
        }
    }
    let mut runs: BTreeMap<(JobId, u32), Vec<Run>> = BTreeMap::new();
    for run in universe.engine.runs() {
        if let Some(owner) = run.owner {
            runs.entry((owner.job, owner.attempt.0)).or_default().push(run);
        }
    }
    let judge =
        Judge { troubles: universe.books.troubles(), evidence: universe.engine.evidence(), runs };
    let (targets, meddled) = (universe.books.targets(), universe.books.meddled());
    let mut tally = Tally::new();
    for (id, target) in &targets {
        let job = &jobs["history"][id.to_string()];
        judge.hold(*id, target, job, meddled.contains(id)).map_err(|what| {
            format!("{id} {what}\nasked for: {target:?}\nshown: {job}\nruns: {:?}", judge.of(*id))
        })?;
        is_kept(client, *id).await?;
        if !meddled.contains(id) {
            hold_output(client, *id, job, target).await?;
        }
        let reason = job["reason"].as_str().map(|reason| format!("/{reason}")).unwrap_or_default();
        *tally.entry(format!("{}{reason}", job["status"].as_str().unwrap_or("?"))).or_default() +=
            1;
    }
    tally.extend(hold_ledgers(universe, client, &jobs["history"]).await?);
    Ok(tally)
}

impl Judge {
    fn of(&self, id: JobId) -> Vec<&Run> {
        self.runs.iter().filter(|((job, _), _)| *job == id).flat_map(|(_, runs)| runs).collect()
    }

    fn hold(
        &self,
        id: JobId,
        target: &Target,
        job: &Value,
        is_meddled: bool,
    ) -> Result<(), String> {
        if job.is_null() {
            return Err("was acknowledged and is not in the history".to_owned());
        }
        let attempt = u32::try_from(job["attempt"].as_u64().unwrap()).unwrap();
        // Somebody else may start what was only made ahead.
        let mut later = self.runs.range((id, attempt + 1)..=(id, u32::MAX));
        if let Some((key, _)) = later.find(|(_, runs)| runs.iter().any(|run| !run.by_somebody_else))
        {
            return Err(format!("ran in attempt {}, of which history knows nothing", key.1));
        }
        // One that somebody else has given another name runs on.
        if let Some(run) = self.of(id).iter().find(|run| run.ended.is_none() && !is_meddled) {
            return Err(format!("is over, and runs: {run:?}"));
        }
        self.hold_earlier_attempts(id, attempt)?;
        if !is_meddled {
            self.hold_kills(id, target)?;
        }
        let ours: Vec<&Run> = self.runs.get(&(id, attempt)).into_iter().flatten().collect();
        self.hold_status(id, target, job, &ours, is_meddled)?;
        if !is_meddled {
            self.hold_window(target, self.of(id).first().copied())?;
        }
        Ok(())
    }

    /// A process that was killed was to be: by its timeout, by a caller, or by an engine that went down.
    fn hold_kills(&self, id: JobId, target: &Target) -> Result<(), String> {
        let wanted = target.stop_asked
            || !target.spec["timeout"].is_null()
            || self.troubles.engine_kills > 0;
        match self.of(id).iter().find(|run| matches!(code(run), Some(137 | 143))) {
            Some(run) if !wanted => Err(format!("was killed, and nobody wanted that: {run:?}")),
            Some(_) | None => Ok(()),
        }
    }

    /// An attempt is followed by another only when it failed.
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
        target: &Target,
        job: &Value,
        runs: &[&Run],
        is_meddled: bool,
    ) -> Result<(), String> {
        let status = job["status"].as_str().unwrap();
        if target.canceled && status != "canceled" {
            return Err("was taken off the schedule, and the caller was told so".to_owned());
        }
        let exit_code = job["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok());
        let by_us = runs.iter().filter(|run| !run.by_somebody_else).count();
        match status {
            "succeeded" | "failed" if exit_code.is_some() => {
                self.hold_result(job, exit_code, runs, is_meddled)
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
            "canceled" if !target.cancel_asked => Err("was canceled by nobody".to_owned()),
            "stopped" if !target.stop_asked => Err("was stopped by nobody".to_owned()),
            "timed_out" => self.hold_timeout(target, runs),
            "unknown" => self.explain(id, job, is_meddled),
            "failed" | "missed" | "canceled" | "stopped" => Ok(()),
            other => Err(format!("is {other}")),
        }
    }

    /// It ran, once, with this result, and when it says.
    fn hold_result(
        &self,
        job: &Value,
        exit_code: Option<i32>,
        runs: &[&Run],
        is_meddled: bool,
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
        if job["reason"] == "engine_restarted" && self.troubles.engine_kills == 0 {
            return Err("was ended by an engine that did not restart".to_owned());
        }
        match runs.len() {
            1 => Ok(()),
            _ if is_meddled => Ok(()),
            times => Err(format!("ran {times} times in one attempt")),
        }
    }

    /// It had all of its time, unless the clock was set.
    fn hold_timeout(&self, target: &Target, runs: &[&Run]) -> Result<(), String> {
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

    /// `unknown` is never a guess: something was done that took the evidence away.
    fn explain(&self, id: JobId, job: &Value, is_meddled: bool) -> Result<(), String> {
        let attempt = u32::try_from(job["attempt"].as_u64().unwrap()).unwrap();
        let all = by_attempt(&self.evidence);
        let lines = all.get(&(id, attempt)).map(Vec::as_slice).unwrap_or_default();
        let ran = lines.iter().any(|line| line.what == Happened::Start);
        let explained = match job["reason"].as_str() {
            _ if is_meddled => true,
            // The scheduler was killed in the fence, after the removal: nothing of a run was written down.
            Some("container_removed") => job["started_at"].is_null() && self.troubles.kills > 0,
            // It did run, late, or the engine has forgotten, or its log is not dated as the clock is now.
            Some("start_ambiguous") => {
                ran || self.troubles.engine_restarts + self.troubles.clock_jumps > 0
            }
            // The engine says that it keeps containers, and found it dead.
            Some("engine_restarted") => ran && self.troubles.engine_kills > 0,
            Some(_) | None => false,
        };
        if explained {
            Ok(())
        } else {
            Err(format!("is unknown, and nothing explains that: {lines:?}"))
        }
    }

    /// Never early; and not later than what went wrong can explain.
    fn hold_window(&self, target: &Target, first: Option<&Run>) -> Result<(), String> {
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

fn code(run: &Run) -> Option<i32> {
    run.ended.map(|(_, code)| code)
}

/// Sooner or later the output of what is over is kept, or there is none.
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

/// A job that ran to its end has all of its output.
async fn hold_output(
    client: &Client,
    id: JobId,
    job: &Value,
    target: &Target,
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
