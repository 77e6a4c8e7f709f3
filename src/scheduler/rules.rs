//! The catalog: resolves job names to specs, and checks specs against the policy.
//!
//! A name is a definition of the config file, else one in the store, else an image. If none of
//! these matches, the name may still be defined before the job is due. Once resolved, the spec
//! belongs to the job.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::secrets::SecretSources;
use super::timing::STAGE_AHEAD;
use crate::domain::admission::policy::{Denied, ForbiddenPaths, Policy};
use crate::domain::names::image::JobName;
use crate::domain::names::queue::Queues;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::Schedule;
use crate::domain::spec::JobSpec;

/// The reloadable part of the config. [`Handle::set_rules`](super::Handle::set_rules) replaces it
/// while the scheduler runs.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Definitions, schedules, queues, policy and secrets from the config file.
    pub catalog: Catalog,
    /// Numeric limits from the config.
    pub settings: Settings,
}

impl Rules {
    /// Returns the number of jobs that may run at once: the smaller of the server's limit and the
    /// policy's.
    pub(super) fn max_running(&self) -> usize {
        let by_policy = self.catalog.policy.max_running.map_or(usize::MAX, NonZeroUsize::get);
        self.settings.max_running.min(by_policy)
    }
}

/// Numeric limits from the config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of jobs that may run at once.
    pub max_running: usize,
    /// The number of creates and starts in flight at once. Beyond the knee of its throughput curve
    /// an engine only gets slower.
    pub max_starting: usize,
    /// The time before a job's due time at which its image is pulled and its container created.
    /// Zero turns staging off.
    pub stage_ahead: Duration,
    /// True to accept the engine that answers now although the store knows another one.
    pub accept_new_engine: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_running: 256,
            max_starting: 12,
            stage_ahead: STAGE_AHEAD,
            accept_new_engine: false,
        }
    }
}

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
