//! What names stand for and what may be asked for: the config's part in a job.
//!
//! A name is a definition, else an image, else (for now) nothing: it may be defined before the job is due.

use std::collections::BTreeMap;

use super::SecretSources;
use crate::domain::image::JobName;
use crate::domain::job::Reason;
use crate::domain::policy::{Closed, Denied, Policy};
use crate::domain::spec::JobSpec;
use crate::domain::transition::Failure;

/// The definitions and the policy that hold.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Named templates.
    pub definitions: BTreeMap<String, JobSpec>,
    /// What a caller may ask for.
    pub policy: Policy,
    /// What nobody may mount.
    pub closed: Closed,
    /// Where secrets come from.
    pub secrets: SecretSources,
}

impl Catalog {
    /// What a job of this name and with these fields of its own would run; without an image where the name is
    /// neither a definition nor an image.
    ///
    /// # Errors
    /// [`Denied`] when the policy does not allow it.
    pub fn resolve(&self, name: &JobName, own: JobSpec) -> Result<JobSpec, Denied> {
        let spec = match (self.definitions.get(name.as_str()), name.image()) {
            _ if own.fields().image.is_some() => own,
            (Some(definition), _) => own.over(definition),
            (None, Some(image)) => own.with_image(image),
            (None, None) => own,
        };
        self.policy.admit(spec, &self.closed, &real_path)
    }

    /// How a job ends whose name is neither a definition nor an image when it is due.
    pub fn no_such_job(&self, name: &JobName) -> Failure {
        let defined: Vec<&str> = self.definitions.keys().take(8).map(String::as_str).collect();
        let known = if defined.is_empty() {
            "none is defined".to_owned()
        } else {
            format!("defined are {}", defined.join(", "))
        };
        Failure::new(Reason::NoSuchJob, format!("`{name}` is neither a definition ({known}) nor an image reference"))
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
        catalog.resolve(&name.parse().expect("a name"), spec(own)).expect("allowed")
    }

    #[test]
    fn a_name_is_a_definition_first_and_an_image_second() {
        let job = resolved("JOB_A", r#"{"env":{"B":"2"}}"#);
        assert_eq!(job, spec(r#"{"image":"busybox:1","command":["true"],"env":{"A":"1","B":"2"}}"#));
        assert_eq!(resolved("busybox:2", "{}"), spec(r#"{"image":"busybox:2"}"#));
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
