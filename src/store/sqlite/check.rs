//! Checks that the database is whole. SQLite has no checksums of its pages, so the check compares
//! the rows with each other. Every row must be readable, and the journal must lead without a gap to
//! the state of each job.
//!
//! [`check`] reads everything as of one moment. A server reads less: the structure of the pages of
//! the database file, and all jobs and schedules that are yet to run ([`check_unfinished`]). The
//! server reads these before it serves a small store, and while it serves a large one.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};

use super::schema::Schema;
use super::{
    connection::{self, FILE},
    definitions,
    errors::failed,
    pages, queries, rows, schedules, wal,
};
use crate::domain::job::{Job, Map, Status};
use crate::domain::names::id::{InstanceId, JobId};
use crate::store::report::Report;
use crate::store::{
    error::{OpenError, StoreError},
    journal::{Entry, Transition},
};

/// All tables of a store.
const TABLES: [&str; 10] = [
    "meta",
    "jobs",
    "journal",
    "definitions",
    "schedules",
    "generations",
    "ledger",
    "answers",
    "job_labels",
    "outbox",
];
/// The most of SQLite's own findings.
const FINDINGS: usize = 20;

/// Returns the damage of the write-ahead log, if any. Only valid while no server has the log open.
pub(in crate::store) fn log_damage(dir: &Path) -> io::Result<Option<String>> {
    wal::damage(&dir.join(format!("{FILE}-wal")))
}

/// Reads everything and adds damage to the report.
///
/// # Errors
/// Fails when the system refuses, or when a newer version wrote the database.
pub(in crate::store) fn check(dir: &Path, report: &mut Report) -> Result<(), OpenError> {
    let path = || dir.display().to_string();
    match all(&dir.join(FILE), report) {
        Ok(Schema::Ours | Schema::Older { .. }) => Ok(()),
        Ok(Schema::Newer { found, known }) => Err(OpenError::Newer { path: path(), found, known }),
        Err(StoreError::Damaged(detail)) => {
            report.found(format!("the database cannot be read on: {detail}"));
            Ok(())
        }
        Err(other) => Err(OpenError::NotReadable { path: path(), detail: other.to_string() }),
    }
}

fn all(file: &Path, report: &mut Report) -> Result<Schema, StoreError> {
    let connection = connection::reader(file).map_err(failed)?;
    // The first read fixes the moment.
    connection.execute_batch("BEGIN; SELECT 1 FROM sqlite_master LIMIT 1").map_err(failed)?;
    let schema = Schema::of(&connection).map_err(failed)?;
    match schema {
        Schema::Ours => tables(&connection, report)?,
        Schema::Older { found, known } => {
            structure(&connection, report)?;
            report.notes.push(format!(
                "an earlier version wrote it (schema {found}, and this version has {known}): the database was checked as SQLite does, and what is in it is checked once a server has been started on it"
            ));
        }
        Schema::Newer { .. } => {}
    }
    Ok(schema)
}

fn tables(connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    structure(connection, report)?;
    if !has_tables(connection)? {
        report.found("the tables of a store are not in the database");
        return Ok(());
    }
    let instance = queries::meta(connection, "instance")?;
    if instance.is_none_or(|id| id.parse::<InstanceId>().is_err()) {
        report.found(
            "its instance id is gone or cannot be read: with it, containers are found again",
        );
    }
    let journal = journal(connection, report)?;
    jobs(connection, journal, report)?;
    all_definitions(connection, report)?;
    all_schedules(connection, report)?;
    if queries::waiting(connection)? != queries::count_waiting(connection)? {
        report.found("how many jobs wait is not what is written down");
    }
    let labels = pages::loose_labels(connection)?;
    if labels > 0 {
        report.found(format!("{labels} labels are not found under what their jobs say"));
    }
    Ok(())
}

fn structure(connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    for sql in
        [format!("PRAGMA integrity_check({FINDINGS})"), "PRAGMA foreign_key_check".to_owned()]
    {
        let mut statement = connection.prepare(&sql).map_err(failed)?;
        let mut lines = statement.query([]).map_err(failed)?;
        while let Some(line) = lines.next().map_err(failed)? {
            let text: String = line.get(0).map_err(failed)?;
            if text != "ok" {
                report.found(format!("SQLite finds: {}", text.trim().replace('\n', " ")));
            }
        }
    }
    Ok(())
}

