//! What is on disk: jobs, the journal of their transitions, and the logs of containers that are gone.
//!
//! An answer leaves a write only when it would survive a power cut. A transition names the version of the job that
//! it was decided on and is refused when another one came first, so two parts that act on one job at once cannot
//! both win. Each transition is one row in the journal, in the same transaction.
//!
//! Signatures carry no SQL: [`sqlite`] is one store, others may follow (one folder here, one arm in `open`, one line
//! in the contract suite `tests/store_contract`). Output of containers goes to compressed files beside the
//! database ([`logs`]).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::expected::Expected;
use crate::domain::hold::{Hold, Limit};
use crate::domain::id::{EngineId, InstanceId, JobId, Seq, Timestamp, Version};
use crate::domain::image::JobName;
use crate::domain::job::{Job, Map, Reason, Status};
use crate::domain::planned::ScheduleRecord;
use crate::domain::schedule::ScheduleName;
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

pub use answer::{Answer, RequestKey};
pub use definition::{Definition, Revision};

/// The most jobs that one page holds.
pub const MAX_PAGE: usize = 1_000;
/// How many transitions a slow subscriber may fall behind before it has to read the store instead.
pub const TRANSITIONS_BUFFERED: usize = 4_096;

/// What is on disk.
#[async_trait]
pub trait Store: schedules::ScheduleStore + outbox::Outbox {
    /// Which scheduler state this is: made when the store was.
    fn instance(&self) -> InstanceId;

    /// Looks whether the store is still where it was opened.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    async fn is_there(&self) -> Result<(), StoreError>;

    /// Adds a job that was just accepted.
    async fn insert(&self, job: &Job) -> Result<(), StoreError>;

    /// Adds a job that was just accepted, and what is answered to the request for it, unless that was answered already,
    /// after `since`: then nothing is added, and that answer is given.
    async fn insert_once(
        &self,
        job: &Job,
        answer: &Answer,
        since: Timestamp,
    ) -> Result<Option<Answer>, StoreError>;

    /// What this request was answered after `since`.
    async fn answer(
        &self,
        request: RequestKey,
        since: Timestamp,
    ) -> Result<Option<Answer>, StoreError>;

    /// Replaces `before` by `after`, and writes the transition down.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the stored version is no longer `before.version`.
    async fn advance(&self, before: &Job, after: &Job, at: Timestamp) -> Result<(), StoreError>;

    /// The job of this id.
    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// Up to `limit` ids that begin with these lower-case hex digits (1 to 32).
    async fn ids_with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<JobId>, StoreError>;

