//! Schedules and their ledger in SQLite: the SQL, and the conversion of rows to records.

use rusqlite::{Connection, Params, Row, ToSql, params};

use super::queries::{self, limit_of, prepared};
use super::rows::{JOB_COLUMNS, JobRow, instant, number, unsigned};
use super::{errors::failed, journal, outbox};
use crate::domain::job::Reason;
use crate::domain::names::actor::Actor;
use crate::domain::names::change::Kind;
use crate::domain::names::id::{JobId, Seq, Timestamp, Version};
use crate::domain::schedule::record::{NextTick, ScheduleRecord, ScheduleUpdate};
use crate::domain::schedule::source::Source;
use crate::domain::{
    job::origin::{Generation, ScheduledBy},
    schedule::ledger::{LedgerRow, TickEffect, TickOutcome},
};
use crate::store::error::StoreError;
use crate::store::journal::{Entry, ObjectChange};
use crate::store::snapshot::MAX_PAGE;

pub(super) const COLUMNS: &str = "name, version, generation, fields, accepted_at, settled, ahead, ahead_job, look_at, runs, failed, config_paused, config_file, config_aside";
pub(super) const INSERT: &str =
    "INSERT INTO schedules (name, version, generation, fields, accepted_at, settled, ahead, ahead_job, look_at, config_paused, config_file, config_aside, runs, failed)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, 0) ON CONFLICT (name) DO NOTHING";
/// The jobs' own transitions count `runs` and leave the version unchanged, so an update compares
/// `runs` as well.
pub(super) const UPDATE: &str = "UPDATE schedules SET version = ?2, generation = ?3, fields = ?4, accepted_at = ?5, settled = ?6,
         ahead = ?7, ahead_job = ?8, look_at = ?9, config_paused = ?10, config_file = ?11, config_aside = ?12, failed = ?13
     WHERE name = ?1 AND version = ?14 AND runs = ?15 AND failed = ?16";
pub(super) const DELETE: &str = "DELETE FROM schedules WHERE name = ?1 AND version = ?2";
pub(super) const NEXT_LOOK: &str =
    "SELECT min(look_at) FROM schedules INDEXED BY schedules_to_look_at WHERE look_at IS NOT NULL";
pub(super) const DECLARED: &str = "SELECT name FROM schedules INDEXED BY schedules_declared
     WHERE config_paused IS NOT NULL AND name > ?1 ORDER BY name LIMIT ?2";
/// Walks all schedules of config files when the first of them are assigned to a file. The new
/// version makes earlier readers read again.
pub(super) const OWN: &str =
    "UPDATE schedules INDEXED BY schedules_declared SET config_file = ?1, version = version + 1
     WHERE config_paused IS NOT NULL AND (config_file IS NULL OR (?2 AND config_file IS NOT ?1))";
/// Ignores a conflict: an update that leaves the generation unchanged finds its row.
pub(super) const ADD_REVISION: &str =
    "INSERT INTO generations (schedule, generation, fields, accepted_at) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (schedule, generation) DO NOTHING";
pub(super) const REVISION: &str =
    "SELECT fields, accepted_at FROM generations WHERE schedule = ?1 AND generation = ?2";
pub(super) const LAST_GENERATION: &str =
    "SELECT max(generation) FROM generations WHERE schedule = ?1";
pub(super) const ADD_ROW: &str =
    "INSERT INTO ledger (schedule, generation, first, last, late, outcome, reason, job, covered)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
pub(super) const DROP_ROW: &str =
    "DELETE FROM ledger WHERE schedule = ?1 AND generation = ?2 AND first = ?3 AND outcome IS NULL";
pub(super) const LATE: &str =
    "UPDATE ledger SET late = 1 WHERE schedule = ?1 AND generation = ?2 AND first = ?3";
pub(super) const DECIDE: &str =
    "UPDATE ledger SET outcome = CASE WHEN ?4 = 'ran' AND late THEN 'caught_up' ELSE ?4 END, reason = ?5
     WHERE schedule = ?1 AND generation = ?2 AND first = ?3";
/// Gives ticks that a later tick's job covers the outcome of that job.
pub(super) const DECIDE_COVERED: &str = "UPDATE ledger INDEXED BY ledger_covered
     SET outcome = CASE WHEN ?2 = 'ran' THEN 'caught_up' ELSE ?2 END,
         reason = CASE WHEN ?2 = 'ran' THEN 'caught_up' ELSE ?3 END
     WHERE job = ?1 AND covered = 1";
