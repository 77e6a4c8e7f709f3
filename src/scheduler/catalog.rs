//! The catalog: resolves job names to specs, and checks specs against the policy.
//!
//! A name is a definition of the config file, else one in the store, else an image. If none of
//! these matches, the name may still be defined before the job is due. Once resolved, the spec
//! belongs to the job.

use std::collections::BTreeMap;

use super::{SecretSources, Shared};
use crate::domain::admission::policy::{Denied, ForbiddenPaths, Policy};
use crate::domain::job::Reason;
use crate::domain::job::transition::Failure;
use crate::domain::names::image::JobName;
use crate::domain::names::queue::Queues;
use crate::domain::spec::JobSpec;
use crate::domain::{names::schedule::ScheduleName, schedule::Schedule};
use crate::store::StoreError;

/// The number of definitions listed in the error about an unknown name.
const NAMES_SHOWN: usize = 8;

/// The definitions, the schedules, the queues and the policy of the config file.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Templates of the config file, by name.
    pub definitions: BTreeMap<String, JobSpec>,
    /// The limit of running jobs in each queue.
    pub queues: Queues,
    /// Limits on callers' specs.
    pub policy: Policy,
    /// Paths that no job may mount.
    pub closed: ForbiddenPaths,
    /// Sources of the secrets that the config file declares.
    pub secrets: SecretSources,
    /// Schedules of the config file, each with its zone.
    pub schedules: BTreeMap<ScheduleName, Schedule>,
    pub file: Origin,
}

/// The config file that a catalog was read from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The path; empty without a config file.
    pub path: String,
    /// True to take over the schedules of other config files.
    pub adopts: bool,
    /// True while another running server uses this file's schedules.
    pub is_in_use: bool,
}

impl Catalog {
    /// Returns the spec that a job of this name with the fields `own` would run. `kept` is the
    /// store's definition of that name. The spec has no image if the name is neither a definition
    /// nor an image.
    ///
    /// # Errors
    /// [`Denied`] when the policy forbids the spec.
    pub(super) fn resolve(
        &self,
        name: &JobName,
        own: JobSpec,
        kept: Option<&JobSpec>,
    ) -> Result<JobSpec, Denied> {
        let spec = match (self.definitions.get(name.as_str()).or(kept), name.image()) {
            _ if own.fields().image.is_some() => own,
            (Some(definition), _) => own.over(definition),
            (None, Some(image)) => own.with_image(image),
            (None, None) => own,
        };
        // The registry rule does not apply to an image from a definition in the config file: the
        // operator chose it.
        let image = spec.fields().image.as_ref();
        if self
            .definitions
            .get(name.as_str())
            .is_none_or(|own| own.fields().image.as_ref() != image)
        {
            self.policy.admit_registry(image)?;
        }
        self.policy.admit(spec, &self.closed, &real_path)
    }

    /// Returns whether the store's definitions matter for this name.
    pub(super) fn asks_store(&self, name: &JobName, own: &JobSpec) -> bool {
        own.fields().image.is_none() && !self.definitions.contains_key(name.as_str())
    }

    /// Refuses a definition that the policy would forbid to every job.
    pub(super) fn admit_definition(&self, spec: &JobSpec) -> Result<(), Denied> {
        self.policy.admit_registry(spec.fields().image.as_ref())?;
        self.policy.admit_definition(spec, &self.closed, &real_path)
    }
}

/// The reason a name was not resolved.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unresolved {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shared {
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

/// Resolves the symbolic links in a path of this machine. Returns `None` for a path that is not
/// here (the engine may be on another machine), and then the path is taken as written. Reads a few
/// directory entries and opens no file.
fn real_path(path: &str) -> Option<String> {
    std::fs::canonicalize(path).ok().map(|real| real.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> JobSpec {
        serde_json::from_str(json).expect("a right spec")
    }

    fn resolved(name: &str, own: &str) -> JobSpec {
        let definitions = BTreeMap::from([(
            "JOB_A".to_owned(),
            spec(r#"{"image":"busybox:1","command":["true"],"env":{"A":"1","B":"1"}}"#),
        )]);
        let catalog = Catalog { definitions, ..Catalog::default() };
        let kept = spec(r#"{"image":"busybox:3","env":{"B":"3"}}"#);
        let kept = (name != "JOB_B").then_some(&kept).filter(|_| name != "busybox:2");
        catalog.resolve(&name.parse().expect("a name"), spec(own), kept).expect("allowed")
    }

    #[test]
    fn a_definition_takes_precedence_over_an_image() {
        let job = resolved("JOB_A", r#"{"env":{"B":"2"}}"#);
        assert_eq!(
            job,
            spec(r#"{"image":"busybox:1","command":["true"],"env":{"A":"1","B":"2"}}"#)
        );
        assert_eq!(resolved("busybox:2", "{}"), spec(r#"{"image":"busybox:2"}"#));
    }

    #[test]
    fn config_definitions_precede_stored_ones_and_images() {
        assert_eq!(
            resolved("JOB_A", "{}").fields().image,
            spec(r#"{"image":"busybox:1"}"#).fields().image
        );
        assert_eq!(resolved("busybox:4", "{}"), spec(r#"{"image":"busybox:3","env":{"B":"3"}}"#));
    }

    #[test]
    fn an_unknown_name_resolves_without_an_image() {
        assert_eq!(resolved("JOB_B", "{}").fields().image, None);
    }

    #[test]
    fn a_resolved_job_keeps_its_image() {
        assert_eq!(resolved("JOB_A", r#"{"image":"busybox:9"}"#), spec(r#"{"image":"busybox:9"}"#));
    }
}
