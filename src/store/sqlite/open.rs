//! Opens the database: settings, migrations, identity.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use rusqlite::Connection;

use super::checkpoints::copy;
use super::connection::{FILE, configure, keep_log_on_close};
use super::schema::{Schema, migrate};
use super::{check, errors::failed, journal, queries};
use crate::domain::names::id::InstanceId;
use crate::store::error::{OpenError, StoreError};
use crate::store::lock::sync_dir;

/// The largest database, in pages (16 MiB), that is checked before it is served. A larger one is
/// checked while it is served, so the time of a start does not depend on the size.
const VERIFIED_PAGES: i64 = 4_096;

pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) instance: InstanceId,
    pub(super) last_seq: u64,
    pub(super) waiting: usize,
    /// True if the whole database was checked.
    pub(super) verified: bool,
    /// A random number in the header, which tells this opening of the database from every other,
    /// and from other databases.
    pub(super) user_version: i32,
}

pub(super) fn open(dir: &Path, id_if_new: InstanceId) -> Result<Opened, OpenError> {
    let path = dir.display().to_string();
    let refused = |error: StoreError| match error {
        StoreError::Damaged(detail) => OpenError::Damaged { path: path.clone(), detail },
        StoreError::Full => OpenError::Full { path: path.clone() },
        other => OpenError::NotWritable { path: path.clone(), detail: other.to_string() },
    };
    if let Some(detail) = check::log_damage(dir).map_err(|error| OpenError::of_io(dir, &error))? {
        return Err(OpenError::Damaged { path, detail });
    }
    let mut connection = Connection::open(dir.join(FILE)).map_err(failed).map_err(refused)?;
    // A refused database stays unchanged: closing would write the log into the database.
    keep_log_on_close(&connection, true).map_err(failed).map_err(refused)?;
    // SQLite opens a file without write permission for reading only, and reports that at the first
    // write.
    if connection.is_readonly("main").map_err(failed).map_err(refused)? {
        return Err(refused(StoreError::Failed(format!("{FILE} is read-only"))));
    }
    let verified = is_small(&connection).map_err(failed).map_err(refused)?;
    if verified {
        check::pages(&connection).map_err(refused)?;
    }
    configure(&connection).map_err(failed).map_err(refused)?;
    if let Schema::Newer { found, known } =
        Schema::of(&connection).map_err(failed).map_err(refused)?
    {
        return Err(OpenError::Newer { path, found, known });
    }
    migrate(&mut connection).map_err(refused)?;
    if verified {
        check::check_unfinished(&connection).map_err(refused)?;
    }
    let instance = identity(&connection, id_if_new).map_err(refused)?;
    let last_seq = journal::last_seq(&connection).map_err(failed).map_err(refused)?;
    let waiting = queries::waiting(&connection).map_err(refused)?;
    keep_log_on_close(&connection, false).map_err(failed).map_err(refused)?;
    let user_version = stamp(&connection).map_err(failed).map_err(refused)?;
    sync_dir(dir).map_err(|error| OpenError::of_io(dir, &error))?;
    Ok(Opened { connection, instance, last_seq, waiting, verified, user_version })
}

fn is_small(connection: &Connection) -> rusqlite::Result<bool> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(pages <= VERIFIED_PAGES)
}