/// Counts a run. The last permitted run makes the schedule due for a check: the job that waits for
/// the next tick is one too many.
pub(super) const COUNT_RUN: &str = "UPDATE schedules SET runs = runs + 1,
         look_at = CASE WHEN runs + 1 >= json_extract(fields, '$.max_runs') THEN 0 ELSE look_at END
     WHERE name = ?1";
pub(super) const NOTE_FAILURE: &str = "UPDATE schedules SET failed = 1, look_at = 0
     WHERE name = ?1 AND generation = ?2 AND json_extract(fields, '$.pause_on_failure')";

/// Every fixed statement except [`OWN`], for the test that reads their plans.
#[cfg(test)]
pub(super) const FIXED: [&str; 15] = [
    DECLARED,
    INSERT,
    UPDATE,
    DELETE,
    NEXT_LOOK,
    ADD_REVISION,
    REVISION,
    LAST_GENERATION,
    ADD_ROW,
    DROP_ROW,
    LATE,
    DECIDE,
    DECIDE_COVERED,
    COUNT_RUN,
    NOTE_FAILURE,
];

pub(super) fn one_sql() -> String {
    format!("SELECT {COLUMNS} FROM schedules WHERE name = ?1")
}

pub(super) fn page_sql() -> String {
    format!("SELECT {COLUMNS} FROM schedules WHERE name > ?1 ORDER BY name LIMIT ?2")
}

pub(super) fn look_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM schedules INDEXED BY schedules_to_look_at
         WHERE look_at IS NOT NULL AND look_at <= ?1 ORDER BY look_at, name LIMIT ?2"
    )
}

pub(super) fn jobs_sql() -> String {
    format!(
        "SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_of_schedule WHERE schedule = ?1
         AND status IN ('scheduled', 'queued', 'retrying', 'pulling', 'starting', 'running', 'stopping') ORDER BY id"
    )
}

pub(super) fn ledger_sql() -> String {
    "SELECT generation, first, last, late, outcome, reason, job, covered FROM ledger INDEXED BY ledger_by_time
     WHERE schedule = ?1 AND outcome IS NOT NULL AND (first, generation) < (?2, ?3)
     ORDER BY first DESC, generation DESC LIMIT ?4"
        .to_owned()
}

/// Returns up to `limit` schedules by name, after the name `after`.
pub(super) fn page(
    connection: &Connection,
    after: &str,
    limit: usize,
) -> Result<Vec<ScheduleRecord>, StoreError> {
    records(connection, &page_sql(), params![after, limit_of(limit)])
}

/// The jobs of a schedule update as statement parameters.
pub(super) struct JobRows {
    ended: Vec<(Version, JobRow)>,
    made: Vec<JobRow>,
}

impl JobRows {
    pub(super) fn of(update: &ScheduleUpdate) -> Result<Self, StoreError> {
        let ended =
            update.ended.iter().map(|(before, after)| Ok((before.version, JobRow::of(after)?)));
        Ok(Self {
            ended: ended.collect::<Result<_, StoreError>>()?,
            made: update.jobs.iter().map(JobRow::of).collect::<Result<_, StoreError>>()?,
        })
    }
}

