//! Checkpoints copy the write-ahead log into the database beside the writer, not within it.
//!
//! SQLite itself would copy within the commit that makes the log long, and the callers of that
//! commit would wait. Here a separate connection copies while commits go on. The writer copies only
//! the few pages that were committed meanwhile, after which the log restarts. No caller waits until
//! a checkpoint is durable: the log is durable, and stays until its content is in the database.
//! When checkpoints cannot keep up, the writer waits for the current one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use tokio::task::JoinSet;

use super::connection;
use crate::store::threads::Threads;

/// The length of the log, in pages, at which a checkpoint begins (4 MiB). If a reader keeps the log
/// from restarting, the next checkpoint begins when the log has grown by as many pages again.
const PAGES: usize = 1_000;
/// The length of the log, in pages, at which the writer waits for the current checkpoint (64 MiB).
const MOST_PAGES: usize = 16_384;

/// The state that decides which connection copies the log, and when.
pub(super) struct Checkpoints {
    path: PathBuf,
    threads: Threads,
    /// The length of the log after the last commit, in pages.
    pages: Arc<AtomicUsize>,
    /// The length in pages at which the next checkpoint begins.
    next_at: usize,
    connection: Option<Connection>,
    under_way: JoinSet<Option<Connection>>,
}

impl Checkpoints {
    /// Replaces SQLite's own checkpoints on the writer's connection.
    pub(super) fn new(
        writer: &mut Connection,
        path: PathBuf,
        threads: Threads,
    ) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicUsize::new(0));
        let seen = pages.clone();
        // Setting a hook turns SQLite's own checkpoints off.
        writer.wal_hook(Some(move |_: &mut _, pages| {
            seen.store(usize::try_from(pages).unwrap_or(0), Ordering::Release);
            Ok(())
        }))?;
        Ok(Self {
            path,
            threads,
            pages,
            next_at: PAGES,
            connection: None,
            under_way: JoinSet::new(),
        })
    }

    /// Returns whether the writer has to copy the rest ([`copy`]) before its next commit. The
    /// writer calls this between two commits.
    pub(super) async fn writer_must_copy(&mut self) -> bool {
        let pages = self.pages.load(Ordering::Acquire);
        let copied = if pages >= MOST_PAGES { self.wait().await } else { self.take_back() };
        if pages < PAGES {
            self.next_at = PAGES;
        } else if copied {
            self.next_at = pages + PAGES;
            return true;
        } else if self.under_way.is_empty() && pages >= self.next_at {
            return self.begin();
        }
        false
    }

    /// Begins to copy. On the single thread of a simulation, returns true: the writer copies
    /// everything.
    fn begin(&mut self) -> bool {
        if self.threads == Threads::Inline {
            self.next_at = self.pages.load(Ordering::Acquire) + PAGES;
            return true;
        }
        let (path, known) = (self.path.clone(), self.connection.take());
        let threads = self.threads;
        self.under_way.spawn(async move {
            let copied = threads.run(move || {
                // A failure here is tried again after one of the next commits, which reports a
                // failing disk.
                let connection = known.or_else(|| connection::checkpointer(&path).ok())?;
                copy(&connection);
                Some(connection)
            });
            copied.await.ok().flatten()
        });
        false
    }

    /// Returns whether a checkpoint has ended since the last call.
    fn take_back(&mut self) -> bool {
        let Some(ended) = self.under_way.try_join_next() else { return false };
        self.connection = ended.ok().flatten();
        true
    }

    async fn wait(&mut self) -> bool {
        if let Some(ended) = self.under_way.join_next().await {
            self.connection = ended.ok().flatten();
        }
        true
    }

    /// Waits for the current checkpoint. The writer closes last and may copy the rest.
    pub(super) async fn close(mut self) {
        self.wait().await;
        let _ = self.threads.run(move || drop(self.connection)).await;
    }
}

/// Copies committed pages into the database, unless a reader still needs the old content of a page.
/// Waits for no other connection.
pub(super) fn copy(connection: &Connection) {
    let _fails_as_a_commit_would =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a database with a log, and the checkpoints of its writer.
    fn database(dir: &std::path::Path) -> (Connection, Checkpoints) {
        let path = dir.join("db");
        let mut writer = Connection::open(&path).expect("it opens");
        writer
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
            .expect("it can be written");
        let checkpoints =
            Checkpoints::new(&mut writer, path, Threads::Pool).expect("they are taken over");
        (writer, checkpoints)
    }

    /// Commits about one page per commit, as the writer does; returns the greatest length of the
    /// log.
    async fn write(writer: &Connection, checkpoints: &mut Checkpoints, commits: usize) -> usize {
        let mut most = 0;
        for _ in 0..commits {
            writer.execute("INSERT INTO t VALUES (zeroblob(3000))", []).expect("it can be written");
            if checkpoints.writer_must_copy().await {
                copy(writer);
            }
            most = most.max(checkpoints.pages.load(Ordering::Acquire));
            tokio::task::yield_now().await;
        }
        most
    }

    #[tokio::test]
    async fn log_restarts_while_the_writer_stays_busy() {
        let dir = tempfile::tempdir().expect("a folder");
        let (writer, mut checkpoints) = database(dir.path());
        writer.pragma_update(None, "synchronous", "OFF").expect("it is only a test");
        let most = write(&writer, &mut checkpoints, 40 * PAGES).await;
        assert!((PAGES..=MOST_PAGES + 2).contains(&most), "{most}");
        checkpoints.close().await;
    }

    #[tokio::test]
    async fn long_reader_keeps_the_log_and_loses_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let (writer, mut checkpoints) = database(dir.path());
        let reader = Connection::open(dir.path().join("db")).expect("it opens");
        let count = |of: &Connection| -> usize {
            let count: i64 = of
                .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                .expect("it can be read");
            usize::try_from(count).expect("a count")
        };
        reader.execute_batch("BEGIN").expect("it begins");
        assert_eq!(count(&reader), 0);
        write(&writer, &mut checkpoints, 3 * PAGES).await;
        assert!(checkpoints.pages.load(Ordering::Acquire) >= 3 * PAGES, "it cannot begin anew");
        assert_eq!((count(&reader), count(&writer)), (0, 3 * PAGES));
        reader.execute_batch("COMMIT").expect("it ends");
        write(&writer, &mut checkpoints, 3 * PAGES).await;
        assert!(checkpoints.pages.load(Ordering::Acquire) < 6 * PAGES, "it began anew");
        assert_eq!((count(&reader), count(&writer)), (6 * PAGES, 6 * PAGES));
        checkpoints.close().await;
    }
}
