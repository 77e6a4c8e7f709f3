//! Dry runs: every change that a caller can make, decided but not written.
//!
//! Each method makes the checks of the change with the same name in this folder, and returns what
//! the change would return. Another caller may come first, so a dry run promises nothing.

use super::definitions::{self, DefineError};
use super::handle::{Accepted, ActError, Handle, JobRequest, SubmitError};
use super::schedules::{self, Put, ScheduleError};
use crate::domain::admission::caller::Caller;
use crate::domain::job::origin::Generation;
use crate::domain::job::transition::Event;
use crate::domain::job::{Job, Status, StopCause};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::image::JobName;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::precondition::Precondition;
use crate::domain::recurrence::Zone;
use crate::domain::schedule::Schedule;
use crate::domain::schedule::record::{Change, ScheduleRecord, ScheduleUpdate};
use crate::domain::spec::JobSpec;
use crate::domain::text::units::Span;
use crate::scheduler::schedule_updates;
use crate::store::{Revision, StoreError};

impl Handle {
    /// Decides about a call of [`Handle::submit`].
    ///
    /// # Errors
    /// [`SubmitError`], as that call.
    pub async fn would_submit(
        &self,
        caller: &Caller,
        request: JobRequest,
    ) -> Result<Accepted, SubmitError> {
        let accepted = self.prepare(caller, request).await?;
        let _place = self.context.reserve_waiting_slot()?;
        Ok(accepted)
    }

    /// Decides about a call of [`Handle::cancel`].
    ///
    /// # Errors
    /// [`ActError`], as that call.
    pub async fn would_cancel(&self, id: JobId) -> Result<Job, ActError> {
        self.would_act(id, |_, _| Event::Cancel).await
    }

    /// Decides about a call of [`Handle::reschedule`].
    ///
    /// # Errors
    /// [`ActError`], as that call.
    pub async fn would_reschedule(&self, id: JobId, due_at: Timestamp) -> Result<Job, ActError> {
        if self.context.store.restored(self.now()).await?.is_some() {
            return Err(ActError::Restoring);
        }
        self.would_act(id, |_, _| Event::Reschedule(due_at)).await
    }

    /// Decides about a call of [`Handle::stop`].
    ///
    /// # Errors
    /// [`ActError`], as that call.
    pub async fn would_stop(&self, id: JobId, grace: Option<Span>) -> Result<Job, ActError> {
        let rules = self.context.rules();
        rules.catalog.policy.admit_grace("grace", grace)?;
        let grace = grace.map(Span::as_duration);
        let event = |job: &Job, now| rules.catalog.policy.stop(job, StopCause::Request, grace, now);
        match self.would_act(id, event).await {
            Err(ActError::Refused(Status::Stopping)) => {
                self.context.store.get(id).await?.ok_or(ActError::NotFound)
            }
            other => other,
        }
    }

    async fn would_act(
        &self,
        id: JobId,
        event: impl Fn(&Job, Timestamp) -> Event,
    ) -> Result<Job, ActError> {
        let job = self.context.store.get(id).await?.ok_or(ActError::NotFound)?;
        let now = self.now();
        job.on(event(&job, now), now).map_err(|refused| ActError::Refused(refused.status))
    }

    /// Decides about a call of [`Handle::put_schedule`].
    ///
    /// # Errors
    /// [`ScheduleError`], as that call.
    pub async fn would_put_schedule(
        &self,
        name: &ScheduleName,
        schedule: Schedule,
        zone: Zone,
        precondition: Precondition<Generation>,
    ) -> Result<Put, ScheduleError> {
        let schedule = schedule.in_zone(zone);
        self.may_write(schedule.spec()).map_err(SubmitError::from)?;
        let warnings = self.admit(schedule.job_name(), schedule.spec().clone()).await?.1;
        let found = self.context.store.schedule(name).await?;
        self.ensure_not_in_config(name)?;
        schedules::expect(found.as_ref(), &precondition)?;
        let Some(record) = found else {
            let (now, generation) = (self.now(), Generation::default());
            let record = ScheduleRecord::new(name.clone(), generation, schedule, now);
            let update = ScheduleUpdate::first(&record, now, &mut || self.context.new_id(now));
            return Ok(Put { record: update.after.unwrap_or(record), is_new: true, warnings });
        };
        let record = if record.schedule == schedule {
            record
        } else {
            self.changed(&record, &Change::Put(Box::new(schedule))).await?
        };
        Ok(Put { record, is_new: false, warnings })
    }

