//! The checked spec that a job carries.
//!
//! [`JobSpec`] holds the fields of a [`SpecFields`] after the checks of whole fields and of
//! combinations of fields. The conversion from [`SpecFields`] runs these checks; no other way leads
//! to a new spec.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::command::{Env, Labels, Paths};
use super::fields::{BadSpec, SpecFields};
use super::secret::Secrets;
use super::values::Retry;
use crate::domain::names::image::ImageRef;

/// A checked spec. Callers can read its fields but not write them. The fields take about a
/// kilobyte, so a job that is passed on holds them behind one pointer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "SpecFields")]
pub struct JobSpec(Box<SpecFields>);

impl JobSpec {
    /// Returns a spec that was checked when it was accepted, without a second check. Rules that
    /// became stricter since then must not make a stored job unreadable.
    pub fn accepted_before(fields: SpecFields) -> Self {
        Self(Box::new(fields))
    }

    pub fn fields(&self) -> &SpecFields {
        &self.0
    }

    /// Returns the retry settings; without any, the settings for no retry.
    pub fn retry(&self) -> &Retry {
        self.0.retry.as_ref().unwrap_or(&Retry::NONE)
    }

    /// Returns the time between the request to stop and the kill, with the default filled in.
    pub fn stop_grace(&self) -> Duration {
        self.0.stop_grace.map_or(DEFAULT_STOP_GRACE, |grace| grace.as_duration())
    }

    /// Returns the limit of the kept log in bytes of text, with the default filled in.
    pub fn log_limit(&self) -> u64 {
        self.0.log_limit.map_or(DEFAULT_LOG_LIMIT_BYTES, |limit| limit.as_u64())
    }

    /// Returns this spec with missing fields taken from `definition`. Environment, secrets and
    /// labels are merged key by key.
    #[must_use]
    pub fn over(self, definition: &Self) -> Self {
        let base = definition.fields();
        let env =
            merged(self.0.env.as_ref().map(|e| &e.0), base.env.as_ref().map(|e| &e.0)).map(Env);
        let labels =
            merged(self.0.labels.as_ref().map(|l| &l.0), base.labels.as_ref().map(|l| &l.0))
                .map(Labels);
        let secrets =
            merged(self.0.secrets.as_ref().map(|s| &s.0), base.secrets.as_ref().map(|s| &s.0))
                .map(Secrets);
        Self(Box::new(SpecFields { env, labels, secrets, ..self.0.or(base.clone()) }))
    }

    #[must_use]
    pub fn with_image(self, image: ImageRef) -> Self {
        self.modified(|fields| fields.image = Some(image))
    }

    /// Returns this spec with each path of `env_file` replaced by `in_full(path)`.
    #[must_use]
    pub fn with_env_files(self, in_full: impl Fn(&str) -> String) -> Self {
        let written = |files: Paths| Paths(files.0.iter().map(|path| in_full(path)).collect());
        self.modified(|fields| fields.env_file = fields.env_file.take().map(written))
    }

    /// Returns this spec after `narrow` changed its fields, unchecked. The policy uses it to fill
    /// in its limits.
    #[must_use]
    pub(crate) fn modified(self, narrow: impl FnOnce(&mut SpecFields)) -> Self {
        let mut fields = self.0;
        narrow(&mut fields);
        Self(fields)
    }
}

/// Serializes the fields by reference; a derived `into` would copy all of them.
impl Serialize for JobSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}

fn merged(
    over: Option<&BTreeMap<String, String>>,
    base: Option<&BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    let mut all = base.cloned().unwrap_or_default();
    all.extend(over.cloned().unwrap_or_default());
    (!all.is_empty()).then_some(all)
}

impl From<JobSpec> for SpecFields {
    fn from(spec: JobSpec) -> Self {
        *spec.0
    }
}

impl TryFrom<SpecFields> for JobSpec {
    type Error = BadSpec;
    fn try_from(fields: SpecFields) -> Result<Self, BadSpec> {
        super::check::check(&fields)?;
        Ok(Self(Box::new(fields)))
    }
}

/// The time between the request to stop a container and the kill, unless the spec sets
/// `stop_grace`.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);

/// The log that a job keeps, in bytes of text, unless the spec sets `log_limit`.
pub const DEFAULT_LOG_LIMIT_BYTES: u64 = 64 * 1024 * 1024;
