//! Schedules as callers see them: put, pause, trigger, delete, and read their ledger.
//!
//! Past ticks are decided first (`schedule_updates`), so a change applies from now on and leaves
//! the ledger of earlier ticks as it was.

use super::handle::{Accepted, Handle, SubmitError};
use crate::domain::admission::caller::Caller;
use crate::domain::job::{Job, State};
use crate::domain::names::actor::Actor;
use crate::domain::names::id::{Timestamp, Version};
use crate::domain::names::schedule::ScheduleName;
use crate::domain::precondition::Precondition;
use crate::domain::recurrence::Zone;
use crate::domain::schedule::Schedule;
use crate::domain::schedule::record::{Change, ScheduleRecord, ScheduleUpdate};
use crate::domain::schedule::source::Source;
use crate::domain::{
    job::origin::{Generation, Origin, ScheduledBy},
    schedule::ledger::LedgerRow,
};
use crate::scheduler::schedule_updates::{self};
use crate::store::StoreError;

/// The reason a schedule was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The config file declares the schedule.
    #[error("the schedule is in the server's config file")]
    InConfig,
    /// No schedule has this name.
    #[error("there is no such schedule")]
    NotFound,
    /// The caller's precondition does not hold.
    #[error("the schedule is not what was expected")]
    Changed,
    /// The job could not run, or the store failed.
    #[error(transparent)]
    Refused(#[from] SubmitError),
}

impl From<StoreError> for ScheduleError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

/// A schedule that is on disk.
#[derive(Clone, Debug)]
pub struct Put {
    pub record: ScheduleRecord,
    pub is_new: bool,
    pub warnings: Vec<String>,
}

impl Handle {
    /// Creates or changes a schedule. Its times are in `zone` unless the schedule names another. An
    /// identical schedule changes nothing.
    ///
    /// # Errors
    /// [`ScheduleError`]; then nothing was changed.
    pub async fn put_schedule(
        &self,
        caller: &Caller,
        name: &ScheduleName,
        schedule: Schedule,
        zone: Zone,
        precondition: Precondition<Generation>,
    ) -> Result<Put, ScheduleError> {
        let schedule = schedule.in_zone(zone);
        self.may_write(schedule.spec()).map_err(SubmitError::from)?;
        let warnings = self.admit(schedule.job_name(), schedule.spec().clone()).await?.1;
        let by = caller.actor();
        loop {
            let found = self.context.store.schedule(name).await?;
            self.ensure_not_in_config(name)?;
            expect(found.as_ref(), &precondition)?;
            let Some(record) = found else {
                if let Some(record) = self.add(&by, name, &schedule, Source::Api).await? {
                    return Ok(Put { record, is_new: true, warnings });
                }
                continue;
            };
            if record.schedule == schedule {
                return Ok(Put { record, is_new: false, warnings });
            }
            let change = Change::Put(Box::new(schedule.clone()));
            if let Some(Some(record)) =
                self.change(&by, record.from_source(Source::Api), &change).await?
            {
                return Ok(Put { record, is_new: false, warnings });
            }
        }
    }

    /// Pauses or resumes a schedule, which may be one of the config file. Ticks that passed during
    /// a pause are skipped.
    ///
    /// # Errors
    /// [`ScheduleError`]; then nothing was changed.
    pub async fn pause_schedule(
        &self,
        caller: &Caller,
        name: &ScheduleName,
        paused: bool,
        precondition: Precondition<Generation>,
    ) -> Result<ScheduleRecord, ScheduleError> {
        let by = caller.actor();
        loop {
            let record = self.context.store.schedule(name).await?.ok_or(ScheduleError::NotFound)?;
            expect(Some(&record), &precondition)?;
            if record.schedule.is_paused() == paused {
                return Ok(record);
            }
            let change = Change::Put(Box::new(record.schedule.clone().with_paused(paused)));
            if let Some(Some(record)) = self.change(&by, record, &change).await? {
                return Ok(record);
            }
        }
    }

