//! Checks a large store after it was opened, so a start does not wait for the check.

use rusqlite::InterruptHandle;

use super::{
    check,
    connection::{self, FILE},
    errors::{broken, failed},
    store::SqliteStore,
};
use crate::store::error::{OpenError, StoreError};

/// A guard that interrupts the connection's work when the future that waits for it is dropped.
struct Interrupting(InterruptHandle);

impl Drop for Interrupting {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

impl SqliteStore {
    /// Checks the parts that `open` did not: the structure of the pages, and everything that is yet
    /// to run. Dropping the future stops the check.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] as at the opening, or [`OpenError::NotReadable`] when the store
    /// cannot be read.
    pub async fn verify(&self) -> Result<(), OpenError> {
        let path = self.dir.display().to_string();
        self.read_all().await.map_err(|failure| match failure {
            StoreError::Damaged(detail) => OpenError::Damaged { path, detail },
            other => OpenError::NotReadable { path, detail: other.to_string() },
        })
    }

    async fn read_all(&self) -> Result<(), StoreError> {
        if self.verified {
            return Ok(());
        }
        let file = self.dir.join(FILE);
        let connection = self
            .threads
            .run(move || connection::reader(&file).map_err(failed))
            .await
            .map_err(broken)??;
        let _interrupts = Interrupting(connection.get_interrupt_handle());
        let read =
            move || check::pages(&connection).and_then(|()| check::check_unfinished(&connection));
        self.threads.run(read).await.map_err(broken)?
    }
}
