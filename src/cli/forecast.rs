//! `tidetable forecast`: shows the coming runs, and the times at which too many coincide.

use clap::Args;
use comfy_table::{Table, presets};

use super::output;
use super::output::say;
use crate::client::Client;
use crate::http::views::{ForecastEntryView, ForecastView};

#[derive(Args, Debug)]
pub(super) struct ForecastArgs {
    /// Hours to look ahead, up to 168 [default: 24]
    #[arg(long, value_name = "N")]
    hours: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &ForecastArgs) -> anyhow::Result<u8> {
    let forecast = client.forecast(args.hours).await?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&forecast)?);
        return Ok(0);
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["DUE", "JOB", "SCHEDULE", "EXPECTED", "OVERLAPS", "ID"]);
    for entry in &forecast.entries {
        table.add_row(cells(entry));
    }
    say!("{}", output::shown(&table));
    warnings(&forecast).for_each(|warning| eprintln!("warning: {warning}"));
    Ok(0)
}

fn cells(entry: &ForecastEntryView) -> [String; 6] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        entry.due_at.clone(),
        entry.job_name.clone(),
        or_dash(entry.schedule.clone()),
        or_dash(entry.expected_seconds.map(|seconds| format!("{seconds}s"))),
        if entry.overlaps { "yes" } else { "no" }.to_owned(),
        or_dash(entry.job.clone()),
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
