//! The commands on definitions: `ls`, `show`, `apply` and `rm`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use super::display::{self, Cell, Column, Display, Row, Sheet, or_dash};
use super::{complete, file};
use crate::client::Client;
use crate::http::views::{DefinitionView, DefinitionsView, NotedView};

#[derive(Debug, Subcommand)]
pub(super) enum DefinitionCommand {
    /// List definitions
    #[command(visible_alias = "list")]
    Ls,
    /// Show the fields of a definition
    Show(NameArgs),
    /// Write definitions, replacing any with the same name
    Apply(ApplyArgs),
    /// Remove a definition; accepted jobs keep their copy
    Rm(NameArgs),
}

/// The arguments of `tidetable definition apply`.
#[derive(Args, Debug)]
pub(super) struct ApplyArgs {
    /// Name of the definition, if the file holds a single spec
    name: Option<String>,
    /// File with the spec as JSON or TOML, or with several under their names as in a config file; -
    /// is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
}

/// The name of one definition.
#[derive(Args, Debug)]
pub(super) struct NameArgs {
    /// Name of the definition
    #[arg(add = ArgValueCompleter::new(complete::definitions))]
    name: String,
}

const TSV: &[&str] = &["NAME", "IMAGE", "CHANGED"];
const COLUMNS: &[Column] =
    &[Column::Flexible("NAME"), Column::Flexible("IMAGE"), Column::Whole("CHANGED")];

pub(super) async fn call(
    client: &Client,
    command: DefinitionCommand,
    display: &Display,
) -> anyhow::Result<u8> {
    match command {
        DefinitionCommand::Ls => {
            let all = client.definitions().await?;
            display.list(&all, &sheet(&all, display)?)?;
        }
        DefinitionCommand::Show(NameArgs { name }) => {
            display.fields(&client.definition(&name).await?, &name)?;
        }
        DefinitionCommand::Apply(args) => {
            for (name, spec) in file::entries(&args.file, args.name, "definitions")? {
                noted(&client.define(&name, &spec).await?, display)?;
            }
        }
        DefinitionCommand::Rm(NameArgs { name }) => noted(&client.undefine(&name).await?, display)?,
    }
    Ok(0)
}

fn sheet(all: &DefinitionsView, display: &Display) -> anyhow::Result<Sheet> {
    let row = |(name, definition): (&String, &DefinitionView)| {
        let image = or_dash(definition.image.as_deref());
        let changed = definition.changed_at.as_deref();
        let in_file = "in the config file".to_owned();
        let mut json = serde_json::to_value(definition)?;
        json["name"] = name.as_str().into();
        let words = changed.map_or_else(|| in_file.clone(), |at| display.time(Some(at)));
        Ok(Row {
            name: name.clone(),
            json,
            tsv: vec![name.clone(), image.clone(), changed.map_or(in_file, str::to_owned)],
            cells: [name.clone(), image, words].map(Cell::from).into(),
        })
    };
    let rows: anyhow::Result<Vec<Row>> = all.definitions.iter().map(row).collect();
    Ok(Sheet { tsv: TSV, columns: COLUMNS, rows: rows? })
}

/// Prints the result of a call on a definition.
fn noted(noted: &NotedView, display: &Display) -> anyhow::Result<()> {
    display.one(noted, &noted.name, || noted.message.clone())?;
    display::warnings(&noted.warnings);
    Ok(())
}
