//! Converts SQLite's errors to errors of the store.

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use crate::store::error::StoreError;
use crate::store::threads::Broken;

pub(super) fn broken(_: Broken) -> StoreError {
    StoreError::Failed("a thread of the store broke".to_owned())
}

/// Converts an SQLite error to an error of the store.
pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    // SQLite reports a lack of space for the log's shared memory with an error code of its own.
    if error.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMSIZE) {
        return StoreError::Full;
    }
    // Our statements are fixed: when one does not fit the schema, another program wrote the schema.
    if matches!(error, rusqlite::Error::SqlInputError { .. }) {
        return StoreError::Damaged(error.to_string());
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged(error.to_string())
        }
        Some(_) => StoreError::Failed(error.to_string()),
        None if is_of_another_type(&error) => StoreError::Damaged(error.to_string()),
        None => StoreError::Failed(error.to_string()),
    }
}

/// Returns whether a value has another type than was written.
fn is_of_another_type(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | Utf8Error(..)
    )
}
