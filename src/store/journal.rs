//! The journal of transitions, and the feed of commits: its end, a subscription, and a watch on one
//! job.

use std::sync::Arc;

use async_trait::async_trait;

use super::error::StoreError;
use super::watch::Watch;
use crate::domain::job::{Map, Reason, Status};
use crate::domain::names::id::{JobId, Seq, Timestamp, Version};

/// A journal row: one change of a job's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The row's number, strictly increasing over all jobs.
    pub seq: Seq,
    /// The time of the decision by the wall clock.
    pub at: Timestamp,
    pub job: JobId,
    /// The job's name as the caller gave it.
    pub job_name: String,
    /// The status before; `None` in the first row of each job.
    pub from: Option<Status>,
    pub to: Status,
    /// The number of the attempt; 0 before the first.
    pub attempt: u32,
    /// The reason that the new status carries, if any.
    pub reason: Option<Reason>,
    /// The exit code of the process; `None` unless a process ended.
    pub exit_code: Option<i32>,
    /// The version of the job that the transition made.
    pub version: Version,
}

impl Transition {
    /// Returns whether the transition ends the job.
    pub fn is_end(&self) -> bool {
        self.to.map() == Map::History
    }
}

/// The number of transitions that a subscriber may fall behind. A slower subscriber loses
/// transitions and has to read the store instead.
pub const TRANSITIONS_BUFFERED: usize = 4_096;

/// The reads of the journal, in order or as rows are committed.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Returns the number of the last journal row. The number changes whenever a job does.
    async fn last_seq(&self) -> Result<Seq, StoreError>;

    /// Returns a counter that changes on every commit. The counter starts at a random value per
    /// process, so values from an earlier process never match.
    async fn changes(&self) -> Result<u64, StoreError>;

    /// Returns up to `limit` transitions after `after`, oldest first.
    async fn journal(&self, after: Seq, limit: usize) -> Result<Vec<Transition>, StoreError>;

    /// Watches one job for changes, beginning now.
    fn watch(&self, job: JobId) -> Watch;

    /// Subscribes to transitions as they are committed, beginning now.
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Arc<Transition>>;
}
