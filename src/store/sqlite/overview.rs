//! The reads of the tide chart and of the summary. Jobs that are over are read from the index
//! `jobs_ended` alone, which covers every column that the chart needs.

use std::path::Path;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::errors::failed;
use super::queries::{self, limit_of, prepared};
use super::rows::instant;
use super::schedules;
use crate::domain::job::Status;
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::schedule::ledger::LedgerRow;
use crate::domain::tide::{PastRun, PastRuns};
use crate::store::error::StoreError;
use crate::store::totals::Totals;

/// The jobs that ended since `?1` and began by `?2`.
const ENDED: &str = "SELECT ended_at, started_at, due_at, status, name, schedule, id
     FROM jobs INDEXED BY jobs_ended
     WHERE ended_at >= ?1 AND (ended_at <= ?2 OR started_at <= ?2)";
/// The starts and ends since `?1`.
const ENDED_SINCE: &str = "SELECT status, started_at, due_at FROM jobs INDEXED BY jobs_ended
     WHERE ended_at >= ?1";
/// The ticks without a job of their own that did not run, the last first.
const ABSENT: &str = "SELECT generation, first, last, late, outcome, reason, job, covered, schedule
     FROM ledger INDEXED BY ledger_absent
     WHERE outcome IN ('skipped', 'missed') AND last >= ?1 AND first <= ?2
         AND (job IS NULL OR covered = 1) AND (?3 IS NULL OR schedule = ?3)
     ORDER BY last DESC LIMIT ?4";
const COUNT: &str = "SELECT count(*) FROM jobs INDEXED BY jobs_by_status WHERE status = ?1";
const OLDEST: &str = "SELECT created_at FROM jobs WHERE id > x'' ORDER BY id LIMIT 1";
const BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";

/// Every statement, for the test that reads their plans.
#[cfg(test)]
pub(super) const FIXED: [&str; 5] = [ENDED, ENDED_SINCE, ABSENT, COUNT, OLDEST];

/// Adds the jobs that ended in or after the window, and began before its end.
pub(super) fn ended(connection: &Connection, mut past: PastRuns) -> Result<PastRuns, StoreError> {
    let window = past.window();
    let (from, to) = (window.from.timestamp_millis(), window.to.timestamp_millis());
    let mut statement = prepared(connection, ENDED)?;
    let mut found = statement.query(params![from, to]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        let text = |column| {
            row.get_ref(column).map_err(failed)?.as_str_or_null().map_err(|error| {
                StoreError::Damaged(format!("the index of ended jobs cannot be read: {error}"))
            })
        };
        let status = text(3)?.and_then(Status::from_word);
        let (Some(status), Some(name)) = (status, text(4)?) else { continue };
        past.add(&PastRun {
            job: JobId::from_bytes(row.get(6).map_err(failed)?),
            name,
            schedule: text(5)?,
            status,
            started_at: row.get(1).map_err(failed)?,
            ended_at: row.get(0).map_err(failed)?,
            due_at: row.get(2).map_err(failed)?,
        });
    }
    Ok(past)
}

/// Returns up to `limit` rows of ticks without a job that did not run, the last first, each with
/// its schedule.
pub(super) fn absent(
    connection: &Connection,
    from: Timestamp,
    to: Timestamp,
    only: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, LedgerRow)>, StoreError> {
    let mut statement = prepared(connection, ABSENT)?;
    let within = params![from.timestamp_millis(), to.timestamp_millis(), only, limit_of(limit)];
    let mut found = statement.query(within).map_err(failed)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        rows.push((row.get(8).map_err(failed)?, schedules::ledger_row(row)?));
    }
    Ok(rows)
}

/// Returns figures about the whole store, and about the jobs that ended since `since`.
pub(super) fn totals(
    connection: &Connection,
    path: &Path,
    since: Timestamp,
) -> Result<Totals, StoreError> {
    let mut by_status = Vec::new();
    for status in Status::ALL {
        let count: i64 =
            prepared(connection, COUNT)?.query_row([status.as_str()], first).map_err(failed)?;
        if count > 0 {
            by_status.push((*status, u64::try_from(count).unwrap_or(0)));
        }
    }
    let (ended, lateness_ms) = ended_since(connection, since)?;
    let oldest: Option<i64> =
        prepared(connection, OLDEST)?.query_row([], first).optional().map_err(failed)?;
    let bytes: i64 = prepared(connection, BYTES)?.query_row([], first).map_err(failed)?;
    let disk = rustix::fs::statvfs(path.parent().unwrap_or(path)).ok();
    Ok(Totals {
        by_status,
        ended,
        lateness_ms,
        next_due_at: queries::next_due(connection)?,
        oldest_at: oldest.and_then(instant),
        bytes: u64::try_from(bytes).unwrap_or(0),
        disk_free_bytes: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
    })
}

/// The median and the 99th percentile, in milliseconds.
type Lateness = (i64, i64);
/// The number of jobs of each status.
type Counts = Vec<(Status, u64)>;

/// Counts the jobs that ended since `since`, and returns the median and the 99th percentile of the
/// lateness of their starts.
fn ended_since(
    connection: &Connection,
    since: Timestamp,
) -> Result<(Counts, Option<Lateness>), StoreError> {
    let (mut ended, mut late) = (vec![0_u64; Status::ALL.len()], Vec::new());
    let mut statement = prepared(connection, ENDED_SINCE)?;
    let mut found = statement.query([since.timestamp_millis()]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        let word = row.get_ref(0).map_err(failed)?.as_str().unwrap_or_default();
        let place = Status::ALL.iter().position(|status| status.as_str() == word);
        if let Some(count) = place.and_then(|place| ended.get_mut(place)) {
            *count += 1;
        }
        let started: Option<i64> = row.get(1).map_err(failed)?;
        let due: i64 = row.get(2).map_err(failed)?;
        late.extend(started.map(|started| (started - due).max(0)));
    }
    let ended = Status::ALL.iter().copied().zip(ended).filter(|(_, count)| *count > 0).collect();
    late.sort_unstable();
    let at = |percent: usize| late.get((late.len() * percent / 100).min(late.len().max(1) - 1));
    Ok((ended, at(50).copied().zip(at(99).copied())))
}

fn first<T: FromSql>(row: &Row<'_>) -> rusqlite::Result<T> {
    row.get(0)
}
