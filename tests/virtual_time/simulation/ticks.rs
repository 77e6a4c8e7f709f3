//! Checks of ticks, from the engine's own record: reasons to skip a tick, catch-up, and pauses
//! after a failure.
//!
//! The end of a process is the engine's time, not the time at which the scheduler learned of it.
//! All checks use the wall clock, so a run in which the clock was set is exempt.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde_json::Value;
use tidetable::domain::job::{End, Job, Outcome};
use tidetable::domain::names::id::{JobId, Timestamp};
use tidetable::engine::simulated::{Run, SimulatedEngine};

use crate::simulation::expectations::{Expectations, JobTimes};
use crate::simulation::saved_schedules::SavedSchedules;

/// The longest wait of a due tick for the round that decides it. The wall clock is read once a
/// second, and other commits may come first.
const DECIDED_WITHIN: TimeDelta = TimeDelta::seconds(3);
/// The number of ticks of a schedule that may wait if overlap is allowed.
const MAX_BACKLOG: usize = 100;
/// The exit code of containers that a killed engine finds dead. The engine did not see their end,
/// and dates it at its return.
const UNSEEN_END: i32 = 255;

/// A ledger row as the API shows it.
pub struct Row<'a> {
    pub schedule: &'a str,
    pub due_at: Timestamp,
    pub outcome: &'a str,
    pub reason: Option<&'a str>,
    pub job: Option<JobId>,
}

/// All jobs, with their runs on the engine.
pub struct Ticks<'a> {
    expectations: &'a Expectations,
    jobs: BTreeMap<JobId, (Job, JobTimes)>,
    runs: BTreeMap<JobId, Vec<Run>>,
    interfered: BTreeSet<JobId>,
    /// Set if the clock was never set, so that times can be compared.
    has_clock: bool,
}

impl<'a> Ticks<'a> {
    pub fn new(expectations: &'a Expectations, engine: &SimulatedEngine) -> Self {
        let mut runs: BTreeMap<JobId, Vec<Run>> = BTreeMap::new();
        for run in engine.runs() {
            if let Some(owner) = run.owner {
                runs.entry(owner.job).or_default().push(run);
            }
        }
        let has_clock = expectations.troubles().clock_jumps == 0;
        Self {
            expectations,
            jobs: expectations.jobs(),
            runs,
            interfered: expectations.interfered(),
            has_clock,
        }
    }

