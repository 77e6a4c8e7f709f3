//! Resolves the name of a job: a definition of the config file, one of the store, or an image.

use super::context::Context;
use super::rules::Catalog;
use crate::domain::admission::policy::Denied;
use crate::domain::job::Reason;
use crate::domain::job::transition::Failure;
use crate::domain::names::image::JobName;
use crate::domain::spec::JobSpec;
use crate::store::StoreError;

/// The reason a name was not resolved.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unresolved {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Context {
    /// Returns the spec that a job of this name with the fields `own` would run. The spec has no
    /// image if the name is neither a definition nor an image.
    pub(super) async fn resolve(
        &self,
        catalog: &Catalog,
        name: &JobName,
        own: JobSpec,
    ) -> Result<JobSpec, Unresolved> {
        let kept = match catalog.asks_store(name, &own) {
            true => self.store.definition(name).await?.map(|definition| definition.spec),
            false => None,
        };
        Ok(catalog.resolve(name, own, kept.as_ref())?)
    }

    /// Returns the failure of a due job whose name is neither a definition nor an image.
    pub(super) async fn no_such_job(
        &self,
        catalog: &Catalog,
        name: &JobName,
    ) -> Result<Failure, StoreError> {
        let kept = self.store.definitions(None, NAMES_SHOWN).await?;
        let of_config = catalog.definitions.keys().map(String::as_str);
        let defined: Vec<&str> =
            of_config.chain(kept.iter().map(|it| it.name.as_str())).take(NAMES_SHOWN).collect();
        let known = if defined.is_empty() {
            "none is defined".to_owned()
        } else {
            format!("defined are {}", defined.join(", "))
        };
        let error = format!("`{name}` is neither a definition ({known}) nor an image reference");
        Ok(Failure::new(Reason::NoSuchJob, error))
    }
}

/// The number of definitions listed in the error about an unknown name.
const NAMES_SHOWN: usize = 8;
