//! A copy of a data directory that is one itself: taken beside a running server, there whole or not at all.
//!
//! First the database, as of one moment (SQLite's own backup, from a connection that only reads), then the kept logs
//! that it needs: they are written before the result that names them, and never changed. All of it is made under
//! another name, synced, and renamed.
//!
//! The copy carries a mark ([`Restored`](super::Restored)): whoever serves it looks first for what ran since.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use chrono::SecondsFormat;
use serde::Serialize;

use super::lock::{is_in_use, sync_dir};
use super::{OpenError, StoreError, logs, sqlite};
use crate::domain::id::Timestamp;

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// From where.
    pub data_dir: String,
    /// To where.
    pub destination: String,
    /// What was acknowledged before this moment is in it.
    pub at: String,
    /// How many jobs.
    pub jobs: u64,
    /// How many kept logs.
    pub logs: u64,
}

/// Why there is no backup. Nothing is left of it then, and the store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read, or should not be: a damaged one is no backup.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// There is something already.
    #[error(
        "{0} is there already, and a backup replaces nothing: give it a name of its own, such as one with the date"
    )]
    Exists(String),
    /// No room.
    #[error("there is no room for the backup beside {0}; nothing was left there")]
    Full(String),
    /// The system refuses.
    #[error("the backup {path} cannot be written: {detail}")]
    NotWritable {
        /// Where it was to be.
        path: String,
        /// What the system says.
        detail: String,
    },
}

/// Copies the store in `dir` to `destination`, which must not be there. `at` is now.
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

/// A folder that is not yet under its name. Dropped before it is finished, it is gone.
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

    /// What is in it is synced already.
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

/// Copies a file, and makes its bytes survive a power cut; its name is up to who syncs the folder.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}
