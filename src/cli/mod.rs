//! The command line. `serve` is the server, `check` and `backup` work on its files; every other command is a client of its API.
//!
//! What went well is on stdout, what went wrong is a sentence on stderr, and failure is never exit code 0.

#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{Client, ClientError, DEFAULT_SERVER};
use crate::config::{DEFAULT_LISTEN, ServeArgs};

mod definitions;
mod file;
mod forecast;
mod jobs;
mod output;
mod preview;
mod schedules;
mod serve;
mod store;

/// Runs container images when they are due.
#[derive(Debug, Parser)]
#[command(name = "tidetable", version, about, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone, Debug)]
struct ServerArgs {
    /// Address of the server [default: http://127.0.0.1:8888]
    #[arg(long, global = true, env = "TIDETABLE_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Token to call with
    #[arg(
        long,
        global = true,
        env = "TIDETABLE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Say whether the server answers (exit code 0 or 1); for a container's HEALTHCHECK
    Healthcheck,
    /// Run an image or a definition, now or later
    Run(jobs::RunArgs),
    /// List jobs
    Ls(jobs::LsArgs),
    /// Show all that is known of a job
    Inspect(jobs::IdArgs),
    /// Show what a job wrote
    Logs(jobs::LogsArgs),
    /// Wait until a job is over; exits with its exit code
    Wait(jobs::IdArgs),
    /// Stop a running job; a second time: kill it
    Stop(jobs::StopArgs),
    /// Run what a job ran once more
    Rerun(jobs::RerunArgs),
    /// Take a waiting job off the schedule
    Rm(jobs::IdArgs),
    /// Named templates of jobs
    #[command(subcommand)]
    Definition(definitions::DefinitionCommand),
    /// Schedules: list, apply, rm, pause, resume, trigger, next, ledger
    Schedule(schedules::ScheduleArgs),
    /// Show what will run when over the next hours, and where it piles up
    Forecast(forecast::ForecastArgs),
    /// Say what a cron expression, a period or a date means, and when it is due next
    Preview(preview::PreviewArgs),
    /// Say whether the state on disk is whole (exit code 0 or 1); with or without a running server
    Check(store::StoreArgs),
    /// Copy the state on disk to a new folder, as of one moment; with or without a running server
    Backup(store::BackupArgs),
    /// Print completions for a shell
    Completions {
        /// bash, zsh, fish, …
        shell: clap_complete::Shell,
    },
}

impl ServerArgs {
    fn client(&self) -> Result<Client, ClientError> {
        Client::new(self.server.as_deref().unwrap_or(DEFAULT_SERVER), self.token.clone())
    }

    /// The server in the same container: where `serve` listens there, unless told otherwise.
    fn own_server(&self) -> Result<Client, ClientError> {
        let listen =
            std::env::var("TIDETABLE_LISTEN").unwrap_or_else(|_| DEFAULT_LISTEN.to_owned());
        let local = listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        Client::new(self.server.as_deref().unwrap_or(&local), self.token.clone())
    }
}

/// The flags of [`ServerArgs`].
const CLIENT_FLAGS: [&str; 2] = ["server", "token"];
/// The commands that call no server.
const LOCAL_COMMANDS: [&str; 4] = ["serve", "check", "backup", "completions"];

impl Cli {
    /// Reads the command line. A mistake, and a question for help, ends the process.
    pub fn read() -> Self {
        Self::read_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// A client's flag on a command that calls no server would do nothing, and could be taken for more than that.
    fn read_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut tree = Self::tree();
        let matches = tree.try_get_matches_from_mut(arguments)?;
        if let Some((name, of_command)) = matches.subcommand()
            && LOCAL_COMMANDS.contains(&name)
        {
            let is_given = |flag: &&str| {
                [&matches, of_command]
                    .iter()
                    .any(|given| given.value_source(flag) == Some(ValueSource::CommandLine))
            };
            if let Some(flag) = CLIENT_FLAGS.into_iter().find(is_given) {
                return Err(tree.error(ErrorKind::ArgumentConflict, refusal(name, flag)));
            }
        }
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut tree))
    }

    /// All commands; those that call no server do not show a client's flags.
    fn tree() -> clap::Command {
        let hidden = |flag: &'static str| Arg::new(flag).long(flag).hide(true);
        LOCAL_COMMANDS.into_iter().fold(Self::command(), |tree, name| {
            tree.mut_subcommand(name, |command| command.args(CLIENT_FLAGS.map(hidden)))
        })
    }

    /// Does what was asked, and gives the exit code.
    ///
    /// # Errors
    /// What went wrong, to be shown.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Serve(args) => {
                serve::run(*args, self.server.token.is_some_and(|token| !token.is_empty()))
            }
            Command::Backup(args) => store::backup(&args),
            Command::Check(args) => store::check(&args),
            Command::Completions { shell } => {
                clap_complete::generate(
                    shell,
                    &mut Self::tree(),
                    "tidetable",
                    &mut std::io::stdout(),
                );
                Ok(0)
            }
            command => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(call(command, &self.server)),
        }
    }
}

