//! The figures of the store: counts along an index, and first rows of indexes.

use std::fs;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::errors::failed;
use super::queries::prepared;
use super::rows::{instant, unsigned};
use super::store::SqliteStore;
use crate::domain::job::{Map, State, Status};
use crate::domain::names::id::Timestamp;
use crate::domain::names::schedule::ScheduleName;
use crate::store::error::StoreError;
use crate::store::stats::{LastEnd, StatsStore, StoreStats};

/// The most priorities, and the most wait groups, that are looked at.
const MOST: usize = 1_000;

/// Walks the index of one status: some tens of milliseconds for a million jobs.
const COUNT: &str = "SELECT count(*) FROM jobs INDEXED BY jobs_by_status WHERE status = ?1";
const FIRST_DUE: &str = "SELECT due_at, queue FROM jobs INDEXED BY jobs_due
     WHERE status IN ('scheduled', 'retrying') AND due_at <= ?1 ORDER BY due_at, id LIMIT 1";
/// Steps from one priority to the next lower one.
const FIRST_QUEUED: &str = "SELECT priority, due_at, queue FROM jobs INDEXED BY jobs_queued
     WHERE status = 'queued' AND hold IS NULL AND priority < ?1
     ORDER BY priority DESC, due_at, id LIMIT 1";
const NEXT_GROUP: &str = "SELECT hold FROM jobs INDEXED BY jobs_held
     WHERE status = 'queued' AND hold IS NOT NULL AND hold > ?1 ORDER BY hold LIMIT 1";
const FIRST_IN_GROUP: &str = "SELECT priority, due_at, queue FROM jobs INDEXED BY jobs_held
     WHERE status = 'queued' AND hold IS NOT NULL AND hold = ?2 AND priority < ?1
     ORDER BY priority DESC, due_at, id LIMIT 1";
/// Notifications are numbered in the order in which they are made.
const OLDEST_NOTIFICATION: &str = "SELECT made_at FROM outbox ORDER BY id LIMIT 1";
const LAST_END: &str = "SELECT detail FROM jobs INDEXED BY jobs_by_schedule
     WHERE schedule = ?1 AND status = ?2 ORDER BY id DESC LIMIT 1";

/// All statements, for the test that reads their plans.
#[cfg(test)]
pub(super) const FIXED: [&str; 7] =
    [COUNT, FIRST_DUE, FIRST_QUEUED, NEXT_GROUP, FIRST_IN_GROUP, OLDEST_NOTIFICATION, LAST_END];

type Due = (Option<String>, Timestamp);

#[async_trait]
impl StatsStore for SqliteStore {
    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        let dir = self.dir.clone();
        self.read(move |connection| {
            let (bytes, disk_free) = sizes(&dir).map_err(|error| {
                StoreError::Failed(format!("the data directory cannot be measured: {error}"))
            })?;
            // All counts are of one moment.
            let _moment = connection.unchecked_transaction().map_err(failed)?;
            Ok(StoreStats {
                jobs: counts(connection)?,
                oldest_due: oldest_due(connection, now)?,
                oldest_notification: oldest_notification(connection)?,
                bytes,
                disk_free,
            })
        })
        .await
    }

    async fn last_ends(&self, schedules: &[ScheduleName]) -> Result<Vec<Vec<LastEnd>>, StoreError> {
        let schedules = schedules.to_vec();
        self.read(move |connection| {
            schedules.iter().map(|schedule| last_ends(connection, schedule)).collect()
        })
        .await
    }
}

/// Returns the size of the database with its log, and the free space on its disk.
fn sizes(dir: &std::path::Path) -> std::io::Result<(u64, u64)> {
    let size = |suffix: &str| {
        let path = dir.join(format!("{}{suffix}", super::connection::FILE));
        fs::metadata(path).map_or(0, |about| about.len())
    };
    let disk = rustix::fs::statvfs(dir)?;
    Ok((size("") + size("-wal"), disk.f_bavail.saturating_mul(disk.f_frsize)))
}

fn counts(connection: &Connection) -> Result<Vec<(Status, u64)>, StoreError> {
    let mut statement = prepared(connection, COUNT)?;
    let mut count = |status: &Status| {
        let count: i64 =
            statement.query_row([status.as_str()], |row| row.get(0)).map_err(failed)?;
        Ok((*status, unsigned(count)))
    };
    Status::ALL.iter().map(&mut count).collect()
}

fn oldest_due(connection: &Connection, now: Timestamp) -> Result<Vec<Due>, StoreError> {
    let mut found = Vec::new();
    let first: Option<(i64, Option<String>)> = prepared(connection, FIRST_DUE)?
        .query_row([now.timestamp_millis()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(failed)?;
    found.extend(first.and_then(|(due, queue)| Some((queue, instant(due)?))));
    first_of_each_priority(connection, None, &mut found)?;
    let mut groups = prepared(connection, NEXT_GROUP)?;
    let mut last = String::new();
    for _ in 0..MOST {
        let next: Option<String> =
            groups.query_row([&last], |row| row.get(0)).optional().map_err(failed)?;
        let Some(next) = next else { break };
        first_of_each_priority(connection, Some(&next), &mut found)?;
        last = next;
    }
    Ok(found)
}

/// Adds the oldest job of each priority: of a wait group, or of the jobs in none.
fn first_of_each_priority(
    connection: &Connection,
    group: Option<&str>,
    found: &mut Vec<Due>,
) -> Result<(), StoreError> {
    let mut statement =
        prepared(connection, if group.is_some() { FIRST_IN_GROUP } else { FIRST_QUEUED })?;
    let mut below = i64::MAX;
    for _ in 0..MOST {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let first = match group {
            Some(group) => statement.query_row(params![below, group], read),
            None => statement.query_row([below], read),
        };
        let first: Option<(i64, i64, Option<String>)> = first.optional().map_err(failed)?;
        let Some((priority, due, queue)) = first else { break };
        found.extend(instant(due).map(|due| (queue, due)));
        below = priority;
    }
    Ok(())
}

fn oldest_notification(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let made: Option<i64> = prepared(connection, OLDEST_NOTIFICATION)?
        .query_row([], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    Ok(made.and_then(instant))
}

fn last_ends(connection: &Connection, schedule: &ScheduleName) -> Result<Vec<LastEnd>, StoreError> {
    let mut statement = prepared(connection, LAST_END)?;
    let mut ends = Vec::new();
    for status in Status::ALL.iter().filter(|status| status.map() == Map::History) {
        let detail: Option<Option<String>> = statement
            .query_row([schedule.as_str(), status.as_str()], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        // Skips an end that cannot be read: the others are still valid.
        let state = detail.and_then(|detail| State::from_parts(*status, detail.as_deref()).ok());
        let at = state.as_ref().and_then(State::end).map(|end| end.at);
        ends.extend(at.map(|at| LastEnd { status: *status, at }));
    }
    Ok(ends)
}
