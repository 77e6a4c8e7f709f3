//! `tidetable wait`, and the wait of `run`: shows what happens to a job until it is over, and turns
//! its end into an exit code.

use std::io::IsTerminal;
use std::pin::{Pin, pin};
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures::StreamExt as _;
use futures::future::{self, Either};
use futures::stream::FuturesUnordered;

use super::display::Display;
use super::errors::{NoExitCode, TimedOut, Usage, WhileWaiting};
use super::logs::{self, LogOptions};
use super::progress::Progress;
use super::{complete, interrupt, job_sheet, text};
use crate::client::{Client, ClientError};
use crate::http::views::JobView;

/// The interval at which a waiting command asks for the job's progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The arguments of `tidetable wait`.
#[derive(Args, Debug)]
pub(super) struct WaitArgs {
    /// The ids of the jobs, or 4 or more of their first or last digits
    #[arg(required = true, value_name = "ID", add = ArgValueCompleter::new(complete::jobs))]
    ids: Vec<String>,
    /// Longest time to wait, such as 5m; exits with 124 when it has passed
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Wait until one of the jobs is over, and exit with its code
    #[arg(long, conflicts_with = "all")]
    any: bool,
    /// Wait until all jobs are over, and exit with the first code that is not 0 [default]
    #[arg(long)]
    all: bool,
}

/// The end of a wait.
pub(super) enum Outcome {
    Over(Box<JobView>),
    /// The user pressed Ctrl-C, and the job goes on or was asked to stop.
    Interrupted,
}

pub(super) async fn wait(client: &Client, args: WaitArgs, display: &Display) -> anyhow::Result<u8> {
    let limit = args.timeout.as_deref().map(duration).transpose()?;
    let waiting = pin!(over(client, &args, display));
    let ended = match limit {
        None => waiting.await,
        Some(limit) => tokio::time::timeout(limit, waiting).await.map_err(|_elapsed| {
            let words = args.timeout.as_deref().unwrap_or_default();
            TimedOut(format!("not over after {words}: {}", args.ids.join(" ")))
        })?,
    };
    let jobs = ended.map_err(WhileWaiting)?;
    match (&jobs[..], display.is_json()) {
        ([job], true) => display.json(job)?,
        (_, true) => display.json(&jobs)?,
        _ => {}
    }
    let mut code = Ok(0);
    for job in &jobs {
        match (&code, exit_code(job)) {
            (Ok(0), next) => code = next,
            (_, Err(error)) => eprintln!("{}", text::clean(&error.to_string())),
            _ => {}
        }
    }
    code
}

/// Waits for the jobs, and returns those that are over in the order of the arguments.
async fn over(client: &Client, args: &WaitArgs, display: &Display) -> anyhow::Result<Vec<JobView>> {
    let is_alone = args.ids.len() == 1;
    let mut waiting: FuturesUnordered<_> = args
        .ids
        .iter()
        .enumerate()
        .map(async |(at, id)| {
            let job = if is_alone { shown(client, id).await } else { client.wait(id).await };
            (at, job)
        })
        .collect();
    let mut ended = Vec::new();
    while let Some((at, job)) = waiting.next().await {
        let job = job?;
        if !display.is_json() {
            display.one(&job, &job.id, || sentence(&job))?;
        }
        ended.push((at, job));
        if args.any {
            break;
        }
    }
    ended.sort_by_key(|(at, _)| *at);
    Ok(ended.into_iter().map(|(_, job)| job).collect())
}

fn duration(text: &str) -> Result<Duration, Usage> {
    let in_words = if text.parse::<u32>().is_ok() { format!("{text}s") } else { text.to_owned() };
    humantime::parse_duration(&in_words)
        .map_err(|_| Usage(format!("`{text}` is no time: write one like 30s or \"1h 30m\"")))
}

/// Shows what happens to a job until it is over. `pressed` ends the wait: Ctrl-C.
pub(super) async fn attend(
    client: &Client,
    id: &str,
    follows: bool,
    display: &Display,
    pressed: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<Outcome> {
    let end = async {
        if follows {
            begun(client, id).await?;
            logs::print(client, id, &LogOptions::follow(), display).await?;
        }
        anyhow::Ok(shown(client, id).await?)
    };
    match future::select(pressed, pin!(end)).await {
        Either::Left(((), _)) => interrupt::ask(client, id).await.map(|()| Outcome::Interrupted),
        Either::Right((job, _)) => {
            let job = job?;
            if std::io::stderr().is_terminal() {
                eprintln!("{}", text::clean(&sentence(&job)));
            }
            Ok(Outcome::Over(Box::new(job)))
        }
    }
}

/// Waits until a job's process has begun or the job is over, for as long as a terminal shows it.
async fn begun(client: &Client, id: &str) -> Result<(), ClientError> {
    if !std::io::stderr().is_terminal() {
        return Ok(());
    }
    let progress = Progress::new();
    loop {
        let job = client.job(id).await?;
        if job.started_at.is_some() || job.finished_at.is_some() {
            break;
        }
        progress.show(&job);
        tokio::time::sleep(PROGRESS_EVERY).await;
    }
    progress.end();
    Ok(())
}

/// Waits for the end of a job. Shows a spinner with the job's progress if stderr is a terminal.
async fn shown(client: &Client, id: &str) -> Result<JobView, ClientError> {
    let ended = client.wait(id);
    if !std::io::stderr().is_terminal() {
        return ended.await;
    }
    let progress = Progress::new();
    let show = async {
        loop {
            if let Ok(job) = client.job(id).await {
                progress.show(&job);
            }
            tokio::time::sleep(PROGRESS_EVERY).await;
        }
    };
    let job = match future::select(pin!(ended), pin!(show)).await {
        Either::Left((job, _)) => job,
        Either::Right((never, _)) => never,
    };
    progress.end();
    job
}

/// Returns a sentence about the end of a job.
pub(super) fn sentence(job: &JobView) -> String {
    let detail = job_sheet::detail(job);
    let status = &job.status;
    let end = match detail.as_str() {
        "" => status.clone(),
        says if says.starts_with(status.as_str()) => says.to_owned(),
        says => format!("{status}: {says}"),
    };
    format!("job {} with id {} {end}", job.job_name, job.id)
}

/// Returns the job's own exit code if the job failed with one. A job that did not succeed never
/// gives 0.
///
/// # Errors
/// Returns [`NoExitCode`] for a job that did not succeed and has no code.
pub(super) fn exit_code(job: &JobView) -> anyhow::Result<u8> {
    if job.status == "succeeded" {
        return Ok(0);
    }
    let own = job.exit_code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    own.ok_or_else(|| NoExitCode { sentence: sentence(job), status: job.status.clone() }.into())
}