fn has_tables(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
    for table in TABLES {
        let there: i64 = connection.query_row(sql, [table], |row| row.get(0)).map_err(failed)?;
        if there == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Checks that every definition can be read.
fn all_definitions(connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    let sql = "SELECT revision, name, spec, changed_at FROM definitions ORDER BY revision";
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let mut found = statement.query([]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        if let Err(failure) = definitions::definition(row) {
            report.found(failure.to_string());
        }
    }
    Ok(())
}

/// Checks that every schedule can be read, and that the ledger names existing jobs.
fn all_schedules(connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    if let Err(failure) = schedules::readable(connection) {
        report.found(failure.to_string());
    }
    let rows = schedules::loose_rows(connection)?;
    if rows > 0 {
        report.found(format!(
            "{rows} rows of the ledger name a job that is not there, or not theirs"
        ));
    }
    Ok(())
}

/// Returns the last row of each job; checks that each row follows from the job's previous one.
fn journal(
    connection: &Connection,
    report: &mut Report,
) -> Result<HashMap<JobId, Transition>, StoreError> {
    let mut statement = connection.prepare(&super::journal::all_sql()).map_err(failed)?;
    let mut found = statement.query([]).map_err(failed)?;
    let mut last: HashMap<JobId, Transition> = HashMap::new();
    while let Some(row) = found.next().map_err(failed)? {
        let row = match super::journal::entry(row) {
            Ok(Entry::Job(row)) => row,
            Ok(Entry::Other(_)) => continue,
            Err(failure) => {
                report.found(failure.to_string());
                continue;
            }
        };
        report.transitions += 1;
        let before = last.get(&row.job);
        if !follows(&row, before) {
            report.found(format!(
                "row {} of the journal does not follow from the one before it of job {}",
                row.seq.0, row.job
            ));
        }
        last.insert(row.job, row);
    }
    Ok(last)
}

/// Checks that versions have no gap, each row leaves the status that the previous one entered, and
/// every claim begins another attempt.
fn follows(row: &Transition, before: Option<&Transition>) -> bool {
    let Some(before) = before else {
        return row.version.0 == 0 && row.from.is_none() && row.attempt == 0;
    };
    let claimed = before.to.map() == Map::Scheduled && row.to == Status::Starting;
    row.version == before.version.next()
        && row.from == Some(before.to)
        && row.attempt >= before.attempt + u32::from(claimed)
}

/// Checks that every job can be read and agrees with its last journal row.
fn jobs(
    connection: &Connection,
    mut journal: HashMap<JobId, Transition>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT {}, priority, start_deadline, queue, hold FROM jobs ORDER BY rowid",
        rows::JOB_COLUMNS
    );
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let mut found = statement.query([]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        report.jobs += 1;
        let last = row.get(0).ok().map(JobId::from_bytes).and_then(|id| journal.remove(&id));
        match rows::job(row) {
            Ok(job) => {
                let right = rows::JobRow::of(&job)?;
                let columns =
                    |row: &Row<'_>| Ok((row.get(14)?, row.get(15)?, row.get(16)?, row.get(17)?));
                if columns(row).map_err(failed)?
                    != (right.priority, right.start_deadline, right.queue, right.wait_group)
                {
                    let id = job.id;
                    report.found(format!(
                        "job {id}: its priority, start deadline, queue or hold is not what it says"
                    ));
                }
                compare(&job, last.as_ref(), report);
            }
            Err(failure) => report.found(failure.to_string()),
        }
    }
    for job in journal.keys() {
        report.found(format!("job {job} is in the journal, and not among the jobs"));
    }
    Ok(())
}

fn compare(job: &Job, last: Option<&Transition>, report: &mut Report) {
    let id = job.id;
    let Some(last) = last else {
        return report.found(format!("job {id} is not in the journal"));
    };
    let (stands, said) =
        ((job.version, job.state.status(), job.attempt.0), (last.version, last.to, last.attempt));
    if job.name.as_str() != last.job_name
        || (job.state.reason(), job.state.exit_code()) != (last.reason, last.exit_code)
    {
        report
            .found(format!("job {id}: its name, reason or exit code is not what the journal says"));
    }
    if stands != said {
        report.found(format!(
            "job {id} is {} at version {}, and the journal ends with {} at version {}",
            stands.1, stands.0.0, said.1, said.0.0
        ));
    }
}

/// Checks the structure of the pages of the database file.
///
/// # Errors
/// [`StoreError::Damaged`] with the first finding.
pub(super) fn pages(connection: &Connection) -> Result<(), StoreError> {
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(StoreError::Damaged(verdict.trim().replace('\n', " ")))
    }
}

/// Checks that every unfinished job and every schedule can be read. The dispatcher reads due jobs
/// in order, so one unreadable job would keep others from being started.
///
/// # Errors
/// [`StoreError::Damaged`] that names the job or schedule.
pub(super) fn check_unfinished(connection: &Connection) -> Result<(), StoreError> {
    let mut status = String::new();
    while let Some(next) = next_status(connection, &status)? {
        let is_over = Status::from_word(&next).is_some_and(|status| status.map() == Map::History);
        if !is_over {
            of_status(connection, &next)?;
        }
        status = next;
    }
    schedules::readable(connection)
}

/// Returns the next status word in the table, also a word that is no status.
fn next_status(connection: &Connection, after: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT status FROM jobs INDEXED BY jobs_by_status WHERE status > ?1 ORDER BY status LIMIT 1";
    connection.query_row(sql, [after], |row| row.get(0)).optional().map_err(failed)
}

fn of_status(connection: &Connection, status: &str) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT {} FROM jobs INDEXED BY jobs_by_status WHERE status = ?1",
        rows::JOB_COLUMNS
    );
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let mut found = statement.query([status]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        rows::job(row)?;
    }
    Ok(())
}
