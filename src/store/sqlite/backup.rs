//! Copies the database for a backup, and handles the mark that the copy carries.
//!
//! The copy is in SQLite's rollback mode: one file that needs no other, even on a read-only disk.
//! The server that opens the copy returns it to WAL mode.

use std::fs::File;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, Error, params};

use super::{
    check,
    connection::{self, FILE},
    errors::failed,
    queries, rows,
};
use crate::domain::names::id::{EngineId, JobId, Timestamp};
use crate::store::error::StoreError;
use crate::store::meta::Restored;

/// The moment of the backup. Another server may have continued the jobs since.
pub(super) const BACKUP_AT: &str = "backup_at";
/// The engine that held the containers at that moment.
const BACKUP_ENGINE: &str = "backup_engine";
/// The last copied row of jobs: later rows are this store's own.
const BACKUP_ROW: &str = "backup_row";
/// The time at which the copy was first served.
const RESTORED_AT: &str = "restored_at";

/// The content of a copy.
pub(in crate::store) struct Copied {
    pub(in crate::store) jobs: u64,
    /// The jobs that were tried, with their number of attempts. Each attempt may have a kept log.
    pub(in crate::store) attempts: Vec<(JobId, u32)>,
}

/// Copies the database of `dir` into the folder `to`, marked as a backup of `at`.
///
/// # Errors
/// [`StoreError::Full`] for `to`, [`StoreError::Damaged`] when the structure of the copy is
/// damaged.
pub(in crate::store) fn back_up(
    dir: &Path,
    to: &Path,
    at: Timestamp,
) -> Result<Copied, StoreError> {
    let from = connection::reader(&dir.join(FILE)).map_err(failed)?;
    let file = to.join(FILE);
    let mut copy = Connection::open(&file).map_err(failed)?;
    // Copies in one step. A reader does not block the writer, and a copy in several steps would
    // restart with every write.
    let step = Backup::new(&from, &mut copy).and_then(|backup| backup.step(-1)).map_err(failed)?;
    if step != StepResult::Done {
        return Err(StoreError::Failed("the database is locked".to_owned()));
    }
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
    check::pages(&copy)?;
    mark(&mut copy, at).map_err(failed)?;
    let copied = copied(&copy).map_err(failed)?;
    copy.close().map_err(|(_, error)| failed(error))?;
    let synced = File::open(&file).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(copied)
}

/// Marks the copy. A copy of a backup that was never served keeps the time of that backup.
fn mark(copy: &mut Connection, at: Timestamp) -> rusqlite::Result<()> {
    let transaction = copy.transaction()?;
    let keep = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
    transaction.execute(keep, params![BACKUP_AT, at.timestamp_millis().to_string()])?;
    transaction.execute(
        "INSERT INTO meta (key, value) SELECT ?1, value FROM meta WHERE key = 'engine' ON CONFLICT (key) DO NOTHING",
        [BACKUP_ENGINE],
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO meta (key, value) SELECT ?1, coalesce(max(rowid), 0) FROM jobs",
        [BACKUP_ROW],
    )?;
    transaction.execute("DELETE FROM meta WHERE key = ?1", [RESTORED_AT])?;
    transaction.commit()
}

fn copied(copy: &Connection) -> rusqlite::Result<Copied> {
    let jobs: i64 = copy.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))?;
    let mut statement = copy.prepare("SELECT id, attempt FROM jobs WHERE attempt > 0")?;
    let attempts =
        statement.query_map([], |row| Ok((JobId::from_bytes(row.get(0)?), row.get(1)?)))?;
    let attempts = attempts.collect::<Result<_, Error>>()?;
    Ok(Copied { jobs: u64::try_from(jobs).unwrap_or(0), attempts })
}

/// Remembers the time at which the copy was first served.
pub(super) fn note_served(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    match queries::meta(connection, RESTORED_AT)? {
        Some(_) => Ok(()),
        None => queries::set_meta(connection, RESTORED_AT, &now.timestamp_millis().to_string()),
    }
}

/// Returns the mark of a backup that was served; `None` for any other store.
pub(super) fn restored(connection: &Connection) -> Result<Option<Restored>, StoreError> {
    let mark = moment(connection, BACKUP_AT)?.zip(moment(connection, RESTORED_AT)?);
    let Some((since, served_at)) = mark else { return Ok(None) };
    let engine = queries::meta(connection, BACKUP_ENGINE)?.map(EngineId);
    Ok(Some(Restored { since, served_at, engine }))
}

fn moment(connection: &Connection, key: &str) -> Result<Option<Timestamp>, StoreError> {
    let Some(text) = queries::meta(connection, key)? else { return Ok(None) };
    let moment = text.parse().ok().and_then(rows::instant);
    moment.map(Some).ok_or_else(|| StoreError::Damaged(format!("its mark `{key}` cannot be read")))
}

/// Returns the copied jobs that may have run elsewhere until `by`.
pub(super) fn overtaken(connection: &Connection, by: Timestamp) -> Result<Vec<JobId>, StoreError> {
    let last = queries::meta(connection, BACKUP_ROW)?
        .and_then(|row| row.parse::<i64>().ok())
        .unwrap_or(i64::MAX);
    queries::overtaken(connection, by, last)
}

/// Removes the mark of a backup.
pub(super) fn forget(connection: &Connection) -> Result<(), StoreError> {
    [BACKUP_AT, BACKUP_ENGINE, BACKUP_ROW, RESTORED_AT]
        .into_iter()
        .try_for_each(|key| queries::unset_meta(connection, key))
}
