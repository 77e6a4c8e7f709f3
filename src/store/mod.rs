//! The store: jobs, the journal of their transitions, and the output of removed containers.
//!
//! A write returns only when its data would survive a power cut. A transition names the job version
//! that it was decided on. The store refuses the transition when another one came first, so two
//! tasks that act on one job cannot both win. Each transition adds one journal row in the same
//! transaction.
//!
//! Signatures carry no SQL. [`sqlite`] is one store and others may follow: one folder here, one arm
//! in `open`, one line in the contract suite `tests/store_contract`. Container output goes to
//! compressed files beside the database ([`logs`]).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::job::wait_group::{Limit, WaitGroup};
use crate::domain::job::{Job, Map, Reason, Status};
use crate::domain::names::id::{EngineId, InstanceId, JobId, Seq, Timestamp, Version};
use crate::domain::names::image::JobName;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::precondition::Precondition;
use crate::domain::schedule::record::ScheduleRecord;
use crate::domain::spec::JobSpec;

mod answer;
pub mod backup;
pub mod check;
mod definition;
mod lock;
pub mod logs;
pub mod outbox;
mod place;
pub mod schedules;
pub mod sqlite;
pub mod threads;
pub mod watch;

pub use answer::{RequestKey, StoredResponse};
pub use definition::{Definition, Revision};

/// The most jobs on one page.
pub const MAX_PAGE: usize = 1_000;
/// The number of transitions that a subscriber may fall behind. A slower subscriber loses
/// transitions and has to read the store instead.
pub const TRANSITIONS_BUFFERED: usize = 4_096;

/// The operations on jobs, definitions and scheduler state that every store provides.
#[async_trait]
pub trait Store: schedules::ScheduleStore + outbox::Outbox {
    /// Returns the id of this scheduler state, which is made together with the store.
    fn instance(&self) -> InstanceId;

    /// Checks that the store is still at the path where it was opened.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    async fn is_there(&self) -> Result<(), StoreError>;

    /// Adds a job that was just accepted.
    async fn insert(&self, job: &Job) -> Result<(), StoreError>;

    /// Adds an accepted job together with the stored response to its request. When a response newer
    /// than `since` exists for the same request, adds nothing and returns that response.
    async fn insert_idempotent(
        &self,
        job: &Job,
        answer: &StoredResponse,
        since: Timestamp,
    ) -> Result<Option<StoredResponse>, StoreError>;

    /// Returns the stored response to this request, if newer than `since`.
    async fn stored_response(
        &self,
        request: RequestKey,
        since: Timestamp,
    ) -> Result<Option<StoredResponse>, StoreError>;

    /// Replaces `before` by `after` and writes the transition to the journal.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the stored version is no longer `before.version`.
    async fn advance(&self, before: &Job, after: &Job, at: Timestamp) -> Result<(), StoreError>;

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// Returns up to `limit` ids that begin with these lower-case hex digits (1 to 32).
    async fn ids_with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<JobId>, StoreError>;

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

    /// Returns the ids of all jobs in the running map.
    async fn active(&self) -> Result<Vec<JobId>, StoreError>;

    /// Opens a read view of one moment.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Returns the number of the last journal row. The number changes whenever a job does.
    async fn last_seq(&self) -> Result<Seq, StoreError>;

    /// Returns a counter that changes on every commit. The counter starts at a random value per
    /// process, so values from an earlier process never match.
    async fn changes(&self) -> Result<u64, StoreError>;

    /// Returns up to `limit` transitions after `after`, oldest first.
    async fn journal(&self, after: Seq, limit: usize) -> Result<Vec<Transition>, StoreError>;

    /// Watches one job for changes, beginning now.
    fn watch(&self, job: JobId) -> watch::Watch;

    /// Subscribes to transitions as they are committed, beginning now.
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Arc<Transition>>;

    /// Returns the backup that this store was restored from, until
    /// [`forget_restored`](Store::forget_restored) clears the mark. The first call remembers `now`
    /// as the moment when this store was first served. `None` for a store that was not restored.
    async fn restored(&self, now: Timestamp) -> Result<Option<Restored>, StoreError>;

    /// Returns the ids of the jobs from the backup that may have run elsewhere meanwhile: all in
    /// the running map, all `queued`, and all that were due at `by`.
    async fn overtaken(&self, by: Timestamp) -> Result<Vec<JobId>, StoreError>;

    /// Clears the restored-backup mark once every job has been reconciled.
    async fn forget_restored(&self) -> Result<(), StoreError>;

