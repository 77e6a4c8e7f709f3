//! The reads of the dispatcher: jobs that are due, that wait, and that run.

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::job::Job;
use crate::domain::job::wait_group::{Limit, WaitGroup};
use crate::domain::names::id::{JobId, Timestamp};

/// The reads that decide which jobs start next.
#[async_trait]
pub trait DispatchStore: Send + Sync + 'static {
    /// Returns up to `limit` jobs that are `scheduled` or `retrying` and due at `now`, earliest
    /// first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Returns up to `limit` ids of `scheduled` or `retrying` jobs with their due times, earliest
    /// first. Due times are later than `after` and at most `until`.
    async fn upcoming(
        &self,
        after: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, StoreError>;

    /// Returns the time at which the next `scheduled` or `retrying` job is due. `None` when there
    /// is no such job.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Returns up to `limit` jobs that are `queued` and in no wait group, ordered by priority, due
    /// time and id.
    async fn queued(&self, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Returns up to `limit` wait groups that contain jobs, after the group `after`. Each store
    /// chooses its own order.
    async fn wait_groups(
        &self,
        after: Option<&WaitGroup>,
        limit: usize,
    ) -> Result<Vec<WaitGroup>, StoreError>;

    /// Considers the first `n` jobs of each wait group; returns up to `limit` of them ordered by
    /// priority, due time and id.
    async fn waiting_in_groups(
        &self,
        wanted: &[(WaitGroup, usize)],
        limit: usize,
    ) -> Result<Vec<Job>, StoreError>;

    /// Counts the jobs in the running map for each limit.
    async fn taken(&self, limits: &[Limit]) -> Result<Vec<usize>, StoreError>;

    /// Returns the number of jobs in the scheduled map.
    fn waiting(&self) -> usize;

    /// Counts the `queued` jobs (due and not begun), up to `most`.
    async fn backlog(&self, most: usize) -> Result<usize, StoreError>;

    /// Returns up to `limit` queued jobs with a start deadline in the spec earlier than `now`.
    async fn queued_past_deadline(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError>;
}
