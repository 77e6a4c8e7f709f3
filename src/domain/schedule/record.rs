//! The stored state of a schedule, and the one function that advances it:
//! [`ScheduleRecord::advance`].
//!
//! A schedule update ([`ScheduleUpdate`]) is a value, like a job's transition. An update says how
//! the record looks afterwards, which ticks are decided, and which jobs are created or skipped. The
//! store writes an update in one transaction or not at all. Callers pass in the time and new ids:
//! this module reads no clock and no random number generator.
//!
//! Every tick up to `settled_until` is accounted for. The next tick already has its job
//! (`next_tick`), unless the schedule is paused or over. Once that tick has passed, `advance`
//! decides it and all later ticks up to now. `advance` then creates the job of the next tick.

#[cfg(test)]
mod tests;

use chrono::TimeDelta;

use super::ledger::{LedgerRow, TickOutcome, sentence, why};
use super::overlap::{MAX_BACKLOG, OverlapRules};
use super::source::Source;
use super::spec::Schedule;
use crate::domain::job::origin::{Generation, Origin, ScheduledBy};
use crate::domain::job::transition::{Event, Failure};
use crate::domain::job::{Job, Reason, State};
use crate::domain::names::actor::Actor;
use crate::domain::names::change as journal;
use crate::domain::names::id::{Attempt, JobId, Timestamp, Version};
use crate::domain::names::schedule::ScheduleName;
use crate::domain::recurrence::{SettledTicks, Tick, TickDecision, Timetable, Zone};

/// The most stretches of ticks that one transaction decides.
const PAGE: usize = 64;

/// A schedule and its progress.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRecord {
    pub name: ScheduleName,
    /// The number of schedule updates that have written this record.
    pub version: Version,
    /// The number of the current generation. Every change starts a new one, and so does a pause
    /// after a failed run.
    pub generation: Generation,
    pub schedule: Schedule,
    /// The time when the schedule was accepted. Periods without a `start_at` count from here.
    pub accepted_at: Timestamp,
    /// The time up to which every tick is accounted for, inclusive.
    pub settled_until: Timestamp,
    /// The next tick after `settled_until` and its job; `None` while paused and after the last
    /// tick.
    pub next_tick: Option<NextTick>,
    /// The time of the next check; `None` if no check is needed.
    pub next_check_at: Option<Timestamp>,
    /// The number of ticks that ran, counted against `max_runs`.
    pub runs: u64,
    /// Set when a run of this generation failed. The next update then pauses a schedule with
    /// `pause_on_failure`.
    pub failed: bool,
    /// The owner: the API or a config file.
    pub source: Source,
}

/// A schedule as it was in one of its generations.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRevision {
    pub schedule: Schedule,
    /// The time when the schedule was accepted. Periods without a `start_at` count from here.
    pub accepted_at: Timestamp,
}

/// The next tick of a schedule, and the job that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTick {
    pub nominal: Timestamp,
    pub job: JobId,
}

/// A schedule update: all changes that one transaction writes.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleUpdate {
    pub name: ScheduleName,
    /// The expected version of the stored record; `None` if the schedule must not exist yet.
    pub from: Option<Version>,
    /// The value of [`ScheduleRecord::runs`] that the update was decided on.
    pub runs: u64,
    /// The value of [`ScheduleRecord::failed`] that the update was decided on.
    pub failed: bool,
    /// The record after the update; `None` for a deleted schedule.
    pub after: Option<ScheduleRecord>,
    /// The change that the journal tells of; `None` if only ticks are decided.
    pub change: Option<journal::Change>,
    /// Undecided ledger rows to delete, by generation and first tick. Their jobs are skipped before
    /// they run. A new row or a later generation decides these ticks.
    pub dropped: Vec<(Generation, Timestamp)>,
    /// New ledger rows, oldest first. A row has the job that was created for its tick, or no job.
    pub rows: Vec<LedgerRow>,
    /// Ledger rows to mark as late: the tick's job exists and runs late.
    pub late: Vec<(Generation, Timestamp)>,
    /// Skipped jobs, each before and after the transition.
    pub ended: Vec<(Job, Job)>,
    pub jobs: Vec<Job>,
}

