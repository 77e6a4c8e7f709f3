//! Finds, reads and parses the config file.

use std::fs;
use std::path::{Path, PathBuf};

use super::{
    args::DEFAULT_FILES,
    error::{ConfigError, wrong},
    sections::FileConfig,
};
use crate::domain::spec::notify::BadNotify;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// The path from the root.
    pub path: PathBuf,
    pub text: String,
}

impl ConfigFile {
    /// Reads the named file, or the first of [`DEFAULT_FILES`] that exists. Returns `None` if no
    /// file is named and none of them exists.
    pub(super) fn find(named: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let path = match named {
            Some(path) if path.exists() => path.to_owned(),
            Some(path) => return wrong(format!("there is no config file {}", path.display())),
            None => match DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.exists()) {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let path = in_full(&path);
        let text = fs::read_to_string(&path).map_err(|error| {
            ConfigError(format!("the config file {} cannot be read: {error}", path.display()))
        })?;
        Ok(Some(Self { path, text }))
    }

    /// Parses the TOML text. An error shows the line, the column and a caret. If the line holds
    /// credentials, the error gives only its number, because errors go into the log.
    pub(super) fn parse(&self) -> Result<FileConfig, ConfigError> {
        toml::from_str(&self.text).map_err(|error: toml::de::Error| {
            let shown = if error.message().contains(&BadNotify::HasCredentials.to_string()) {
                let before =
                    error.span().and_then(|span| self.text.get(..span.start)).unwrap_or_default();
                format!(
                    "in or after line {}, {}",
                    before.matches('\n').count() + 1,
                    error.message()
                )
            } else {
                error.to_string()
            };
            ConfigError(format!("the config file {} is not right: {shown}", self.path.display()))
        })
    }
}

/// Returns the path from the root. A file that is a link keeps its own name, because deployments
/// exchange the link's target.
fn in_full(path: &Path) -> PathBuf {
    let above =
        path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::canonicalize(above), path.file_name()) {
        (Ok(above), Some(name)) => above.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_hide_passwords_but_show_the_line() {
        let text =
            "[definitions.A]\nimage = 'a'\nnotify = { url = 'https://me:hunter2@a.example/' }"
                .to_owned();
        let said =
            ConfigFile { path: "x".into(), text }.parse().expect_err("is refused").to_string();
        assert!(
            !said.contains("hunter2") && said.contains("must not hold a user or a password"),
            "{said}"
        );
        let text = "[limits]\nmax_runing = 1".to_owned();
        let said =
            ConfigFile { path: "x".into(), text }.parse().expect_err("is refused").to_string();
        assert!(said.contains("line 2") && said.contains("max_runing = 1"), "{said}");
    }
}
