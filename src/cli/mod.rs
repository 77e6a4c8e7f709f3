//! The command line. `serve` is the server, `check` and `backup` work on its files; every other command is a client of its API.
//!
//! What went well is on stdout, what went wrong is a sentence on stderr, and failure is never exit code 0.

#![expect(clippy::print_stdout, reason = "a command line prints")]

use clap::{Args, CommandFactory, Parser, Subcommand};

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
    #[arg(long, global = true, env = "TIDETABLE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
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
    /// Stop a running job
    Stop(jobs::IdArgs),
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
        let listen = std::env::var("TIDETABLE_LISTEN").unwrap_or_else(|_| DEFAULT_LISTEN.to_owned());
        let local = listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        Client::new(self.server.as_deref().unwrap_or(&local), self.token.clone())
    }
}

impl Cli {
    /// Does what was asked, and gives the exit code.
    ///
    /// # Errors
    /// What went wrong, to be shown.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Serve(args) => serve::run(*args),
            Command::Backup(args) => store::backup(&args),
            Command::Check(args) => store::check(&args),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "tidetable", &mut std::io::stdout());
                Ok(0)
            }
            command => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(call(command, &self.server)),
        }
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
