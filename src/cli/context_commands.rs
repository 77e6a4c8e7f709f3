//! `tidetable context …`: the commands on contexts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::contexts::{Contexts, Server};
use super::display::{Cell, Column, Display, Row, Sheet, or_dash};

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