    async fn definition(&self, name: &JobName) -> Result<Option<Definition>, StoreError>;

    /// Returns up to `limit` definitions ordered by name, after the name `after`.
    async fn definitions(
        &self,
        after: Option<&JobName>,
        limit: usize,
    ) -> Result<Vec<Definition>, StoreError>;

    /// Writes a definition and replaces an earlier one of the same name.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the precondition `precondition` is not met.
    async fn define(
        &self,
        name: &JobName,
        spec: &JobSpec,
        precondition: Precondition<Revision>,
        at: Timestamp,
    ) -> Result<Revision, StoreError>;

    /// Removes a definition; returns false if there was none.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the precondition `precondition` is not met.
    async fn undefine(
        &self,
        name: &JobName,
        precondition: Precondition<Revision>,
    ) -> Result<bool, StoreError>;

    /// Returns the id of the engine that containers were created on. `None` before the first
    /// container.
    async fn engine(&self) -> Result<Option<EngineId>, StoreError>;

    /// Remembers the id of the engine that containers are created on.
    async fn remember_engine(&self, engine: &EngineId) -> Result<(), StoreError>;
}

/// Reads of the moment at which the snapshot was taken. An open snapshot delays the store's
/// housekeeping, so callers drop it soon.
#[async_trait]
pub trait Snapshot: Send {
    /// Returns up to `limit` jobs of a map that pass the filter, ordered by id, after the id
    /// `after`.
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
}

/// A filter on listed jobs. A field that is `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub status: Option<Status>,
    /// The exact job name.
    pub name: Option<String>,
    /// The schedule that made the job.
    pub schedule: Option<String>,
    /// A label key and the exact value.
    pub label: Option<(String, String)>,
}

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

/// A store that was a backup. Another server may have continued its jobs meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The moment of the backup.
    pub since: Timestamp,
    /// The time at which the restored store was first served. Later jobs are this store's own.
    pub served_at: Timestamp,
    /// The engine that held the containers when the backup was made, if any.
    pub engine: Option<EngineId>,
}

/// The reasons why a read or a write failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The job or definition has changed since it was read: read it again and decide again.
    #[error("it has changed meanwhile")]
    Outdated,
    /// The disk is full. Nothing was written.
    #[error("the data directory is full: nothing was changed; make room and try again")]
    Full,
    /// The disk or the database refused the operation.
    #[error("the store failed: {0}")]
    Failed(String),
    /// Stored data cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The data directory was deleted or exchanged: the open files are not the ones at its path.
    #[error("the data directory is not the one that was opened: {0}")]
    Gone(String),
    /// The server is stopping.
    #[error("the store is closed")]
    Closed,
}

/// The reasons why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be made or written.
    #[error("the data directory {path} cannot be written: {detail}")]
    NotWritable {
        path: String,
        /// The system's error message.
        detail: String,
    },
    /// The data directory contains no store.
    #[error(
        "there is no store in {path}: `--data-dir` names the folder that `tidetable serve` was given"
    )]
    NoStore { path: String },
    /// The data directory or its database cannot be read.
    #[error("the data directory {path} cannot be read: {detail}")]
    NotReadable {
        path: String,
        /// The system's error message.
        detail: String,
    },
    /// The disk has no space for the files that every start needs.
    #[error("the data directory {path} is full: nothing was changed; make room, and start again")]
    Full { path: String },
    /// Another server holds the lock.
    #[error(
        "the data directory {path} is in use by another server: stop that one, or give this one a `--data-dir` of its own"
    )]
    InUse { path: String },
    /// A newer version wrote the store.
    #[error(
        "the data directory {path} was written by a newer version (schema {found}, this one knows {known}): upgrade, or give this one a `--data-dir` of its own"
    )]
    Newer {
        path: String,
        /// The schema version of the store.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// The database does not contain the data that was written.
    #[error(
        "the database in {path} is damaged: {detail}; nothing was changed. `tidetable check --data-dir {path}` says what is wrong; restore a backup, or put the folder aside and begin anew"
    )]
    Damaged {
        path: String,
        /// The error message of SQLite.
        detail: String,
    },
}

impl OpenError {
    /// Classifies a failed file-system call on this data directory.
    pub(crate) fn of_io(dir: &Path, error: &io::Error) -> Self {
        let path = dir.display().to_string();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::NotWritable { path, detail: error.to_string() },
        }
    }

    fn not_readable(dir: &Path, error: &io::Error) -> Self {
        Self::NotReadable { path: dir.display().to_string(), detail: error.to_string() }
    }
}
