//! The store itself: its parts, and each operation as a query or a command.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::connection::FILE;
use super::writer::Writer;
use super::{idempotency, journal, open, queries, rows, wait_groups, writer};
use super::{outbox, schedules};
use crate::domain::job::Job;
use crate::domain::job::wait_group::{Limit, WaitGroup};
use crate::domain::names::actor::Actor;
use crate::domain::names::id::{InstanceId, JobId, Seq, Timestamp};
use crate::domain::schedule::ledger::TickEffect;
use crate::store::lock::DirLock;
use crate::store::open_files::OpenFiles;
use crate::store::threads::Threads;
use crate::store::watch::{Watch, Watches};
use crate::store::{DispatchStore, JobStore, Journal};
use crate::store::{
    error::OpenError,
    idempotency::{RequestKey, StoredResponse},
};
use crate::store::{
    error::StoreError,
    journal::{ENTRIES_BUFFERED, Entry, ObjectChange, Transition},
    snapshot::Snapshot,
};

use super::checkpoints::Checkpoints;
use super::errors::{broken, failed};
use super::pool::{Pool, SqliteSnapshot};
use super::writer::CommitFeed;

/// The most reads at once.
const READERS: usize = 4;
/// The most open snapshots; a further caller waits.
const SNAPSHOTS: usize = 8;

/// A store in a data directory. The store holds the directory's lock until it is dropped.
pub struct SqliteStore {
    pub(super) instance: InstanceId,
    pub(super) threads: Threads,
    pub(super) dir: PathBuf,
    pub(super) verified: bool,
    commands: Mutex<Option<mpsc::Sender<writer::Command>>>,
    readers: Pool,
    snapshots: Pool,
    pub(super) feed: CommitFeed,
    pub(super) open_files: Arc<OpenFiles>,
    _lock: DirLock,
}

impl SqliteStore {
    /// Opens the store in this directory, or makes one with the id `id_if_new`. Nothing is written
    /// until the returned [`Writer`] runs.
    ///
    /// # Errors
    /// [`OpenError`]: the directory cannot be written, is in use, or holds data that this version
    /// cannot read.
    pub fn open(
        dir: &Path,
        threads: Threads,
        id_if_new: InstanceId,
    ) -> Result<(Arc<Self>, Writer), OpenError> {
        let lock = DirLock::take(dir)?;
        let mut opened = open::open(dir, id_if_new)?;
        let path = dir.join(FILE);
        let checkpoints = Checkpoints::new(&mut opened.connection, path.clone(), threads);
        let checkpoints = checkpoints.map_err(|error| OpenError::NotWritable {
            path: dir.display().to_string(),
            detail: failed(error).to_string(),
        })?;
        let open_files = OpenFiles::new(dir, &path, opened.user_version)
            .map_err(|error| OpenError::of_io(dir, &error))?;
        let open_files = Arc::new(open_files);
        let (commands, waiting) = mpsc::channel(writer::WAITING);
        let feed = CommitFeed {
            last_seq: Arc::new(AtomicU64::new(opened.last_seq)),
            waiting: Arc::new(AtomicUsize::new(opened.waiting)),
            // Each process begins at a random count, so a count from an earlier process never
            // matches.
            changes: Arc::new(AtomicU64::new(RandomState::new().hash_one(0))),
            undefined: Arc::default(),
            entries: broadcast::Sender::new(ENTRIES_BUFFERED),
            watches: Watches::default(),
        };
        let writer = Writer::new(
            opened.connection,
            waiting,
            threads,
            checkpoints,
            feed.clone(),
            open_files.clone(),
        );
        let store = Self {
            instance: opened.instance,
            threads,
            dir: dir.to_owned(),
            verified: opened.verified,
            commands: Mutex::new(Some(commands)),
            readers: Pool::new(path.clone(), READERS, open_files.clone()),
            snapshots: Pool::new(path, SNAPSHOTS, open_files.clone()),
            feed,
            open_files,
            _lock: lock,
        };
        Ok((Arc::new(store), writer))
    }

    /// Stops accepting reads and writes. The writer ends after the accepted commands.
    pub async fn close(&self) {
        self.readers.close();
        self.snapshots.close();
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = self.readers.clone();
        let permit = pool.permit().await?;
        self.threads
            .run(move || {
                let borrowed = pool.borrow(permit)?;
                let answer = query(&borrowed.connection);
                pool.give_back(borrowed);
                answer
            })
            .await
            .map_err(broken)?
    }

    pub(super) async fn write(
        &self,
        work: impl FnOnce(&Connection) -> Result<Option<Entry>, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.write_many(move |connection| work(connection).map(|done| done.into_iter().collect()))
            .await
    }

    pub(super) async fn write_many(
        &self,
        work: impl FnOnce(&Connection) -> writer::Done + Send + 'static,
    ) -> Result<(), StoreError> {
        let commands = self
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or(StoreError::Closed)?;
        writer::submit(&commands, Box::new(work)).await
    }

