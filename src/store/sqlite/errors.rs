//! What went wrong in SQLite, in the store's words.

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use super::super::StoreError;
use super::super::threads::Broken;

pub(super) fn broken(_: Broken) -> StoreError {
    StoreError::Failed("a thread of the store broke".to_owned())
}

/// SQLite's error in the store's words.
pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    // Room for the shared memory of the write-ahead log is asked for by another call, with an error of its own.
    if error.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMSIZE) {
        return StoreError::Full;
    }
    // Our statements are fixed: one that does not fit the schema was written for another one.
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

/// Whether a value was read that is not of the type that was written.
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
