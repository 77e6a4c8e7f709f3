//! A store with very many jobs and schedules, built by SQL. Its content equals the result of the
//! service accepting all of them.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test and a benchmark share this")]

use std::path::Path;

use rusqlite::{Connection, params};
use tidetable::domain::names::id::{InstanceId, Timestamp};
use tidetable::domain::schedule::Schedule;
use tidetable::store::sqlite::{FILE, SqliteStore};
use tidetable::store::threads::Threads;

/// The size of the store.
#[derive(Clone, Copy, Debug)]
pub struct Vast {
    /// Waiting jobs, each with one of a thousand names; every second job has one of a hundred
    /// labels.
    pub jobs: u32,
    /// Jobs that are over.
    pub history: u32,
    /// Schedules, each with the job of its next tick.
    pub schedules: u32,
}

/// The time from `now` until the first job is due; the due times spread over a year.
pub const QUIET_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * 3_600_000;

/// Builds the store in this folder. Nothing is due earlier than an hour after `now`.
pub fn build(dir: &Path, vast: Vast, now: Timestamp) {
    // Opening creates the tables. Nothing is written, so no writer is needed.
    drop(SqliteStore::open(dir, Threads::Inline, InstanceId::new([7; 16])).unwrap());
    let connection = Connection::open(dir.join(FILE)).unwrap();
    connection
        .execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -32000; BEGIN")
        .unwrap();
    let now = now.timestamp_millis();
    let first = now + QUIET_MS;
    jobs(&connection, vast.jobs, "01", now, first);
    jobs(&connection, vast.history, "00", now - YEAR_MS, now - YEAR_MS);
    let over = r#"{"at":"2026-01-01T00:00:00Z"}"#;
    let end = "UPDATE jobs SET status = 'succeeded', version = 1, detail = ?1 WHERE id < x'01'";
    connection.execute(end, [over]).unwrap();
    let journal = "INSERT INTO journal (at, job, job_name, from_status, to_status, attempt, reason, exit_code, version)
         SELECT created_at, id, name, NULL, 'scheduled', 0, NULL, NULL, 0 FROM jobs
         UNION ALL SELECT created_at, id, name, 'scheduled', 'succeeded', 0, NULL, NULL, 1 FROM jobs WHERE status = 'succeeded'";
    connection.execute(journal, []).unwrap();
    schedules(&connection, vast.schedules, now);
    connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn jobs(connection: &Connection, count: u32, prefix: &str, created_at: i64, first_due: i64) {
    // The order of due times differs from the order of ids.
    let sql = format!(
        r#"WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n LIMIT ?1)
        INSERT INTO jobs (id, version, name, spec, created_at, due_at, priority, start_deadline, attempt, status, detail)
        SELECT unhex(printf('{prefix}%030x', n)), 0, printf('name-%03d', n % 1000),
            CASE n % 2 WHEN 0 THEN '{{"command":["true"]}}'
                ELSE printf('{{"command":["true"],"labels":{{"team":"t%02d"}}}}', n / 2 % 100) END,
            ?2, ?3 + (n * 7919) % ?1 * (?4 / ?1), 0, NULL, 0, 'scheduled', NULL
        FROM n WHERE ?1 > 0"#
    );
    connection.execute(&sql, params![count, created_at, first_due, YEAR_MS]).unwrap();
}

fn schedules(connection: &Connection, count: u32, now: i64) {
    let fields = r#"{"job_name": "of-a-schedule", "every": "8760h", "time_zone": "UTC"}"#;
    let schedule: Schedule = serde_json::from_str(fields).unwrap();
    let (fields, nominal) = (serde_json::to_string(&schedule).unwrap(), now + YEAR_MS);
    for sql in [
        "WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n LIMIT ?1)
         INSERT INTO jobs (id, version, name, spec, created_at, due_at, priority, start_deadline, attempt, status, detail,
             schedule, generation, nominal)
         SELECT unhex(printf('02%030x', n)), 0, 'of-a-schedule', '{}', ?2, ?3, 0, NULL, 0, 'scheduled', NULL,
             printf('s%06d', n), 1, ?3 FROM n WHERE ?1 > 0 AND ?4 IS NOT NULL",
        "INSERT INTO schedules (name, version, generation, fields, accepted_at, settled, ahead, ahead_job, look_at, runs, failed)
         SELECT schedule, 1, 1, ?4, ?2, ?2, ?3, id, ?3, 0, 0 FROM jobs WHERE schedule IS NOT NULL AND ?1 > 0",
        "INSERT INTO ledger (schedule, generation, first, last, late, outcome, reason, job)
         SELECT schedule, 1, nominal, nominal, 0, NULL, NULL, id FROM jobs
         WHERE schedule IS NOT NULL AND ?1 > 0 AND ?2 + ?3 > 0 AND ?4 IS NOT NULL",
        "INSERT INTO journal (at, job, job_name, from_status, to_status, attempt, reason, exit_code, version)
         SELECT ?2, id, name, NULL, 'scheduled', 0, NULL, NULL, 0 FROM jobs
         WHERE schedule IS NOT NULL AND ?1 > 0 AND ?3 > 0 AND ?4 IS NOT NULL",
    ] {
        connection.execute(sql, params![count, now, nominal, fields]).unwrap();
    }
}
