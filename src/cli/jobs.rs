//! The commands on jobs: `run`, `ls`, `inspect`, `logs`, `wait`, `stop`, `rerun` and `rm`.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use serde_json::{Map, Value, json};

use super::output;
use super::output::say;
use crate::client::Client;
use crate::http::views::JobView;

/// The exit code for a job that ended without a usable one: the job did not run, or its result is
/// unknown.
const NO_EXIT_CODE: u8 = 125;
/// The interval between updates of `ls --watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The arguments of `tidetable run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Image or definition to run
    #[arg(value_name = "IMAGE|JOB")]
    name: String,
    /// Delay until the job is due, such as 30s or "1h 30m"
    #[arg(long = "in", value_name = "DELAY", conflicts_with = "at")]
    delay: Option<String>,
    /// Date at which the job is due, such as "20-06-2021 13:25:28" or 13:25
    #[arg(long, value_name = "DATE")]
    at: Option<String>,
    /// Environment variable; may be repeated
    #[arg(short = 'e', long = "env", value_name = "K=V")]
    env: Vec<String>,
    /// Label; may be repeated
    #[arg(short = 'l', long = "label", value_name = "K=V")]
    label: Vec<String>,
    /// Longest time that the job may run, such as 5m
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Wait until the job is over, and exit with its exit code
    #[arg(long)]
    wait: bool,
    /// Print the output while the job runs, and wait
    #[arg(long)]
    follow: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Command to run in the container
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The arguments of `tidetable ls`.
#[derive(Args, Debug)]
pub(super) struct LsArgs {
    /// Include jobs that are over
    #[arg(short, long)]
    all: bool,
    /// List only one state: a map (running, scheduled, history) or a status
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Refresh the list every second
    #[arg(long)]
    watch: bool,
}

/// The arguments of commands on one job.
#[derive(Args, Debug)]
pub(super) struct IdArgs {
    /// The job's id, or its first digits
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `tidetable stop`.
#[derive(Args, Debug)]
pub(super) struct StopArgs {
    /// The job's id, or its first digits
    id: String,
    /// Time until the job is killed (10s), in place of its own; 0s kills at once
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `tidetable rerun`.
#[derive(Args, Debug)]
pub(super) struct RerunArgs {
    /// The job's id, or its first digits
    id: String,
    /// Date of the new job, such as 30s or "20-06-2021 13:25:28" [default: now]
    #[arg(long, value_name = "DATE")]
    at: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `tidetable logs`.
#[derive(Args, Debug)]
pub(super) struct LogsArgs {
    /// The job's id, or its first digits
    id: String,
    /// Continue until the job is over
    #[arg(short, long)]
    follow: bool,
    /// Print only the last N lines
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    tail: Option<String>,
    /// Print only lines since a time ago (10m) or a date
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Print the time of each line
    #[arg(short, long)]
    timestamps: bool,
}

pub(super) async fn run(client: &Client, args: RunArgs) -> anyhow::Result<u8> {
    let done = client.submit(&order(&args)).await?;
    let waits = args.wait || args.follow;
    if args.json && !waits {
        say!("{}", serde_json::to_string_pretty(&done)?);
    } else if waits {
        eprintln!("{}", done.message);
    } else {
        say!("{}", done.message);
    }
    output::warnings(&done.warnings);
    if !waits {
        return Ok(0);
    }
    if args.follow {
        print_logs(client, &done.id, &[("follow", "true")]).await?;
    }
    let job = output::while_waiting(client, &done.id).await?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&job)?);
    }
    Ok(exit_code(&job))
}

fn order(args: &RunArgs) -> Value {
    let date = args.delay.clone().or_else(|| args.at.clone()).unwrap_or_else(|| "now".to_owned());
    let mut order = Map::from_iter([
        ("job_name".to_owned(), json!(args.name)),
        ("date".to_owned(), json!(date)),
    ]);
    for (field, list) in [("env", &args.env), ("labels", &args.label), ("command", &args.command)] {
        if !list.is_empty() {
            order.insert(field.to_owned(), json!(list));
        }
    }
    if let Some(timeout) = &args.timeout {
        order.insert("timeout".to_owned(), json!(timeout));
    }
    Value::Object(order)
}

pub(super) async fn ls(client: &Client, args: LsArgs) -> anyhow::Result<u8> {
    loop {
        let query: Vec<(&str, &str)> =
            args.state.iter().map(|state| ("state", state.as_str())).collect();
        let mut jobs = client.jobs(&query).await?;
        if !args.all && args.state.is_none() {
            jobs.history.clear();
        }
        let text =
            if args.json { serde_json::to_string_pretty(&jobs)? } else { output::table(&jobs) };
        if args.watch && output::is_terminal() {
            // Moves the cursor to the first line, then clears the screen below it.
            output::write("\x1b[H\x1b[J");
        }
        say!("{text}");
        if !args.watch {
            return Ok(0);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

pub(super) async fn inspect(client: &Client, args: IdArgs) -> anyhow::Result<u8> {
    let job = client.job(&args.id).await?;
    if args.json || !output::is_terminal() {
        say!("{}", serde_json::to_string_pretty(&job)?);
    } else {
        say!("{}", output::details(&job)?);
    }
    Ok(0)
}

pub(super) async fn logs(client: &Client, args: LogsArgs) -> anyhow::Result<u8> {
    let mut query = Vec::new();
    for (name, set) in [("follow", args.follow), ("timestamps", args.timestamps)] {
        if set {
            query.push((name, "true"));
        }
    }
    for (name, value) in [("tail", &args.tail), ("since", &args.since)] {
        if let Some(value) = value {
            query.push((name, value.as_str()));
        }
    }
    print_logs(client, &args.id, &query).await?;
    Ok(0)
}

async fn print_logs(client: &Client, id: &str, query: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut chunks = pin!(client.logs(id, query).await?);
    while let Some(chunk) = chunks.try_next().await? {
        output::write(&chunk);
    }
    Ok(())
}

pub(super) async fn wait(client: &Client, args: IdArgs) -> anyhow::Result<u8> {
    let job = output::while_waiting(client, &args.id).await?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&job)?);
    } else {
        say!("{}", output::ended(&job));
    }
    Ok(exit_code(&job))
}

pub(super) async fn stop(client: &Client, args: StopArgs) -> anyhow::Result<u8> {
    output::done(&client.stop(&args.id, args.grace.as_deref()).await?, args.json)
}

pub(super) async fn rerun(client: &Client, args: RerunArgs) -> anyhow::Result<u8> {
    output::done(&client.rerun(&args.id, args.at.as_deref()).await?, args.json)
}

pub(super) async fn rm(client: &Client, args: IdArgs) -> anyhow::Result<u8> {
    output::done(&client.cancel(&args.id).await?, args.json)
}

/// Returns the job's own exit code if the job failed with one. A job that did not succeed never
/// gives 0.
fn exit_code(job: &JobView) -> u8 {
    if job.status == "succeeded" {
        return 0;
    }
    job.exit_code
        .and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != 0)
        .unwrap_or(NO_EXIT_CODE)
}
