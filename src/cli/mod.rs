//! The command line. `serve` is the server, and `check`, `backup` and `config check` work on files.
//! All other commands but `completions`, `man` and `context` are clients of the API.
//!
//! Results go to stdout. An error is a sentence on stderr, and a failure never exits with code 0:
//! see `exit.rs` for the codes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::CompleteEnv;

use crate::client::Client;
use crate::config::{Config, ServeArgs};
use display::{Display, say};
use options::{OutputOptions, ServerOptions};

mod chart;
mod complete;
mod context_commands;
mod contexts;
mod definitions;
mod display;
mod errors;
mod events;
mod exit;
mod file;
mod forecast;
mod interrupt;
mod job_sheet;
mod jobs;
mod lines;
mod logs;
mod mounts;
mod options;
mod preview;
mod progress;
mod reference;
mod run;
mod schedules;
mod serve;
mod status;
mod store;
mod text;
mod tide;
mod wait;
mod watch;
mod words;

/// The text below the help of all commands.
const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 the server failed, 2 usage, 3 not found, 4 not allowed, 5 conflict, \
6 unreachable, 124 timed out, 130 interrupted. `wait` and `run --wait` exit with the job's own \
code, or with 125 and a sentence on stderr.";

/// Runs container images when they are due.
#[derive(Debug, Parser)]
#[command(name = "tidetable", version, about, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    output: OutputOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Check that the server answers (exit code 0 or 1); for a container's HEALTHCHECK
    Healthcheck,
    /// Run an image or a definition, now or later
    Run(Box<run::RunArgs>),
    /// List jobs
    #[command(visible_aliases = ["list", "ps"])]
    Ls(jobs::LsArgs),
    /// Show all details of a job
    Inspect(jobs::IdArgs),
    /// Show the output of a job
    Logs(logs::LogsArgs),
    /// Wait until jobs are over, and exit with their exit code
    Wait(wait::WaitArgs),
    /// Stop a running job; a second stop kills it
    Stop(jobs::StopArgs),
    /// Run a job once more, as a new job
    Rerun(jobs::RerunArgs),
    /// Take a waiting job off the schedule
    #[command(visible_alias = "cancel")]
    Rm(jobs::IdArgs),
    /// Manage definitions, the named templates of jobs: ls, show, apply, rm
    #[command(subcommand)]
    Definition(definitions::DefinitionCommand),
    /// Manage schedules: ls, show, apply, rm, pause, resume, trigger, next, ledger
    Schedule(schedules::ScheduleArgs),
    /// Show the coming runs, and the times at which too many coincide
    Forecast(forecast::ForecastArgs),
    /// Draw what ran, what runs and what will run
    Tide(tide::TideArgs),
    /// Explain a cron expression, a period or a date, and show the next due times
    Preview(preview::PreviewArgs),
    /// Show the state of the server
    Status(status::StatusArgs),
    /// Start nothing new until `resume`; jobs that run go on
    Pause(status::PauseArgs),
    /// Start jobs that are due again, after `pause`
    Resume,
    /// Show what changes: jobs, schedules, definitions, engines
    Events(events::EventsArgs),
    /// Manage the servers that commands call: ls, use, set, rm
    #[command(subcommand)]
    Context(context_commands::ContextCommand),
    /// Work on config files: check
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check that the state on disk is intact (exit code 0 or 1); with or without a running server
    Check(store::StoreArgs),
    /// Copy the state on disk to a new folder, as of one moment; with or without a running server
    Backup(store::BackupArgs),
    /// Print completions for a shell, which also know ids and names
    Completions {
        /// Shell to complete for: bash, zsh, fish, …
        shell: clap_complete::Shell,
    },
    /// Write man pages to a folder
    Man(reference::ManArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a config file as `serve` would read it, without a server
    Check {
        /// Config file
        file: PathBuf,
    },
}

