//! The files of kept output: names, and the amount that a file keeps.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::names::id::{Attempt, JobId};

/// The suffix of a file until it is complete.
pub(super) const UNFINISHED: &str = ".unfinished";

/// The amount of kept output, without the line that reports the drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The number of lines.
    pub lines: u64,
    /// The bytes that a reader gets: text and line ends.
    pub bytes: u64,
    /// True if output exceeded the limit and the rest was dropped.
    pub truncated: bool,
}

pub(super) fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

pub(super) fn file_of(dir: &Path, job: JobId, attempt: Attempt) -> PathBuf {
    let id = job.to_string();
    dir.join(&id[30..]).join(format!("{id}-{attempt}.log.zst"))
}