    /// Up to `limit` jobs that are `scheduled` or `retrying` and due at `now`, the earliest first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Up to `limit` jobs that are `scheduled` or `retrying`, with when they are due: after `after`, and by `until`; the earliest
    /// first.
    async fn upcoming(
        &self,
        after: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, StoreError>;

    /// When the next `scheduled` or `retrying` job is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Up to `limit` jobs that are `queued` and not held back: by priority, due time, id.
    async fn queued(&self, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Up to `limit` holds under which jobs wait, after this one, in an order of the store's own.
    async fn holds(&self, after: Option<&Hold>, limit: usize) -> Result<Vec<Hold>, StoreError>;

    /// Of the first so many jobs under each of these holds, the `limit` that go first: by priority, due time, id.
    async fn held(&self, wanted: &[(Hold, usize)], limit: usize) -> Result<Vec<Job>, StoreError>;

    /// How many jobs in the running map each of these has.
    async fn taken(&self, limits: &[Limit]) -> Result<Vec<usize>, StoreError>;

    /// How many jobs wait: how many are in the scheduled map.
    fn waiting(&self) -> usize;

    /// Counts the jobs that are `queued`: due, and not begun. Counts no further than `most`.
    async fn backlog(&self, most: usize) -> Result<usize, StoreError>;

    /// Queued jobs in whose spec a start deadline is set, and that deadline is before `now`.
    async fn queued_past_deadline(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError>;

    /// The ids of all jobs in the running map.
    async fn active(&self) -> Result<Vec<JobId>, StoreError>;

    /// Reads that all see one moment.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// A number that changes whenever a job does.
    async fn last_seq(&self) -> Result<Seq, StoreError>;

    /// A number that changes with every write, and that no later process begins with.
    async fn changes(&self) -> Result<u64, StoreError>;

    /// Up to `limit` transitions after `after`, oldest first.
    async fn journal(&self, after: Seq, limit: usize) -> Result<Vec<Transition>, StoreError>;

    /// Waits for this job to change, from now on.
    fn watch(&self, job: JobId) -> watch::Watch;

    /// Transitions as they are committed, from now on.
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Arc<Transition>>;

    /// What this store is a restored backup of, until that is [seen to](Store::forget_restored). The first time, `now` is
    /// remembered as the moment from which on it is served.
    async fn restored(&self, now: Timestamp) -> Result<Option<Restored>, StoreError>;

    /// The ids of the jobs that came with the backup and may have run elsewhere meanwhile: those in the running map, and
    /// those that were due by then.
    async fn overtaken(&self, by: Timestamp) -> Result<Vec<JobId>, StoreError>;

    /// Remembers that all of these were seen to.
    async fn forget_restored(&self) -> Result<(), StoreError>;

    /// The definition of this name.
    async fn definition(&self, name: &JobName) -> Result<Option<Definition>, StoreError>;

    /// Up to `limit` definitions in the order of their names, after the name `after`.
    async fn definitions(
        &self,
        after: Option<&JobName>,
        limit: usize,
    ) -> Result<Vec<Definition>, StoreError>;

    /// Writes a definition, in place of the one of that name.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when there is not what was expected.
    async fn define(
        &self,
        name: &JobName,
        spec: &JobSpec,
        expected: Expected<Revision>,
        at: Timestamp,
    ) -> Result<Revision, StoreError>;

    /// Removes a definition; false if there was none.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when there is not what was expected.
    async fn undefine(
        &self,
        name: &JobName,
        expected: Expected<Revision>,
    ) -> Result<bool, StoreError>;

    /// The engine that containers were created on, if any were.
    async fn engine(&self) -> Result<Option<EngineId>, StoreError>;

    /// Remembers the engine that containers are created on.
    async fn remember_engine(&self, engine: &EngineId) -> Result<(), StoreError>;
}

/// Reads that all see the moment at which the snapshot was taken. Holding one holds back the store's housekeeping:
/// drop it soon.
#[async_trait]
pub trait Snapshot: Send {
    /// Up to `limit` jobs of a map that pass the filter, in the order of their ids, after the id `after`.
    async fn page(
        &mut self,
        map: Map,
        filter: &Filter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError>;

    /// Up to `limit` jobs that are `scheduled` or `retrying` and due at `until`, the earliest first.
    async fn due(&mut self, until: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Of each of these names: how long its last runs took that succeeded, up to `limit`, by when they were accepted.
    async fn runs(
        &mut self,
        names: &[JobName],
        limit: usize,
    ) -> Result<Vec<Vec<Duration>>, StoreError>;

    /// Up to `limit` schedules in the order of their names, after the name `after`.
    async fn schedules(
        &mut self,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<Vec<ScheduleRecord>, StoreError>;
}

/// Which jobs to show; what is missing does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// This status.
    pub status: Option<Status>,
    /// This name, exactly.
    pub name: Option<String>,
    /// Made by this schedule.
    pub schedule: Option<String>,
    /// This label with this value.
    pub label: Option<(String, String)>,
}

/// One row of the journal. The first of each job has no `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Its place.
    pub seq: Seq,
    /// When it was decided.
    pub at: Timestamp,
    /// Whose.
    pub job: JobId,
    /// What the caller named.
    pub job_name: String,
    /// From which status.
    pub from: Option<Status>,
    /// To which.
    pub to: Status,
    /// In which attempt.
    pub attempt: u32,
    /// Why.
    pub reason: Option<Reason>,
    /// With which exit code.
    pub exit_code: Option<i32>,
    /// Which version of the job it made.
    pub version: Version,
}

impl Transition {
    /// Whether the job is over with it.
    pub fn is_end(&self) -> bool {
        self.to.map() == Map::History
    }
}

/// A store that was a backup: another server may have gone on with its jobs meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Of which moment.
    pub since: Timestamp,
    /// When it was served first. From then on its jobs are its own.
    pub served_at: Timestamp,
    /// The engine on which its containers were.
    pub engine: Option<EngineId>,
}

/// Why a read or a write was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The job (or the definition) has changed since it was read: read it again and decide again.
    #[error("it has changed meanwhile")]
    Outdated,
    /// The disk is full. Nothing was written.
    #[error("the data directory is full: nothing was changed; make room and try again")]
    Full,
    /// The disk or the database refuses.
    #[error("the store failed: {0}")]
    Failed(String),
    /// What is stored cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The data directory was deleted or exchanged: what is open is not what is at its path.
    #[error("the data directory is not the one that was opened: {0}")]
    Gone(String),
    /// The server is stopping.
    #[error("the store is closed")]
    Closed,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or written.
    #[error("the data directory {path} cannot be written: {detail}")]
    NotWritable {
        /// The folder.
        path: String,
        /// What the system says.
        detail: String,
    },
    /// There is no store in it.
    #[error(
        "there is no store in {path}: `--data-dir` names the folder that `tidetable serve` was given"
    )]
    NoStore {
        /// The folder.
        path: String,
    },
    /// What is in it cannot be read.
    #[error("the data directory {path} cannot be read: {detail}")]
    NotReadable {
        /// The folder.
        path: String,
        /// What the system says.
        detail: String,
    },
    /// There is no room in it for what every start needs.
    #[error("the data directory {path} is full: nothing was changed; make room, and start again")]
    Full {
        /// The folder.
        path: String,
    },
    /// Another server holds the lock.
    #[error(
        "the data directory {path} is in use by another server: stop that one, or give this one a `--data-dir` of its own"
    )]
    InUse {
        /// The folder.
        path: String,
    },
    /// A newer version wrote it.
    #[error(
        "the data directory {path} was written by a newer version (schema {found}, this one knows {known}): upgrade, or give this one a `--data-dir` of its own"
    )]
    Newer {
        /// The folder.
        path: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It is not what we wrote.
    #[error(
        "the database in {path} is damaged: {detail}; nothing was changed. `tidetable check --data-dir {path}` says what is wrong; restore a backup, or put the folder aside and begin anew"
    )]
    Damaged {
        /// The folder.
        path: String,
        /// What SQLite says.
        detail: String,
    },
}

impl OpenError {
    /// What a failed call to the file system means for this folder.
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
