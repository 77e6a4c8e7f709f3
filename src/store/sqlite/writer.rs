//! The writer puts all waiting commands into one transaction.
//!
//! A batch takes the commands that are there and waits for no more. So a batch is one command when
//! the store is idle and hundreds under load. Each command has a savepoint: a refused command (an
//! outdated version, an existing id) changes nothing and does not disturb the others. A full or
//! damaged disk and a failed commit fail the whole batch: nothing was changed and nothing is
//! announced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::checkpoints::{Checkpoints, copy};
use super::connection;
use super::definitions::MissingDefinitions;
use super::{errors::failed, queries};
use crate::domain::job::{Map, Status};
use crate::metrics::Metrics;
use crate::store::error::StoreError;
use crate::store::journal::{Entry, Transition};
use crate::store::open_files::OpenFiles;
use crate::store::threads::Threads;
use crate::store::watch::Watches;

/// The most commands that wait for the writer; a further caller waits.
pub(super) const WAITING: usize = 4_096;
/// The most commands in one transaction.
const BATCH: usize = 512;

/// The result of a command: the journal rows to announce.
pub(super) type Done = Result<Vec<Entry>, StoreError>;
type Work = Box<dyn FnOnce(&Connection) -> Done + Send>;
type Reply = oneshot::Sender<Result<(), StoreError>>;

/// A piece of work for the writer, and the channel for its result.
pub(super) struct Command {
    work: Work,
    reply: Reply,
}

/// The only writer of the database. Nothing is written until [`run`](Writer::run) runs.
pub struct Writer {
    connection: Connection,
    waiting: mpsc::Receiver<Command>,
    threads: Threads,
    checkpoints: Checkpoints,
    feed: CommitFeed,
    open_files: Arc<OpenFiles>,
    metrics: Metrics,
}

/// The results of a batch.
struct Written {
    replies: Vec<(Reply, Done)>,
    /// `Ok` if the commit is in the database that the next server will open.
    kept: Result<(), StoreError>,
}

/// The values and channels through which other tasks learn of commits.
#[derive(Clone)]
pub(super) struct CommitFeed {
    /// The number of the last journal row.
    pub(super) last_seq: Arc<AtomicU64>,
    /// The number of jobs in the scheduled map.
    pub(super) waiting: Arc<AtomicUsize>,
    /// The number of commits, counted from a random start.
    pub(super) changes: Arc<AtomicU64>,
    /// The names known to have no definition.
    pub(super) undefined: Arc<MissingDefinitions>,
    pub(super) entries: broadcast::Sender<Arc<Entry>>,
    /// The callers that wait for one job.
    pub(super) watches: Watches,
}

/// Hands a command over and waits until it is on disk. The writer runs a command that was handed
/// over even when the caller has gone.
pub(super) async fn submit(commands: &mpsc::Sender<Command>, work: Work) -> Result<(), StoreError> {
    let (reply, answer) = oneshot::channel();
    commands.send(Command { work, reply }).await.map_err(|_| StoreError::Closed)?;
    answer.await.unwrap_or(Err(StoreError::Closed))
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        waiting: mpsc::Receiver<Command>,
        threads: Threads,
        checkpoints: Checkpoints,
        feed: CommitFeed,
        open_files: Arc<OpenFiles>,
    ) -> Self {
        let metrics = Metrics::default();
        Self { connection, waiting, threads, checkpoints, feed, open_files, metrics }
    }

    /// Sets the metrics that record the time of each transaction.
    #[must_use]
    pub fn measured(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Writes until the store is closed and all accepted commands are done.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.waiting.recv_many(&mut batch, BATCH).await > 0 {
            let (mut connection, commands) = (self.connection, std::mem::take(&mut batch));
            let open_files = self.open_files.clone();
            let begun = tokio::time::Instant::now();
            let written = self.threads.run(move || {
                let written = write(&mut connection, commands, &open_files);
                (connection, written)
            });
            // If the thread panicked, the connection is lost with it, and nothing more can be
            // written.
            let Ok((connection, written)) = written.await else { return };
            self.connection = connection;
            let is_kept = written.kept.is_ok();
            self.metrics.committed(if is_kept { "ok" } else { "failed" }, begun.elapsed());
            self.announce(written);
            if is_kept && self.checkpoints.writer_must_copy().await {
                let connection = self.connection;
                let copied = self.threads.run(move || {
                    copy(&connection);
                    connection
                });
                let Ok(connection) = copied.await else { return };
                self.connection = connection;
            }
        }
        self.checkpoints.close().await;
        // Closing may copy the rest of the write-ahead log into the database, and deletes the log
        // by its name. Another store's log may have that name by now.
        let (connection, open_files) = (self.connection, self.open_files);
        let close = move || {
            if open_files.look().is_err() {
                let _ = connection::keep_log_on_close(&connection, true);
            }
            drop(connection);
        };
        let _ = self.threads.run(close).await;
    }

    /// Updates the counters, then sends the journal rows and the reply of each command. If the
    /// store's files are gone after the commit, every reply is an error, and the rows are
    /// announced all the same.
    fn announce(&self, written: Written) {
        self.feed.undefined.settle();
        self.feed.changes.fetch_add(1, Ordering::Release);
        for (reply, done) in written.replies {
            let answer = done.map(|entries| {
                for entry in entries {
                    self.feed.last_seq.store(entry.seq().0, Ordering::Release);
                    if let Entry::Job(transition) = &entry {
                        self.count(transition);
                        self.feed.watches.changed(transition.job);
                    }
                    // No subscribers is fine.
                    let _ = self.feed.entries.send(Arc::new(entry));
                }
            });
            // A caller that has gone is fine, too.
            let _ = reply.send(answer.and_then(|()| written.kept.clone()));
        }
    }

    /// Counts a transition when it is announced, so no reader has to count rows.
    fn count(&self, transition: &Transition) {
        match waits_more(transition) {
            1 => self.feed.waiting.fetch_add(1, Ordering::AcqRel),
            -1 => self.feed.waiting.fetch_sub(1, Ordering::AcqRel),
            _ => return,
        };
    }
}

