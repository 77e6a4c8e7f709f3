//! The operations on pending notifications.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::errors::failed;
use super::queries::prepared;
use super::rows::unsigned;
use super::store::SqliteStore;
use crate::domain::names::id::{JobId, Seq, Timestamp};
use crate::store::error::StoreError;
use crate::store::outbox::{Notification, Outbox};

use super::outbox::*;

#[async_trait]
impl Outbox for SqliteStore {
    async fn receivers(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.read(|connection| {
            let mut statement = prepared(connection, RECEIVERS)?;
            let found =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
            found
                .map(|row| row.map_err(failed).and_then(|(name, at)| Ok((name, time(at)?))))
                .collect()
        })
        .await
    }

    async fn next_notification(
        &self,
        receiver: &str,
        now: Timestamp,
    ) -> Result<Option<Notification>, StoreError> {
        let receiver = receiver.to_owned();
        self.read(move |connection| {
            let mut statement = prepared(connection, FIRST)?;
            let found = statement
                .query_row(params![receiver, now.timestamp_millis()], |row| {
                    let (made_at, seq): (i64, i64) = (row.get(5)?, row.get(3)?);
                    let notification = Notification {
                        id: row.get(0)?,
                        url: row.get(1)?,
                        job: JobId::from_bytes(row.get(2)?),
                        seq: Seq(unsigned(seq)),
                        body: row.get(4)?,
                        made_at: now,
                        tries: row.get(6)?,
                    };
                    Ok((notification, made_at))
                })
                .optional()
                .map_err(failed)?;
            found
                .map(|(notification, at)| Ok(Notification { made_at: time(at)?, ..notification }))
                .transpose()
        })
        .await
    }

    async fn remove_notification(&self, id: i64) -> Result<(), StoreError> {
        self.write(move |connection| {
            prepared(connection, DROP)?.execute([id]).map_err(failed)?;
            Ok(None)
        })
        .await
    }

    async fn postpone_notification(&self, id: i64, until: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| {
            prepared(connection, PUT_OFF)?
                .execute([id, until.timestamp_millis()])
                .map_err(failed)?;
            Ok(None)
        })
        .await
    }
}
