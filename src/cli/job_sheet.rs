//! A list of jobs as a table, and the words and colours for one job.

use comfy_table::Color;

use super::display::{Cell, Column, Display, Row, Sheet, or_dash};
use super::words;
use crate::http::views::{JobView, JobsView};

const TSV: &[&str] = &["ID", "JOB", "STATUS", "DUE", "STARTED", "EXIT", "REASON"];
const COLUMNS: &[Column] = &[
    Column::Whole("ID"),
    Column::Flexible("JOB"),
    Column::Whole("STATUS"),
    Column::Whole("WHEN"),
    Column::Flexible("DETAIL"),
    Column::Wide("SCHEDULE"),
    Column::Wide("DUE"),
    Column::Wide("STARTED"),
    Column::Wide("FINISHED"),
    Column::Wide("EXIT"),
    Column::Wide("REASON"),
    Column::Wide("LABELS"),
];

/// The sentences that say no more than the status.
const PLAIN: [&str; 4] = ["waits until it is due", "is being started", "runs", "exit code 0"];

/// Builds the entry of one job. `digits` is the length of its short id.
///
/// # Errors
/// Fails if the job cannot be written as JSON.
pub(super) fn row(job: &JobView, digits: usize, display: &Display) -> anyhow::Result<Row> {
    Ok(Row {
        name: job.id.clone(),
        json: serde_json::to_value(job)?,
        tsv: texts(job).to_vec(),
        cells: cells(job, words::end_of(&job.id, digits), display),
    })
}

/// Builds the list of all jobs in the maps, newest first.
///
/// # Errors
/// Fails if a job cannot be written as JSON.
pub(super) fn sheet(jobs: &JobsView, display: &Display) -> anyhow::Result<Sheet> {
    let mut all: Vec<&JobView> = [&jobs.running, &jobs.scheduled, &jobs.history]
        .into_iter()
        .flat_map(|m| m.values())
        .collect();
    all.sort_by(|one, other| other.id.cmp(&one.id));
    let digits = display.id_digits(all.iter().map(|job| job.id.as_str()));
    let rows: anyhow::Result<Vec<Row>> =
        all.into_iter().map(|job| row(job, digits, display)).collect();
    Ok(Sheet { tsv: TSV, columns: COLUMNS, rows: rows? })
}

fn texts(job: &JobView) -> [String; 7] {
    [
        job.id.clone(),
        job.job_name.clone(),
        job.status.clone(),
        job.due_at.clone(),
        or_dash(job.started_at.as_deref()),
        job.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
        or_dash(job.reason.as_deref()),
    ]
}

fn cells(job: &JobView, short: &str, display: &Display) -> Vec<Cell> {
    let at = job.finished_at.as_ref().or(job.started_at.as_ref()).unwrap_or(&job.due_at);
    let labels: Vec<String> =
        job.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let [_, name, status, due, started, exit, reason] = texts(job);
    vec![
        short.into(),
        name.into(),
        Cell::coloured(status, colour(&job.status)),
        display.time(Some(at)).into(),
        detail(job).into(),
        or_dash(job.schedule.as_deref()).into(),
        due.into(),
        started.into(),
        or_dash(job.finished_at.as_deref()).into(),
        exit.into(),
        reason.into(),
        labels.join(",").into(),
    ]
}

/// Returns what there is to say about a job beside its status. Empty if the status says it all.
pub(super) fn detail(job: &JobView) -> String {
    match &job.progress {
        Some(progress) => progress.clone(),
        None if PLAIN.contains(&job.says.as_str()) => String::new(),
        None => job.says.clone(),
    }
}

/// Returns the colour of a status or of a tick's outcome.
pub(super) fn colour(status: &str) -> Option<Color> {
    match status {
        "succeeded" | "ran" | "caught_up" => Some(Color::Green),
        "failed" | "timed_out" | "missed" => Some(Color::Red),
        "pulling" | "starting" | "running" | "stopping" => Some(Color::Cyan),
        "queued" | "retrying" => Some(Color::Yellow),
        "canceled" | "stopped" | "skipped" => Some(Color::DarkGrey),
        "unknown" => Some(Color::Magenta),
        _ => None,
    }
}