/// Writes a number into the header that no earlier opening wrote, and returns the number found
/// there. A full disk leaves the old number, which is no reason to refuse the start.
fn stamp(connection: &Connection) -> rusqlite::Result<i32> {
    let number = RandomState::new().hash_one(0).to_le_bytes();
    let number = i32::from_le_bytes([number[0], number[1], number[2], number[3]]);
    let _as_it_was = connection.pragma_update(None, "user_version", number);
    copy(connection);
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Returns the instance id, and stores `id_if_new` where there is none. Containers belong to the
/// instance with this id, so an id is made once and never changes.
fn identity(connection: &Connection, id_if_new: InstanceId) -> Result<InstanceId, StoreError> {
    if let Some(known) = queries::meta(connection, "instance")? {
        return known.parse().map_err(|error| {
            StoreError::Damaged(format!("its instance id cannot be read: {error}"))
        });
    }
    if journal::last_seq(connection).map_err(failed)? > 0 {
        return Err(StoreError::Damaged("its instance id is gone".to_owned()));
    }
    queries::set_meta(connection, "instance", &id_if_new.to_string())?;
    Ok(id_if_new)
}

#[cfg(test)]
mod tests {
    use refinery::Target;

    use super::*;
    use crate::store::sqlite::schema::migrations;

    #[test]
    fn older_store_is_checked_as_possible_and_opened() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut connection = Connection::open(dir.path().join(FILE)).expect("a file");
        migrations::runner()
            .set_target(Target::Version(1))
            .run(&mut connection)
            .expect("the first schema");
        drop(connection);
        let look = || crate::store::check::check(dir.path()).expect("it can be read");
        let before = look();
        assert!(
            before.whole && before.notes.concat().contains("an earlier version wrote it (schema 1"),
            "{before}"
        );
        drop(open(dir.path(), InstanceId::new([7; 16])).expect("it opens"));
        let after = look();
        assert!(after.whole && after.notes.is_empty(), "{after}");
    }

    #[test]
    fn migration_puts_jobs_waiting_for_overlap_in_groups() {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrations::runner()
            .set_target(Target::Version(4))
            .run(&mut connection)
            .expect("the older schema");
        for (n, reason) in [(1, "overlap"), (2, "no_slot")] {
            let job = "INSERT INTO jobs (id, version, name, spec, created_at, due_at, priority, attempt, status, detail, schedule)
                VALUES (randomblob(16), 0, 'busybox', '{}', ?1, 1, 0, 0, 'queued', json_object('reason', ?2, 'since', 7), 'nightly')";
            connection.execute(job, rusqlite::params![n, reason]).expect("a job");
        }
        migrate(&mut connection).expect("it is brought up to ours");
        let held = |column: &str| -> Vec<Option<String>> {
            let mut statement = connection
                .prepare(&format!("SELECT {column} FROM jobs ORDER BY created_at"))
                .expect("SQL");
            let rows = statement.query_map([], |row| row.get(0)).expect("rows");
            rows.collect::<Result<_, _>>().expect("they can be read")
        };
        let hold = Some(r#"{"schedule":"nightly"}"#.to_owned());
        assert_eq!(held("hold"), [hold.clone(), None]);
        assert_eq!(held("json_extract(detail, '$.hold')"), [hold, None]);
    }

    #[test]
    fn migration_makes_older_jobs_findable_by_label() {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrations::runner()
            .set_target(Target::Version(5))
            .run(&mut connection)
            .expect("the older schema");
        for (n, spec) in [
            (1, r#"{"labels":{"team":"a"}}"#),
            (2, r#"{"labels":{"team":"b"},"command":["labels"]}"#),
            (3, r#"{"command":["\"labels\""]}"#),
        ] {
            let job = "INSERT INTO jobs (id, version, name, spec, created_at, due_at, priority, attempt, status)
                VALUES (zeroblob(16), 0, 'busybox', ?2, ?1, 1, 0, 0, 'scheduled')";
            let job = job.replace("zeroblob(16)", &format!("x'{n:032}'"));
            connection.execute(&job, rusqlite::params![n, spec]).expect("a job");
        }
        migrate(&mut connection).expect("it is brought up to ours");
        let mut statement = connection
            .prepare("SELECT l.value || j.created_at FROM job_labels l JOIN jobs j ON j.id = l.job WHERE l.key = 'team' ORDER BY 1")
            .expect("SQL");
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        assert_eq!(rows.collect::<Result<Vec<_>, _>>().expect("they can be read"), ["a1", "b2"]);
    }
}
