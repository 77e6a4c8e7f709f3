//! The config file: where it is, and what was read of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ConfigError, DEFAULT_FILES, FileConfig, wrong};

/// A config file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What was in it.
    pub text: String,
}

impl ConfigFile {
    /// The file that is named, or the first of those that are looked for.
    pub(super) fn find(named: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let path = match named {
            Some(path) if path.exists() => path.to_owned(),
            Some(path) => return wrong(format!("there is no config file {}", path.display())),
            None => match DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.exists()) {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let text = fs::read_to_string(&path)
            .map_err(|error| ConfigError(format!("the config file {} cannot be read: {error}", path.display())))?;
        Ok(Some(Self { path, text }))
    }

    /// The error of a TOML file has its line, its column and a caret.
    pub(super) fn parse(&self) -> Result<FileConfig, ConfigError> {
        toml::from_str(&self.text)
            .map_err(|error| ConfigError(format!("the config file {} is not right: {error}", self.path.display())))
    }
}
