//! The stored responses to idempotent requests: the SQL.

use rusqlite::{Connection, OptionalExtension, params};

use super::errors::failed;
use super::queries::prepared;
use crate::domain::names::id::Timestamp;
use crate::store::error::StoreError;
use crate::store::idempotency::{RequestKey, StoredResponse};

const GET: &str = "SELECT body, answer FROM answers WHERE request = ?1 AND at > ?2";
/// Replaces a response that is too old and not deleted yet.
const PUT: &str =
    "INSERT OR REPLACE INTO answers (request, body, answer, at) VALUES (?1, ?2, ?3, ?4)";
/// Deletes up to 16 old responses with every write, so none pile up and no write takes long.
const FORGET: &str = "DELETE FROM answers WHERE request IN
     (SELECT request FROM answers INDEXED BY answers_by_age WHERE at <= ?1 ORDER BY at LIMIT 16)";
/// All statements, for the test that reads their plans.
#[cfg(test)]
pub(super) const FIXED: [&str; 3] = [GET, PUT, FORGET];

pub(super) fn get(
    connection: &Connection,
    request: RequestKey,
    since: Timestamp,
) -> Result<Option<StoredResponse>, StoreError> {
    prepared(connection, GET)?
        .query_row(params![request.0, since.timestamp_millis()], |row| {
            Ok(StoredResponse { request, body: row.get(0)?, text: row.get(1)? })
        })
        .optional()
        .map_err(failed)
}

pub(super) fn put(
    connection: &Connection,
    answer: &StoredResponse,
    at: Timestamp,
) -> Result<(), StoreError> {
    let row = params![answer.request.0, answer.body, answer.text, at.timestamp_millis()];
    prepared(connection, PUT)?.execute(row).map(|_| ()).map_err(failed)
}

pub(super) fn forget(connection: &Connection, until: Timestamp) -> Result<(), StoreError> {
    prepared(connection, FORGET)?.execute([until.timestamp_millis()]).map(|_| ()).map_err(failed)
}
