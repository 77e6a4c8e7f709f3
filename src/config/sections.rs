//! The sections of the config file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::queues::QueueSection;
use super::references::{RegistryLogin, SecretSection};
use crate::domain::admission::policy::Policy;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::Schedule;
use crate::domain::spec::JobSpec;
use crate::domain::text::units::Span;

/// The config file in its TOML form, not yet checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    pub(super) server: ServerSection,
    pub(super) limits: LimitsSection,
    pub(super) definitions: BTreeMap<String, JobSpec>,
    pub(super) queues: BTreeMap<String, QueueSection>,
    pub(super) schedules: BTreeMap<ScheduleName, Schedule>,
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) secrets: BTreeMap<String, SecretSection>,
    pub(super) registries: BTreeMap<String, RegistryLogin>,
    pub(super) engines: BTreeMap<String, EngineSection>,
    pub(super) metrics: MetricsSection,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerSection {
    pub(super) listen: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) engine: Option<String>,
    pub(super) store: Option<String>,
    pub(super) time_zone: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) allow_anonymous: Option<bool>,
    pub(super) allowed_hosts: Option<Vec<String>>,
    pub(super) accept_new_engine: Option<bool>,
    pub(super) shutdown_deadline: Option<Span>,
    pub(super) base_path: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    pub(super) max_running: Option<usize>,
    pub(super) max_starting: Option<usize>,
    pub(super) stage_ahead: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricsSection {
    /// False to show pseudonyms instead of names in the labels of metrics. Default: true.
    pub(super) names: Option<bool>,
}

/// The section `[engines.NAME]`: the address of that engine. For `docker`, it ranks above
/// `DOCKER_HOST` and related variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSection {
    /// The engine's address: `unix:///var/run/docker.sock` or `tcp://host:2376`.
    pub host: Option<String>,
    /// The folder with `ca.pem`, `cert.pem` and `key.pem`.
    pub cert_path: Option<PathBuf>,
    /// True to use TLS and check the engine's certificate.
    pub tls_verify: Option<bool>,
    /// The longest time that a pull may show no progress before it is abandoned. `None`: the
    /// default of the engine.
    pub pull_stall: Option<Span>,
}

/// The engine that runs containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// Docker, or Podman through its socket.
    Docker(EngineSection),
    /// The simulated engine, which runs no real containers.
    Simulated,
}
