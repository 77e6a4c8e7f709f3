//! Copies kept logs for a backup. Hard links would not do, because linked files share their damage.

use std::fs;
use std::io;
use std::path::Path;

use super::files::file_of;
use crate::domain::names::id::{Attempt, JobId};
use crate::store::lock::copy;
use crate::store::lock::sync_dir;

/// Copies the kept output of these attempts and returns the number of files. Some attempts have
/// none.
pub(in crate::store) fn back_up(
    from: &Path,
    to: &Path,
    attempts: &[(JobId, u32)],
) -> io::Result<u64> {
    fs::create_dir(to)?;
    let mut copied = 0;
    for (job, last) in attempts {
        for attempt in (1..=*last).map(Attempt) {
            let (from, to) = (file_of(from, *job, attempt), file_of(to, *job, attempt));
            if from.exists() {
                fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
                copy(&from, &to)?;
                copied += 1;
            }
        }
    }
    for shelf in fs::read_dir(to)? {
        sync_dir(&shelf?.path())?;
    }
    sync_dir(to)?;
    Ok(copied)
}