    /// Runs a write that returns a value.
    pub(super) async fn write_and_tell<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<(T, Option<Entry>), StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answered) = oneshot::channel();
        self.write(move |connection| {
            let (said, entry) = work(connection)?;
            // A receiver that was dropped is fine.
            let _ = reply.send(said);
            Ok(entry)
        })
        .await?;
        answered.await.map_err(|_| StoreError::Closed)
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn insert(&self, job: &Job) -> Result<(), StoreError> {
        let row = rows::JobRow::of(job)?;
        let transition = journal::transition(None, job, job.created_at, job.submitted_by.as_ref());
        self.write(move |connection| {
            queries::insert(connection, &row)?;
            journal::add(connection, transition).map(Entry::Job).map(Some)
        })
        .await
    }

    async fn insert_idempotent(
        &self,
        job: &Job,
        answer: &StoredResponse,
        since: Timestamp,
    ) -> Result<Option<StoredResponse>, StoreError> {
        let (row, answer, at) = (rows::JobRow::of(job)?, answer.clone(), job.created_at);
        let transition = journal::transition(None, job, at, job.submitted_by.as_ref());
        self.write_and_tell(move |connection| {
            if let Some(earlier) = idempotency::get(connection, answer.request, since)? {
                return Ok((Some(earlier), None));
            }
            idempotency::forget(connection, since)?;
            idempotency::put(connection, &answer, at)?;
            queries::insert(connection, &row)?;
            Ok((None, Some(Entry::Job(journal::add(connection, transition)?))))
        })
        .await
    }

    async fn stored_response(
        &self,
        request: RequestKey,
        since: Timestamp,
    ) -> Result<Option<StoredResponse>, StoreError> {
        self.read(move |connection| idempotency::get(connection, request, since)).await
    }

    async fn advance(
        &self,
        before: &Job,
        after: &Job,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let row = rows::JobRow::of(after)?;
        let transition = journal::transition(Some(before), after, at, Some(by));
        let version = before.version;
        let (origin, news) = (after.origin.clone(), TickEffect::of(before, after));
        let notifications = outbox::NotificationRow::of(after);
        self.write(move |connection| {
            queries::advance(connection, &row, version)?;
            schedules::note(connection, row.id, origin.schedule(), news)?;
            let transition = journal::add(connection, transition)?;
            notifications.put(connection, &transition)?;
            Ok(Some(Entry::Job(transition)))
        })
        .await
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(move |connection| queries::get(connection, id)).await
    }

    async fn ids_with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |connection| queries::ids_with_prefix(connection, &prefix, limit)).await
    }

    async fn ids_with_suffix(&self, suffix: &str, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let suffix = suffix.to_owned();
        self.read(move |connection| queries::ids_with_suffix(connection, &suffix, limit)).await
    }

    async fn active(&self) -> Result<Vec<JobId>, StoreError> {
        self.read(queries::active).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let pool = self.snapshots.clone();
        let permit = pool.permit().await?;
        let (borrowing, threads) = (pool.clone(), self.threads);
        let borrowed = threads
            .run(move || {
                let borrowed = borrowing.borrow(permit)?;
                // The first read fixes the moment: `BEGIN` alone does not.
                borrowed
                    .connection
                    .execute_batch("BEGIN; SELECT 1 FROM meta LIMIT 1;")
                    .map_err(failed)?;
                Ok::<_, StoreError>(borrowed)
            })
            .await
            .map_err(broken)??;
        Ok(Box::new(SqliteSnapshot { borrowed: Some(borrowed), pool, threads }))
    }
}

#[async_trait]
impl DispatchStore for SqliteStore {
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.read(move |connection| queries::due(connection, now, limit)).await
    }

    async fn upcoming(
        &self,
        after: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, StoreError> {
        self.read(move |connection| queries::upcoming(connection, after, until, limit)).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(queries::next_due).await
    }

    async fn queued(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.read(move |connection| queries::queued(connection, limit)).await
    }

    async fn wait_groups(
        &self,
        after: Option<&WaitGroup>,
        limit: usize,
    ) -> Result<Vec<WaitGroup>, StoreError> {
        let after = after.cloned();
        self.read(move |connection| wait_groups::wait_groups(connection, after.as_ref(), limit))
            .await
    }

    async fn waiting_in_groups(
        &self,
        wanted: &[(WaitGroup, usize)],
        limit: usize,
    ) -> Result<Vec<Job>, StoreError> {
        let wanted = wanted.to_vec();
        self.read(move |connection| wait_groups::in_groups(connection, &wanted, limit)).await
    }

    async fn taken(&self, limits: &[Limit]) -> Result<Vec<usize>, StoreError> {
        let limits = limits.to_vec();
        self.read(move |connection| wait_groups::taken(connection, &limits)).await
    }

    fn waiting(&self) -> usize {
        self.feed.waiting.load(Ordering::Acquire)
    }

    async fn backlog(&self, most: usize) -> Result<usize, StoreError> {
        self.read(move |connection| queries::backlog(connection, most)).await
    }

    async fn queued_past_deadline(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError> {
        self.read(move |connection| queries::queued_past_deadline(connection, now, limit)).await
    }
}

#[async_trait]
impl Journal for SqliteStore {
    async fn last_seq(&self) -> Result<Seq, StoreError> {
        Ok(Seq(self.feed.last_seq.load(Ordering::Acquire)))
    }

    async fn changes(&self) -> Result<u64, StoreError> {
        Ok(self.feed.changes.load(Ordering::Acquire))
    }

    async fn first_seq(&self) -> Result<Option<Seq>, StoreError> {
        self.read(journal::first_seq).await
    }

    async fn journal(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read(move |connection| journal::after(connection, after, limit)).await
    }

    async fn journal_of(
        &self,
        job: JobId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Transition>, StoreError> {
        self.read(move |connection| journal::of_job(connection, job, after, limit)).await
    }

    async fn note(&self, change: ObjectChange) -> Result<(), StoreError> {
        self.write(move |connection| journal::add_other(connection, change).map(Some)).await
    }

    fn watch(&self, job: JobId) -> Watch {
        self.feed.watches.watch(job)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.feed.entries.subscribe()
    }
}
