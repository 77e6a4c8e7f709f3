//! Opens the database: settings, migrations, identity.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::checkpoints::copy;
use super::{FILE, check, failed, queries};
use crate::domain::names::id::InstanceId;
use crate::store::lock::sync_dir;
use crate::store::{OpenError, StoreError};

refinery::embed_migrations!("src/store/sqlite/migrations");

/// The most prepared statements that a connection keeps: enough for all that exist.
const STATEMENTS: usize = 64;

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
    let last_seq = queries::last_seq(&connection).map_err(failed).map_err(refused)?;
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

/// Migrates the schema to the newest version in one transaction.
fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let done = migrations::runner().set_grouped(true).run(connection);
    done.map(|_| ()).map_err(|error| {
        let cause = error.source().and_then(|source| source.downcast_ref::<rusqlite::Error>());
        match cause.and_then(rusqlite::Error::sqlite_error_code) {
            Some(ErrorCode::DiskFull) => StoreError::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::SystemIoFailure) => {
                StoreError::Failed(error.to_string())
            }
            // Includes a changed migration, and a database of another program.
            Some(_) | None => StoreError::Damaged(error.to_string()),
        }
    })
}

/// Sets whether closing the database leaves its log unchanged.
pub(super) fn keep_log_on_close(connection: &Connection, leave: bool) -> rusqlite::Result<bool> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    common(connection)
}

/// Opens a connection for checkpoints, which syncs the log before the database.
pub(super) fn checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// The relation of a database's schema to the schema of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// The same schema, or none yet.
    Ours,
    /// An earlier schema, which a migration brings up to date.
    Older { found: i64, known: i64 },
    /// The schema of a newer version.
    Newer { found: i64, known: i64 },
}

impl Schema {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let known =
            migrations::runner().get_migrations().iter().map(|m| m.version()).max().unwrap_or(0);
        let (found, known) = (last_migration(connection)?, i64::from(known));
        Ok(match found {
            _ if found > known => Self::Newer { found, known },
            1.. if found < known => Self::Older { found, known },
            _ => Self::Ours,
        })
    }
}

/// Returns the last applied migration; 0 for a new database.
fn last_migration(connection: &Connection) -> rusqlite::Result<i64> {
    let tables: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_master WHERE name = 'refinery_schema_history'",
        [],
        |row| row.get(0),
    )?;
    if tables == 0 {
        return Ok(0);
    }
    connection.query_row(
        "SELECT coalesce(max(version), 0) FROM refinery_schema_history",
        [],
        |row| row.get(0),
    )
}

/// Opens a connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    common(&connection)?;
    Ok(connection)
}

fn common(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Returns the instance id, and stores `id_if_new` where there is none. Containers belong to the
/// instance with this id, so an id is made once and never changes.
fn identity(connection: &Connection, id_if_new: InstanceId) -> Result<InstanceId, StoreError> {
    if let Some(known) = queries::meta(connection, "instance")? {
        return known.parse().map_err(|error| {
            StoreError::Damaged(format!("its instance id cannot be read: {error}"))
        });
    }
    if queries::last_seq(connection).map_err(failed)? > 0 {
        return Err(StoreError::Damaged("its instance id is gone".to_owned()));
    }
    queries::set_meta(connection, "instance", &id_if_new.to_string())?;
    Ok(id_if_new)
}

#[cfg(test)]
mod tests {
    use refinery::Target;

    use super::*;

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