    /// Returns true if the job was made for a tick and not triggered.
    pub fn is_of_a_tick(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|(job, _)| nominal(job).is_some())
    }

    /// Checks one ledger row.
    pub fn hold_row(&self, row: &Row<'_>) -> Result<(), String> {
        let Some(id) = row.job else { return hold_jobless(row) };
        let Some((job, _)) = self.jobs.get(&id) else {
            return Err("names a job that is not there".to_owned());
        };
        if self.interfered.contains(&id) {
            return Ok(());
        }
        let is_own = nominal(job) == Some(row.due_at);
        self.hold_told(row, job, is_own)?;
        if !is_own || !self.has_clock {
            return Ok(());
        }
        match (row.outcome, row.reason) {
            ("skipped", Some("overlap")) => self.hold_overlap(row.schedule, job),
            ("skipped", Some("still_waiting")) => self.hold_still_waiting(row.schedule, job),
            ("skipped", Some("backlog")) => self.hold_full_backlog(job),
            _ => Ok(()),
        }
    }

    /// Checks that a row shows the fate of its tick's job. A tick that a later tick's job covers
    /// shares that job's fate. A row that says ran or caught up has a job with a container that
    /// ran, or one that ended after its claim and before a container ran.
    fn hold_told(&self, row: &Row<'_>, job: &Job, is_own: bool) -> Result<(), String> {
        let end = job.state.end().ok_or("is told, and its job is not over")?;
        let reason = end.reason.map(tidetable::domain::job::Reason::as_str);
        let ran =
            self.runs.get(&job.id).is_some_and(|runs| runs.iter().any(|run| !run.by_somebody_else));
        let told = (row.outcome, row.reason);
        let fits = match end.outcome {
            // Between two attempts, the job has run and is too late for more.
            Outcome::Missed if ran => return Ok(()),
            Outcome::Missed if job.attempt.0 <= 1 => told == ("missed", reason),
            _ if job.attempt.0 == 0 => told == ("skipped", reason),
            _ if is_own => matches!(told, ("ran" | "caught_up", None)),
            _ => told == ("caught_up", Some("caught_up")),
        };
        if !fits {
            let stands = if is_own { "its job" } else { "the job that stands for it" };
            return Err(format!(
                "does not tell what became of {stands}: {:?} in attempt {}",
                job.state, job.attempt
            ));
        }
        let needs_run = matches!(end.outcome, Outcome::Succeeded | Outcome::TimedOut)
            || end.outcome == Outcome::Failed && end.exit.is_some();
        if needs_run && !ran {
            return Err(format!("is told as run, and the engine ran nothing: {:?}", job.state));
        }
        Ok(())
    }

    /// Checks that no tick is skipped for a run that ended before the tick was due. Another job
    /// must have been claimed at the decision, and still active when the tick was due. If the
    /// newest replaces, a newer waiting tick is enough.
    fn hold_overlap(&self, schedule: &str, job: &Job) -> Result<(), String> {
        let decided = over(job)?.at;
        let catches_all_up = self.catches_all_up(schedule, job.created_at, decided);
        let is_begun = |other: &&(Job, JobTimes)| {
            other.1.begun.is_some_and(|at| at <= decided) && self.over_at(&other.0) >= job.due_at
        };
        let replaces = self
            .says(schedule, decided, decided, |fields| fields["overlap"] == "replace")
            .contains(&true);
        let is_newer = |other: &&(Job, JobTimes)| {
            replaces
                && nominal(&other.0) > nominal(job)
                && first_due(&other.0) <= Some(decided)
                && waited_at(other, decided)
        };
        // Missed ticks that each run late wait for one another.
        let counts =
            |other: &&(Job, JobTimes)| !(catches_all_up && self.share_a_gap(job, &other.0));
        match self.others(job).filter(counts).any(|other| is_begun(&other) || is_newer(&other)) {
            true => Ok(()),
            false => Err(format!(
                "was skipped at {decided} for another run, and each that had begun had ended before it was due: {:?}",
                self.others(job)
                    .map(|(other, times)| (other.id, times.begun, self.over_at(other)))
                    .collect::<Vec<_>>()
            )),
        }
    }

    /// Checks that an earlier tick's job was due and not yet claimed.
    fn hold_still_waiting(&self, schedule: &str, job: &Job) -> Result<(), String> {
        let decided = over(job)?.at;
        let catches_all_up = self.catches_all_up(schedule, job.created_at, decided);
        let is_earlier = |other: &&(Job, JobTimes)| {
            nominal(&other.0).is_some()
                && nominal(&other.0) < nominal(job)
                && first_due(&other.0) <= Some(decided)
        };
        let counts =
            |other: &&(Job, JobTimes)| !(catches_all_up && self.share_a_gap(job, &other.0));
        match self
            .others(job)
            .filter(counts)
            .filter(is_earlier)
            .any(|other| waited_at(other, decided))
        {
            true => Ok(()),
            false => Err(format!(
                "was skipped at {decided} for an earlier one that waits, and there was none"
            )),
        }
    }

    fn hold_full_backlog(&self, job: &Job) -> Result<(), String> {
        let decided = over(job)?.at;
        let waited = self.others(job).filter(|other| waited_at(other, decided)).count();
        if waited >= MAX_BACKLOG {
            Ok(())
        } else {
            Err(format!("was skipped for a backlog of {waited}"))
        }
    }

    /// Checks that after a final failure no later tick runs. A schedule that was changed since is
    /// not paused, and its new rules hold for the ticks that wait. A resumed schedule has a new
    /// generation, which this check ignores.
    pub fn hold_pauses(&self) -> Result<(), String> {
        for (failed, _) in self.jobs.values().filter(|_| self.has_clock) {
            let (Some(origin), Some(end)) = (failed.origin.schedule(), failed.state.end()) else {
                continue;
            };
            let is_failure =
                matches!(end.outcome, Outcome::Failed | Outcome::TimedOut) && end.exit.is_some();
            if !is_failure || self.interfered.contains(&failed.id) {
                continue;
            }
            let ended = self.over_at(failed);
            let pauses = |until: Timestamp| {
                self.expectations.said(|said| {
                    said.unchanged(origin.schedule.as_str(), failed.created_at, until)
                        .is_some_and(|fields| fields["pause_on_failure"] == true)
                })
            };
            let is_after = |(job, times): &&(Job, JobTimes)| {
                job.origin.schedule().is_some_and(|other| other.generation == origin.generation)
                    && nominal(job).is_some()
                    && job.due_at > ended
                    && times.begun.is_some_and(|at| at > ended && pauses(at))
            };
            if let Some((job, times)) = self.others(failed).find(is_after) {
                return Err(format!(
                    "{} of {} failed at {ended}, which pauses, and {} of the tick due at {} was begun at {:?}",
                    failed.id, origin.schedule, job.id, job.due_at, times.begun
                ));
            }
        }
        Ok(())
    }

    /// Checks that a process that ended by itself counts as neither stopped nor timed out: its end
    /// came before the stop request, or before its timeout.
    pub fn hold_stops(&self) -> Result<(), String> {
        for (job, times) in self
            .jobs
            .values()
            .filter(|(job, _)| self.has_clock && !self.interfered.contains(&job.id))
        {
            let (Some(end), Some(run)) = (job.state.end(), self.last_run(job)) else { continue };
            let Some((ended, _)) = run.ended.filter(|(_, code)| *code != UNSEEN_END) else {
                continue;
            };
            let timeout = job
                .spec
                .fields()
                .timeout
                .and_then(|allowed| TimeDelta::from_std(allowed.as_duration()).ok());
            let wrong = match end.outcome {
                Outcome::Stopped => times.stop_asked.is_some_and(|asked| ended < asked),
                Outcome::TimedOut => timeout.is_none_or(|allowed| ended < run.started_at + allowed),
                _ => false,
            };
            if wrong {
                return Err(format!(
                    "{} ended by itself at {ended}, was asked to stop at {:?}, and is told as {:?}: {run:?}",
                    job.id, times.stop_asked, job.state
                ));
            }
        }
        Ok(())
    }

    /// Returns the engine's time at which a claimed job was over; a pause between two attempts does
    /// not count. The store's time is used if no process of the last attempt ran, or nobody can
    /// know.
    fn over_at(&self, job: &Job) -> Timestamp {
        let Some(end) = job.state.end() else { return Timestamp::MAX_UTC };
        let by_store =
            matches!(end.outcome, Outcome::Canceled | Outcome::Missed | Outcome::Unknown);
        match self.last_run(job).and_then(|run| run.ended) {
            Some((at, UNSEEN_END)) => at.max(end.at),
            Some((at, _)) if !by_store && !self.interfered.contains(&job.id) => at,
            Some(_) | None => end.at,
        }
    }

    fn last_run(&self, job: &Job) -> Option<&Run> {
        let of_attempt = |run: &&Run| run.owner.is_some_and(|owner| owner.attempt == job.attempt);
        self.runs.get(&job.id).into_iter().flatten().rfind(of_attempt)
    }

    /// Returns the other jobs of the same schedule.
    fn others(&self, job: &Job) -> impl Iterator<Item = &(Job, JobTimes)> {
        let schedule = job.origin.schedule().map(|origin| origin.schedule.clone());
        let id = job.id;
        let of_schedule = move |other: &Job| {
            other.origin.schedule().map(|origin| &origin.schedule) == schedule.as_ref()
        };
        self.jobs.values().filter(move |(other, _)| other.id != id && of_schedule(other))
    }

    /// Returns true if both ticks were missed in one gap: both jobs were made late by one schedule
    /// update, or the other is the one made ahead just before.
    fn share_a_gap(&self, job: &Job, other: &Job) -> bool {
        let late = |job: &Job| nominal(job).is_some_and(|at| at < job.created_at);
        let ahead = self
            .others(job)
            .map(|(other, _)| other)
            .filter(|other| other.created_at < job.created_at);
        let ahead =
            ahead.filter(|other| nominal(other) < nominal(job)).max_by_key(|other| nominal(other));
        late(job)
            && (late(other) && other.created_at == job.created_at
                || ahead.map(|job| job.id) == Some(other.id))
    }

    fn catches_all_up(&self, schedule: &str, from: Timestamp, until: Timestamp) -> bool {
        let says = self.says(schedule, from, until, |fields| {
            fields["catch_up"] == "all" && fields["overlap"] != "allow"
        });
        !says.contains(&false)
    }

    /// Applies `ask` to every revision that may have been in force then. What was decided at the
    /// very time of an acknowledgment may have been decided before it.
    fn says(
        &self,
        schedule: &str,
        from: Timestamp,
        until: Timestamp,
        ask: impl Fn(&Value) -> bool,
    ) -> Vec<bool> {
        let from = from - TimeDelta::milliseconds(1);
        self.expectations
            .said(|said| said.in_force(schedule, from, until).into_iter().map(&ask).collect())
    }
}

