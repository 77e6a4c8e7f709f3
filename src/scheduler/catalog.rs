//! What names stand for and what may be asked for.
//!
//! A name is a definition of the config file, else one in the store, else an image, else (for now) nothing: it may be
//! defined before the job is due. What a name was resolved to is the job's own from then on.

use std::collections::BTreeMap;

use super::{SecretSources, Shared};
use crate::domain::image::JobName;
use crate::domain::job::Reason;
use crate::domain::policy::{Closed, Denied, Policy};
use crate::domain::queue::Queues;
use crate::domain::schedule::{Schedule, ScheduleName};
use crate::domain::spec::JobSpec;
use crate::domain::transition::Failure;
use crate::store::StoreError;

/// How many definitions are named to whoever named none.
const NAMES_SHOWN: usize = 8;

/// The definitions, the schedules, the queues and the policy of the config file.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Named templates of the config file.
    pub definitions: BTreeMap<String, JobSpec>,
    /// How many jobs of each queue may run at once.
    pub queues: Queues,
    /// What a caller may ask for.
    pub policy: Policy,
    /// What nobody may mount.
    pub closed: Closed,
    /// Where secrets come from.
    pub secrets: SecretSources,
    /// Schedules of the config file, each with its zone.
    pub schedules: BTreeMap<ScheduleName, Schedule>,
    /// Which config file that is.
    pub file: Origin,
}

/// The config file that a catalog was read from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Its path; empty where there is none.
    pub path: String,
    /// Whether the schedules of other config files are to be this one's.
    pub adopts: bool,
    /// Whether another server that is up has its schedules.
    pub is_in_use: bool,
}

impl Catalog {
    /// What a job of this name and with these fields of its own would run, where `kept` is the store's definition of that
    /// name; without an image where the name is neither a definition nor an image.
    ///
    /// # Errors
    /// [`Denied`] when the policy does not allow it.
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
        // What the operator's own definition says is the operator's word.
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

    /// Whether the store may have a say in what this name stands for.
    pub(super) fn asks_store(&self, name: &JobName, own: &JobSpec) -> bool {
        own.fields().image.is_none() && !self.definitions.contains_key(name.as_str())
    }

    /// Refuses a definition that no job could be admitted with.
    pub(super) fn admit_definition(&self, spec: &JobSpec) -> Result<(), Denied> {
        self.policy.admit_registry(spec.fields().image.as_ref())?;
        self.policy.admit_definition(spec, &self.closed, &real_path)
    }
}

/// Why a name was not resolved.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unresolved {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shared {
    /// What a job of this name and with these fields of its own would run; without an image where the name is
    /// neither a definition nor an image.
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

    /// How a job ends whose name is neither a definition nor an image when it is due.
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

/// What a path of this machine really is, symbolic links followed. A path that is not here (the engine may be on
/// another machine) is taken as it is written. A look at a few directory entries; no file is opened.
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
    fn a_name_is_a_definition_first_and_an_image_second() {
        let job = resolved("JOB_A", r#"{"env":{"B":"2"}}"#);
        assert_eq!(
            job,
            spec(r#"{"image":"busybox:1","command":["true"],"env":{"A":"1","B":"2"}}"#)
        );
        assert_eq!(resolved("busybox:2", "{}"), spec(r#"{"image":"busybox:2"}"#));
    }

    #[test]
    fn a_definition_in_the_store_is_second_to_the_configs_and_goes_before_an_image() {
        assert_eq!(
            resolved("JOB_A", "{}").fields().image,
            spec(r#"{"image":"busybox:1"}"#).fields().image
        );
        assert_eq!(resolved("busybox:4", "{}"), spec(r#"{"image":"busybox:3","env":{"B":"3"}}"#));
    }

    #[test]
    fn a_name_that_is_neither_stays_without_an_image() {
        assert_eq!(resolved("JOB_B", "{}").fields().image, None);
    }

    #[test]
    fn a_job_that_was_resolved_keeps_what_it_was_resolved_to() {
        assert_eq!(resolved("JOB_A", r#"{"image":"busybox:9"}"#), spec(r#"{"image":"busybox:9"}"#));
    }
}