/// Writes a whole schedule update. Ledger rows are deleted before their jobs end, and new rows come
/// after. So the end of a removed job finds no row and changes no tick.
pub(super) fn write(
    connection: &Connection,
    update: &ScheduleUpdate,
    jobs: JobRows,
    at: Timestamp,
    by: &Actor,
) -> Result<Vec<Entry>, StoreError> {
    let name = update.name.as_str();
    write_record(connection, update)?;
    for (sql, ticks) in [(DROP_ROW, &update.dropped), (LATE, &update.late)] {
        for (generation, first) in ticks {
            execute(
                connection,
                sql,
                params![name, number(generation.0), first.timestamp_millis()],
            )?;
        }
    }
    let mut news = Vec::with_capacity(jobs.ended.len() + jobs.made.len());
    for ((before, after), (version, row)) in update.ended.iter().zip(&jobs.ended) {
        queries::advance(connection, row, *version)?;
        note(connection, row.id, after.origin.schedule(), TickEffect::of(before, after))?;
        let transition =
            journal::add(connection, journal::transition(Some(before), after, at, Some(by)))?;
        outbox::NotificationRow::of(after).put(connection, &transition)?;
        news.push(Entry::Job(transition));
    }
    for row in &update.rows {
        let (outcome, reason) =
            (row.outcome.map(TickOutcome::as_str), row.reason.map(Reason::as_str));
        let (first, last) = (row.first.timestamp_millis(), row.last.timestamp_millis());
        let job = row.job.map(|job| *job.as_bytes());
        let params = params![
            name,
            number(row.generation.0),
            first,
            last,
            row.late,
            outcome,
            reason,
            job,
            row.covered
        ];
        execute(connection, ADD_ROW, params)?;
    }
    for (job, row) in update.jobs.iter().zip(&jobs.made) {
        queries::insert(connection, row)?;
        let transition = journal::transition(None, job, at, Some(by));
        news.push(Entry::Job(journal::add(connection, transition)?));
    }
    if let Some(change) = update.change {
        let by = Some(by.clone());
        let change = ObjectChange {
            seq: Seq(0),
            at,
            by,
            kind: Kind::Schedule,
            name: name.to_owned(),
            change,
        };
        news.push(journal::add_other(connection, change)?);
    }
    Ok(news)
}

pub(super) fn write_record(
    connection: &Connection,
    update: &ScheduleUpdate,
) -> Result<(), StoreError> {
    let name = update.name.as_str();
    let changed = match (&update.after, update.from) {
        (None, None) => 1,
        (None, Some(from)) => execute(connection, DELETE, params![name, number(from.0)])?,
        (Some(after), from) => {
            let fields = serde_json::to_string(&after.schedule).map_err(|error| {
                StoreError::Failed(format!("schedule {name} cannot be written: {error}"))
            })?;
            let (version, generation) = (number(after.version.0), number(after.generation.0));
            let (accepted, settled) =
                (after.accepted_at.timestamp_millis(), after.settled_until.timestamp_millis());
            let next_tick = after.next_tick.map(|next_tick| next_tick.nominal.timestamp_millis());
            let ahead_job = after.next_tick.map(|next_tick| *next_tick.job.as_bytes());
            let look_at = after.next_check_at.map(|at| at.timestamp_millis());
            execute(connection, ADD_REVISION, params![name, generation, fields, accepted])?;
            let (config_paused, config_file, config_aside) = match &after.source {
                Source::Api => (None, None, None),
                Source::Config { paused, file, aside } => (Some(*paused), file.as_deref(), *aside),
            };
            let mut params: Vec<&dyn ToSql> =
                vec![&name, &version, &generation, &fields, &accepted, &settled];
            params.extend([
                &next_tick as &dyn ToSql,
                &ahead_job,
                &look_at,
                &config_paused,
                &config_file,
                &config_aside,
            ]);
            match from {
                None => execute(connection, INSERT, &params[..])?,
                Some(from) => {
                    let (from, runs) = (number(from.0), number(update.runs));
                    params.extend([&after.failed as &dyn ToSql, &from, &runs, &update.failed]);
                    execute(connection, UPDATE, &params[..])?
                }
            }
        }
    };
    if changed == 1 { Ok(()) } else { Err(StoreError::Outdated) }
}