/// Returns the due time of a tick's first attempt, because a retry moves `due_at`.
fn first_due(job: &Job) -> Option<Timestamp> {
    if job.attempt.0 == 0 { Some(job.due_at) } else { nominal(job) }
}

/// Checks a row without a job: the tick was skipped or missed because of a pause, or long ago.
fn hold_jobless(row: &Row<'_>) -> Result<(), String> {
    let needs_job = matches!(
        (row.outcome, row.reason),
        ("ran" | "caught_up", _)
            | ("skipped", None | Some("overlap" | "still_waiting"))
            | (_, Some("deadline_passed"))
    );
    if needs_job { Err("has no job".to_owned()) } else { Ok(()) }
}

/// Checks that at most one tick per schedule waits past its due time if overlapping ticks are
/// skipped or one is queued: later ticks are skipped. If all missed ticks are caught up, each
/// waits.
pub fn hold_backlog(
    written: &BTreeMap<JobId, Job>,
    said: &SavedSchedules,
    steady_since: Timestamp,
    now: Timestamp,
) -> Result<(), String> {
    if now - steady_since < DECIDED_WITHIN {
        return Ok(());
    }
    let mut waiting: BTreeMap<&str, Vec<&Job>> = BTreeMap::new();
    for job in written
        .values()
        .filter(|job| !job.is_over() && job.attempt.0 == 0 && nominal(job).is_some())
    {
        if let Some(origin) = job.origin.schedule().filter(|_| now - job.due_at >= DECIDED_WITHIN) {
            waiting.entry(origin.schedule.as_str()).or_default().push(job);
        }
    }
    for (schedule, jobs) in waiting.into_iter().filter(|(_, jobs)| jobs.len() > 1) {
        let from = jobs.iter().map(|job| job.created_at).min().unwrap_or(now);
        let keeps_one = |fields: &&Value| {
            matches!(fields["overlap"].as_str(), Some("skip" | "queue_one"))
                && fields["catch_up"] != "all"
        };
        let says = said.in_force(schedule, from, now);
        if !says.is_empty() && says.iter().all(keeps_one) {
            let jobs: Vec<_> =
                jobs.iter().map(|job| (job.id, job.due_at, job.state.reason())).collect();
            return Err(format!(
                "of schedule {schedule} {} ticks wait past their time at {now}: {jobs:?}",
                jobs.len()
            ));
        }
    }
    Ok(())
}

fn over(job: &Job) -> Result<&End, String> {
    job.state.end().ok_or_else(|| "is told, and its job is not over".to_owned())
}

/// Returns true if the job was neither claimed nor over at `at`, as far as the disk showed. All
/// decisions of one round share one time.
fn waited_at((job, times): &(Job, JobTimes), at: Timestamp) -> bool {
    job.created_at <= at && times.waited_until.is_none_or(|until| until >= at)
}

fn nominal(job: &Job) -> Option<Timestamp> {
    job.origin.schedule().and_then(|origin| origin.nominal)
}
