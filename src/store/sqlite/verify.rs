//! What of a large store is read after it was opened, so that a start does not wait for it.

use rusqlite::InterruptHandle;

use super::super::{OpenError, StoreError};
use super::{FILE, SqliteStore, broken, check, failed, open};

/// Ends what a connection does when nobody waits for it any more.
struct Interrupting(InterruptHandle);

impl Drop for Interrupting {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

impl SqliteStore {
    /// Reads what was not read when it was opened: that the pages hang together, and all that is yet to run. Dropping the
    /// future ends it.
    ///
    /// # Errors
    /// [`OpenError::Damaged`], as when it is opened; or what keeps it from being read.
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
            .run(move || open::reader(&file).map_err(failed))
            .await
            .map_err(broken)??;
        let _interrupts = Interrupting(connection.get_interrupt_handle());
        let read =
            move || check::pages(&connection).and_then(|()| check::what_is_to_run(&connection));
        self.threads.run(read).await.map_err(broken)?
    }
}