    /// Decides about a call of [`Handle::pause_schedule`].
    ///
    /// # Errors
    /// [`ScheduleError`], as that call.
    pub async fn would_pause_schedule(
        &self,
        name: &ScheduleName,
        paused: bool,
        precondition: Precondition<Generation>,
    ) -> Result<ScheduleRecord, ScheduleError> {
        let record = self.context.store.schedule(name).await?.ok_or(ScheduleError::NotFound)?;
        schedules::expect(Some(&record), &precondition)?;
        if record.schedule.is_paused() == paused {
            return Ok(record);
        }
        let schedule = record.schedule.clone().with_paused(paused);
        Ok(self.changed(&record, &Change::Put(Box::new(schedule))).await?)
    }

    /// Decides about a call of [`Handle::delete_schedule`].
    ///
    /// # Errors
    /// [`ScheduleError`], as that call.
    pub async fn would_delete_schedule(
        &self,
        name: &ScheduleName,
        precondition: Precondition<Generation>,
    ) -> Result<(), ScheduleError> {
        let record = self.context.store.schedule(name).await?;
        self.ensure_not_in_config(name)?;
        schedules::expect(Some(&record.ok_or(ScheduleError::NotFound)?), &precondition)
    }

    /// Decides about a call of [`Handle::trigger_schedule`].
    ///
    /// # Errors
    /// [`ScheduleError`], as that call.
    pub async fn would_trigger_schedule(
        &self,
        caller: &Caller,
        name: &ScheduleName,
    ) -> Result<Accepted, ScheduleError> {
        let accepted = self.prepare_trigger(caller, name).await?;
        let _place = self.context.reserve_waiting_slot()?;
        Ok(accepted)
    }

    /// Returns the record after a change that is not written.
    async fn changed(
        &self,
        record: &ScheduleRecord,
        change: &Change,
    ) -> Result<ScheduleRecord, StoreError> {
        let now = self.now();
        let waiting = schedule_updates::waiting(&self.context, &record.name).await?;
        let update = record.change(change, &waiting, now, &mut || self.context.new_id(now));
        Ok(update.after.unwrap_or_else(|| record.clone()))
    }

    /// Decides about a call of [`Handle::define`].
    ///
    /// # Errors
    /// [`DefineError`], as that call.
    pub async fn would_define(
        &self,
        name: &JobName,
        spec: &JobSpec,
        precondition: Precondition<Revision>,
    ) -> Result<(), DefineError> {
        let rules = self.context.rules();
        definitions::ensure_not_in_config(&rules.catalog, name)?;
        rules.catalog.admit_definition(spec)?;
        self.expect_revision(name, precondition).await.map(drop)
    }

    /// Decides about a call of [`Handle::undefine`].
    ///
    /// # Errors
    /// [`DefineError`], as that call.
    pub async fn would_undefine(
        &self,
        name: &JobName,
        precondition: Precondition<Revision>,
    ) -> Result<(), DefineError> {
        definitions::ensure_not_in_config(&self.context.rules().catalog, name)?;
        match self.expect_revision(name, precondition).await? {
            Some(_) => Ok(()),
            None => Err(DefineError::NotFound),
        }
    }

    async fn expect_revision(
        &self,
        name: &JobName,
        precondition: Precondition<Revision>,
    ) -> Result<Option<Revision>, DefineError> {
        let found = self.context.store.definition(name).await?;
        let revision = found.map(|definition| definition.revision);
        match precondition.is_met_by(revision) {
            true => Ok(revision),
            false => Err(StoreError::Outdated.into()),
        }
    }
}
