//! The reasons why a read, a write or the opening of a store failed.

use std::io;
use std::path::Path;

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

    pub(super) fn not_readable(dir: &Path, error: &io::Error) -> Self {
        Self::NotReadable { path: dir.display().to_string(), detail: error.to_string() }
    }
}