impl Cli {
    /// Reads the command line. Ends the process on a mistake, after `--help` or `--version`, and
    /// when a shell asked for completions.
    pub fn read() -> Self {
        CompleteEnv::with_factory(Self::tree).var(reference::COMPLETE).complete();
        Self::read_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Parses the arguments. Refuses a client's flag on a command that calls no server. The flag
    /// would have no effect, and a user could believe that it protects something.
    fn read_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut tree = Self::tree();
        let matches = tree.try_get_matches_from_mut(arguments)?;
        if let Some((name, of_command)) = matches.subcommand()
            && options::is_local(name)
        {
            let is_given = |flag: &&str| {
                [&matches, of_command]
                    .iter()
                    .any(|given| given.value_source(flag) == Some(ValueSource::CommandLine))
            };
            if let Some(flag) = ["server", "token"].into_iter().find(is_given) {
                return Err(tree.error(ErrorKind::ArgumentConflict, refusal(name, flag)));
            }
        }
        let mut read = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut tree))?;
        read.take_later_options(&matches);
        Ok(read)
    }

    /// Takes the shared options that stand after the command, or after a command below it.
    fn take_later_options(&mut self, matches: &ArgMatches) {
        let mut here = matches;
        let mut name = "";
        while let Some((below, of_command)) = here.subcommand() {
            name = if name.is_empty() { below } else { name };
            here = of_command;
            if !options::is_local(name)
                && let Ok(later) = ServerOptions::from_arg_matches(here)
            {
                self.server = std::mem::take(&mut self.server).then(later);
            }
            if !options::is_plain(name)
                && let Ok(later) = OutputOptions::from_arg_matches(here)
            {
                self.output = std::mem::take(&mut self.output).then(later);
            }
        }
    }

    /// Returns all commands, with the shared options where they belong.
    fn tree() -> clap::Command {
        options::spread(Self::command())
    }

    /// Runs the command, reports its error, and returns the exit code.
    pub fn run(self) -> u8 {
        let display = Display::of(&self.output);
        let is_healthcheck = matches!(self.command, Command::Healthcheck);
        match self.dispatch(&display) {
            Ok(code) => code,
            Err(error) => {
                exit::report(&error, &display);
                if is_healthcheck { exit::FAILED } else { exit::code(&error) }
            }
        }
    }

    fn dispatch(self, display: &Display) -> anyhow::Result<u8> {
        match self.command {
            Command::Serve(args) => serve::run(*args, options::variable("TOKEN").is_some()),
            Command::Backup(args) => store::backup(&args, display),
            Command::Check(args) => store::check(&args, display),
            Command::Config(ConfigCommand::Check { file }) => check_config(file, display),
            Command::Context(command) => context_commands::run(command, display),
            Command::Completions { shell } => reference::completions(shell),
            Command::Man(args) => reference::man(&args, Self::tree()),
            command => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let ended = runtime.block_on(interruptible(command, &self.server, display));
                // A thread may still wait for a line of stdin.
                runtime.shutdown_background();
                ended
            }
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

/// Checks a config file as `serve` would read it.
fn check_config(file: PathBuf, display: &Display) -> anyhow::Result<u8> {
    let shown = file.display().to_string();
    Config::load(ServeArgs { config: Some(file), ..ServeArgs::default() })?;
    let right = serde_json::json!({"file": shown, "right": true});
    display.one(&right, &shown, || format!("{shown} is right"))?;
    Ok(0)
}

/// Runs a command until it is done or the user presses Ctrl-C. `run` attends to Ctrl-C itself.
async fn interruptible(
    command: Command,
    server: &ServerOptions,
    display: &Display,
) -> anyhow::Result<u8> {
    if let Command::Healthcheck = command {
        server.own_server()?.healthy().await?;
        say!("ok");
        return Ok(0);
    }
    let client = server.client()?;
    if let Command::Run(args) = command {
        return run::run(&client, *args, display).await;
    }
    tokio::select! {
        biased;
        () = interrupt::pressed() => Ok(exit::INTERRUPTED),
        ended = call(command, &client, display) => ended,
    }
}

async fn call(command: Command, client: &Client, display: &Display) -> anyhow::Result<u8> {
    match command {
        Command::Ls(args) if args.watch => watch::run(client, &args, display).await,
        Command::Ls(args) => jobs::ls(client, args, display).await,
        Command::Inspect(args) => jobs::inspect(client, args, display).await,
        Command::Logs(args) => logs::logs(client, args, display).await,
        Command::Wait(args) => wait::wait(client, args, display).await,
        Command::Stop(args) => jobs::stop(client, args, display).await,
        Command::Rerun(args) => jobs::rerun(client, args, display).await,
        Command::Rm(args) => jobs::rm(client, args, display).await,
        Command::Definition(command) => definitions::call(client, command, display).await,
        Command::Schedule(args) => schedules::run(client, args, display).await,
        Command::Forecast(args) => forecast::run(client, &args, display).await,
        Command::Tide(args) => tide::run(client, &args, display).await,
        Command::Preview(args) => preview::run(client, &args, display).await,
        Command::Status(args) => status::status(client, &args, display).await,
        Command::Pause(args) => status::pause(client, &args, display).await,
        Command::Resume => status::resume(client, display).await,
        Command::Events(args) => events::run(client, &args, display).await,
        Command::Serve(_)
        | Command::Healthcheck
        | Command::Run(_)
        | Command::Context(_)
        | Command::Config(_)
        | Command::Check(_)
        | Command::Backup(_)
        | Command::Completions { .. }
        | Command::Man(_) => Ok(0),
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
        assert!(help.contains("--token-file"), "{help}");
        for flag in ["--token ", "--server", "--output", "--json", "--color", "--context"] {
            assert!(!help.contains(flag), "{flag}: {help}");
        }
    }

    #[test]
    fn commands_and_flags_do_not_clash() {
        Cli::tree().debug_assert();
    }

    #[test]
    fn output_flags_work_at_every_level() {
        for line in [
            "tidetable --json schedule ls",
            "tidetable schedule --json ls",
            "tidetable schedule ls --json",
            "tidetable -o name schedule ls -o json",
            "tidetable check -o json",
        ] {
            let output = read(line).expect(line).output;
            assert_eq!(output.format(), Some(options::Format::Json), "{line}");
        }
    }
}