/// What is said where a client's flag is given to a command that calls no server.
fn refusal(command: &str, flag: &str) -> String {
    match (command, flag) {
        ("serve", "token") => {
            "`--token` is what a client calls with, and protects nothing here: give `serve` a `--token-file FILE`"
                .to_owned()
        }
        ("serve", _) => format!("`--{flag}` is what a client calls: `serve` takes `--listen ADDRESS:PORT`"),
        _ => format!("`--{flag}` is for commands that call a server, and `{command}` calls none: leave it out"),
    }
}

async fn call(command: Command, server: &ServerArgs) -> anyhow::Result<u8> {
    if let Command::Healthcheck = command {
        server.own_server()?.healthy().await?;
        println!("ok");
        return Ok(0);
    }
    let client = server.client()?;
    match command {
        Command::Run(args) => jobs::run(&client, args).await,
        Command::Ls(args) => jobs::ls(&client, args).await,
        Command::Inspect(args) => jobs::inspect(&client, args).await,
        Command::Logs(args) => jobs::logs(&client, args).await,
        Command::Wait(args) => jobs::wait(&client, args).await,
        Command::Stop(args) => jobs::stop(&client, args).await,
        Command::Rerun(args) => jobs::rerun(&client, args).await,
        Command::Rm(args) => jobs::rm(&client, args).await,
        Command::Definition(command) => definitions::call(&client, command).await,
        Command::Schedule(args) => schedules::run(&client, args).await,
        Command::Forecast(args) => forecast::run(&client, &args).await,
        Command::Preview(args) => preview::run(&client, &args).await,
        Command::Serve(_)
        | Command::Healthcheck
        | Command::Check(_)
        | Command::Backup(_)
        | Command::Completions { .. } => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read_from(line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_clients_flag_is_refused_by_local_commands() {
        for line in [
            "tidetable serve --token abc",
            "tidetable serve --token=abc",
            "tidetable --token abc serve",
            "tidetable serve --server http://a:1",
            "tidetable check --token abc",
            "tidetable backup dest --server http://a:1",
            "tidetable completions bash --token abc",
        ] {
            let refused = read(line).expect_err(line);
            assert_eq!(refused.exit_code(), 2, "{line}");
            assert!(
                refused.to_string().contains("a client")
                    || refused.to_string().contains("calls none"),
                "{refused}"
            );
        }
        assert!(
            read("tidetable serve --token abc")
                .expect_err("is refused")
                .to_string()
                .contains("--token-file")
        );
    }

    #[test]
    fn a_servers_flag_is_refused_by_clients() {
        for line in [
            "tidetable ls --listen 127.0.0.1:1",
            "tidetable ls --data-dir /x",
            "tidetable run a --config /x",
        ] {
            assert_eq!(read(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_client_takes_its_flags_in_either_place() {
        for line in [
            "tidetable ls --token abc --server http://a:1",
            "tidetable --token abc --server http://a:1 ls",
        ] {
            let server = read(line).expect(line).server;
            assert_eq!(
                (server.token.as_deref(), server.server.as_deref()),
                (Some("abc"), Some("http://a:1"))
            );
        }
    }

    #[test]
    fn help_of_serve_shows_no_clients_flag() {
        let help = read("tidetable serve --help").expect_err("is help").to_string();
        assert!(
            help.contains("--token-file")
                && !help.contains("--token ")
                && !help.contains("--server"),
            "{help}"
        );
    }
}
