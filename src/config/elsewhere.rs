//! What the config file names and is elsewhere: secrets, env files, passwords for registries. A path is meant from where
//! the config file is. A value is never in the config file itself, and none is read for good here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use serde::Deserialize;

use super::{ConfigError, wrong};
use crate::domain::recurrence::Zone;
use crate::domain::schedule::{Schedule, ScheduleName};
use crate::domain::spec::JobSpec;
use crate::domain::words::env_file;
use crate::scheduler::{SecretSource, SecretSources};

/// One `[secrets.NAME]`: exactly one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SecretSection {
    file: Option<PathBuf>,
    env: Option<String>,
}

/// One `[registries."HOST:PORT"]`: who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryLogin {
    /// The user.
    pub username: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
}

/// Definitions with their env files in full, each of which is read once to see that it can be.
pub(super) fn definitions(
    all: BTreeMap<String, JobSpec>,
    beside: &Path,
) -> Result<BTreeMap<String, JobSpec>, ConfigError> {
    // A spec is kept as JSON, and that has no other paths.
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

/// Schedules by clocks in the server's zone, unless they say otherwise.
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

/// An image says `HOST:PORT/…`, so that is how its registry is named.
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