/// Runs one transaction. **Invariant:** commands become durable only here.
fn write(connection: &mut Connection, commands: Vec<Command>, open_files: &OpenFiles) -> Written {
    let (works, replies): (Vec<Work>, Vec<Reply>) =
        commands.into_iter().map(|command| (command.work, command.reply)).unzip();
    match commit(connection, works, || open_files.look()) {
        Ok(done) => {
            Written { replies: replies.into_iter().zip(done).collect(), kept: open_files.look() }
        }
        Err(failure) => {
            let replies = replies.into_iter().map(|reply| (reply, Err(failure.clone()))).collect();
            Written { replies, kept: Err(failure) }
        }
    }
}

fn commit(
    connection: &mut Connection,
    works: Vec<Work>,
    is_there: impl FnOnce() -> Result<(), StoreError>,
) -> Result<Vec<Done>, StoreError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let done = works
        .into_iter()
        .map(|work| apply(&transaction, work))
        .collect::<Result<Vec<Done>, StoreError>>()?;
    let more: i64 = done.iter().flatten().flatten().filter_map(Entry::job).map(waits_more).sum();
    if more != 0 {
        queries::add_waiting(&transaction, more)?;
    }
    is_there()?;
    transaction.commit().map_err(failed)?;
    Ok(done)
}

/// Returns the change in the number of waiting jobs: 1, 0 or -1.
fn waits_more(transition: &Transition) -> i64 {
    let waits = |status: Status| i64::from(status.map() == Map::Scheduled);
    waits(transition.to) - transition.from.map_or(0, waits)
}

/// Runs one command. The outer error is the batch's: the transaction has to be abandoned then.
fn apply(transaction: &Connection, work: Work) -> Result<Done, StoreError> {
    queries::savepoint(transaction)?;
    let done = work(transaction);
    match &done {
        Ok(_) => queries::release(transaction)?,
        Err(
            failure @ (StoreError::Full
            | StoreError::Damaged(_)
            | StoreError::Gone(_)
            | StoreError::Closed),
        ) => {
            return Err(failure.clone());
        }
        // On some errors SQLite rolls back the whole transaction; later commands would run outside
        // of any.
        Err(failure) if transaction.is_autocommit() => return Err(failure.clone()),
        Err(StoreError::Outdated | StoreError::Failed(_)) => queries::undo(transaction)?,
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use rusqlite::params;

    use super::*;

    fn memory() -> Connection {
        let connection = Connection::open_in_memory().expect("memory");
        connection
            .execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT")
            .expect("the schema is right");
        connection
    }

    fn put(connection: &Connection, x: i64) -> Result<(), StoreError> {
        connection.execute("INSERT INTO t VALUES (?1)", params![x]).map(|_| ()).map_err(failed)
    }

    fn stored(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .expect("it can be read")
    }

    fn works(list: Vec<fn(&Connection) -> Done>) -> Vec<Work> {
        list.into_iter().map(|work| Box::new(work) as Work).collect()
    }

    #[test]
    fn failed_command_is_undone_and_others_are_kept() {
        let mut connection = memory();
        let half: fn(&Connection) -> Done = |c| put(c, 2).and(Err(StoreError::Outdated));
        let batch = works(vec![
            |c| put(c, 1).map(|()| Vec::new()),
            half,
            |c| put(c, 1).map(|()| Vec::new()),
            |c| put(c, 3).map(|()| Vec::new()),
        ]);
        let done = commit(&mut connection, batch, || Ok(())).expect("the batch is committed");
        assert!(
            matches!(
                done[..],
                [Ok(_), Err(StoreError::Outdated), Err(StoreError::Failed(_)), Ok(_)]
            ),
            "{done:?}"
        );
        assert_eq!(stored(&connection), 2);
    }

    #[test]
    fn full_disk_fails_the_whole_batch() {
        let mut connection = memory();
        let batch = works(vec![|c| put(c, 1).map(|()| Vec::new()), |_| Err(StoreError::Full)]);
        assert!(matches!(commit(&mut connection, batch, || Ok(())), Err(StoreError::Full)));
        assert_eq!(stored(&connection), 0);
        assert!(connection.is_autocommit());
    }

    #[test]
    fn nothing_is_committed_to_a_missing_store() {
        let mut connection = memory();
        let gone = || Err(StoreError::Gone("it is gone".to_owned()));
        let batch = works(vec![|c| put(c, 1).map(|()| Vec::new())]);
        assert!(matches!(commit(&mut connection, batch, gone), Err(StoreError::Gone(_))));
        assert_eq!(stored(&connection), 0);
    }

    #[test]
    fn transaction_undone_by_sqlite_fails_the_whole_batch() {
        let mut connection = memory();
        let undone: fn(&Connection) -> Done = |c| {
            c.execute_batch("INSERT OR ROLLBACK INTO t VALUES (1)").map_err(failed)?;
            Ok(Vec::new())
        };
        let batch = works(vec![|c| put(c, 1).map(|()| Vec::new()), undone, |c| {
            put(c, 5).map(|()| Vec::new())
        }]);
        assert!(matches!(commit(&mut connection, batch, || Ok(())), Err(StoreError::Failed(_))));
        assert_eq!(stored(&connection), 0);
    }
}
