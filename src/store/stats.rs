//! Figures of a store, for metrics. Each read costs as much as its answer, or walks one index.

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::job::Status;
use crate::domain::names::id::Timestamp;
use crate::domain::names::schedule::ScheduleName;

/// The figures of a store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// The number of jobs of each status. Each status is there once.
    pub jobs: Vec<(Status, u64)>,
    /// The due times of the oldest due jobs that have not begun, each with the queue of the job.
    /// The oldest of all is among them. Of jobs that wait for the same thing with the same
    /// priority, only the oldest is there.
    pub oldest_due: Vec<(Option<String>, Timestamp)>,
    /// The time of the oldest notification that is not delivered; `None` without any.
    pub oldest_notification: Option<Timestamp>,
    /// The size of the store's database on disk, in bytes.
    pub bytes: u64,
    /// The bytes that the server may still write to the disk of the store.
    pub disk_free: u64,
}

/// The last end of a schedule's jobs with one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEnd {
    /// The status of the job: one of the history map.
    pub status: Status,
    pub at: Timestamp,
}

/// The reads of figures.
#[async_trait]
pub trait StatsStore: Send + Sync + 'static {
    /// Returns the figures of the store at `now`.
    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError>;

    /// Returns for each schedule the last end with each outcome. The job that was accepted last
    /// counts as the last one.
    async fn last_ends(&self, schedules: &[ScheduleName]) -> Result<Vec<Vec<LastEnd>>, StoreError>;
}
