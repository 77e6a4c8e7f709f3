//! Definitions in the database, and a cache of the names that have none.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::queries::{limit_of, prepared};
use super::{errors::failed, journal, rows};
use crate::domain::names::actor::Actor;
use crate::domain::names::change::{Change, Kind};
use crate::domain::names::id::{Seq, Timestamp};
use crate::domain::names::image::JobName;
use crate::domain::precondition::Precondition;
use crate::domain::spec::JobSpec;
use crate::store::definitions::{Definition, Revision};
use crate::store::error::StoreError;
use crate::store::journal::{Entry, ObjectChange};

const GET: &str = "SELECT revision, name, spec, changed_at FROM definitions WHERE name = ?1";
const PAGE: &str = "SELECT revision, name, spec, changed_at FROM definitions WHERE name > ?1 ORDER BY name LIMIT ?2";
const REVISION: &str = "SELECT revision FROM definitions WHERE name = ?1";
/// Deletes the replaced row, so the new one gets the next revision.
const PUT: &str = "INSERT OR REPLACE INTO definitions (name, spec, changed_at) VALUES (?1, ?2, ?3)";
const REMOVE: &str = "DELETE FROM definitions WHERE name = ?1";
/// All statements, for the test that reads their plans.
#[cfg(test)]
pub(super) const FIXED: [&str; 5] = [GET, PAGE, REVISION, PUT, REMOVE];

/// The most names in the cache.
const UNDEFINED: usize = 1_024;

/// A cache of names that have no definition. Most jobs name an image; with the cache their lookup
/// costs no disk read.
#[derive(Default)]
pub(super) struct MissingDefinitions {
    names: Mutex<Names>,
    /// True while a transaction writes a definition.
    touched: AtomicBool,
}

/// The names, and the number of times the cache was cleared. A result that was read before a clear
/// is not cached after it.
#[derive(Default)]
struct Names {
    known: HashSet<String>,
    forgotten: u64,
}

impl MissingDefinitions {
    /// Returns `None` for a name that is known to have no definition. Otherwise returns the count
    /// to pass to [`note`](MissingDefinitions::note).
    pub(super) fn look(&self, name: &str) -> Option<u64> {
        let names = self.names();
        (!names.known.contains(name)).then_some(names.forgotten)
    }

    /// Caches a name without a definition, unless the cache was cleared since `looked`.
    pub(super) fn note(&self, name: &str, looked: u64) {
        let mut names = self.names();
        if names.forgotten != looked {
            return;
        }
        if names.known.len() == UNDEFINED {
            names.known.clear();
        }
        names.known.insert(name.to_owned());
    }

    /// Marks that the open transaction writes a definition.
    pub(super) fn touch(&self) {
        self.touched.store(true, Ordering::Release);
    }

    /// Clears the cache if the transaction wrote a definition. The writer calls this after the
    /// transaction, before any reply.
    pub(super) fn settle(&self) {
        if self.touched.swap(false, Ordering::AcqRel) {
            let mut names = self.names();
            names.known.clear();
            names.forgotten += 1;
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of a write, and the journal row to announce.
type Written<T> = Result<(T, Option<Entry>), StoreError>;

pub(super) fn get(connection: &Connection, name: &str) -> Result<Option<Definition>, StoreError> {
    Ok(read(connection, GET, [name])?.pop())
}

pub(super) fn page(
    connection: &Connection,
    after: &str,
    limit: usize,
) -> Result<Vec<Definition>, StoreError> {
    read(connection, PAGE, params![after, limit_of(limit)])
}

pub(super) fn put(
    connection: &Connection,
    name: &JobName,
    spec: &str,
    precondition: &Precondition<Revision>,
    at: Timestamp,
    by: Actor,
) -> Written<Revision> {
    let was_there = meet(connection, name, precondition)?;
    prepared(connection, PUT)?
        .execute(params![name.as_str(), spec, at.timestamp_millis()])
        .map_err(failed)?;
    let revision = Revision(rows::unsigned(connection.last_insert_rowid()));
    let change = if was_there { Change::Changed } else { Change::Created };
    Ok((revision, Some(note(connection, name, change, at, by)?)))
}

pub(super) fn remove(
    connection: &Connection,
    name: &JobName,
    precondition: &Precondition<Revision>,
    at: Timestamp,
    by: Actor,
) -> Written<bool> {
    meet(connection, name, precondition)?;
    let removed = prepared(connection, REMOVE)?.execute([name.as_str()]).map_err(failed)?;
    if removed == 0 {
        return Ok((false, None));
    }
    Ok((true, Some(note(connection, name, Change::Deleted, at, by)?)))
}

fn note(
    connection: &Connection,
    name: &JobName,
    change: Change,
    at: Timestamp,
    by: Actor,
) -> Result<Entry, StoreError> {
    let (kind, name) = (Kind::Definition, name.to_string());
    let change = ObjectChange { seq: Seq(0), at, by: Some(by), kind, name, change };
    journal::add_other(connection, change)
}

/// Checks the precondition. Returns whether there is a definition of this name.
fn meet(
    connection: &Connection,
    name: &JobName,
    precondition: &Precondition<Revision>,
) -> Result<bool, StoreError> {
    let found: Option<i64> = prepared(connection, REVISION)?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    let found = found.map(|revision| Revision(rows::unsigned(revision)));
    if precondition.is_met_by(found) { Ok(found.is_some()) } else { Err(StoreError::Outdated) }
}

fn read(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<Definition>, StoreError> {
    let mut statement = prepared(connection, sql)?;
    let mut found = statement.query(params).map_err(failed)?;
    let mut definitions = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        definitions.push(definition(row)?);
    }
    Ok(definitions)
}

/// Reads the definition from a row of `revision, name, spec, changed_at`.
pub(super) fn definition(row: &Row<'_>) -> Result<Definition, StoreError> {
    let name: String = row.get(1).map_err(failed)?;
    let damaged = |what: &str| {
        StoreError::Damaged(format!("the definition `{name}`: its {what} cannot be read"))
    };
    let spec: String = row.get(2).map_err(failed)?;
    Ok(Definition {
        revision: Revision(rows::unsigned(row.get(0).map_err(failed)?)),
        name: name.parse().map_err(|_| damaged("name"))?,
        spec: serde_json::from_str(&spec)
            .map(JobSpec::accepted_before)
            .map_err(|_| damaged("spec"))?,
        changed_at: rows::instant(row.get(3).map_err(failed)?).ok_or_else(|| damaged("time"))?,
    })
}
