//! The facts about a store as a whole: its id, its engine, and a mark on a restored backup.

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::admission::pause::Pause;
use crate::domain::names::actor::Actor;
use crate::domain::names::id::{EngineId, InstanceId, JobId, Timestamp};

/// A store that was a backup. Another server may have continued its jobs meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The moment of the backup.
    pub since: Timestamp,
    /// The time at which the restored store was first served. Later jobs are this store's own.
    pub served_at: Timestamp,
    /// The engine that held the containers when the backup was made, if any.
    pub engine: Option<EngineId>,
}

/// The operations on a store as a whole.
#[async_trait]
pub trait MetaStore: Send + Sync + 'static {
    /// Returns the id of this scheduler state, which is made together with the store.
    fn instance(&self) -> InstanceId;

    /// Checks that the store is still at the path where it was opened.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    async fn is_there(&self) -> Result<(), StoreError>;

    /// Returns the backup that this store was restored from, until
    /// [`forget_restored`](MetaStore::forget_restored) clears the mark. The first call remembers
    /// `now` as the moment when this store was first served. `None` for a store that was not
    /// restored.
    async fn restored(&self, now: Timestamp) -> Result<Option<Restored>, StoreError>;

    /// Returns the ids of the jobs from the backup that may have run elsewhere meanwhile: all in
    /// the running map, all `queued`, and all that were due at `by`.
    async fn overtaken(&self, by: Timestamp) -> Result<Vec<JobId>, StoreError>;

    /// Clears the restored-backup mark once every job has been reconciled.
    async fn forget_restored(&self) -> Result<(), StoreError>;

    /// Returns the id of the engine that containers were created on. `None` before the first
    /// container.
    async fn engine(&self) -> Result<Option<EngineId>, StoreError>;

    /// Returns the pause of everything, if there is one.
    async fn pause(&self) -> Result<Option<Pause>, StoreError>;

    /// Writes the pause of everything, or its end. The journal tells of it.
    async fn set_pause(
        &self,
        pause: Option<&Pause>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError>;

    /// Remembers the id of the engine that containers are created on.
    async fn remember_engine(&self, engine: &EngineId) -> Result<(), StoreError>;
}
