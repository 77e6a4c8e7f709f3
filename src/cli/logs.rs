//! `tidetable logs`: prints the output of a job. On a terminal it keeps colours and drops every
//! other control sequence; in a pipe the bytes are as the job wrote them.

use std::pin::pin;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures::TryStreamExt as _;

use super::complete;
use super::display::{self, Display};
use super::text::TerminalFilter;
use crate::client::Client;

/// The arguments of `tidetable logs`.
#[derive(Args, Debug)]
pub(super) struct LogsArgs {
    /// The job's id, or 4 or more of its first or last digits
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    id: String,
    #[command(flatten)]
    options: LogOptions,
}

/// The choice of lines, and their form.
#[derive(Args, Debug, Default)]
pub(super) struct LogOptions {
    /// Continue until the job is over
    #[arg(short, long)]
    follow: bool,
    /// Print only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<String>,
    /// Print only lines since a time ago (10m) or a date
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Print only lines that contain a text
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Print the output of attempt N [default: the last]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print only stdout or stderr of the job
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Print the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Print every control sequence of the job, also on a terminal
    #[arg(long)]
    raw: bool,
}

impl LogOptions {
    /// Returns the choice of all lines, until the job is over.
    pub(super) fn follow() -> Self {
        Self { follow: true, ..Self::default() }
    }

    fn query(&self) -> Vec<(&str, String)> {
        let texts = [
            ("follow", self.follow.then(|| "true".to_owned())),
            ("timestamps", self.timestamps.then(|| "true".to_owned())),
            ("tail", self.tail.clone()),
            ("since", self.since.clone()),
            ("grep", self.grep.clone()),
            ("attempt", self.attempt.map(|n| n.to_string())),
            ("stream", self.stream.clone()),
        ];
        texts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

pub(super) async fn logs(client: &Client, args: LogsArgs, display: &Display) -> anyhow::Result<u8> {
    print(client, &args.id, &args.options, display).await?;
    Ok(0)
}

/// Prints output as it arrives. With a form of JSON, each line is an object.
pub(super) async fn print(
    client: &Client,
    id: &str,
    options: &LogOptions,
    display: &Display,
) -> anyhow::Result<()> {
    let accept = if display.is_json() { "application/x-ndjson" } else { "text/plain" };
    let mut chunks = pin!(client.logs(id, &options.query(), accept).await?);
    let mut filter =
        (display.is_terminal && !options.raw).then(|| TerminalFilter::new(display.has_colours));
    while let Some(chunk) = chunks.try_next().await? {
        match &mut filter {
            Some(filter) => display::write(filter.pass(&chunk)),
            None => display::write(&chunk),
        }
    }
    if let Some(filter) = filter {
        display::write(filter.end());
    }
    Ok(())
}
