//! A read view of one moment, for listings, forecasts, the tide chart and the summary.

use std::time::Duration;

use async_trait::async_trait;

use super::error::StoreError;
use super::totals::Totals;
use crate::domain::job::{Job, Map, Status};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::image::JobName;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::ledger::LedgerRow;
use crate::domain::schedule::record::ScheduleRecord;
use crate::domain::tide::PastRuns;

/// Reads of the moment at which the snapshot was taken. An open snapshot delays the store's
/// housekeeping, so callers drop it soon.
#[async_trait]
pub trait Snapshot: Send {
    /// Returns up to `limit` jobs of a map that pass the filter, in its order, after the id `after`.
    async fn page(
        &mut self,
        map: Map,
        filter: &Filter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError>;

    /// Returns up to `limit` jobs that are `scheduled` or `retrying` and due at `until`, earliest
    /// first.
    async fn due(&mut self, until: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Returns up to `limit` jobs that are over and pass the search, the one that ended last first.
    async fn latest_ended(
        &mut self,
        search: &EndedSearch,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError>;

    /// Returns the durations of up to `limit` successful runs for each name. Runs of jobs that were
    /// accepted last come first.
    async fn runs(
        &mut self,
        names: &[JobName],
        limit: usize,
    ) -> Result<Vec<Vec<Duration>>, StoreError>;

    /// Returns up to `limit` schedules ordered by name, after the name `after`.
    async fn schedules(
        &mut self,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<Vec<ScheduleRecord>, StoreError>;

    /// Adds the jobs that are over and whose run touches the window of `past`.
    async fn ended(&mut self, past: PastRuns) -> Result<PastRuns, StoreError>;

    /// Returns up to `limit` rows of ticks in a period that have no job of their own and were
    /// skipped or missed, the last first, each with its schedule. `only` restricts them to one
    /// schedule.
    async fn absent_ticks(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        only: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, LedgerRow)>, StoreError>;

    /// Returns figures about the whole store, and about the jobs that ended since `since`.
    async fn totals(&mut self, since: Timestamp) -> Result<Totals, StoreError>;
}

/// A filter on listed jobs. A field that is empty does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The job has one of these statuses.
    pub statuses: Vec<Status>,
    /// The exact job name.
    pub name: Option<String>,
    /// The schedule that made the job.
    pub schedule: Option<String>,
    /// The job has all of these labels: a key, and the exact value if there is one.
    pub labels: Vec<(String, Option<String>)>,
    /// The job was accepted at this time or later.
    pub created_since: Option<Timestamp>,
    /// The job ended at this time or later.
    pub ended_since: Option<Timestamp>,
    pub order: Order,
}

/// The order of listed jobs. Ids are ordered by the time of acceptance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Oldest,
    Newest,
}

/// A search among the jobs that are over. An empty field does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedSearch {
    pub statuses: Vec<Status>,
    /// The exact name of the job, or of the schedule that made it.
    pub name: Option<String>,
}

/// The most jobs on one page.
pub const MAX_PAGE: usize = 1_000;
