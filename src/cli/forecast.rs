//! `tidetable forecast`: shows the coming runs, and the times at which too many coincide.

use clap::Args;

use super::display::{Cell, Column, Display, Row, Sheet, or_dash};
use super::{text, words};
use crate::client::Client;
use crate::http::views::{ForecastEntryView, ForecastView};

#[derive(Args, Debug)]
pub(super) struct ForecastArgs {
    /// Hours to look ahead, up to 168 [default: 24]
    #[arg(long, value_name = "N")]
    hours: Option<u16>,
}

const TSV: &[&str] = &["DUE", "JOB", "SCHEDULE", "EXPECTED", "OVERLAPS", "ID"];
const COLUMNS: &[Column] = &[
    Column::Whole("DUE"),
    Column::Flexible("JOB"),
    Column::Flexible("SCHEDULE"),
    Column::Whole("EXPECTED"),
    Column::Whole("OVERLAPS"),
    Column::Whole("ID"),
];

pub(super) async fn run(
    client: &Client,
    args: &ForecastArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    let forecast = client.forecast(args.hours).await?;
    display.list(&forecast, &sheet(&forecast, display)?)?;
    if !display.is_json() {
        warnings(&forecast).for_each(|warning| eprintln!("warning: {}", text::clean(&warning)));
    }
    Ok(0)
}

fn sheet(forecast: &ForecastView, display: &Display) -> anyhow::Result<Sheet> {
    let ids = forecast.entries.iter().filter_map(|entry| entry.job.as_deref());
    let digits = display.id_digits(ids);
    let row = |entry: &ForecastEntryView| {
        let texts = texts(entry);
        let [_, job, schedule, expected, overlaps, _] = texts.clone();
        let due = display.time(Some(&entry.due_at));
        let cells: Vec<Cell> = [due, job, schedule, expected, overlaps].map(Cell::from).into();
        let id = entry.job.as_deref().map_or("-", |job| words::end_of(job, digits));
        Ok(Row {
            name: entry.job.clone().unwrap_or_else(|| entry.job_name.clone()),
            json: serde_json::to_value(entry)?,
            tsv: texts.to_vec(),
            cells: cells.into_iter().chain([id.into()]).collect(),
        })
    };
    let rows: anyhow::Result<Vec<Row>> = forecast.entries.iter().map(row).collect();
    Ok(Sheet { tsv: TSV, columns: COLUMNS, rows: rows? })
}

fn texts(entry: &ForecastEntryView) -> [String; 6] {
    let expected = entry.expected_seconds.map(|seconds| format!("{seconds}s"));
    [
        entry.due_at.clone(),
        entry.job_name.clone(),
        or_dash(entry.schedule.as_deref()),
        or_dash(expected.as_deref()),
        if entry.overlaps { "yes" } else { "no" }.to_owned(),
        or_dash(entry.job.as_deref()),
    ]
}

fn warnings(forecast: &ForecastView) -> impl Iterator<Item = String> {
    let pile_ups = forecast.pile_ups.iter().map(|pile| {
        let (from, until) = (&pile.from, &pile.until);
        format!(
            "from {from} to {until} up to {} would run at once, and {} is {}",
            pile.peak, pile.limit, pile.most
        )
    });
    let overlaps = forecast.overlaps.iter().map(|overlap| {
        let (runs, name) = (overlap.runs, &overlap.schedule);
        format!(
            "{runs} runs of schedule {name} come while the one before is not over, the first at {}",
            overlap.first
        )
    });
    let truncated = forecast.truncated.then(|| format!("there is more after {}", forecast.until));
    pile_ups.chain(overlaps).chain(truncated)
}
