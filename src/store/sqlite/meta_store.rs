//! The operations on a store as a whole.

use async_trait::async_trait;

use super::errors::broken;
use super::store::SqliteStore;
use super::{backup, journal, queries};
use crate::domain::admission::pause::Pause;
use crate::domain::names::actor::Actor;
use crate::domain::names::change::{Change, Kind};
use crate::domain::names::id::{EngineId, InstanceId, JobId, Seq, Timestamp};
use crate::store::error::StoreError;
use crate::store::journal::ObjectChange;
use crate::store::meta::{MetaStore, Restored};

/// The key of the pause of everything.
const PAUSE: &str = "paused";
/// The name of what is paused, in the journal.
const SCHEDULER: &str = "scheduler";

#[async_trait]
impl MetaStore for SqliteStore {
    fn instance(&self) -> InstanceId {
        self.instance
    }

    async fn is_there(&self) -> Result<(), StoreError> {
        let open_files = self.open_files.clone();
        self.threads.run(move || open_files.look()).await.map_err(broken)?
    }

    async fn restored(&self, now: Timestamp) -> Result<Option<Restored>, StoreError> {
        if self
            .read(move |connection| queries::meta(connection, backup::BACKUP_AT))
            .await?
            .is_none()
        {
            return Ok(None);
        }
        self.write(move |connection| backup::note_served(connection, now).map(|()| None)).await?;
        self.read(backup::restored).await
    }

    async fn overtaken(&self, by: Timestamp) -> Result<Vec<JobId>, StoreError> {
        self.read(move |connection| backup::overtaken(connection, by)).await
    }

    async fn forget_restored(&self) -> Result<(), StoreError> {
        self.write(|connection| backup::forget(connection).map(|()| None)).await
    }

    async fn engine(&self) -> Result<Option<EngineId>, StoreError> {
        self.read(|connection| Ok(queries::meta(connection, "engine")?.map(EngineId))).await
    }

    async fn pause(&self) -> Result<Option<Pause>, StoreError> {
        self.read(|connection| {
            let Some(text) = queries::meta(connection, PAUSE)? else { return Ok(None) };
            serde_json::from_str(&text).map(Some).map_err(|_| {
                StoreError::Damaged("the pause of everything cannot be read".to_owned())
            })
        })
        .await
    }

    async fn set_pause(
        &self,
        pause: Option<&Pause>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let text = pause.map(serde_json::to_string).transpose().map_err(|error| {
            StoreError::Failed(format!("the pause of everything cannot be written: {error}"))
        })?;
        let change = ObjectChange {
            seq: Seq(0),
            at,
            by: Some(by.clone()),
            kind: Kind::Server,
            name: SCHEDULER.to_owned(),
            change: if text.is_some() { Change::Paused } else { Change::Resumed },
        };
        self.write(move |connection| {
            match text {
                Some(text) => queries::set_meta(connection, PAUSE, &text)?,
                None => queries::unset_meta(connection, PAUSE)?,
            }
            journal::add_other(connection, change).map(Some)
        })
        .await
    }

    async fn remember_engine(&self, engine: &EngineId) -> Result<(), StoreError> {
        let engine = engine.to_string();
        self.write(move |connection| {
            queries::set_meta(connection, "engine", &engine).map(|()| None)
        })
        .await
    }
}
