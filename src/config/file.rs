//! The config file: where it is, and what was read of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ConfigError, DEFAULT_FILES, FileConfig, wrong};
use crate::domain::notify::BadNotify;

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
        let path = in_full(&path);
        let text = fs::read_to_string(&path).map_err(|error| {
            ConfigError(format!("the config file {} cannot be read: {error}", path.display()))
        })?;
        Ok(Some(Self { path, text }))
    }

    /// The error of a TOML file has its line, its column and a caret; only the line where that holds a password, for the
    /// error goes into the log.
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

/// The path from the root. A link as the file itself stays: deployments exchange what is behind one.
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
    fn a_password_in_an_address_is_not_shown_and_its_line_is() {
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