    /// Deletes a schedule and cancels its jobs that have not begun. Its ledger stays.
    ///
    /// # Errors
    /// [`ScheduleError`]; then nothing was changed.
    pub async fn delete_schedule(
        &self,
        caller: &Caller,
        name: &ScheduleName,
        precondition: Precondition<Generation>,
    ) -> Result<(), ScheduleError> {
        let by = caller.actor();
        loop {
            let record = self.context.store.schedule(name).await?;
            self.ensure_not_in_config(name)?;
            let record = record.ok_or(ScheduleError::NotFound)?;
            expect(Some(&record), &precondition)?;
            if self.change(&by, record, &Change::Delete).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Creates a job of this schedule that is due now, independent of its ticks.
    ///
    /// # Errors
    /// [`ScheduleError`]; then there is no job.
    pub async fn trigger_schedule(
        &self,
        caller: &Caller,
        name: &ScheduleName,
    ) -> Result<Accepted, ScheduleError> {
        let accepted = self.prepare_trigger(caller, name).await?;
        let _place = self.context.reserve_waiting_slot()?;
        self.context.store.insert(&accepted.job).await?;
        self.context.on_accepted(&accepted.job);
        Ok(accepted)
    }

    /// Returns the job that a trigger would create, without storing it.
    pub(super) async fn prepare_trigger(
        &self,
        caller: &Caller,
        name: &ScheduleName,
    ) -> Result<Accepted, ScheduleError> {
        let record = self.context.store.schedule(name).await?.ok_or(ScheduleError::NotFound)?;
        let now = self.now();
        let (spec, warnings) =
            self.admit(record.schedule.job_name(), record.schedule.spec().clone()).await?;
        let job = Job {
            id: self.context.new_id(now),
            version: Version(0),
            name: record.schedule.job_name().clone(),
            spec,
            created_at: now,
            due_at: now,
            attempt: Default::default(),
            state: State::Scheduled,
            origin: Origin::Schedule(ScheduledBy {
                schedule: record.name,
                generation: record.generation,
                nominal: None,
            }),
            submitted_by: Some(caller.actor()),
        };
        Ok(Accepted { job, warnings })
    }

    /// Returns up to `limit` decided ticks before this one, the latest first, one row per tick.
    /// Splits rows that ticks share on disk, and adds ticks that the current pause has skipped so
    /// far. A deleted schedule still has its ledger.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn ledger(
        &self,
        name: &ScheduleName,
        before: Option<(Timestamp, Generation)>,
        limit: usize,
    ) -> Result<Vec<LedgerRow>, StoreError> {
        let record = self.context.store.schedule(name).await?;
        let paused = record.and_then(|record| record.skipped_in_pause(self.now()));
        let rows = self.context.store.ledger(name, before, limit).await?;
        let mut ticks = Vec::with_capacity(limit);
        for row in paused.into_iter().chain(rows) {
            let Some(said) = self.context.store.schedule_revision(name, row.generation).await?
            else {
                return Err(StoreError::Damaged(format!(
                    "schedule {name} has a tick of a generation that it never had"
                )));
            };
            // Generations follow each other in time, so only rows of the same or a later generation
            // need the bound.
            let until = before
                .filter(|(_, generation)| *generation <= row.generation)
                .map(|(first, _)| first);
            ticks.extend(row.ticks(&said.timetable(), until).take(limit - ticks.len()));
            if ticks.len() == limit {
                break;
            }
        }
        Ok(ticks)
    }

    /// Adds a schedule. Returns `None` if another writer came first.
    pub(in crate::scheduler) async fn add(
        &self,
        by: &Actor,
        name: &ScheduleName,
        schedule: &Schedule,
        source: Source,
    ) -> Result<Option<ScheduleRecord>, StoreError> {
        let now = self.now();
        let generation = self.context.store.last_generation(name).await?.next();
        let record = ScheduleRecord::new(name.clone(), generation, schedule.clone(), now)
            .from_source(source);
        let update = ScheduleUpdate::first(&record, now, &mut || self.context.new_id(now));
        Ok(self.write(by, update, now).await?.flatten())
    }

    /// Makes one attempt at a change. Returns `None` if another writer or a pending check came
    /// first; the inner `None` means that the schedule was deleted.
    pub(in crate::scheduler) async fn change(
        &self,
        by: &Actor,
        record: ScheduleRecord,
        change: &Change,
    ) -> Result<Option<Option<ScheduleRecord>>, StoreError> {
        let now = self.now();
        if record.next_check_at.is_some_and(|at| at <= now) {
            schedule_updates::update(&self.context, &record, now).await?;
            return Ok(None);
        }
        let waiting = schedule_updates::waiting(&self.context, &record.name).await?;
        let update = record.change(change, &waiting, now, &mut || self.context.new_id(now));
        self.write(by, update, now).await
    }

    async fn write(
        &self,
        by: &Actor,
        update: ScheduleUpdate,
        now: Timestamp,
    ) -> Result<Option<Option<ScheduleRecord>>, StoreError> {
        let after = update.after.clone();
        let name = update.name.clone();
        let written = schedule_updates::write(&self.context, update, now, by).await?;
        self.context.schedule_changed(&name);
        Ok(written.then_some(after))
    }
}

pub(super) fn expect(
    found: Option<&ScheduleRecord>,
    precondition: &Precondition<Generation>,
) -> Result<(), ScheduleError> {
    if precondition.is_met_by(found.map(|record| record.generation)) {
        Ok(())
    } else {
        Err(ScheduleError::Changed)
    }
}
