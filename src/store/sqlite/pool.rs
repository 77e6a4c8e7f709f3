//! Read-only connections, and snapshots, which own one each.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection;
use super::{
    errors::{broken, failed},
    overview, pages, queries, schedules,
};
use crate::domain::job::{Job, Map};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::image::JobName;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::ledger::LedgerRow;
use crate::domain::schedule::record::ScheduleRecord;
use crate::domain::tide::PastRuns;
use crate::store::open_files::OpenFiles;
use crate::store::threads::Threads;
use crate::store::{
    error::StoreError,
    snapshot::{Filter, Snapshot},
    totals::Totals,
};

/// A limited number of read-only connections, opened when first needed.
#[derive(Clone)]
pub(super) struct Pool {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    open_files: Arc<OpenFiles>,
}

/// A connection and the permit to use it.
pub(super) struct Borrowed {
    pub(super) connection: Connection,
    _permit: OwnedSemaphorePermit,
}

/// A read transaction on a connection of its own, which shows one moment of the store.
pub(super) struct SqliteSnapshot {
    pub(super) borrowed: Option<Borrowed>,
    pub(super) pool: Pool,
    pub(super) threads: Threads,
}

impl SqliteSnapshot {
    async fn read<T: Send + 'static>(
        &mut self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // A dropped call took the connection along, so the moment is lost.
        let borrowed = self
            .borrowed
            .take()
            .ok_or_else(|| StoreError::Failed("the snapshot was given up".to_owned()))?;
        let read = self.threads.run(move || {
            let answer = query(&borrowed.connection);
            (borrowed, answer)
        });
        let (borrowed, answer) = read.await.map_err(broken)?;
        self.borrowed = Some(borrowed);
        answer
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    async fn page(
        &mut self,
        map: Map,
        filter: &Filter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError> {
        let filter = filter.clone();
        self.read(move |connection| pages::page(connection, map, &filter, after, limit)).await
    }

    async fn due(&mut self, until: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.read(move |connection| queries::due(connection, until, limit)).await
    }

    async fn runs(
        &mut self,
        names: &[JobName],
        limit: usize,
    ) -> Result<Vec<Vec<Duration>>, StoreError> {
        let names = names.to_vec();
        self.read(move |connection| {
            names.iter().map(|name| pages::runs(connection, name, limit)).collect()
        })
        .await
    }

    async fn schedules(
        &mut self,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<Vec<ScheduleRecord>, StoreError> {
        // The empty name sorts before every name.
        let after = after.map(ToString::to_string).unwrap_or_default();
        self.read(move |connection| schedules::page(connection, &after, limit)).await
    }

    async fn ended(&mut self, past: PastRuns) -> Result<PastRuns, StoreError> {
        self.read(move |connection| overview::ended(connection, past)).await
    }

    async fn absent_ticks(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        only: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, LedgerRow)>, StoreError> {
        let only = only.map(str::to_owned);
        self.read(move |connection| overview::absent(connection, from, to, only.as_deref(), limit))
            .await
    }

    async fn totals(&mut self, since: Timestamp) -> Result<Totals, StoreError> {
        let path = self.pool.path.clone();
        self.read(move |connection| overview::totals(connection, &path, since)).await
    }
}

impl Drop for SqliteSnapshot {
    fn drop(&mut self) {
        if let Some(borrowed) = self.borrowed.take()
            && borrowed.connection.execute_batch("ROLLBACK").is_ok()
        {
            self.pool.give_back(borrowed);
        }
    }
}

impl Pool {
    pub(super) fn new(path: PathBuf, most: usize, open_files: Arc<OpenFiles>) -> Self {
        Self { path, idle: Arc::default(), permits: Arc::new(Semaphore::new(most)), open_files }
    }

    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)
    }

    pub(super) fn borrow(&self, permit: OwnedSemaphorePermit) -> Result<Borrowed, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                // The path may lead to another database than the open one.
                self.open_files.look()?;
                connection::reader(&self.path).map_err(failed)?
            }
        };
        Ok(Borrowed { connection, _permit: permit })
    }

    /// Closes the idle connections and opens no more. The last connection to close copies the
    /// write-ahead log into the database, which a read-only one cannot do.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn give_back(&self, borrowed: Borrowed) {
        if self.permits.is_closed() {
            return;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(borrowed.connection);
    }
}
