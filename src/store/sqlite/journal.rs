//! The journal in the database: its rows, written in the transaction of their change, and read in
//! order or for one job.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::errors::failed;
use super::queries::{limit_of, prepared};
use super::rows::{instant, number, unsigned};
use crate::domain::job::{Job, Reason, Status};
use crate::domain::names::actor::Actor;
use crate::domain::names::change::{Change, Kind};
use crate::domain::names::id::{JobId, Seq, Timestamp, Version};
use crate::store::error::StoreError;
use crate::store::journal::{Entry, ObjectChange, Transition};

const ADD: &str =
    "INSERT INTO journal (at, job, job_name, from_status, to_status, attempt, reason, exit_code, version, by, error, schedule)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const ADD_OTHER: &str =
    "INSERT INTO journal (at, job, job_name, to_status, attempt, version, by, kind)
     VALUES (?1, x'', ?2, ?3, 0, 0, ?4, ?5)";
/// The columns of a row, in the order in which [`entry`] reads them.
const COLUMNS: &str = "seq, at, job, job_name, from_status, to_status, attempt, reason, exit_code, version, by, error, schedule, kind";
/// The kind of a row about a job.
const JOB: &str = "job";

fn after_sql() -> String {
    format!("SELECT {COLUMNS} FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2")
}

fn of_job_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM journal INDEXED BY journal_by_job
         WHERE kind = 'job' AND job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"
    )
}

pub(super) fn all_sql() -> String {
    format!("SELECT {COLUMNS} FROM journal ORDER BY seq")
}

/// Every statement, for the test that reads their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    vec![ADD.to_owned(), ADD_OTHER.to_owned(), after_sql(), of_job_sql()]
}

/// Builds the journal row for a job that went from `before` to `after`. The row gets its number
/// when it is written.
pub(super) fn transition(
    before: Option<&Job>,
    after: &Job,
    at: Timestamp,
    by: Option<&Actor>,
) -> Transition {
    Transition {
        seq: Seq(0),
        at,
        by: by.cloned(),
        job: after.id,
        job_name: after.name.to_string(),
        schedule: after.origin.schedule().map(|origin| origin.schedule.to_string()),
        from: before.map(|job| job.state.status()),
        to: after.state.status(),
        attempt: after.attempt.0,
        reason: after.state.reason(),
        error: after.state.error().map(str::to_owned),
        exit_code: after.state.exit_code(),
        version: after.version,
    }
}

/// Writes a transition and returns it with its row number.
pub(super) fn add(
    connection: &Connection,
    transition: Transition,
) -> Result<Transition, StoreError> {
    let t = &transition;
    prepared(connection, ADD)?
        .execute(params![
            t.at.timestamp_millis(),
            t.job.as_bytes(),
            t.job_name,
            t.from.map(Status::as_str),
            t.to.as_str(),
            t.attempt,
            t.reason.map(|reason| reason.as_str()),
            t.exit_code,
            number(t.version.0),
            t.by.as_ref().map(ToString::to_string),
            t.error,
            t.schedule
        ])
        .map_err(failed)?;
    Ok(Transition { seq: last_row(connection), ..transition })
}

/// Writes a change of something other than a job and returns it with its row number.
pub(super) fn add_other(
    connection: &Connection,
    change: ObjectChange,
) -> Result<Entry, StoreError> {
    let by = change.by.as_ref().map(ToString::to_string);
    prepared(connection, ADD_OTHER)?
        .execute(params![
            change.at.timestamp_millis(),
            change.name,
            change.change.as_str(),
            by,
            change.kind.as_str()
        ])
        .map_err(failed)?;
    Ok(Entry::Other(ObjectChange { seq: last_row(connection), ..change }))
}

fn last_row(connection: &Connection) -> Seq {
    Seq(unsigned(connection.last_insert_rowid()))
}

pub(super) fn after(
    connection: &Connection,
    after: Seq,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    entries(connection, &after_sql(), params![number(after.0), limit_of(limit)])
}

pub(super) fn of_job(
    connection: &Connection,
    job: JobId,
    after: Seq,
    limit: usize,
) -> Result<Vec<Transition>, StoreError> {
    let params = params![job.as_bytes(), number(after.0), limit_of(limit)];
    let rows = entries(connection, &of_job_sql(), params)?;
    Ok(rows
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Job(transition) => Some(transition),
            Entry::Other(_) => None,
        })
        .collect())
}

fn entries(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<Entry>, StoreError> {
    let mut statement = prepared(connection, sql)?;
    let mut found = statement.query(params).map_err(failed)?;
    let mut entries = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        entries.push(entry(row)?);
    }
    Ok(entries)
}

/// Returns the number of the last row that was ever written; 0 before the first.
pub(super) fn last_seq(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let seq: i64 = connection.query_row(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'journal'",
        [],
        |row| row.get(0),
    )?;
    Ok(unsigned(seq))
}

/// Returns the number of the oldest row.
pub(super) fn first_seq(connection: &Connection) -> Result<Option<Seq>, StoreError> {
    prepared(connection, "SELECT seq FROM journal ORDER BY seq LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()
        .map(|seq| seq.map(|seq: i64| Seq(unsigned(seq))))
        .map_err(failed)
}

/// Reads a row of [`COLUMNS`].
pub(super) fn entry(row: &Row<'_>) -> Result<Entry, StoreError> {
    let seq: i64 = row.get(0).map_err(failed)?;
    let damaged = || StoreError::Damaged(format!("row {seq} of the journal cannot be read"));
    let seq = Seq(unsigned(seq));
    let at = instant(row.get(1).map_err(failed)?).ok_or_else(damaged)?;
    let by: Option<String> = row.get(10).map_err(failed)?;
    let by = by.as_deref().map(Actor::from_text);
    let kind: String = row.get(13).map_err(failed)?;
    if kind == JOB {
        return Ok(Entry::Job(Transition { seq, at, by, ..of_a_job(row, seq, at, &damaged)? }));
    }
    let change: String = row.get(5).map_err(failed)?;
    Ok(Entry::Other(ObjectChange {
        seq,
        at,
        by,
        kind: Kind::from_word(&kind).ok_or_else(damaged)?,
        name: row.get(3).map_err(failed)?,
        change: Change::from_word(&change).ok_or_else(damaged)?,
    }))
}

fn of_a_job(
    row: &Row<'_>,
    seq: Seq,
    at: Timestamp,
    damaged: &dyn Fn() -> StoreError,
) -> Result<Transition, StoreError> {
    let status = |index| -> Result<Option<Status>, StoreError> {
        let word: Option<String> = row.get(index).map_err(failed)?;
        word.map(|word| Status::from_word(&word).ok_or_else(damaged)).transpose()
    };
    let reason: Option<String> = row.get(7).map_err(failed)?;
    Ok(Transition {
        seq,
        at,
        by: None,
        job: JobId::from_bytes(row.get(2).map_err(failed)?),
        job_name: row.get(3).map_err(failed)?,
        schedule: row.get(12).map_err(failed)?,
        from: status(4)?,
        to: status(5)?.ok_or_else(damaged)?,
        attempt: row.get(6).map_err(failed)?,
        reason: reason.map(|word| Reason::from_word(&word).ok_or_else(damaged)).transpose()?,
        error: row.get(11).map_err(failed)?,
        exit_code: row.get(8).map_err(failed)?,
        version: Version(unsigned(row.get(9).map_err(failed)?)),
    })
}