/// A caller's change of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Replace the schedule from now on.
    Put(Box<Schedule>),
    /// Delete the schedule and skip its waiting jobs.
    Delete,
}

impl ScheduleRevision {
    /// Returns the due times of this generation.
    pub fn timetable(&self) -> Timetable {
        self.schedule.timetable(Zone::UTC, self.accepted_at)
    }
}

impl ScheduleRecord {
    /// Creates the record of a newly accepted schedule. The first update creates the first tick's
    /// job.
    pub fn new(
        name: ScheduleName,
        generation: Generation,
        schedule: Schedule,
        now: Timestamp,
    ) -> Self {
        Self {
            name,
            version: Version(0),
            generation,
            schedule,
            accepted_at: now,
            settled_until: now,
            next_tick: None,
            next_check_at: Some(now),
            runs: 0,
            failed: false,
            source: Source::Api,
        }
    }

    /// Returns the due times of the current generation.
    pub fn timetable(&self) -> Timetable {
        self.schedule.timetable(Zone::UTC, self.accepted_at)
    }

    /// Returns the row of the ticks that a pause has skipped so far. The row is written when the
    /// pause ends.
    pub fn skipped_in_pause(&self, now: Timestamp) -> Option<LedgerRow> {
        if !self.schedule.is_paused() || self.is_used_up() {
            return None;
        }
        let timetable = self.timetable();
        let first =
            timetable.next_after(self.settled_until).filter(|first| first.nominal <= now)?;
        let last = timetable.latest(self.settled_until, now)?;
        Some(LedgerRow {
            generation: self.generation,
            first: first.nominal,
            last: last.nominal,
            late: false,
            outcome: Some(TickOutcome::Skipped),
            reason: Some(Reason::Paused),
            job: None,
            covered: false,
        })
    }

    /// Returns whether `max_runs` is reached.
    pub fn is_used_up(&self) -> bool {
        self.schedule.max_runs().is_some_and(|most| self.runs >= most)
    }

