//! What is on disk of schedules: how far each has come, and the ledger of their ticks.
//!
//! A [`Turn`] is one transaction: the record, rows of the ledger, and jobs that are made or taken off. It is refused when
//! the record or one of the jobs has changed since it was decided, and when a tick would get a second row. What a job's own
//! transition says about its tick is written with that transition, by [`Store::advance`](super::Store::advance).

use async_trait::async_trait;

use super::StoreError;
use crate::domain::id::Timestamp;
use crate::domain::job::Job;
use crate::domain::ledger::{Generation, LedgerRow};
use crate::domain::planned::{Said, ScheduleRecord, Turn};
use crate::domain::schedule::ScheduleName;

/// The schedules of a store.
#[async_trait]
pub trait ScheduleStore: Send + Sync + 'static {
    /// The schedule of this name.
    async fn schedule(&self, name: &ScheduleName) -> Result<Option<ScheduleRecord>, StoreError>;

    /// Up to `limit` schedules that have to be looked at by now, the earliest first.
    async fn to_look_at(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ScheduleRecord>, StoreError>;

    /// Up to `limit` names of schedules that the config file has declared, after the name `after`.
    async fn declared(
        &self,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<Vec<ScheduleName>, StoreError>;

    /// Gives the schedules of config files to this file: those that no file is known of, or all.
    async fn own_declared(&self, file: &str, all: bool) -> Result<(), StoreError>;

    /// When the next has to be looked at.
    async fn next_look(&self) -> Result<Option<Timestamp>, StoreError>;

    /// What it said in this generation; also of one that was deleted.
    async fn said(
        &self,
        name: &ScheduleName,
        generation: Generation,
    ) -> Result<Option<Said>, StoreError>;

    /// The last generation there was of this name; also of one that was deleted.
    async fn last_generation(&self, name: &ScheduleName) -> Result<Generation, StoreError>;

    /// Writes all of a turn, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the record or a job is no longer what the turn was decided on.
    async fn turn(&self, turn: Turn, at: Timestamp) -> Result<(), StoreError>;

    /// The jobs of a schedule that are not over, in the order of their ids.
    async fn jobs_of(&self, name: &ScheduleName) -> Result<Vec<Job>, StoreError>;

    /// Up to `limit` rows of decided ticks that begin before this time and generation, the latest first. Such a
    /// row may stand for many ticks.
    async fn ledger(
        &self,
        name: &ScheduleName,
        before: Option<(Timestamp, Generation)>,
        limit: usize,
    ) -> Result<Vec<LedgerRow>, StoreError>;
}
