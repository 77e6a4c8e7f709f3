//! The operations on a store as a whole.

use async_trait::async_trait;

use super::errors::broken;
use super::store::SqliteStore;
use super::{backup, queries};
use crate::domain::names::id::{EngineId, InstanceId, JobId, Timestamp};
use crate::store::error::StoreError;
use crate::store::meta::{MetaStore, Restored};

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

    async fn remember_engine(&self, engine: &EngineId) -> Result<(), StoreError> {
        let engine = engine.to_string();
        self.write(move |connection| {
            queries::set_meta(connection, "engine", &engine).map(|()| None)
        })
        .await
    }
}
