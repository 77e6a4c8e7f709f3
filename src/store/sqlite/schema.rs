//! The schema of the database: its migrations, and the version that a database has.

use std::error::Error;

use rusqlite::{Connection, ErrorCode};

use crate::store::error::StoreError;

refinery::embed_migrations!("src/store/sqlite/migrations");

/// Migrates the schema to the newest version in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
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
