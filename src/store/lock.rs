//! The data directory: made, checked, and locked while the store is open.
//!
//! The lock is the kernel's, on a file in the directory. The kernel releases it whenever the
//! process ends, so nothing has to be cleaned up after a `kill -9`.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::OpenError;

/// The lock of a data directory, released on drop.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Makes the directory if missing (accessible only to its owner) and locks it.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let refused = |error| OpenError::of_io(dir, &error);
        make_dir(dir).map_err(refused)?;
        let file =
            OpenOptions::new().create(true).append(true).open(dir.join("lock")).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(OpenError::InUse { path: dir.display().to_string() })
            }
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}

/// Returns whether a server has this directory open. Tests the lock with a shared lock, released at
/// once.
pub(super) fn is_in_use(dir: &Path) -> Result<bool, OpenError> {
    let asked = match File::open(dir.join("lock")) {
        Ok(file) => file.try_lock_shared(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => Err(TryLockError::Error(error)),
    };
    match asked {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(OpenError::not_readable(dir, &error)),
    }
}

/// Makes a directory and its missing parents, and syncs each name.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above =
        dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(above)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => Err(error),
        Ok(()) | Err(_) => sync_dir(above),
    }
}

/// Syncs a directory, so new names in it survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Copies a file and syncs its bytes. Syncing the folder, for the file's name, is left to the
/// caller.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::copy(from, to)?;
    File::open(to)?.sync_all()
}
