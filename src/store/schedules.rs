//! The stored schedules: the progress of each, and the ledger of their ticks.
//!
//! A [`ScheduleUpdate`] is one transaction: the record, ledger rows, and jobs that are made or
//! removed. The store refuses the update when the record or one of its jobs has changed since the
//! decision. An update that gives a tick a second row is refused, too.
//! [`JobStore::advance`](super::JobStore::advance) writes the effects of a job's own transition on
//! its tick.

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::job::Job;
use crate::domain::job::origin::Generation;
use crate::domain::names::actor::Actor;
use crate::domain::names::id::Timestamp;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::ledger::LedgerRow;
use crate::domain::schedule::record::{ScheduleRecord, ScheduleRevision, ScheduleUpdate};

/// The operations on stored schedules.
#[async_trait]
pub trait ScheduleStore: Send + Sync + 'static {
    async fn schedule(&self, name: &ScheduleName) -> Result<Option<ScheduleRecord>, StoreError>;

    /// Returns up to `limit` schedules that are due for a check at `now`, earliest first.
    async fn schedules_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ScheduleRecord>, StoreError>;

    /// Returns up to `limit` names of schedules that a config file declares, after the name
    /// `after`.
    async fn declared(
        &self,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<Vec<ScheduleName>, StoreError>;

    /// Assigns schedules of config files to this file: all of them, or only the ones without a
    /// known file.
    async fn assign_config_file(&self, file: &str, all: bool) -> Result<(), StoreError>;

    /// Returns the time at which the next schedule is due for a check.
    async fn next_schedule_check(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Returns the revision of a schedule in this generation; also after the schedule was deleted.
    async fn schedule_revision(
        &self,
        name: &ScheduleName,
        generation: Generation,
    ) -> Result<Option<ScheduleRevision>, StoreError>;

    /// Returns the last generation of this name; also after the schedule was deleted. 0 if there
    /// was none.
    async fn last_generation(&self, name: &ScheduleName) -> Result<Generation, StoreError>;

    /// Writes a whole schedule update, caused by `by`, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the record or a job has changed since the decision.
    async fn apply_schedule_update(
        &self,
        update: ScheduleUpdate,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError>;

    /// Returns the unfinished jobs of a schedule, ordered by id.
    async fn jobs_of(&self, name: &ScheduleName) -> Result<Vec<Job>, StoreError>;

    /// Returns up to `limit` rows of decided ticks that begin before this time and generation,
    /// latest first. One row may cover many ticks.
    async fn ledger(
        &self,
        name: &ScheduleName,
        before: Option<(Timestamp, Generation)>,
        limit: usize,
    ) -> Result<Vec<LedgerRow>, StoreError>;
}
