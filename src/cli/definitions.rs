//! The commands on definitions: `ls`, `apply` and `rm`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::say;
use super::{file, output};
use crate::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum DefinitionCommand {
    /// List definitions
    Ls(LsArgs),
    /// Write definitions, replacing any with the same name
    Apply(ApplyArgs),
    /// Remove a definition; accepted jobs keep their copy
    Rm(RmArgs),
}

/// The arguments of `tidetable definition ls`.
#[derive(Args, Debug)]
pub(super) struct LsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `tidetable definition rm`.
#[derive(Args, Debug)]
pub(super) struct RmArgs {
    /// Name of the definition
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn call(client: &Client, command: DefinitionCommand) -> anyhow::Result<u8> {
    match command {
        DefinitionCommand::Ls(args) => {
            let definitions = client.definitions().await?;
            let text = if args.json {
                serde_json::to_string_pretty(&definitions)?
            } else {
                output::definitions(&definitions)
            };
            say!("{text}");
            Ok(0)
        }
        DefinitionCommand::Apply(args) => {
            for (name, spec) in file::entries(&args.file, args.name, "definitions")? {
                output::noted(&client.define(&name, &spec).await?, args.json)?;
            }
            Ok(0)
        }
        DefinitionCommand::Rm(args) => {
            output::noted(&client.undefine(&args.name).await?, args.json)
        }
    }
}