    /// Decides the ticks up to `now`, skips surplus waiting jobs, and creates the next tick's job.
    ///
    /// `waiting` are the schedule's jobs that wait for their first attempt. `restored` says that
    /// the store is a restored backup: jobs of past ticks may have run elsewhere.
    pub fn advance(
        &self,
        waiting: &[Job],
        now: Timestamp,
        restored: bool,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> ScheduleUpdate {
        let mut update = ScheduleUpdate::of(self);
        let mut after = Self { version: self.version.next(), ..self.clone() };
        after.failed = false;
        // Ticks since the failed run are skipped, as in any pause.
        let pauses = self.failed && self.schedule.pauses_on_failure() && !self.schedule.is_paused();
        if pauses {
            after.schedule = self.schedule.clone().with_paused(true);
            update.change = Some(journal::Change::Paused);
        }
        let is_done =
            pauses || self.settle(&mut update, &mut after, waiting, now, restored, new_id);
        // Waiting jobs from a backup may have run, so the engine is searched for them instead.
        let mut makes_surplus = false;
        if !restored {
            let rules = OverlapRules::from(&self.schedule);
            for (job, reason) in rules.surplus(waiting, now) {
                update.skip(job, reason, now);
            }
            makes_surplus =
                !update.jobs.is_empty() && !rules.surplus(&update.left(waiting), now).is_empty();
        }
        if is_done && !pauses && after.next_tick.is_some_and(|next_tick| next_tick.nominal <= now) {
            // A newer version may ship other rules for the zone and have no such tick. The tick's
            // job runs all the same.
            after.settled_until = after.settled_until.max(now);
            after.next_tick = None;
        }
        if pauses {
            after.settled_until = self.settled_by(waiting, self.settled_until);
            after.generation = self.generation.next();
            update.skip_jobs(waiting, after.settled_until, now, Reason::Paused);
            after.next_tick = None;
        }
        let next_tick =
            if is_done { after.plan(&mut update, waiting, now, new_id) } else { Some(now) };
        // If a late tick's new job makes one job too many, a second update in this round skips the
        // surplus.
        after.next_check_at = if makes_surplus { Some(now) } else { next_tick };
        update.after = Some(after);
        update
    }

    /// Applies a caller's change from `now` on. Callers first decide past ticks with
    /// [`Self::advance`].
    pub fn change(
        &self,
        change: &Change,
        waiting: &[Job],
        now: Timestamp,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> ScheduleUpdate {
        let mut update = ScheduleUpdate::of(self);
        update.rows.extend(self.skipped_in_pause(now));
        // After the clock was set back, ticks later than `now` may already be decided.
        let settled_until = self.settled_until.max(now);
        let Change::Put(schedule) = change else {
            update.skip_jobs(waiting, settled_until, now, Reason::ScheduleDeleted);
            update.change = Some(journal::Change::Deleted);
            return update;
        };
        let is_same_but_paused =
            self.schedule.clone().with_paused(schedule.is_paused()) == **schedule;
        update.change = Some(match schedule.is_paused() {
            true if is_same_but_paused => journal::Change::Paused,
            false if is_same_but_paused => journal::Change::Resumed,
            _ => journal::Change::Changed,
        });
        let settled_until =
            if is_same_but_paused { self.settled_by(waiting, now) } else { settled_until };
        let mut after = Self {
            version: self.version.next(),
            generation: self.generation.next(),
            schedule: schedule.as_ref().clone(),
            accepted_at: if is_same_but_paused { self.accepted_at } else { now },
            settled_until,
            next_tick: None,
            failed: false,
            ..self.clone()
        };
        if schedule.is_paused() {
            update.skip_jobs(waiting, settled_until, now, Reason::Paused);
        } else {
            let to_come: Vec<Job> =
                waiting.iter().filter(|job| job.nominal() > Some(settled_until)).cloned().collect();
            update.skip_jobs(&to_come, settled_until, now, Reason::ScheduleChanged);
        }
        after.next_check_at = after.plan(&mut update, &[], now, new_id);
        update.after = Some(after);
        update
    }

    /// Returns the time up to which every tick is accounted for at `now`. The next tick counts
    /// before its time if its job no longer waits: the job was cancelled or began a moment early.
    fn settled_by(&self, waiting: &[Job], now: Timestamp) -> Timestamp {
        let decided =
            self.next_tick.filter(|next_tick| !waiting.iter().any(|job| job.id == next_tick.job));
        let latest = self.settled_until.max(now);
        decided.map_or(latest, |next_tick| latest.max(next_tick.nominal))
    }

    /// Decides up to `PAGE` stretches of ticks; returns whether none are left.
    fn settle(
        &self,
        update: &mut ScheduleUpdate,
        after: &mut Self,
        waiting: &[Job],
        now: Timestamp,
        restored: bool,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> bool {
        if self.schedule.is_paused() {
            return true;
        }
        let timetable = self.timetable();
        let stretches: Vec<SettledTicks> =
            self.schedule.settle(&timetable, self.settled_until, now).take(PAGE).collect();
        let is_done = stretches.len() < PAGE;
        let newest = newest_settled_tick(&timetable, self.settled_until, now);
        // A later tick's job covers earlier ticks, so its id has to be known first.
        let next_tick = self.next_tick.filter(|next_tick| next_tick.nominal == newest);
        let last = next_tick.map_or_else(&mut *new_id, |next_tick| next_tick.job);
        let backlog = waiting.iter().filter(|job| job.due_at <= now).count();
        for SettledTicks { mut first, last: until, decision } in stretches {
            after.settled_until = until;
            let decision = if restored { TickDecision::OutsideWindow } else { decision };
            if let Some(next_tick) = after.next_tick.take_if(|next_tick| next_tick.nominal == first)
            {
                let job = waiting.iter().find(|job| job.id == next_tick.job);
                match (decision, job) {
                    (TickDecision::CaughtUp, Some(_)) => update.late.push((self.generation, first)),
                    (TickDecision::Runs, _) | (TickDecision::CaughtUp, None) => {}
                    // The engine is searched for this job, as for every job from a backup.
                    (_, Some(_)) if restored => {}
                    (
                        TickDecision::CaughtUpBy(_)
                        | TickDecision::OutsideWindow
                        | TickDecision::NotCaughtUp,
                        Some(job),
                    ) => {
                        update.dropped.push((self.generation, first));
                        update.skip(job, why(decision, restored), now);
                        update.settle(self, first, until, decision, restored, last);
                        continue;
                    }
                    // The tick is decided already: its job was cancelled or has begun.
                    (
                        TickDecision::CaughtUpBy(_)
                        | TickDecision::OutsideWindow
                        | TickDecision::NotCaughtUp,
                        None,
                    ) => {}
                }
                match timetable
                    .next_after(first)
                    .map(|tick| tick.nominal)
                    .filter(|next| *next <= until)
                {
                    Some(next) => first = next,
                    None => continue,
                }
            }
            match decision {
                TickDecision::CaughtUp if backlog + update.jobs.len() >= MAX_BACKLOG => {
                    update.skip_for_backlog(self, first, until)
                }
                TickDecision::Runs | TickDecision::CaughtUp => {
                    let id = if first == newest { last } else { new_id() };
                    update.make(self, first, decision == TickDecision::CaughtUp, id, now);
                }
                TickDecision::CaughtUpBy(_)
                | TickDecision::OutsideWindow
                | TickDecision::NotCaughtUp => {
                    update.settle(self, first, until, decision, restored, last);
                }
            }
        }
        is_done
    }

    /// Creates the job of the next tick, if one is left. Returns the time of the next check.
    fn plan(
        &mut self,
        update: &mut ScheduleUpdate,
        waiting: &[Job],
        now: Timestamp,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> Option<Timestamp> {
        if self.is_used_up() || self.schedule.is_paused() {
            let settled_until = self.settled_by(waiting, self.settled_until);
            if let Some(next_tick) = self.next_tick.take() {
                self.settled_until = settled_until;
                let job = waiting
                    .iter()
                    .filter(|job| job.id == next_tick.job)
                    .cloned()
                    .collect::<Vec<_>>();
                update.skip_jobs(&job, self.settled_until, now, Reason::Limit);
            }
            return None;
        }
        if self.next_tick.is_none() {
            let tick = self.timetable().next_after(self.settled_until.max(now))?;
            let id = new_id();
            update.make(self, tick.nominal, false, id, now);
            self.next_tick = Some(NextTick { nominal: tick.nominal, job: id });
        }
        self.next_tick.map(|next_tick| next_tick.nominal)
    }
}

impl ScheduleUpdate {
    fn of(record: &ScheduleRecord) -> Self {
        Self {
            name: record.name.clone(),
            from: Some(record.version),
            runs: record.runs,
            failed: record.failed,
            after: None,
            change: None,
            dropped: Vec::new(),
            rows: Vec::new(),
            late: Vec::new(),
            ended: Vec::new(),
            jobs: Vec::new(),
        }
    }

    /// Creates the first update of a schedule that is not stored yet.
    pub fn first(
        record: &ScheduleRecord,
        now: Timestamp,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> Self {
        let change = Some(journal::Change::Created);
        let mut update = Self { from: None, change, ..Self::of(record) };
        let mut after = record.clone();
        after.next_check_at = after.plan(&mut update, &[], now, new_id);
        update.after = Some(after);
        update
    }

    /// Counts the ticks that are skipped because too many jobs wait, for each reason.
    pub fn backlog(&self) -> [(Reason, usize); 2] {
        let ended = self.ended.iter().filter_map(|(_, after)| after.state.reason());
        let reasons: Vec<Reason> =
            ended.chain(self.rows.iter().filter_map(|row| row.reason)).collect();
        [Reason::StillWaiting, Reason::Backlog]
            .map(|reason| (reason, reasons.iter().filter(|r| **r == reason).count()))
    }

    /// Returns the jobs that wait after this update: those of `waiting` that it leaves, and its
    /// own.
    fn left(&self, waiting: &[Job]) -> Vec<Job> {
        let is_left = |job: &&Job| !self.ended.iter().any(|(before, _)| before.id == job.id);
        waiting.iter().filter(is_left).chain(&self.jobs).cloned().collect()
    }

    /// Adds a job for this tick, and the ledger row that names the job.
    fn make(
        &mut self,
        record: &ScheduleRecord,
        at: Timestamp,
        late: bool,
        id: JobId,
        now: Timestamp,
    ) {
        let schedule = &record.schedule;
        let generation = record.generation;
        self.jobs.push(Job {
            id,
            version: Version(0),
            name: schedule.job_name().clone(),
            spec: schedule.spec().clone(),
            created_at: now,
            due_at: schedule.due_at(&record.name, Tick { nominal: at, shifted: false }),
            attempt: Attempt(0),
            state: State::Scheduled,
            origin: Origin::Schedule(ScheduledBy {
                schedule: record.name.clone(),
                generation,
                nominal: Some(at),
            }),
            submitted_by: Some(Actor::Schedule(record.name.clone())),
        });
        let (job, covered) = (Some(id), false);
        self.rows.push(LedgerRow {
            generation,
            first: at,
            last: at,
            late,
            outcome: None,
            reason: None,
            job,
            covered,
        });
    }

    /// Adds a row for ticks that are skipped because too many jobs wait.
    fn skip_for_backlog(&mut self, record: &ScheduleRecord, first: Timestamp, last: Timestamp) {
        let (generation, outcome, reason) =
            (record.generation, Some(TickOutcome::Skipped), Some(Reason::Backlog));
        self.rows.push(LedgerRow {
            generation,
            first,
            last,
            late: true,
            outcome,
            reason,
            job: None,
            covered: false,
        });
    }

    /// Adds a row for ticks that get no job of their own.
    fn settle(
        &mut self,
        record: &ScheduleRecord,
        first: Timestamp,
        last: Timestamp,
        decision: TickDecision,
        restored: bool,
        stands_for_it: JobId,
    ) {
        let row = LedgerRow {
            generation: record.generation,
            first,
            last,
            late: true,
            outcome: Some(TickOutcome::Missed),
            reason: Some(why(decision, restored)),
            job: None,
            covered: false,
        };
        self.rows.push(match decision {
            // The outcome follows when the covering job is decided.
            TickDecision::CaughtUpBy(_) => LedgerRow {
                outcome: None,
                reason: None,
                job: Some(stands_for_it),
                covered: true,
                ..row
            },
            TickDecision::Runs
            | TickDecision::CaughtUp
            | TickDecision::OutsideWindow
            | TickDecision::NotCaughtUp => row,
        });
    }

    /// Skips waiting jobs. Drops the ledger rows of their ticks after `settled_until`, which are
    /// left to a later generation.
    fn skip_jobs(
        &mut self,
        waiting: &[Job],
        settled_until: Timestamp,
        now: Timestamp,
        reason: Reason,
    ) {
        for job in waiting {
            if let Some(origin) =
                job.origin.schedule().filter(|origin| origin.nominal > Some(settled_until))
            {
                self.dropped.extend(origin.nominal.map(|nominal| (origin.generation, nominal)));
            }
            self.skip(job, reason, now);
        }
    }

    fn skip(&mut self, job: &Job, reason: Reason, now: Timestamp) {
        if self.ended.iter().any(|(before, _)| before.id == job.id) {
            return;
        }
        if let Ok(after) = job.on(Event::Skip(Failure::new(reason, sentence(reason))), now) {
            self.ended.push((job.clone(), after));
        }
    }
}

/// Returns the nominal time of the newest tick after `since` and not after `now`: its job may cover
/// earlier ticks. Without such a tick, returns 1 ms before `since`, which no tick in the range has.
fn newest_settled_tick(timetable: &Timetable, since: Timestamp, now: Timestamp) -> Timestamp {
    timetable.latest(since, now).map_or(since - TimeDelta::milliseconds(1), |tick| tick.nominal)
}
