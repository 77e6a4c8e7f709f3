//! Checks that the open files are still the ones at their paths.
//!
//! An open file outlives its name. A server whose data directory was deleted or exchanged would
//! continue to write into files that no later server finds. So the writer checks before it commits,
//! and again before an answer leaves. A check costs a few `stat` calls.
//!
//! SQLite makes and deletes the log (`-wal`) and its index (`-shm`) only when the first connection
//! opens or the last one closes. A checkpoint truncates them in place. So a check while a
//! connection is open never raises a false alarm.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::{error, info};

use super::error::StoreError;

/// An open file or folder, and the path where it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Keeps the file open, because the system reuses the number of a deleted inode at once. `None`
    /// where another owner keeps the file open.
    held: Option<File>,
}

impl OpenFile {
    /// Opens the file or the folder and keeps it open.
    pub(super) fn hold(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            device: about.dev(),
            inode: about.ino(),
            held: Some(file),
        })
    }

    /// Describes a file that another owner keeps open as long as the entry is used.
    fn of_held(path: PathBuf) -> io::Result<Self> {
        let about = fs::metadata(&path)?;
        Ok(Self { path, device: about.dev(), inode: about.ino(), held: None })
    }

    /// Returns why the path no longer leads to the open file; `None` if it does.
    pub(super) fn fault(&self) -> Option<String> {
        let path = self.path.display();
        match fs::metadata(&self.path) {
            Ok(about) if (about.dev(), about.ino()) == (self.device, self.inode) => None,
            Ok(_) => Some(format!("{path} is not the one that was opened")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("{path} is gone"))
            }
            Err(error) => Some(format!("{path} cannot be looked at: {error}")),
        }
    }
}

/// The header bytes that stay the same while the database is open: the write format (bytes 18 and
/// 19) and `user_version` (bytes 60 to 63). Each start sets `user_version` anew.
type HeaderMark = [u8; 6];

/// The open files of the store.
///
/// Closing any handle of a database gives up all locks of the process on it. So every owner of a
/// connection keeps this value until the connection is closed.
#[derive(Debug)]
pub(super) struct OpenFiles {
    database: OpenFile,
    others: Vec<OpenFile>,
    /// The valid marks: as found at the start, and as written by the next checkpoint.
    marks: [HeaderMark; 2],
    /// The fault that the last check found.
    known: Mutex<Option<String>>,
}

impl OpenFiles {
    /// Opens the files of the store in `dir`. Its `database` is open and has this `user_version`.
    ///
    /// # Errors
    /// Fails when a file of the store cannot be read.
    pub(super) fn new(dir: &Path, database: &Path, user_version: i32) -> io::Result<Self> {
        let beside = |suffix: &str| {
            let mut path = database.as_os_str().to_owned();
            path.push(suffix);
            OpenFile::of_held(PathBuf::from(path))
        };
        let others = vec![
            OpenFile::hold(dir)?,
            OpenFile::of_held(dir.join("lock"))?,
            beside("-wal")?,
            beside("-shm")?,
        ];
        let database = OpenFile::hold(database)?;
        let found = mark(&database)?;
        let mut next = found;
        next[2..].copy_from_slice(&user_version.to_be_bytes());
        Ok(Self { database, others, marks: [found, next], known: Mutex::default() })
    }

    /// Checks that the paths still lead to the open files. Logs each change once.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    pub(super) fn look(&self) -> Result<(), StoreError> {
        let fault = self.fault();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match (known.as_ref(), fault.as_ref()) {
            (None, Some(fault)) => error!(
                %fault,
                "the data directory was deleted or exchanged: nothing is written, claimed or started. Put back what was there, and the server goes on; or stop the server, restore a backup there, and start it"
            ),
            (Some(_), None) => info!("the data directory is back as it was: the server goes on"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        known.clone_from(&fault);
        fault.map_or(Ok(()), |fault| Err(StoreError::Gone(fault)))
    }

    fn fault(&self) -> Option<String> {
        // The folder comes first: when it is missing, all others are.
        let moved = self.others.iter().chain([&self.database]).find_map(OpenFile::fault);
        moved.or_else(|| {
            let path = self.database.path.display();
            match mark(&self.database) {
                Ok(mark) if self.marks.contains(&mark) => None,
                Ok(_) => Some(format!("{path} was written over with another database")),
                Err(error) => Some(format!("{path} cannot be read: {error}")),
            }
        })
    }
}

fn mark(database: &OpenFile) -> io::Result<HeaderMark> {
    let mut header = [0; 64];
    if let Some(file) = &database.held {
        file.read_exact_at(&mut header, 0)?;
    }
    let mut mark = [0; 6];
    mark[..2].copy_from_slice(&header[18..20]);
    mark[2..].copy_from_slice(&header[60..64]);
    Ok(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> OpenFiles {
        fs::write(dir.join("lock"), "").expect("a file");
        for name in ["db", "db-wal", "db-shm"] {
            fs::write(dir.join(name), [2; 100]).expect("a file");
        }
        OpenFiles::new(dir, &dir.join("db"), 7).expect("all are there")
    }

    #[test]
    fn moved_folder_is_accepted_once_put_back() {
        let above = tempfile::tempdir().expect("a folder");
        let (dir, aside) = (above.path().join("a"), above.path().join("b"));
        fs::create_dir(&dir).expect("a folder");
        let place = place(&dir);
        assert!(place.look().is_ok());
        fs::rename(&dir, &aside).expect("it can be moved");
        assert!(matches!(place.look(), Err(StoreError::Gone(why)) if why.ends_with("is gone")));
        fs::create_dir(&dir).expect("another folder");
        assert!(matches!(place.look(), Err(StoreError::Gone(why)) if why.contains("not the one")));
        fs::remove_dir(&dir).and_then(|()| fs::rename(&aside, &dir)).expect("it can be put back");
        assert!(place.look().is_ok());
    }

    #[test]
    fn exchanging_any_file_is_noticed() {
        for name in ["lock", "db", "db-wal", "db-shm"] {
            let dir = tempfile::tempdir().expect("a folder");
            let place = place(dir.path());
            fs::copy(dir.path().join(name), dir.path().join("copy")).expect("a copy");
            fs::rename(dir.path().join("copy"), dir.path().join(name))
                .expect("it can be exchanged");
            assert!(
                matches!(place.look(), Err(StoreError::Gone(why)) if why.contains(name)),
                "{name}"
            );
        }
    }

    #[test]
    fn overwritten_database_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = place(dir.path());
        fs::write(dir.path().join("db"), [2; 50]).expect("it can be cut");
        assert!(place.look().is_err());
        fs::write(dir.path().join("db"), [1; 100]).expect("it can be written over");
        assert!(place.look().is_err());
    }

    #[test]
    fn truncated_log_is_still_the_same_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = place(dir.path());
        File::options()
            .write(true)
            .open(dir.path().join("db-wal"))
            .and_then(|log| log.set_len(0))
            .expect("it is cut");
        assert!(place.look().is_ok());
    }
}
