//! How answers look: tables and a spinner on a terminal, plain text when piped.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{Table, presets};
use futures::future::Either;
use indicatif::{ProgressBar, ProgressStyle};

use crate::api::wire::{DefinitionsView, DoneView, JobView, JobsView, NotedView};
use crate::client::{Client, ClientError};

/// How often a waiting command asks how far the job has come.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Whether a person looks at stdout.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The jobs as a table: running, then scheduled by due time, then history, the latest first.
pub(super) fn table(jobs: &JobsView) -> String {
    let mut scheduled: Vec<&JobView> = jobs.scheduled.values().collect();
    scheduled.sort_by(|a, b| a.due_at.cmp(&b.due_at));
    let rows = jobs.running.values().chain(scheduled).chain(jobs.history.values().rev());
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["ID", "JOB", "STATUS", "DUE", "STARTED", "EXIT", "REASON"]);
    for job in rows {
        table.add_row(cells(job));
    }
    shown(&table)
}

/// A table as whoever looks at it can use it.
pub(super) fn shown(table: &Table) -> String {
    if is_terminal() { table.to_string() } else { plain(table) }
}

fn cells(job: &JobView) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        job.id.clone(),
        job.job_name.clone(),
        job.status.clone(),
        job.scheduled_to.clone(),
        or_dash(job.started_at.clone()),
        or_dash(job.exit_code.map(|code| code.to_string())),
        or_dash(job.reason.clone()),
    ]
}

/// One line a row, cells separated by tabs, for programs.
fn plain(table: &Table) -> String {
    let header = table
        .header()
        .into_iter()
        .map(|row| row.cell_iter().map(|cell| cell.content()).collect::<Vec<_>>().join("\t"));
    let rows = table
        .row_iter()
        .map(|row| row.cell_iter().map(|cell| cell.content()).collect::<Vec<_>>().join("\t"));
    header.chain(rows).collect::<Vec<_>>().join("\n")
}

/// Everything that is known of a job, a line each.
pub(super) fn details(job: &JobView) -> anyhow::Result<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let serde_json::Value::Object(fields) = serde_json::to_value(job)? {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            table.add_row([
                name.clone(),
                value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            ]);
        }
    }
    Ok(table.to_string())
}

/// The definitions as a table.
pub(super) fn definitions(all: &DefinitionsView) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "IMAGE", "CHANGED"]);
    for (name, definition) in &all.definitions {
        let changed = definition.changed_at.as_deref().unwrap_or("in the config file");
        table.add_row([name, definition.image.as_deref().unwrap_or("-"), changed]);
    }
    if is_terminal() { table.to_string() } else { plain(&table) }
}

/// What a call did to something that has a name.
pub(super) fn noted(noted: &NotedView, json: bool) -> anyhow::Result<u8> {
    let text = if json { serde_json::to_string_pretty(noted)? } else { noted.message.clone() };
    println!("{text}");
    warnings(&noted.warnings);
    Ok(0)
}

/// Prints what the server warns of, beside the answer.
pub(super) fn warnings(all: &[String]) {
    all.iter().for_each(|warning| eprintln!("warning: {warning}"));
}

/// What a call did.
pub(super) fn done(done: &DoneView, json: bool) -> anyhow::Result<u8> {
    let text = if json { serde_json::to_string_pretty(done)? } else { done.message.clone() };
    println!("{text}");
    warnings(&done.warnings);
    Ok(0)
}

/// How a job ended, in a sentence.
pub(super) fn ended(job: &JobView) -> String {
    let why = job.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("job {} with id {} {}{why}", job.job_name, job.id, job.status)
}

/// Waits for a job's end; on a terminal, with a spinner that says how far it has come.
pub(super) async fn while_waiting(client: &Client, id: &str) -> Result<JobView, ClientError> {
    let ended = client.wait(id);
    if !std::io::stderr().is_terminal() {
        return ended.await;
    }
    let spinner = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    spinner.enable_steady_tick(Duration::from_millis(120));
    let show = async {
        loop {
            if let Ok(job) = client.job(id).await {
                spinner.set_message(format!("{} {}", job.status, job.progress.unwrap_or_default()));
            }
            tokio::time::sleep(PROGRESS_EVERY).await;
        }
    };
    let (ended, show) = (std::pin::pin!(ended), std::pin::pin!(show));
    let job = match futures::future::select(ended, show).await {
        Either::Left((job, _)) => job,
        Either::Right((never, _)) => never,
    };
    spinner.finish_and_clear();
    job
}
