//! Contexts: named servers in `~/.config/tidetable/contexts.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::errors::Usage;

/// The content of the file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The name of the context that is used. `None`: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Server>,
}

/// A named server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    /// The address of the server. `None` means the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    /// The file with the token. `None`: no token is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<PathBuf>,
}

impl Contexts {
    /// Reads the file. A file that is missing holds no contexts.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is not right.
    pub(super) fn read() -> anyhow::Result<Self> {
        let Some(file) = path() else { return Ok(Self::default()) };
        match std::fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| Usage(format!("{} is not right: {error}", file.display())).into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
    }

    /// Returns the context of this name, else the current one.
    ///
    /// # Errors
    /// Fails for a name that no context has.
    pub(super) fn chosen(&self, name: Option<String>) -> Result<Server, Usage> {
        match name.or_else(|| self.current.clone()) {
            None => Ok(Server::default()),
            Some(name) => self.contexts.get(&name).cloned().ok_or_else(|| self.unknown(&name)),
        }
    }

    /// Returns the error for a name that no context has.
    pub(super) fn unknown(&self, name: &str) -> Usage {
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let there = match names.is_empty() {
            true => {
                "there are none; `tidetable context set NAME --server URL` makes one".to_owned()
            }
            false => format!("there are {}", names.join(", ")),
        };
        Usage(format!("there is no context `{name}`: {there}"))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Fails if no home is known, or the file cannot be written.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let file = path().context("neither XDG_CONFIG_HOME nor HOME is set")?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let text = toml::to_string_pretty(self)?;
        // The file is replaced as a whole, so a crash leaves the old one.
        let new = file.with_extension("toml.new");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, &file))
            .with_context(|| format!("{} cannot be written", file.display()))
    }
}

/// Returns the path of the file. `None`: no home is known.
fn path() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")))?;
    Some(folder.join("tidetable").join("contexts.toml"))
}
