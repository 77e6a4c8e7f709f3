//! All SQL of the store except that of the modules beside this one, such as `schedules` and
//! `pages`. Every query names the index that answers it, so the query planner cannot choose a scan.
//! Before it named one, `due` sorted every waiting job. A test reads the query plans.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, params};

use super::errors::failed;
use super::rows::{self, JOB_COLUMNS, JobRow, number};
use crate::domain::job::Job;
use crate::domain::names::id::{JobId, Timestamp, Version};
use crate::store::error::StoreError;

const INSERT: &str =
    "INSERT INTO jobs (id, version, name, spec, created_at, due_at, priority, start_deadline, attempt, status, detail,
         schedule, generation, nominal, queue, hold, submitted_by, rerun_of, started_at, ended_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
const ADVANCE: &str = "UPDATE jobs SET version = ?2, spec = ?3, due_at = ?4, priority = ?5, start_deadline = ?6, attempt = ?7, status = ?8, detail = ?9,
         queue = ?11, hold = ?12, started_at = ?13, ended_at = ?14
     WHERE id = ?1 AND version = ?10";
const PREFIX: &str = "SELECT id FROM jobs WHERE id >= ?1 AND id <= ?2 ORDER BY id LIMIT ?3";
/// The ids among which an ending is looked for, beside the running ones.
const NEWEST: &str = "SELECT id FROM jobs WHERE id >= zeroblob(16) ORDER BY id DESC LIMIT ?1";
const NEXT_IDS: &str = "SELECT id FROM jobs INDEXED BY jobs_due
     WHERE status IN ('scheduled', 'retrying') AND due_at >= 0 ORDER BY due_at, id LIMIT ?1";
const QUEUED_IDS: &str =
    "SELECT id FROM jobs INDEXED BY jobs_by_status WHERE status = 'queued' ORDER BY id LIMIT ?1";
/// The number of newest jobs, and of jobs that are due next, among which an ending is looked for.
/// Reading these takes a few milliseconds, regardless of the size of the store.
const RECENT_JOBS: usize = 10_000;
const NEXT_DUE: &str =
    "SELECT min(due_at) FROM jobs INDEXED BY jobs_due WHERE status IN ('scheduled', 'retrying')";
const UPCOMING: &str = "SELECT due_at, id FROM jobs INDEXED BY jobs_due
     WHERE status IN ('scheduled', 'retrying') AND due_at > ?1 AND due_at <= ?2 ORDER BY due_at, id LIMIT ?3";
const ACTIVE: &str = "SELECT id FROM jobs INDEXED BY jobs_by_status
     WHERE status IN ('pulling', 'starting', 'running', 'stopping')";
const ADD_WAITING: &str =
    "UPDATE meta SET value = CAST(value AS INTEGER) + ?1 WHERE key = 'waiting'";
const WAITING: &str = "SELECT count(*) FROM jobs INDEXED BY jobs_by_status WHERE status IN ('scheduled', 'queued', 'retrying')";
const BACKLOG: &str = "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_by_status WHERE status = 'queued' LIMIT ?1)";
const META: &str = "SELECT value FROM meta WHERE key = ?1";
const SET_META: &str = "INSERT INTO meta (key, value) VALUES (?1, ?2)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";

const UNSET_META: &str = "DELETE FROM meta WHERE key = ?1";
const OVERTAKEN: &str = "SELECT id FROM jobs INDEXED BY jobs_due
         WHERE status IN ('scheduled', 'retrying') AND due_at <= ?1 AND rowid <= ?2
     UNION ALL SELECT id FROM jobs INDEXED BY jobs_by_status
         WHERE status IN ('queued', 'pulling', 'starting', 'running', 'stopping') AND rowid <= ?2";

fn get_sql() -> String {
    format!("SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?1")
}

fn due_sql() -> String {
    format!(
        "SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_due
         WHERE status IN ('scheduled', 'retrying') AND due_at <= ?1 ORDER BY due_at, id LIMIT ?2"
    )
}

fn queued_sql() -> String {
    format!(
        "SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_queued
         WHERE status = 'queued' AND hold IS NULL ORDER BY priority DESC, due_at, id LIMIT ?1"
    )
}

fn deadline_sql() -> String {
    format!(
        "SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_queued_deadline
         WHERE status = 'queued' AND start_deadline IS NOT NULL AND start_deadline < ?1
         ORDER BY start_deadline, id LIMIT ?2"
    )
}

pub(super) fn prepared<'c>(
    connection: &'c Connection,
    sql: &str,
) -> Result<CachedStatement<'c>, StoreError> {
    connection.prepare_cached(sql).map_err(failed)
}

pub(super) fn jobs(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<Job>, StoreError> {
    let mut statement = prepared(connection, sql)?;
    let mut found = statement.query(params).map_err(failed)?;
    let mut jobs = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        jobs.push(rows::job(row)?);
    }
    Ok(jobs)
}

