//! The command line. `serve` is the server, and `check` and `backup` work on its files.
//! `completions` needs neither. All other commands are clients of the API.
//!
//! Results go to stdout. An error is a sentence on stderr, and a failure never exits with code 0.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{Client, ClientError, DEFAULT_SERVER};
use crate::config::{DEFAULT_LISTEN, ServeArgs};
use output::say;

mod chart;
mod definitions;
mod file;
mod forecast;
mod jobs;
mod output;
mod preview;
mod schedules;
mod serve;
mod store;
mod tide;

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
    /// Token to authenticate with
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
    /// Check that the server answers (exit code 0 or 1); for a container's HEALTHCHECK
    Healthcheck,
    /// Run an image or a definition, now or later
    Run(jobs::RunArgs),
    /// List jobs
    Ls(jobs::LsArgs),
    /// Show all details of a job
    Inspect(jobs::IdArgs),
    /// Show the output of a job
    Logs(jobs::LogsArgs),
    /// Wait until a job is over, and exit with its exit code
    Wait(jobs::IdArgs),
    /// Stop a running job; a second stop kills it
    Stop(jobs::StopArgs),
    /// Run a job once more, as a new job
    Rerun(jobs::RerunArgs),
    /// Take a waiting job off the schedule
    Rm(jobs::IdArgs),
    /// Manage definitions, the named templates of jobs: ls, apply, rm
    #[command(subcommand)]
    Definition(definitions::DefinitionCommand),
    /// Manage schedules: ls, apply, rm, pause, resume, trigger, next, ledger
    Schedule(schedules::ScheduleArgs),
    /// Show the coming runs, and the times at which too many coincide
    Forecast(forecast::ForecastArgs),
    /// Draw what ran, what runs and what will run
    Tide(tide::TideArgs),
    /// Explain a cron expression, a period or a date, and show the next due times
    Preview(preview::PreviewArgs),
    /// Check that the state on disk is intact (exit code 0 or 1); with or without a running server
    Check(store::StoreArgs),
    /// Copy the state on disk to a new folder, as of one moment; with or without a running server
    Backup(store::BackupArgs),
    /// Print completions for a shell
    Completions {
        /// Shell to complete for: bash, zsh, fish, …
        shell: clap_complete::Shell,
    },
}

impl ServerArgs {
    fn client(&self) -> Result<Client, ClientError> {
        Client::new(self.server.as_deref().unwrap_or(DEFAULT_SERVER), self.token.clone())
    }

    /// Returns a client of the server in the same container. Without `--server`, its address is
    /// taken from `TIDETABLE_LISTEN` or the default.
    fn own_server(&self) -> Result<Client, ClientError> {
        let listen =
            std::env::var("TIDETABLE_LISTEN").unwrap_or_else(|_| DEFAULT_LISTEN.to_owned());
        let local = listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        Client::new(self.server.as_deref().unwrap_or(&local), self.token.clone())
    }
}

/// The flags of [`ServerArgs`], which only client commands take.
const CLIENT_FLAGS: [&str; 2] = ["server", "token"];
/// The commands that call no server.
const LOCAL_COMMANDS: [&str; 4] = ["serve", "check", "backup", "completions"];

impl Cli {
    /// Reads the command line. Ends the process on a mistake, and after `--help` or `--version`.
    pub fn read() -> Self {
        Self::read_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Parses the arguments. Refuses a client's flag on a command that calls no server. The flag
    /// would have no effect, and a user could believe that it protects something.
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

    /// Returns all commands. Commands that call no server hide the client's flags.
    fn tree() -> clap::Command {
        let hidden = |flag: &'static str| Arg::new(flag).long(flag).hide(true);
        LOCAL_COMMANDS.into_iter().fold(Self::command(), |tree, name| {
            tree.mut_subcommand(name, |command| command.args(CLIENT_FLAGS.map(hidden)))
        })
    }

    /// Runs the command and returns the exit code.
    ///
    /// # Errors
    /// Returns the error to show to the user.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Serve(args) => {
                serve::run(*args, self.server.token.is_some_and(|token| !token.is_empty()))
            }
            Command::Backup(args) => store::backup(&args),
            Command::Check(args) => store::check(&args),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::tree(), "tidetable", &mut script);
                output::write(script);
                Ok(0)
            }
            command => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(call(command, &self.server)),
        }
    }
}

/// Returns the error text for a client's flag on a command that calls no server.
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
        say!("ok");
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
        Command::Tide(args) => tide::run(&client, &args).await,
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
    fn local_commands_refuse_client_flags() {
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
    fn client_commands_refuse_server_flags() {
        for line in [
            "tidetable ls --listen 127.0.0.1:1",
            "tidetable ls --data-dir /x",
            "tidetable run a --config /x",
        ] {
            assert_eq!(read(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn client_flags_work_before_and_after_the_command() {
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
    fn serve_help_hides_client_flags() {
        let help = read("tidetable serve --help").expect_err("is help").to_string();
        assert!(
            help.contains("--token-file")
                && !help.contains("--token ")
                && !help.contains("--server"),
            "{help}"
        );
    }
}
