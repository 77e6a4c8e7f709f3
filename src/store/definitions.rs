//! Named templates that callers keep in the store.

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::names::actor::Actor;
use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::domain::precondition::Precondition;
use crate::domain::spec::JobSpec;

/// The version of a definition: strictly increasing and never reused, not even by another
/// definition of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A named template for jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub name: JobName,
    pub revision: Revision,
    /// The spec of a job of this name.
    pub spec: JobSpec,
    /// The time of the last write.
    pub changed_at: Timestamp,
}

/// The operations on stored definitions.
#[async_trait]
pub trait DefinitionStore: Send + Sync + 'static {
    async fn definition(&self, name: &JobName) -> Result<Option<Definition>, StoreError>;

    /// Returns up to `limit` definitions ordered by name, after the name `after`.
    async fn definitions(
        &self,
        after: Option<&JobName>,
        limit: usize,
    ) -> Result<Vec<Definition>, StoreError>;

    /// Writes a definition and replaces an earlier one of the same name. The journal tells of it.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the precondition `precondition` is not met.
    async fn define(
        &self,
        name: &JobName,
        spec: &JobSpec,
        precondition: Precondition<Revision>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<Revision, StoreError>;

    /// Removes a definition; returns false if there was none.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the precondition `precondition` is not met.
    async fn undefine(
        &self,
        name: &JobName,
        precondition: Precondition<Revision>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<bool, StoreError>;
}
