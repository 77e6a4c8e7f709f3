//! Definitions as callers see them: those of the config file, which are changed there, and those in the store.

use tracing::warn;

use super::{Catalog, Handle};
use crate::domain::expected::Expected;
use crate::domain::id::Timestamp;
use crate::domain::image::JobName;
use crate::domain::policy::Denied;
use crate::domain::spec::JobSpec;
use crate::store::{Definition, Revision, StoreError};

/// How many definitions are read at once.
const PAGE: usize = 100;

/// A definition, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Defined {
    /// Its name.
    pub name: String,
    /// What a job of this name runs.
    pub spec: JobSpec,
    /// Which writing it is, and when it was written; `None` for one of the config file.
    pub kept: Option<(Revision, Timestamp)>,
}

/// Why a definition was not written or removed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DefineError {
    /// The config file has one of this name.
    #[error("the definition is in the server's config file")]
    InConfig,
    /// There is none of this name.
    #[error("there is no such definition")]
    NotFound,
    /// The policy does not allow it to any job.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It is not what the caller took it to be, or could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Handle {
    /// The definition of this name: the config file's, else the store's.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn definition(&self, name: &JobName) -> Result<Option<Defined>, StoreError> {
        if let Some(spec) = self.shared.rules().catalog.definitions.get(name.as_str()) {
            return Ok(Some(Defined { name: name.to_string(), spec: spec.clone(), kept: None }));
        }
        Ok(self.shared.store.definition(name).await?.map(Defined::from))
    }

    /// Calls `show` with every definition that a job can be made of.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn each_definition(&self, mut show: impl FnMut(Defined)) -> Result<(), StoreError> {
        let rules = self.shared.rules();
        let of_config = &rules.catalog.definitions;
        for (name, spec) in of_config {
            show(Defined { name: name.clone(), spec: spec.clone(), kept: None });
        }
        let mut last = None;
        loop {
            let page = self.shared.store.definitions(last.as_ref(), PAGE).await?;
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

    /// Writes a definition, in place of the one of that name. Jobs that were accepted have their copy of it; those whose
    /// name stood for nothing find it when they are due.
    ///
    /// # Errors
    /// [`DefineError`]; then nothing was changed.
    pub async fn define(
        &self,
        name: &JobName,
        spec: &JobSpec,
        expected: Expected<Revision>,
    ) -> Result<Revision, DefineError> {
        let rules = self.shared.rules();
        is_not_in_config(&rules.catalog, name)?;
        rules.catalog.admit_definition(spec)?;
        Ok(self.shared.store.define(name, spec, expected, self.now()).await?)
    }

    /// A warning where the image of a definition may be mistyped.
    pub async fn doubt_definition(&self, name: &JobName, spec: &JobSpec) -> Option<String> {
        self.shared
            .doubt(spec)
            .await
            .inspect(|why| warn!(definition = %name, %why, "an image may be mistyped"))
    }

    /// Removes a definition. Jobs that were accepted have their copy of it.
    ///
    /// # Errors
    /// [`DefineError`]; then nothing was changed.
    pub async fn undefine(
        &self,
        name: &JobName,
        expected: Expected<Revision>,
    ) -> Result<(), DefineError> {
        is_not_in_config(&self.shared.rules().catalog, name)?;
        match self.shared.store.undefine(name, expected).await? {
            true => Ok(()),
            false => Err(DefineError::NotFound),
        }
    }
}

fn is_not_in_config(catalog: &Catalog, name: &JobName) -> Result<(), DefineError> {
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
