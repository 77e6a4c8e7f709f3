//! The commands about definitions.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::output;
use crate::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum DefinitionCommand {
    /// List definitions
    Ls(LsArgs),
    /// Write a definition, in place of the one of that name
    Apply(ApplyArgs),
    /// Remove a definition; jobs that were accepted have their copy
    Rm(RmArgs),
}

/// `tidetable definition ls`.
#[derive(Args, Debug)]
pub(super) struct LsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `tidetable definition apply`.
#[derive(Args, Debug)]
pub(super) struct ApplyArgs {
    /// The definition's name
    name: String,
    /// File with its spec as JSON; - is the standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `tidetable definition rm`.
#[derive(Args, Debug)]
pub(super) struct RmArgs {
    /// The definition's name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn call(client: &Client, command: DefinitionCommand) -> anyhow::Result<u8> {
    match command {
        DefinitionCommand::Ls(args) => {
            let definitions = client.definitions().await?;
            let text =
                if args.json { serde_json::to_string_pretty(&definitions)? } else { output::definitions(&definitions) };
            println!("{text}");
            Ok(0)
        }
        DefinitionCommand::Apply(args) => {
            output::noted(&client.define(&args.name, &spec(&args.file)?).await?, args.json)
        }
        DefinitionCommand::Rm(args) => output::noted(&client.undefine(&args.name).await?, args.json),
    }
}

fn spec(file: &Path) -> anyhow::Result<Value> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("the standard input cannot be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    }
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}