pub(super) fn execute(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<usize, StoreError> {
    prepared(connection, sql)?.execute(params).map_err(failed)
}

/// Applies the effects of a job's transition to its tick and its schedule.
pub(super) fn note(
    connection: &Connection,
    job: JobId,
    origin: Option<&ScheduledBy>,
    news: Option<TickEffect>,
) -> Result<(), StoreError> {
    let Some((origin, news)) = origin.zip(news) else { return Ok(()) };
    let (name, generation) = (origin.schedule.as_str(), number(origin.generation.0));
    if let Some((nominal, (outcome, reason))) = origin.nominal.zip(news.decided) {
        let (first, reason) = (nominal.timestamp_millis(), reason.map(Reason::as_str));
        execute(connection, DECIDE, params![name, generation, first, outcome.as_str(), reason])?;
        execute(connection, DECIDE_COVERED, params![*job.as_bytes(), outcome.as_str(), reason])?;
    }
    if news.is_run {
        execute(connection, COUNT_RUN, [name])?;
    }
    if news.failed {
        execute(connection, NOTE_FAILURE, params![name, generation])?;
    }
    Ok(())
}

pub(super) fn records(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<ScheduleRecord>, StoreError> {
    let mut statement = prepared(connection, sql)?;
    let mut found = statement.query(params).map_err(failed)?;
    let mut records = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        records.push(record(row)?);
    }
    Ok(records)
}

/// Reads the schedule from a row of [`COLUMNS`].
pub(super) fn record(row: &Row<'_>) -> Result<ScheduleRecord, StoreError> {
    let name: String = row.get(0).map_err(failed)?;
    let damaged =
        |what: &str| StoreError::Damaged(format!("schedule {name}: its {what} cannot be read"));
    let number = |column| row.get::<_, i64>(column).map_err(failed);
    let time =
        |column| row.get::<_, Option<i64>>(column).map(|at| at.and_then(instant)).map_err(failed);
    let job: Option<[u8; 16]> = row.get(7).map_err(failed)?;
    let fields: String = row.get(3).map_err(failed)?;
    let config_paused: Option<bool> = row.get(11).map_err(failed)?;
    let (file, aside) = (row.get(12).map_err(failed)?, row.get(13).map_err(failed)?);
    Ok(ScheduleRecord {
        version: Version(unsigned(number(1)?)),
        generation: Generation(unsigned(number(2)?)),
        schedule: serde_json::from_str(&fields).map_err(|_| damaged("fields"))?,
        accepted_at: time(4)?.ok_or_else(|| damaged("time"))?,
        settled_until: time(5)?.ok_or_else(|| damaged("time"))?,
        next_tick: time(6)?
            .zip(job)
            .map(|(nominal, job)| NextTick { nominal, job: JobId::from_bytes(job) }),
        next_check_at: time(8)?,
        runs: unsigned(number(9)?),
        failed: number(10)? != 0,
        source: config_paused.map_or(Source::Api, |paused| Source::Config { paused, file, aside }),
        name: name.parse().map_err(|_| damaged("name"))?,
    })
}

pub(super) fn ledger_row(row: &Row<'_>) -> Result<LedgerRow, StoreError> {
    let damaged = || StoreError::Damaged("a row of the ledger cannot be read".to_owned());
    let time = |column| {
        row.get::<_, i64>(column).map_err(failed).and_then(|at| instant(at).ok_or_else(damaged))
    };
    let outcome: Option<String> = row.get(4).map_err(failed)?;
    let reason: Option<String> = row.get(5).map_err(failed)?;
    let job: Option<[u8; 16]> = row.get(6).map_err(failed)?;
    Ok(LedgerRow {
        generation: Generation(unsigned(row.get(0).map_err(failed)?)),
        first: time(1)?,
        last: time(2)?,
        late: row.get(3).map_err(failed)?,
        outcome: outcome
            .map(|word| TickOutcome::from_word(&word).ok_or_else(damaged))
            .transpose()?,
        reason: reason.map(|word| Reason::from_word(&word).ok_or_else(damaged)).transpose()?,
        job: job.map(JobId::from_bytes),
        covered: row.get(7).map_err(failed)?,
    })
}

/// Returns the statements that read, for the test that reads their plans.
#[cfg(test)]
pub(super) fn built() -> [String; 5] {
    [one_sql(), page_sql(), look_sql(), jobs_sql(), ledger_sql()]
}

/// Checks that every schedule can be read: an unreadable one would keep others from being checked.
pub(super) fn readable(connection: &Connection) -> Result<(), StoreError> {
    let mut after = String::new();
    loop {
        let page = page(connection, &after, MAX_PAGE).map_err(|failure| match failure {
            StoreError::Failed(detail) => StoreError::Damaged(detail),
            other => other,
        })?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.name.to_string();
    }
}

/// Counts ledger rows that name a missing job or a job of another tick.
pub(super) fn loose_rows(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM ledger AS l LEFT JOIN jobs AS j ON j.id = l.job
         WHERE l.job IS NOT NULL AND (j.id IS NULL OR j.schedule <> l.schedule OR j.generation <> l.generation
             OR (NOT l.covered AND j.nominal <> l.first))";
    connection.query_row(sql, [], |row| row.get(0)).map_err(failed)
}
