//! Formats answers: tables and a spinner on a terminal, plain text in a pipe.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::{Table, presets};
use futures::future::Either;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::{Client, ClientError};
use crate::http::views::{DefinitionsView, DoneView, JobView, JobsView, NotedView};

/// The interval at which a waiting command asks for the job's progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Prints a line to stdout, like `println!`. A reader that closed the pipe ends the process quietly.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::output::write(&format!("{}\n", format_args!($($text)*))) };
}
pub(super) use say;

/// Writes text to stdout. Ends the process with exit code 0 if the reader closed the pipe, as
/// `head` does.
pub(super) fn write(text: impl AsRef<[u8]>) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("tidetable: cannot write to stdout: {error}");
            std::process::exit(1);
        }
        Ok(()) => {}
    }
}

/// Returns whether stdout is a terminal.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Formats the jobs as a table: running, then scheduled by due time, then history with the latest
/// first.
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

/// Formats a table for a person on a terminal, and as plain text otherwise.
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

/// Formats a table for programs: one line per row, with tabs between the cells.
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

/// Formats the fields of a job, one per line, without fields that are null.
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

/// Formats the definitions as a table.
pub(super) fn definitions(all: &DefinitionsView) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "IMAGE", "CHANGED"]);
    for (name, definition) in &all.definitions {
        let changed = definition.changed_at.as_deref().unwrap_or("in the config file");
        table.add_row([name, definition.image.as_deref().unwrap_or("-"), changed]);
    }
    if is_terminal() { table.to_string() } else { plain(&table) }
}

/// Prints the result of a call on a definition, and returns exit code 0.
pub(super) fn noted(noted: &NotedView, json: bool) -> anyhow::Result<u8> {
    let text = if json { serde_json::to_string_pretty(noted)? } else { noted.message.clone() };
    say!("{text}");
    warnings(&noted.warnings);
    Ok(0)
}

/// Prints the server's warnings on stderr.
pub(super) fn warnings(all: &[String]) {
    all.iter().for_each(|warning| eprintln!("warning: {warning}"));
}

/// Prints the result of a call on a job, and returns exit code 0.
pub(super) fn done(done: &DoneView, json: bool) -> anyhow::Result<u8> {
    let text = if json { serde_json::to_string_pretty(done)? } else { done.message.clone() };
    say!("{text}");
    warnings(&done.warnings);
    Ok(0)
}

/// Returns a sentence about the end of a job.
pub(super) fn ended(job: &JobView) -> String {
    let why = job.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("job {} with id {} {}{why}", job.job_name, job.id, job.status)
}

/// Waits for the end of a job. Shows a spinner with the job's progress if stderr is a terminal.
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
