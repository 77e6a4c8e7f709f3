//! The options that many commands share: the server to call, and the form of what is printed.
//!
//! They stand before the command or after it. clap's own global flags would also stand in the help
//! of `serve`, so [`spread`] adds the options only to the commands that use them.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::contexts::Contexts;
use super::errors::Usage;
use crate::client::{Client, DEFAULT_SERVER};
use crate::config::DEFAULT_LISTEN;

/// The commands that call no server and print nothing that has a form.
const PLAIN_COMMANDS: [&str; 3] = ["serve", "completions", "man"];
/// The commands that call no server. Their output has a form.
const LOCAL_COMMANDS: [&str; 4] = ["check", "backup", "config", "context"];

/// The options of commands that call a server.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server options")]
pub(super) struct ServerOptions {
    /// Address of the server, or TIDETABLE_SERVER [default: http://127.0.0.1:8888]
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,
    /// Token to authenticate with, or TIDETABLE_TOKEN
    #[arg(long, value_name = "TOKEN")]
    pub(super) token: Option<String>,
    /// File with the token in its first line, or TIDETABLE_TOKEN_FILE
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Context to use in place of the current one, or TIDETABLE_CONTEXT
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// The options on the form of the output.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output options")]
pub(super) struct OutputOptions {
    /// Form of the output [default: table on a terminal, else tsv]
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<Format>,
    /// Print JSON, as -o json does
    #[arg(long, conflicts_with = "output")]
    pub(super) json: bool,
    /// Print only ids or names, as -o name does
    #[arg(short, long, conflicts_with_all = ["output", "json"])]
    pub(super) quiet: bool,
    /// Colours: auto (on a terminal without NO_COLOR), always or never
    #[arg(long, value_name = "WHEN")]
    pub(super) color: Option<ColorChoice>,
    /// Show ids, times and texts in full in tables
    #[arg(long)]
    pub(super) full: bool,
}

/// A form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// An aligned table that fits the terminal
    Table,
    /// A table with all columns
    Wide,
    /// The answer of the server as JSON
    Json,
    /// One JSON object a line
    Ndjson,
    /// Only ids or names, in full
    Name,
    /// Tabs between the columns
    Tsv,
}

/// The rule for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    Auto,
    Always,
    Never,
}

impl ServerOptions {
    /// Takes the options that were given further to the right.
    #[must_use]
    pub(super) fn then(self, later: Self) -> Self {
        Self {
            server: later.server.or(self.server),
            token: later.token.or(self.token),
            token_file: later.token_file.or(self.token_file),
            context: later.context.or(self.context),
        }
    }

    /// Returns a client of the server. Precedence: option, variable, context, default.
    ///
    /// # Errors
    /// Fails for an invalid address, an unknown context, or a token file that cannot be read.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let context =
            Contexts::read()?.chosen(self.context.clone().or_else(|| variable("CONTEXT")))?;
        let server = self.server.clone().or_else(|| variable("SERVER")).or(context.server);
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => Some(token_in(file)?),
            (None, None) => match (variable("TOKEN"), variable("TOKEN_FILE")) {
                (Some(token), _) => Some(token),
                (None, Some(file)) => Some(token_in(file.as_ref())?),
                (None, None) => context.token_file.as_deref().map(token_in).transpose()?,
            },
        };
        Ok(Client::new(server.as_deref().unwrap_or(DEFAULT_SERVER), token)?)
    }

    /// Returns a client of the server in the same container. Without `--server`, its address is
    /// taken from `TIDETABLE_LISTEN` or the default.
    pub(super) fn own_server(&self) -> anyhow::Result<Client> {
        let listen = variable("LISTEN").unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let local = listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        let server = self.server.clone().or_else(|| variable("SERVER")).unwrap_or(local);
        Ok(Client::new(&server, self.token.clone())?)
    }
}

impl OutputOptions {
    /// Takes the options that were given further to the right.
    #[must_use]
    pub(super) fn then(self, later: Self) -> Self {
        let has_form = later.output.is_some() || later.json || later.quiet;
        let (output, json, quiet) = match has_form {
            true => (later.output, later.json, later.quiet),
            false => (self.output, self.json, self.quiet),
        };
        let color = later.color.or(self.color);
        Self { output, json, quiet, color, full: self.full || later.full }
    }

    /// Returns the form that was chosen. `None`: it depends on the terminal.
    pub(super) fn format(&self) -> Option<Format> {
        match self {
            Self { json: true, .. } => Some(Format::Json),
            Self { quiet: true, .. } => Some(Format::Name),
            Self { output, .. } => *output,
        }
    }
}

/// Returns a variable of ours that is set and not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(format!("TIDETABLE_{name}")).ok().filter(|value| !value.is_empty())
}

/// Reads the token in the first line of a file that is no comment. A line of the server's own token
/// file, `name:role:policy:token`, is taken as well.
fn token_in(file: &std::path::Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("the token file {} cannot be read", file.display()))?;
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    match line.and_then(|line| line.rsplit(':').next()) {
        Some(token) => Ok(token.to_owned()),
        None => Err(Usage(format!("{} holds no token", file.display())).into()),
    }
}

/// Adds the shared options to every command that uses them. `serve` and the local commands get the
/// server options as hidden ones, so that a mistake has an explanation.
pub(super) fn spread(root: clap::Command) -> clap::Command {
    let names: Vec<String> = root.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.iter().fold(root, |tree, name| {
        tree.mut_subcommand(name, |command| match name.as_str() {
            plain if PLAIN_COMMANDS.contains(&plain) => hidden(command),
            local if LOCAL_COMMANDS.contains(&local) => hidden(with_output(command)),
            _ => with_server(with_output(command)),
        })
    })
}

/// Returns whether a command calls no server.
pub(super) fn is_local(command: &str) -> bool {
    PLAIN_COMMANDS.contains(&command) || LOCAL_COMMANDS.contains(&command)
}

/// Returns whether a command prints nothing that has a form.
pub(super) fn is_plain(command: &str) -> bool {
    PLAIN_COMMANDS.contains(&command)
}

fn with_server(command: clap::Command) -> clap::Command {
    deep(command.args(arguments_of::<ServerOptions>()), &with_server)
}

fn with_output(command: clap::Command) -> clap::Command {
    deep(command.args(arguments_of::<OutputOptions>()), &with_output)
}

fn arguments_of<T: Args>() -> Vec<clap::Arg> {
    T::augment_args(clap::Command::new("options")).get_arguments().cloned().collect()
}

fn hidden(command: clap::Command) -> clap::Command {
    command.args(["server", "token"].map(|flag| clap::Arg::new(flag).long(flag).hide(true)))
}

/// Changes all subcommands of a command.
fn deep(command: clap::Command, change: &dyn Fn(clap::Command) -> clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.iter().fold(command, |tree, name| tree.mut_subcommand(name, change))
}