pub(super) fn insert(connection: &Connection, row: &JobRow) -> Result<(), StoreError> {
    let id = row.id.as_bytes();
    prepared(connection, INSERT)?
        .execute(params![
            id,
            row.version,
            row.name,
            row.spec,
            row.created_at,
            row.due_at,
            row.priority,
            row.start_deadline,
            row.attempt,
            row.status,
            row.detail,
            row.schedule,
            row.generation,
            row.nominal,
            row.queue,
            row.wait_group,
            row.submitted_by,
            row.rerun_of.as_ref().map(JobId::as_bytes),
            row.started_at,
            row.ended_at
        ])
        .map_err(failed)?;
    Ok(())
}

pub(super) fn advance(
    connection: &Connection,
    row: &JobRow,
    from: Version,
) -> Result<(), StoreError> {
    let id = row.id.as_bytes();
    let changed = prepared(connection, ADVANCE)?
        .execute(params![
            id,
            row.version,
            row.spec,
            row.due_at,
            row.priority,
            row.start_deadline,
            row.attempt,
            row.status,
            row.detail,
            number(from.0),
            row.queue,
            row.wait_group,
            row.started_at,
            row.ended_at
        ])
        .map_err(failed)?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Outdated) }
}

/// Begins one command within a transaction.
pub(super) fn savepoint(transaction: &Connection) -> Result<(), StoreError> {
    execute(transaction, "SAVEPOINT command")
}

/// Keeps the changes of the command.
pub(super) fn release(transaction: &Connection) -> Result<(), StoreError> {
    execute(transaction, "RELEASE command")
}

/// Undoes the changes of the command.
pub(super) fn undo(transaction: &Connection) -> Result<(), StoreError> {
    execute(transaction, "ROLLBACK TO command")?;
    release(transaction)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    prepared(connection, sql)?.execute([]).map(|_| ()).map_err(failed)
}

pub(super) fn get(connection: &Connection, id: JobId) -> Result<Option<Job>, StoreError> {
    Ok(jobs(connection, &get_sql(), [id.as_bytes()])?.pop())
}

pub(super) fn ids_with_prefix(
    connection: &Connection,
    prefix: &str,
    limit: usize,
) -> Result<Vec<JobId>, StoreError> {
    let Some((from, to)) = padded(prefix, '0').zip(padded(prefix, 'f')) else {
        return Ok(Vec::new());
    };
    ids(connection, PREFIX, params![from.as_bytes(), to.as_bytes(), limit_of(limit)])
}

pub(super) fn ids_with_suffix(
    connection: &Connection,
    suffix: &str,
    limit: usize,
) -> Result<Vec<JobId>, StoreError> {
    let mut found = active(connection)?;
    for part in [NEWEST, NEXT_IDS, QUEUED_IDS] {
        found.extend(ids(connection, part, params![limit_of(RECENT_JOBS)])?);
    }
    found.retain(|id| id.hex(&mut [0; 32]).ends_with(suffix));
    found.sort();
    found.dedup();
    found.truncate(limit);
    Ok(found)
}

/// Returns the first or last id that begins with these digits.
fn padded(prefix: &str, fill: char) -> Option<JobId> {
    let rest = 32_usize.checked_sub(prefix.len())?;
    format!("{prefix}{}", String::from(fill).repeat(rest)).parse().ok()
}

fn ids(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<JobId>, StoreError> {
    let mut statement = prepared(connection, sql)?;
    let found = statement.query_map(params, |row| row.get::<_, [u8; 16]>(0)).map_err(failed)?;
    found.map(|bytes| bytes.map(JobId::from_bytes).map_err(failed)).collect()
}

pub(super) fn due(
    connection: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    jobs(connection, &due_sql(), params![now.timestamp_millis(), limit_of(limit)])
}

pub(super) fn upcoming(
    connection: &Connection,
    after: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<(Timestamp, JobId)>, StoreError> {
    let mut statement = prepared(connection, UPCOMING)?;
    let within = params![after.timestamp_millis(), until.timestamp_millis(), limit_of(limit)];
    let found = statement
        .query_map(within, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?)))
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    Ok(found
        .into_iter()
        .filter_map(|(at, id)| Some((rows::instant(at)?, JobId::from_bytes(id))))
        .collect())
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let millis: Option<i64> =
        prepared(connection, NEXT_DUE)?.query_row([], |row| row.get(0)).map_err(failed)?;
    Ok(millis.and_then(rows::instant))
}

pub(super) fn queued(connection: &Connection, limit: usize) -> Result<Vec<Job>, StoreError> {
    jobs(connection, &queued_sql(), [limit_of(limit)])
}

pub(super) fn queued_past_deadline(
    connection: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    jobs(connection, &deadline_sql(), params![now.timestamp_millis(), limit_of(limit)])
}

pub(super) fn active(connection: &Connection) -> Result<Vec<JobId>, StoreError> {
    ids(connection, ACTIVE, [])
}

