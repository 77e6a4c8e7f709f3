//! `tidetable schedule …`: the commands on schedules, their next ticks, and the outcome of past
//! ticks.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use super::display::{self, Cell, Column, Display, Row, Sheet, or_dash};
use super::{complete, file, job_sheet, jobs, words};
use crate::client::Client;
use crate::http::views::{LedgerView, ScheduleView, SchedulesView, TickView};

#[derive(Args, Debug)]
pub(super) struct ScheduleArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List schedules
    #[command(visible_alias = "list")]
    Ls,
    /// Show the fields of a schedule
    Show(NameArgs),
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
        #[command(flatten)]
        schedule: NameArgs,
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
    #[arg(add = ArgValueCompleter::new(complete::schedules))]
    name: String,
}

const TSV: &[&str] = &["NAME", "JOB", "NEXT", "PAUSED", "WHEN"];
const COLUMNS: &[Column] = &[
    Column::Flexible("NAME"),
    Column::Flexible("JOB"),
    Column::Whole("NEXT"),
    Column::Flexible("WHEN"),
    Column::Wide("RUNS"),
    Column::Wide("SOURCE"),
];
const LEDGER_TSV: &[&str] = &["DUE", "OUTCOME", "REASON", "JOB"];
const LEDGER_COLUMNS: &[Column] = &[
    Column::Whole("DUE"),
    Column::Whole("OUTCOME"),
    Column::Flexible("REASON"),
    Column::Whole("JOB"),
];

pub(super) async fn run(
    client: &Client,
    args: ScheduleArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    match args.action {
        Action::Ls => {
            let all = client.schedules().await?;
            display.list(&all, &sheet(&all, display)?)?;
        }
        Action::Show(NameArgs { name }) => {
            display.fields(&client.schedule(&name).await?, &name)?;
        }
        Action::Apply { file, name } => {
            for (name, fields) in file::entries(&file, name, "schedules")? {
                let view = client.put_schedule(&name, &fields).await?;
                display.one(&view, &name, || format!("schedule {name}: {}", view.says))?;
                display::warnings(&view.warnings);
            }
        }
        Action::Rm(NameArgs { name }) => {
            client.delete_schedule(&name).await?;
            let gone = serde_json::json!({"name": name, "deleted": true});
            display.one(&gone, &name, || format!("schedule {name} is deleted"))?;
        }
        Action::Pause(NameArgs { name }) => {
            let view = client.pause_schedule(&name, true).await?;
            display.one(&view, &name, || format!("schedule {name} is paused"))?;
        }
        Action::Resume(NameArgs { name }) => {
            let view = client.pause_schedule(&name, false).await?;
            display.one(&view, &name, || format!("schedule {name} goes on: {}", view.says))?;
        }
        Action::Trigger(NameArgs { name }) => {
            return jobs::done(&client.trigger_schedule(&name).await?, display);
        }
        Action::Next { schedule: NameArgs { name }, n } => {
            let next = client.next_of_schedule(&name, n).await?;
            let times = next.next.join("\n");
            display.one(&next, &times, || times.clone())?;
        }
        Action::Ledger(NameArgs { name }) => {
            let ledger = client.ledger(&name).await?;
            display.list(&ledger, &ledger_sheet(&ledger, display)?)?;
        }
    }
    Ok(0)
}

fn sheet(all: &SchedulesView, display: &Display) -> anyhow::Result<Sheet> {
    let row = |schedule: &ScheduleView| {
        let name = schedule.name.clone();
        let job = schedule.fields.job_name.as_ref().map(ToString::to_string).unwrap_or_default();
        let is_paused = schedule.fields.paused.unwrap_or(false);
        let next = schedule.next_due_at.as_deref();
        let tsv = [
            name.clone(),
            job.clone(),
            or_dash(next),
            is_paused.to_string(),
            schedule.says.clone(),
        ];
        let next = match is_paused {
            true => Cell::coloured("paused", job_sheet::colour("queued")),
            false => or_dash(next.map(|at| display.time(Some(at))).as_deref()).into(),
        };
        let cells = vec![
            name.clone().into(),
            job.into(),
            next,
            schedule.says.clone().into(),
            schedule.runs.to_string().into(),
            schedule.source.clone().into(),
        ];
        Ok(Row { name, json: serde_json::to_value(schedule)?, tsv: tsv.to_vec(), cells })
    };
    let rows: anyhow::Result<Vec<Row>> = all.schedules.values().map(row).collect();
    Ok(Sheet { tsv: TSV, columns: COLUMNS, rows: rows? })
}

fn ledger_sheet(ledger: &LedgerView, display: &Display) -> anyhow::Result<Sheet> {
    let digits = display.id_digits(ledger.ticks.iter().filter_map(|tick| tick.job.as_deref()));
    let row = |tick: &TickView| {
        let reason = or_dash(tick.reason.as_deref());
        let job = or_dash(tick.job.as_deref());
        let cells = vec![
            display.time(Some(&tick.due_at)).into(),
            Cell::coloured(tick.outcome.clone(), job_sheet::colour(&tick.outcome)),
            reason.clone().into(),
            tick.job.as_deref().map_or("-", |job| words::end_of(job, digits)).into(),
        ];
        Ok(Row {
            name: tick.job.clone().unwrap_or_else(|| tick.due_at.clone()),
            json: serde_json::to_value(tick)?,
            tsv: vec![tick.due_at.clone(), tick.outcome.clone(), reason, job],
            cells,
        })
    };
    let rows: anyhow::Result<Vec<Row>> = ledger.ticks.iter().map(row).collect();
    Ok(Sheet { tsv: LEDGER_TSV, columns: LEDGER_COLUMNS, rows: rows? })
}
