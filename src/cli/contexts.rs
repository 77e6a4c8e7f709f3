//! Contexts: named servers in `~/.config/tidetable/contexts.toml`, and the commands on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::display::{Cell, Column, Display, Row, Sheet, or_dash};
use super::exit::Usage;

/// The content of the file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The name of the context that is used. `None`: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Server>,
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

#[derive(Debug, Subcommand)]
pub(super) enum ContextCommand {
    /// List contexts; the current one is marked
    #[command(visible_alias = "list")]
    Ls,
    /// Use a context from now on
    Use(NameArgs),
    /// Create or change a context
    Set(SetArgs),
    /// Remove a context
    Rm(NameArgs),
}

/// The name of one context.
#[derive(Args, Debug)]
pub(super) struct NameArgs {
    /// Name of the context
    name: String,
}

/// The arguments of `tidetable context set`.
#[derive(Args, Debug)]
pub(super) struct SetArgs {
    /// Name of the context
    name: String,
    /// Address of the server
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// File with the token in its first line
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

const TSV: &[&str] = &["NAME", "SERVER", "TOKEN_FILE", "CURRENT"];
const COLUMNS: &[Column] = &[
    Column::Flexible("NAME"),
    Column::Flexible("SERVER"),
    Column::Flexible("TOKEN FILE"),
    Column::Whole("CURRENT"),
];

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

    fn unknown(&self, name: &str) -> Usage {
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let there = match names.is_empty() {
            true => "there are none; `tidetable context set NAME --server URL` makes one".to_owned(),
            false => format!("there are {}", names.join(", ")),
        };
        Usage(format!("there is no context `{name}`: {there}"))
    }

    fn write(&self) -> anyhow::Result<()> {
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

/// Runs a command on contexts.
///
/// # Errors
/// Fails if the file cannot be read or written, or a name is unknown.
pub(super) fn run(command: ContextCommand, display: &Display) -> anyhow::Result<u8> {
    let mut all = Contexts::read()?;
    match command {
        ContextCommand::Ls => display.list(&all, &sheet(&all)?)?,
        ContextCommand::Use(NameArgs { name }) => {
            all.chosen(Some(name.clone()))?;
            all.current = Some(name.clone());
            all.write()?;
            display.one(&all, &name, || format!("context {name} is used from now on"))?;
        }
        ContextCommand::Set(SetArgs { name, server, token_file }) => {
            let entry = all.contexts.entry(name.clone()).or_default();
            entry.server = server.or(entry.server.take());
            entry.token_file = token_file.or(entry.token_file.take());
            all.write()?;
            display.one(&all, &name, || format!("context {name} is kept"))?;
        }
        ContextCommand::Rm(NameArgs { name }) => {
            all.contexts.remove(&name).ok_or_else(|| all.unknown(&name))?;
            all.current = all.current.take().filter(|current| *current != name);
            all.write()?;
            display.one(&all, &name, || format!("context {name} is removed"))?;
        }
    }
    Ok(0)
}

fn sheet(all: &Contexts) -> anyhow::Result<Sheet> {
    let row = |(name, context): (&String, &Server)| {
        let file = context.token_file.as_ref().map(|file| file.to_string_lossy().into_owned());
        let is_current = all.current.as_ref() == Some(name);
        let texts = [
            name.clone(),
            or_dash(context.server.as_deref()),
            or_dash(file.as_deref()),
            if is_current { "yes" } else { "no" }.to_owned(),
        ];
        let mut json = serde_json::to_value(context)?;
        json["name"] = name.as_str().into();
        json["current"] = is_current.into();
        Ok(Row {
            name: name.clone(),
            json,
            tsv: texts.to_vec(),
            cells: texts.map(Cell::from).into(),
        })
    };
    let rows: anyhow::Result<Vec<Row>> = all.contexts.iter().map(row).collect();
    Ok(Sheet { tsv: TSV, columns: COLUMNS, rows: rows? })
}

/// Returns the path of the file. `None`: no home is known.
fn path() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")))?;
    Some(folder.join("tidetable").join("contexts.toml"))
}
