//! Checkpoints: what is in the write-ahead log is put into the database, beside the writer and not by it.
//!
//! SQLite would do it within the commit that makes the log long, and whoever waits for that commit would wait for it. Here a
//! connection of its own copies while commits go on; the writer is left with the few pages that were committed meanwhile, after which
//! the log begins anew. Nothing waits for a checkpoint to be durable: the log is, and stays until what it holds is in the database.
//! If checkpoints cannot keep up, the writer waits for the one that is under way.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use tokio::task::JoinSet;

use super::super::threads::Threads;
use super::open;

/// Pages in the log at which it is put into the database (4 MiB), and so many more each time that a reader keeps it from beginning anew.
const PAGES: usize = 1_000;
/// Pages in the log at which the writer waits (64 MiB).
const MOST_PAGES: usize = 16_384;

/// When the log is put into the database, and by whom.
pub(super) struct Checkpoints {
    path: PathBuf,
    threads: Threads,
    /// How long the log is since the last commit, in pages.
    pages: Arc<AtomicUsize>,
    /// How long it has to be for the next checkpoint.
    next_at: usize,
    connection: Option<Connection>,
    under_way: JoinSet<Option<Connection>>,
}

impl Checkpoints {
    /// Takes them over from the writer's connection.
    pub(super) fn new(
        writer: &mut Connection,
        path: PathBuf,
        threads: Threads,
    ) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicUsize::new(0));
        let seen = pages.clone();
        // In place of SQLite's own checkpoints.
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

    /// To be called between two commits: whether the writer has to copy what is left ([`copy`]) before the next.
    pub(super) async fn is_turn_of_writer(&mut self) -> bool {
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

    /// Begins to copy; on the one thread of a simulation the writer does all of it.
    fn begin(&mut self) -> bool {
        if self.threads == Threads::Inline {
            self.next_at = self.pages.load(Ordering::Acquire) + PAGES;
            return true;
        }
        let (path, known) = (self.path.clone(), self.connection.take());
        let threads = self.threads;
        self.under_way.spawn(async move {
            let copied = threads.run(move || {
                // What fails here is tried again with one of the next commits, and says so if it is the disk.
                let connection = known.or_else(|| open::checkpointer(&path).ok())?;
                copy(&connection);
                Some(connection)
            });
            copied.await.ok().flatten()
        });
        false
    }

    /// Whether a checkpoint has ended since the last look.
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

    /// Ends what is under way. The writer closes last: it may copy the rest.
    pub(super) async fn close(mut self) {
        self.wait().await;
        let _ = self.threads.run(move || drop(self.connection)).await;
    }
}

/// Puts into the database what is committed and no reader still needs as it was, and waits for nobody.
pub(super) fn copy(connection: &Connection) {
    let _fails_as_a_commit_would =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with a log, and the checkpoints of its writer.
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

    /// Commits about so many pages, one commit a page, as the writer does; gives how long the log was at most.
    async fn write(writer: &Connection, checkpoints: &mut Checkpoints, commits: usize) -> usize {
        let mut most = 0;
        for _ in 0..commits {
            writer.execute("INSERT INTO t VALUES (zeroblob(3000))", []).expect("it can be written");
            if checkpoints.is_turn_of_writer().await {
                copy(writer);
            }
            most = most.max(checkpoints.pages.load(Ordering::Acquire));
            tokio::task::yield_now().await;
        }
        most
    }

    #[tokio::test]
    async fn the_log_begins_anew_though_the_writer_never_rests() {
        let dir = tempfile::tempdir().expect("a folder");
        let (writer, mut checkpoints) = database(dir.path());
        writer.pragma_update(None, "synchronous", "OFF").expect("it is only a test");
        let most = write(&writer, &mut checkpoints, 40 * PAGES).await;
        assert!((PAGES..=MOST_PAGES + 2).contains(&most), "{most}");
        checkpoints.close().await;
    }

    #[tokio::test]
    async fn a_reader_that_stays_keeps_the_log_and_loses_nothing() {
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
