//! A schedule as it is kept, and the one function that takes it on: [`ScheduleRecord::turn`].
//!
//! A turn is a value, as a job's transition is: what the schedule is afterwards, which ticks are settled, which jobs are
//! made and which are taken off. It is written in one transaction, or not at all. No clock and no die are here.
//!
//! A schedule has accounted for every tick up to `settled`. The tick after that has its job already (`ahead`), unless it is
//! paused or over; when its time has come, `turn` settles it and whatever came after it, and makes the next one's.

#[cfg(test)]
mod tests;

use chrono::TimeDelta;

use super::declared::Source;
use super::id::{Attempt, JobId, Timestamp, Version};
use super::job::{Job, Reason, State};
use super::ledger::{Generation, LedgerRow, Origin, TickOutcome, sentence, why};
use super::overlap::{MAX_BACKLOG, OverlapRules};
use super::recurrence::{Fate, Settled, Tick, Timetable, Zone};
use super::schedule::{Schedule, ScheduleName};
use super::transition::{Event, Failure};

/// How many stretches of ticks are settled in one transaction.
const PAGE: usize = 64;

/// A schedule and how far it has come.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRecord {
    /// Its name.
    pub name: ScheduleName,
    /// How often its record was written by a turn.
    pub version: Version,
    /// How often it was changed.
    pub generation: Generation,
    /// What it says.
    pub schedule: Schedule,
    /// When it was accepted: periods count from here.
    pub accepted_at: Timestamp,
    /// Every tick up to here is accounted for.
    pub settled: Timestamp,
    /// The tick after that, and its job.
    pub ahead: Option<Ahead>,
    /// When it has to be looked at next, if ever.
    pub look_at: Option<Timestamp>,
    /// How many ticks ran.
    pub runs: u64,
    /// Whether a run of this generation failed, and that is to pause it.
    pub failed: bool,
    /// Whose it is.
    pub source: Source,
}

/// What a schedule said in one of its generations.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What it said.
    pub schedule: Schedule,
    /// When it was accepted: periods count from here.
    pub accepted_at: Timestamp,
}

/// A tick that is still to come, and the job that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Its nominal time.
    pub nominal: Timestamp,
    /// Its job.
    pub job: JobId,
}

/// What one turn writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Whose.
    pub name: ScheduleName,
    /// What the record's version has to be; nothing for a schedule that must not be there yet.
    pub from: Option<Version>,
    /// How many runs it was decided on.
    pub runs: u64,
    /// Whether it was decided on a failed run.
    pub failed: bool,
    /// The record afterwards; nothing where it is deleted.
    pub after: Option<ScheduleRecord>,
    /// Rows of ticks that are not to be accounted for under this generation: their jobs never became due.
    pub dropped: Vec<(Generation, Timestamp)>,
    /// Ticks that are settled without or with their job, oldest first.
    pub rows: Vec<LedgerRow>,
    /// Ticks whose job is there and runs late.
    pub late: Vec<(Generation, Timestamp)>,
    /// Jobs that are taken off: before and after.
    pub ended: Vec<(Job, Job)>,
    /// New jobs.
    pub jobs: Vec<Job>,
}

/// What a caller wants of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It shall say this from now on.
    Put(Box<Schedule>),
    /// It shall go.
    Delete,
}

impl Said {
    /// When it was due.
    pub fn timetable(&self) -> Timetable {
        self.schedule.timetable(Zone::UTC, self.accepted_at)
    }
}

