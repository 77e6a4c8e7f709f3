//! The journal of changes, and the feed of commits: its end, a subscription, and a watch on one
//! job.

use std::sync::Arc;

use async_trait::async_trait;

use super::error::StoreError;
use super::watch::Watch;
use crate::domain::job::{Map, Reason, Status};
use crate::domain::names::actor::Actor;
use crate::domain::names::change::{Change, Kind};
use crate::domain::names::id::{JobId, Seq, Timestamp, Version};

/// A journal row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Job(Transition),
    /// A change of a schedule, a definition, the engine or the server.
    Other(ObjectChange),
}

/// A change of one job's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The row's number, strictly increasing over all rows.
    pub seq: Seq,
    /// The time of the decision by the wall clock.
    pub at: Timestamp,
    /// The party that caused the change; `None` in rows of older versions.
    pub by: Option<Actor>,
    pub job: JobId,
    /// The job's name as the caller gave it.
    pub job_name: String,
    /// The schedule that the job comes from, if any.
    pub schedule: Option<String>,
    /// The status before; `None` in the first row of each job.
    pub from: Option<Status>,
    pub to: Status,
    /// The number of the attempt; 0 before the first.
    pub attempt: u32,
    /// The reason that the new status carries, if any.
    pub reason: Option<Reason>,
    /// The reason as a sentence.
    pub error: Option<String>,
    /// The exit code of the process; `None` unless a process ended.
    pub exit_code: Option<i32>,
    /// The version of the job that the transition made.
    pub version: Version,
}

/// A change of something other than a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectChange {
    /// The row's number. The store gives it when it writes the row.
    pub seq: Seq,
    pub at: Timestamp,
    pub by: Option<Actor>,
    pub kind: Kind,
    pub name: String,
    pub change: Change,
}

impl Entry {
    pub fn seq(&self) -> Seq {
        match self {
            Self::Job(transition) => transition.seq,
            Self::Other(change) => change.seq,
        }
    }

    /// Returns the transition, if the row is about a job.
    pub fn job(&self) -> Option<&Transition> {
        match self {
            Self::Job(transition) => Some(transition),
            Self::Other(_) => None,
        }
    }
}

impl Transition {
    /// Returns whether the transition ends the job.
    pub fn is_end(&self) -> bool {
        self.to.map() == Map::History
    }
}

/// The number of entries that a subscriber may fall behind. A slower subscriber loses entries and
/// has to read the store instead.
pub const ENTRIES_BUFFERED: usize = 4_096;

/// The reads of the journal, in order or as rows are committed.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Returns the number of the last journal row. The number changes whenever a job does.
    async fn last_seq(&self) -> Result<Seq, StoreError>;

    /// Returns a counter that changes on every commit. The counter starts at a random value per
    /// process, so values from an earlier process never match.
    async fn changes(&self) -> Result<u64, StoreError>;

    /// Returns the number of the oldest row that is kept; `None` if the journal is empty.
    async fn first_seq(&self) -> Result<Option<Seq>, StoreError>;

    /// Returns up to `limit` rows after `after`, oldest first.
    async fn journal(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Returns up to `limit` transitions of one job after `after`, oldest first.
    async fn journal_of(
        &self,
        job: JobId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Transition>, StoreError>;

    /// Writes a change of the engine or the server down. `seq` is ignored.
    async fn note(&self, change: ObjectChange) -> Result<(), StoreError>;

    /// Watches one job for changes, beginning now.
    fn watch(&self, job: JobId) -> Watch;

    /// Subscribes to journal rows as they are committed, beginning now.
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Arc<Entry>>;
}
