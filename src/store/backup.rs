//! Copies a data directory beside a running server. The copy is a data directory itself, and either
//! complete or absent.
//!
//! First comes the database as of one moment, through SQLite's own backup from a read-only
//! connection. Then come the kept logs that this database names: each log is written before the
//! result that names it, and never changed. The backup is made under another name, synced, and
//! renamed.
//!
//! The copy carries a mark ([`Restored`](super::meta::Restored)). A server that opens the copy
//! first reconciles its jobs with everything that ran since the backup.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use chrono::SecondsFormat;
use serde::Serialize;

use super::lock::{is_in_use, sync_dir};
use super::{
    error::{OpenError, StoreError},
    logs, sqlite,
};
use crate::domain::names::id::Timestamp;

/// The content and the paths of a finished backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The path that was copied.
    pub data_dir: String,
    /// The path of the backup.
    pub destination: String,
    /// The moment of the backup (RFC 3339). The backup contains everything that was acknowledged
    /// before.
    pub at: String,
    /// The number of copied jobs.
    pub jobs: u64,
    /// The number of copied logs.
    pub logs: u64,
}

/// The reasons why a backup failed. Nothing is left of the backup then, and the store is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read, or is damaged: a copy of damage is no backup.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The destination exists, and a backup replaces nothing.
    #[error(
        "{0} is there already, and a backup replaces nothing: give it a name of its own, such as one with the date"
    )]
    Exists(String),
    /// The disk of the destination is full.
    #[error("there is no room for the backup beside {0}; nothing was left there")]
    Full(String),
    /// The system refused to write the backup.
    #[error("the backup {path} cannot be written: {detail}")]
    NotWritable {
        path: String,
        /// The system's error message.
        detail: String,
    },
}

/// Copies the store in `dir` to `destination`, which must not exist. `at` is the current time.
///
/// # Errors
/// [`BackupError`].
pub fn back_up(dir: &Path, destination: &Path, at: Timestamp) -> Result<Backup, BackupError> {
    refuse_damage(dir)?;
    let refused = |error: &io::Error| BackupError::of_io(destination, error);
    if fs::symlink_metadata(destination).is_ok() {
        return Err(BackupError::Exists(destination.display().to_string()));
    }
    let unfinished = Unfinished::beside(destination).map_err(|error| refused(&error))?;
    let needed = sqlite::back_up(dir, &unfinished.path, at).map_err(|failure| match failure {
        StoreError::Full => BackupError::Full(destination.display().to_string()),
        StoreError::Damaged(detail) => {
            BackupError::Store(OpenError::Damaged { path: dir.display().to_string(), detail })
        }
        other => BackupError::NotWritable {
            path: destination.display().to_string(),
            detail: other.to_string(),
        },
    })?;
    let logs = logs::back_up(&dir.join("logs"), &unfinished.path.join("logs"), &needed.attempts)
        .map_err(|error| refused(&error))?;
    unfinished.finish(destination).map_err(|error| refused(&error))?;
    Ok(Backup {
        data_dir: dir.display().to_string(),
        destination: destination.display().to_string(),
        at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
        jobs: needed.jobs,
        logs,
    })
}

fn refuse_damage(dir: &Path) -> Result<(), OpenError> {
    let path = dir.display().to_string();
    if !dir.join(sqlite::FILE).is_file() {
        return Err(OpenError::NoStore { path });
    }
    let damage = sqlite::log_damage(dir).map_err(|error| OpenError::not_readable(dir, &error))?;
    match damage {
        Some(detail) if !is_in_use(dir)? => Err(OpenError::Damaged { path, detail }),
        Some(_) | None => Ok(()),
    }
}

impl BackupError {
    fn of_io(destination: &Path, error: &io::Error) -> Self {
        let path = destination.display().to_string();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            _ => Self::NotWritable { path, detail: error.to_string() },
        }
    }
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { data_dir, destination, at, jobs, logs } = self;
        write!(f, "{data_dir} as of {at} is in {destination}: {jobs} jobs and {logs} kept logs")
    }
}

/// A folder under its temporary name. Dropping it before `finish` deletes the folder.
struct Unfinished {
    path: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    fn beside(destination: &Path) -> io::Result<Self> {
        let name = destination.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
        let path = above(destination).join(format!(".{name}.{}.unfinished", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, is_finished: false })
    }

    /// Moves the folder to its destination. The files in it are synced already.
    fn finish(mut self, destination: &Path) -> io::Result<()> {
        sync_dir(&self.path)?;
        fs::rename(&self.path, destination)?;
        self.is_finished = true;
        sync_dir(above(destination))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn above(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