impl ScheduleRecord {
    /// A schedule that was just accepted; its first turn makes the first tick's job.
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
            settled: now,
            ahead: None,
            look_at: Some(now),
            runs: 0,
            failed: false,
            source: Source::Api,
        }
    }

    /// When it is due.
    pub fn timetable(&self) -> Timetable {
        self.schedule.timetable(Zone::UTC, self.accepted_at)
    }

    /// The row of the ticks that a pause has skipped so far. It is written when the pause ends.
    pub fn skipped_in_pause(&self, now: Timestamp) -> Option<LedgerRow> {
        if !self.schedule.is_paused() || self.is_used_up() {
            return None;
        }
        let timetable = self.timetable();
        let first = timetable.next_after(self.settled).filter(|first| first.nominal <= now)?;
        let last = timetable.latest(self.settled, now)?;
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

    /// Whether it has run as often as it may.
    pub fn is_used_up(&self) -> bool {
        self.schedule.max_runs().is_some_and(|most| self.runs >= most)
    }

    /// Settles what is past, takes off jobs of which too many wait, and makes the next tick's job. `waiting` are its jobs
    /// that wait for their first attempt. `restored`: this store is a backup, and what passed may have run elsewhere.
    pub fn turn(
        &self,
        waiting: &[Job],
        now: Timestamp,
        restored: bool,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> Turn {
        let mut turn = Turn::of(self);
        let mut after = Self { version: self.version.next(), ..self.clone() };
        after.failed = false;
        // What passed since the run that failed is skipped, as in any pause.
        let pauses = self.failed && self.schedule.pauses_on_failure() && !self.schedule.is_paused();
        if pauses {
            after.schedule = self.schedule.clone().with_paused(true);
        }
        let is_done = pauses || self.settle(&mut turn, &mut after, waiting, now, restored, new_id);
        // In a backup those that wait may have run: they are looked for on the engine.
        if !restored {
            for (job, reason) in OverlapRules::from(&self.schedule).surplus(waiting, now) {
                turn.skip(job, reason, now);
            }
        }
        if is_done && !pauses && after.ahead.is_some_and(|ahead| ahead.nominal <= now) {
            // With other rules for its zone, a newer version may have no such tick. Its job runs all the same.
            after.settled = after.settled.max(now);
            after.ahead = None;
        }
        if pauses {
            after.settled = self.settled_by(waiting, self.settled);
            after.generation = self.generation.next();
            turn.take_off(waiting, after.settled, now, Reason::Paused);
            after.ahead = None;
        }
        after.look_at =
            if is_done { after.plan(&mut turn, waiting, now, new_id) } else { Some(now) };
        turn.after = Some(after);
        turn
    }

    /// Does what a caller wants, from now on. What is past has to be settled by a turn before.
    pub fn change(
        &self,
        change: &Change,
        waiting: &[Job],
        now: Timestamp,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> Turn {
        let mut turn = Turn::of(self);
        turn.rows.extend(self.skipped_in_pause(now));
        // With a clock that was set back, a tick may be settled whose time has not come again.
        let settled = self.settled.max(now);
        let Change::Put(schedule) = change else {
            turn.take_off(waiting, settled, now, Reason::ScheduleDeleted);
            return turn;
        };
        let is_same_but_paused =
            self.schedule.clone().with_paused(schedule.is_paused()) == **schedule;
        let settled = if is_same_but_paused { self.settled_by(waiting, now) } else { settled };
        let mut after = Self {
            version: self.version.next(),
            generation: self.generation.next(),
            schedule: schedule.as_ref().clone(),
            accepted_at: if is_same_but_paused { self.accepted_at } else { now },
            settled,
            ahead: None,
            failed: false,
            ..self.clone()
        };
        if schedule.is_paused() {
            turn.take_off(waiting, settled, now, Reason::Paused);
        } else {
            let to_come: Vec<Job> =
                waiting.iter().filter(|job| job.nominal() > Some(settled)).cloned().collect();
            turn.take_off(&to_come, settled, now, Reason::ScheduleChanged);
        }
        after.look_at = after.plan(&mut turn, &[], now, new_id);
        turn.after = Some(after);
        turn
    }

    /// Every tick up to here is accounted for at `now`. The tick ahead is decided before its time where its job was taken off,
    /// or begins a moment early.
    fn settled_by(&self, waiting: &[Job], now: Timestamp) -> Timestamp {
        let decided = self.ahead.filter(|ahead| !waiting.iter().any(|job| job.id == ahead.job));
        let latest = self.settled.max(now);
        decided.map_or(latest, |ahead| latest.max(ahead.nominal))
    }

    /// Settles up to a page of stretches; whether that was all.
    fn settle(
        &self,
        turn: &mut Turn,
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
        let settled: Vec<Settled> =
            self.schedule.settle(&timetable, self.settled, now).take(PAGE).collect();
        let is_done = settled.len() < PAGE;
        let newest = turn_newest(&timetable, self.settled, now);
        // A later tick's job stands for those before it, so its id has to be known first.
        let ahead = self.ahead.filter(|ahead| ahead.nominal == newest);
        let last = ahead.map_or_else(&mut *new_id, |ahead| ahead.job);
        let backlog = waiting.iter().filter(|job| job.due_at <= now).count();
        for Settled { mut first, last: until, fate } in settled {
            after.settled = until;
            let fate = if restored { Fate::OutsideWindow } else { fate };
            if let Some(ahead) = after.ahead.take_if(|ahead| ahead.nominal == first) {
                let job = waiting.iter().find(|job| job.id == ahead.job);
                match (fate, job) {
                    (Fate::CaughtUp, Some(_)) => turn.late.push((self.generation, first)),
                    (Fate::Runs, _) | (Fate::CaughtUp, None) => {}
                    // It is looked for on the engine, as every job of a backup.
                    (_, Some(_)) if restored => {}
                    (Fate::CaughtUpBy(_) | Fate::OutsideWindow | Fate::NotCaughtUp, Some(job)) => {
                        turn.dropped.push((self.generation, first));
                        turn.skip(job, why(fate, restored), now);
                        turn.settle(self, first, until, fate, restored, last);
                        continue;
                    }
                    // It is decided already: somebody took it off.
                    (Fate::CaughtUpBy(_) | Fate::OutsideWindow | Fate::NotCaughtUp, None) => {}
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
            match fate {
                Fate::CaughtUp if backlog + turn.jobs.len() >= MAX_BACKLOG => {
                    turn.leave_out(self, first, until)
                }
                Fate::Runs | Fate::CaughtUp => {
                    let id = if first == newest { last } else { new_id() };
                    turn.make(self, first, fate == Fate::CaughtUp, id, now);
                }
                Fate::CaughtUpBy(_) | Fate::OutsideWindow | Fate::NotCaughtUp => {
                    turn.settle(self, first, until, fate, restored, last);
                }
            }
        }
        is_done
    }

    /// Makes the job of the next tick, where there is one to come. When it is to be looked at next.
    fn plan(
        &mut self,
        turn: &mut Turn,
        waiting: &[Job],
        now: Timestamp,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> Option<Timestamp> {
        if self.is_used_up() || self.schedule.is_paused() {
            let settled = self.settled_by(waiting, self.settled);
            if let Some(ahead) = self.ahead.take() {
                self.settled = settled;
                let job =
                    waiting.iter().filter(|job| job.id == ahead.job).cloned().collect::<Vec<_>>();
                turn.take_off(&job, self.settled, now, Reason::Limit);
            }
            return None;
        }
        if self.ahead.is_none() {
            let tick = self.timetable().next_after(self.settled.max(now))?;
            let id = new_id();
            turn.make(self, tick.nominal, false, id, now);
            self.ahead = Some(Ahead { nominal: tick.nominal, job: id });
        }
        self.ahead.map(|ahead| ahead.nominal)
    }
}

impl Turn {
    fn of(record: &ScheduleRecord) -> Self {
        Self {
            name: record.name.clone(),
            from: Some(record.version),
            runs: record.runs,
            failed: record.failed,
            after: None,
            dropped: Vec::new(),
            rows: Vec::new(),
            late: Vec::new(),
            ended: Vec::new(),
            jobs: Vec::new(),
        }
    }

    /// The first turn of a schedule that is not stored yet.
    pub fn first(
        record: &ScheduleRecord,
        now: Timestamp,
        new_id: &mut dyn FnMut() -> JobId,
    ) -> Self {
        let mut turn = Self { from: None, ..Self::of(record) };
        let mut after = record.clone();
        after.look_at = after.plan(&mut turn, &[], now, new_id);
        turn.after = Some(after);
        turn
    }

    /// Counts the ticks that are skipped because too many wait, for each reason.
    pub fn backlog(&self) -> [(Reason, usize); 2] {
        let ended = self.ended.iter().filter_map(|(_, after)| after.state.reason());
        let reasons: Vec<Reason> =
            ended.chain(self.rows.iter().filter_map(|row| row.reason)).collect();
        [Reason::StillWaiting, Reason::Backlog]
            .map(|reason| (reason, reasons.iter().filter(|r| **r == reason).count()))
    }

    /// A job for this tick, and the row that says that it has one.
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
            origin: Some(Origin { schedule: record.name.clone(), generation, nominal: Some(at) }),
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

    /// A row for ticks that would be one too many to wait.
    fn leave_out(&mut self, record: &ScheduleRecord, first: Timestamp, last: Timestamp) {
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

    /// A row for ticks that get no job of their own.
    fn settle(
        &mut self,
        record: &ScheduleRecord,
        first: Timestamp,
        last: Timestamp,
        fate: Fate,
        restored: bool,
        stands_for_it: JobId,
    ) {
        let row = LedgerRow {
            generation: record.generation,
            first,
            last,
            late: true,
            outcome: Some(TickOutcome::Missed),
            reason: Some(why(fate, restored)),
            job: None,
            covered: false,
        };
        self.rows.push(match fate {
            // Decided together with the job.
            Fate::CaughtUpBy(_) => LedgerRow {
                outcome: None,
                reason: None,
                job: Some(stands_for_it),
                covered: true,
                ..row
            },
            Fate::Runs | Fate::CaughtUp | Fate::OutsideWindow | Fate::NotCaughtUp => row,
        });
    }

    /// Takes waiting jobs off. The ticks of those that are not settled are left to whatever comes after.
    fn take_off(&mut self, waiting: &[Job], settled: Timestamp, now: Timestamp, reason: Reason) {
        for job in waiting {
            if let Some(origin) =
                job.origin.as_ref().filter(|origin| origin.nominal > Some(settled))
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

/// The nominal time of the newest tick that is settled: the one whose job stands for others.
fn turn_newest(timetable: &Timetable, since: Timestamp, now: Timestamp) -> Timestamp {
    timetable.latest(since, now).map_or(since - TimeDelta::milliseconds(1), |tick| tick.nominal)
}
