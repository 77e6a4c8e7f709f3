//! The operations on stored definitions.

use async_trait::async_trait;

use super::definitions;
use super::store::SqliteStore;
use crate::domain::names::actor::Actor;
use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::domain::precondition::Precondition;
use crate::domain::spec::JobSpec;
use crate::store::definitions::{Definition, DefinitionStore, Revision};
use crate::store::error::StoreError;

#[async_trait]
impl DefinitionStore for SqliteStore {
    async fn definition(&self, name: &JobName) -> Result<Option<Definition>, StoreError> {
        let Some(unchanged) = self.feed.undefined.look(name.as_str()) else { return Ok(None) };
        let sought = name.clone();
        let found =
            self.read(move |connection| definitions::get(connection, sought.as_str())).await?;
        if found.is_none() {
            self.feed.undefined.note(name.as_str(), unchanged);
        }
        Ok(found)
    }

    async fn definitions(
        &self,
        after: Option<&JobName>,
        limit: usize,
    ) -> Result<Vec<Definition>, StoreError> {
        // The empty name sorts before every name.
        let after = after.map(ToString::to_string).unwrap_or_default();
        self.read(move |connection| definitions::page(connection, &after, limit)).await
    }

    async fn define(
        &self,
        name: &JobName,
        spec: &JobSpec,
        precondition: Precondition<Revision>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<Revision, StoreError> {
        let spec = serde_json::to_string(spec).map_err(|error| {
            StoreError::Failed(format!("the definition `{name}` cannot be written: {error}"))
        })?;
        let (name, undefined, by) = (name.clone(), self.feed.undefined.clone(), by.clone());
        self.write_and_tell(move |connection| {
            undefined.touch();
            definitions::put(connection, &name, &spec, &precondition, at, by)
        })
        .await
    }

    async fn undefine(
        &self,
        name: &JobName,
        precondition: Precondition<Revision>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<bool, StoreError> {
        let (name, by) = (name.clone(), by.clone());
        self.write_and_tell(move |connection| {
            definitions::remove(connection, &name, &precondition, at, by)
        })
        .await
    }
}
