//! Definitions as callers see them: the config file's, which only the file can change, and the
//! store's.

use tracing::warn;

use super::handle::Handle;
use crate::domain::admission::caller::Caller;
use crate::domain::admission::policy::Denied;
use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::domain::precondition::Precondition;
use crate::domain::spec::JobSpec;
use crate::scheduler::rules::Catalog;
use crate::store::{Definition, Revision, StoreError};

/// The number of definitions read per query.
const PAGE: usize = 100;

/// A definition, with its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Defined {
    pub name: String,
    /// The spec that a job of this name runs.
    pub spec: JobSpec,
    /// The revision and the time of its write; `None` for a definition of the config file.
    pub kept: Option<(Revision, Timestamp)>,
}

/// The reason a definition was not written or removed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DefineError {
    /// The config file has a definition of this name.
    #[error("the definition is in the server's config file")]
    InConfig,
    /// No definition has this name.
    #[error("there is no such definition")]
    NotFound,
    /// The policy would forbid the definition to every job.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The caller's precondition does not hold, or the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Handle {
    /// Returns the definition of this name: the config file's, else the store's.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn definition(&self, name: &JobName) -> Result<Option<Defined>, StoreError> {
        if let Some(spec) = self.context.rules().catalog.definitions.get(name.as_str()) {
            return Ok(Some(Defined { name: name.to_string(), spec: spec.clone(), kept: None }));
        }
        Ok(self.context.store.definition(name).await?.map(Defined::from))
    }

    /// Calls `show` with every definition that a job can use.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn each_definition(&self, mut show: impl FnMut(Defined)) -> Result<(), StoreError> {
        let rules = self.context.rules();
        let of_config = &rules.catalog.definitions;
        for (name, spec) in of_config {
            show(Defined { name: name.clone(), spec: spec.clone(), kept: None });
        }
        let mut last = None;
        loop {
            let page = self.context.store.definitions(last.as_ref(), PAGE).await?;
            last = page.last().map(|definition| definition.name.clone());
            let is_last_page = page.len() < PAGE;
            page.into_iter()
                .filter(|it| !of_config.contains_key(it.name.as_str()))
                .map(Defined::from)
                .for_each(&mut show);
            if is_last_page {
                return Ok(());
            }
        }
    }

    /// Writes a definition, replacing one of the same name. Accepted jobs keep their copy of the
    /// old one. Jobs whose name was undefined get the new one when they are due.
    ///
    /// # Errors
    /// [`DefineError`]; then nothing was changed.
    pub async fn define(
        &self,
        caller: &Caller,
        name: &JobName,
        spec: &JobSpec,
        precondition: Precondition<Revision>,
    ) -> Result<Revision, DefineError> {
        let rules = self.context.rules();
        ensure_not_in_config(&rules.catalog, name)?;
        rules.catalog.admit_definition(spec)?;
        let (at, by) = (self.now(), caller.actor());
        Ok(self.context.store.define(name, spec, precondition, at, &by).await?)
    }

    /// Returns a warning if the image of a definition may be mistyped.
    pub async fn definition_warnings(&self, name: &JobName, spec: &JobSpec) -> Option<String> {
        self.context
            .doubt(spec)
            .await
            .inspect(|why| warn!(definition = %name, %why, "an image may be mistyped"))
    }

    /// Removes a definition. Accepted jobs keep their copy.
    ///
    /// # Errors
    /// [`DefineError`]; then nothing was changed.
    pub async fn undefine(
        &self,
        caller: &Caller,
        name: &JobName,
        precondition: Precondition<Revision>,
    ) -> Result<(), DefineError> {
        ensure_not_in_config(&self.context.rules().catalog, name)?;
        match self.context.store.undefine(name, precondition, self.now(), &caller.actor()).await? {
            true => Ok(()),
            false => Err(DefineError::NotFound),
        }
    }
}

pub(super) fn ensure_not_in_config(catalog: &Catalog, name: &JobName) -> Result<(), DefineError> {
    match catalog.definitions.contains_key(name.as_str()) {
        true => Err(DefineError::InConfig),
        false => Ok(()),
    }
}

impl From<Definition> for Defined {
    fn from(definition: Definition) -> Self {
        let kept = Some((definition.revision, definition.changed_at));
        Self { name: definition.name.to_string(), spec: definition.spec, kept }
    }
}
