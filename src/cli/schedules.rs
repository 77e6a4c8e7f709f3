//! `tidetable schedule …`: the commands on schedules, their next ticks, and the outcome of past
//! ticks.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::output::say;
use super::{file, output};
use crate::client::Client;

#[derive(Args, Debug)]
pub(super) struct ScheduleArgs {
    #[command(subcommand)]
    action: Action,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List schedules
    Ls,
    /// Create or change schedules
    Apply {
        /// File with the fields as JSON or TOML, or with several schedules under their names as in
        /// a config file; - is standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Name of the schedule, if the file holds a single one
        name: Option<String>,
    },
    /// Delete a schedule; running jobs continue
    Rm(NameArgs),
    /// Pause a schedule: skip its ticks from now on
    Pause(NameArgs),
    /// Resume a paused schedule
    Resume(NameArgs),
    /// Run the job of a schedule now
    Trigger(NameArgs),
    /// Show the next due times of a schedule
    Next {
        /// Name of the schedule
        name: String,
        /// Number of times to show
        #[arg(short, value_name = "N")]
        n: Option<usize>,
    },
    /// Show the outcome of the ticks of a schedule, latest first
    Ledger(NameArgs),
}

#[derive(Args, Debug)]
struct NameArgs {
    /// Name of the schedule
    name: String,
}

pub(super) async fn run(client: &Client, args: ScheduleArgs) -> anyhow::Result<u8> {
    let json = args.json;
    match args.action {
        Action::Ls => {
            let all = client.schedules().await?;
            let rows = all.schedules.values().map(|s| {
                let next = s.next_due_at.clone().unwrap_or_else(|| "-".to_owned());
                let job = s.fields.job_name.as_ref().map(ToString::to_string).unwrap_or_default();
                [
                    s.name.clone(),
                    job,
                    next,
                    s.fields.paused.unwrap_or(false).to_string(),
                    s.says.clone(),
                ]
            });
            show(&all, json, || table(["NAME", "JOB", "NEXT", "PAUSED", "WHEN"], rows))
        }
        Action::Apply { file, name } => {
            for (name, fields) in file::entries(&file, name, "schedules")? {
                let view = client.put_schedule(&name, &fields).await?;
                output::warnings(&view.warnings);
                show(&view, json, || format!("schedule {name}: {}", view.says))?;
            }
            Ok(0)
        }
        Action::Rm(NameArgs { name }) => {
            client.delete_schedule(&name).await?;
            say!("schedule {name} is deleted");
            Ok(0)
        }
        Action::Pause(NameArgs { name }) => {
            let view = client.pause_schedule(&name, true).await?;
            show(&view, json, || format!("schedule {name} is paused"))
        }
        Action::Resume(NameArgs { name }) => {
            let view = client.pause_schedule(&name, false).await?;
            show(&view, json, || format!("schedule {name} goes on: {}", view.says))
        }
        Action::Trigger(NameArgs { name }) => {
            output::done(&client.trigger_schedule(&name).await?, json)
        }
        Action::Next { name, n } => {
            let next = client.next_of_schedule(&name, n).await?;
            show(&next, json, || next.next.join("\n"))
        }
        Action::Ledger(NameArgs { name }) => {
            let ledger = client.ledger(&name).await?;
            let rows = ledger.ticks.iter().map(|tick| {
                let or_dash =
                    |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                [
                    tick.due_at.clone(),
                    tick.outcome.clone(),
                    or_dash(&tick.reason),
                    or_dash(&tick.job),
                ]
            });
            show(&ledger, json, || table(["DUE", "OUTCOME", "REASON", "JOB"], rows))
        }
    }
}

fn show(value: &impl Serialize, json: bool, text: impl FnOnce() -> String) -> anyhow::Result<u8> {
    let text = if json { serde_json::to_string_pretty(value)? } else { text() };
    say!("{text}");
    Ok(0)
}

fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    output::shown(&table)
}
