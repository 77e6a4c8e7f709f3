//! The data directory: made, checked, and locked for as long as the store is open.
//!
//! The lock is the kernel's, on a file in the directory: it is gone with the process however that ends, so nothing has to
//! be cleaned up after a `kill -9`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::OpenError;

/// Holds the data directory.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Makes the directory if it is missing (readable by its owner alone), and locks it.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.display().to_string();
        let not_writable = |source| OpenError::NotWritable { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(not_writable)?;
        let file = OpenOptions::new().create(true).append(true).open(dir.join("lock")).map_err(not_writable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(not_writable(source)),
        }
    }
}

/// Makes new names in a directory survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
