//! Resolves the files and variables that the config file names: secrets, env files and registry
//! passwords. A path is relative to the config file's folder. Secret values are never in the config
//! file, and this module keeps none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use serde::Deserialize;

use super::error::{ConfigError, wrong};
use crate::domain::names::schedule::ScheduleName;
use crate::domain::recurrence::Zone;
use crate::domain::schedule::Schedule;
use crate::domain::spec::JobSpec;
use crate::domain::spec::command::env_file;
use crate::scheduler::{SecretSource, SecretSources};

/// The section `[secrets.NAME]`, which sets exactly one of the two fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SecretSection {
    file: Option<PathBuf>,
    env: Option<String>,
}

/// The section `[registries."HOST:PORT"]`: the login for that registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryLogin {
    pub username: String,
    /// The path of the file that holds the password.
    pub password_file: PathBuf,
}

/// Returns the definitions with full paths to their env files. Reads each env file once to check
/// it.
pub(super) fn definitions(
    all: BTreeMap<String, JobSpec>,
    beside: &Path,
) -> Result<BTreeMap<String, JobSpec>, ConfigError> {
    // A spec is stored as JSON, which can hold only UTF-8 paths.
    if beside.to_str().is_none() && all.values().any(|spec| spec.fields().env_file.is_some()) {
        return wrong(format!(
            "an `env_file` cannot be named from {}, which is not UTF-8",
            beside.display()
        ));
    }
    let in_full = |path: &str| beside.join(path).to_string_lossy().into_owned();
    let all: BTreeMap<String, JobSpec> =
        all.into_iter().map(|(name, spec)| (name, spec.with_env_files(in_full))).collect();
    for (name, spec) in &all {
        for path in spec.fields().env_file.iter().flat_map(|files| &files.0) {
            let text = fs::read_to_string(path).map_err(|error| {
                ConfigError(format!("`definitions.{name}.env_file` {path} cannot be read: {error}"))
            })?;
            env_file(&text).map_err(|line| {
                ConfigError(format!(
                    "line {line} of {path}, an `env_file` of `definitions.{name}`, is not `NAME=value`"
                ))
            })?;
        }
    }
    Ok(all)
}

/// Returns the schedules, with the server's time zone where they name none. Refuses an `env_file`
/// in a schedule's spec.
pub(super) fn schedules(
    all: BTreeMap<ScheduleName, Schedule>,
    zone: Tz,
) -> Result<BTreeMap<ScheduleName, Schedule>, ConfigError> {
    match all.iter().find(|(_, schedule)| schedule.spec().fields().env_file.is_some()) {
        Some((name, _)) => wrong(format!(
            "`schedules.{name}.spec` has an `env_file`: write it into a definition, and let `job_name` name that"
        )),
        None => Ok(all
            .into_iter()
            .map(|(name, schedule)| (name, schedule.in_zone(Zone::from(zone))))
            .collect()),
    }
}

pub(super) fn secrets(
    sections: BTreeMap<String, SecretSection>,
    beside: &Path,
) -> Result<SecretSources, ConfigError> {
    let source = |(name, section): (String, SecretSection)| match (section.file, section.env) {
        (Some(file), None) => Ok((name, SecretSource::File(beside.join(file)))),
        (None, Some(variable)) => Ok((name, SecretSource::Variable(variable))),
        (Some(_), Some(_)) | (None, None) => wrong(format!(
            "`[secrets.{name}]` has to have either a `file` or an `env`, and only one of them"
        )),
    };
    sections.into_iter().map(source).collect::<Result<_, _>>().map(SecretSources)
}

/// Returns the logins with full paths to their password files. Images name a registry as
/// `HOST:PORT/…`, so a name that is empty or holds `/` is refused.
pub(super) fn registries(
    all: BTreeMap<String, RegistryLogin>,
    beside: &Path,
) -> Result<BTreeMap<String, RegistryLogin>, ConfigError> {
    if let Some(name) = all.keys().find(|name| name.is_empty() || name.contains('/')) {
        return wrong(format!(
            "`[registries.\"{name}\"]` is not how an image names one: write its host, and its port where it has one, such as `registry.example:5000`, or `docker.io`"
        ));
    }
    let in_full = |login: RegistryLogin| RegistryLogin {
        password_file: beside.join(&login.password_file),
        ..login
    };
    Ok(all.into_iter().map(|(name, login)| (name, in_full(login))).collect())
}
