//! Opening the database: settings, migrations, identity.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::super::OpenError;
use super::super::lock::sync_dir;
use super::{FILE, queries};
use crate::domain::id::InstanceId;

refinery::embed_migrations!("src/store/sqlite/migrations");

/// How many statements a connection keeps prepared: all there are.
const STATEMENTS: usize = 64;

pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) instance: InstanceId,
    pub(super) last_seq: u64,
}

pub(super) fn open(dir: &Path, id_if_new: InstanceId) -> Result<Opened, OpenError> {
    let path = dir.display().to_string();
    let damaged = |error: &dyn std::fmt::Display| OpenError::Damaged { path: path.clone(), detail: error.to_string() };
    let mut connection = Connection::open(dir.join(FILE)).map_err(|error| damaged(&error))?;
    configure(&connection).map_err(|error| damaged(&error))?;
    let known = migrations::runner().get_migrations().iter().map(|m| m.version()).max().unwrap_or(0);
    let found = schema(&connection).map_err(|error| damaged(&error))?;
    if found > i64::from(known) {
        return Err(OpenError::Newer { path, found, known: i64::from(known) });
    }
    migrations::runner().set_grouped(true).run(&mut connection).map_err(|error| damaged(&error))?;
    let instance = identity(&connection, id_if_new).map_err(|error| damaged(&error))?;
    let last_seq = queries::last_seq(&connection).map_err(|error| damaged(&error))?;
    sync_dir(dir).map_err(|source| OpenError::NotWritable { path: path.clone(), source })?;
    Ok(Opened { connection, instance, last_seq })
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    common(connection)
}

/// The last migration that was applied; 0 for a database that is new.
fn schema(connection: &Connection) -> rusqlite::Result<i64> {
    let tables: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_master WHERE name = 'refinery_schema_history'",
        [],
        |row| row.get(0),
    )?;
    if tables == 0 {
        return Ok(0);
    }
    connection.query_row("SELECT coalesce(max(version), 0) FROM refinery_schema_history", [], |row| row.get(0))
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    common(&connection)?;
    Ok(connection)
}

fn common(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Whose containers are whose is decided by this id, so it is made once and never again.
fn identity(connection: &Connection, id_if_new: InstanceId) -> Result<InstanceId, Box<dyn std::error::Error>> {
    if let Some(known) = queries::meta(connection, "instance")? {
        return Ok(known.parse()?);
    }
    queries::set_meta(connection, "instance", &id_if_new.to_string())?;
    Ok(id_if_new)
}