/// Returns the stored number of waiting jobs; counts them where no number is stored.
pub(super) fn waiting(connection: &Connection) -> Result<usize, StoreError> {
    let kept = meta(connection, "waiting")?.and_then(|count| count.parse().ok());
    kept.map_or_else(|| count_waiting(connection), Ok)
}

/// Counts the waiting jobs: a million in some tens of milliseconds.
pub(super) fn count_waiting(connection: &Connection) -> Result<usize, StoreError> {
    let count: i64 =
        prepared(connection, WAITING)?.query_row([], |row| row.get(0)).map_err(failed)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

pub(super) fn backlog(connection: &Connection, most: usize) -> Result<usize, StoreError> {
    let count: i64 = prepared(connection, BACKLOG)?
        .query_row([limit_of(most)], |row| row.get(0))
        .map_err(failed)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Adds `more` to the stored number of waiting jobs; `more` may be negative.
pub(super) fn add_waiting(connection: &Connection, more: i64) -> Result<(), StoreError> {
    prepared(connection, ADD_WAITING)?.execute([more]).map(|_| ()).map_err(failed)
}

pub(super) fn overtaken(
    connection: &Connection,
    by: Timestamp,
    last_row: i64,
) -> Result<Vec<JobId>, StoreError> {
    ids(connection, OVERTAKEN, params![by.timestamp_millis(), last_row])
}

pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    prepared(connection, META)?.query_row([key], |row| row.get(0)).optional().map_err(failed)
}

pub(super) fn set_meta(connection: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
    prepared(connection, SET_META)?.execute([key, value]).map_err(failed)?;
    Ok(())
}

pub(super) fn unset_meta(connection: &Connection, key: &str) -> Result<(), StoreError> {
    prepared(connection, UNSET_META)?.execute([key]).map_err(failed)?;
    Ok(())
}

pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{
        definitions, idempotency, outbox, overview, pages, schedules, stats, wait_groups,
    };

    /// Returns the plan of a query, one line per step.
    fn plan(connection: &Connection, sql: &str) -> Vec<String> {
        let mut statement =
            connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("the query is right");
        let parameters = vec![rusqlite::types::Null; statement.parameter_count()];
        let steps = statement
            .query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3))
            .expect("it can be explained");
        steps.collect::<Result<_, _>>().expect("its plan can be read")
    }

    #[test]
    fn every_query_uses_an_index_and_sorts_nothing() {
        let connection = Connection::open_in_memory().expect("memory");
        for migration in [
            include_str!("migrations/V1__jobs_and_journal.sql"),
            include_str!("migrations/V2__definitions.sql"),
            include_str!("migrations/V3__schedules.sql"),
            include_str!("migrations/V4__answers.sql"),
            include_str!("migrations/V5__holds.sql"),
            include_str!("migrations/V6__filters.sql"),
            include_str!("migrations/V7__config_schedules.sql"),
            include_str!("migrations/V8__outbox.sql"),
            include_str!("migrations/V10__covered_ticks.sql"),
            include_str!("migrations/V11__config_file.sql"),
            include_str!("migrations/V12__seen.sql"),
            include_str!("migrations/V13__absent_ticks.sql"),
        ] {
            connection.execute_batch(migration).expect("the schema is right");
        }
        let pages = pages::built();
        let built = [get_sql(), due_sql(), queued_sql(), deadline_sql()];
        let fixed = [
            INSERT,
            ADVANCE,
            PREFIX,
            NEWEST,
            NEXT_IDS,
            QUEUED_IDS,
            NEXT_DUE,
            ACTIVE,
            ADD_WAITING,
            WAITING,
            BACKLOG,
            META,
            SET_META,
            UNSET_META,
            OVERTAKEN,
        ];
        let of_schedules = schedules::built();
        let journal = super::super::journal::statements();
        let ended = super::super::ended::built();
        let built = pages.iter().chain(&built).chain(&of_schedules).chain(&journal).chain(&ended);
        let built = built.map(String::as_str);
        let fixed = fixed
            .into_iter()
            .chain(definitions::FIXED)
            .chain(schedules::FIXED)
            .chain(idempotency::FIXED)
            .chain(wait_groups::FIXED)
            .chain(outbox::FIXED)
            .chain(overview::FIXED)
            .chain(stats::FIXED);
        for sql in built.chain(fixed) {
            for step in plan(&connection, sql) {
                // These steps are bounded: by the limit, in the order of their own index, or by one
                // row per receiver.
                let bounded =
                    ["SCAN jobs USING INDEX jobs_queued", "SCAN receivers", "SCAN (subquery-1)"];
                // The first row of the primary key; the labels of one job.
                let mut bounded = bounded
                    .iter()
                    .chain(&["SCAN outbox", "SCAN its EXISTS VIRTUAL TABLE INDEX 3:"]);
                let bounded = bounded.any(|known| *known == step);
                assert!(
                    bounded || !(step.contains("SCAN") || step.contains("TEMP B-TREE")),
                    "{step}\n{sql}"
                );
            }
        }
    }
}
