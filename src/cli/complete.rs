//! Completions of ids and names, which the server is asked for while a person presses Tab. A server
//! that does not answer in time completes nothing.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;

use super::options::ServerOptions;
use super::words;
use crate::client::{Client, ClientError};

/// The longest time that a completion may take.
const PATIENCE: Duration = Duration::from_millis(300);
/// The most jobs of a map that are offered.
const MOST: &str = "100";

/// Completes the id of a job that waits or runs: by its shortest end, or by its beginning.
pub(super) fn jobs(current: &OsStr) -> Vec<CompletionCandidate> {
    let found = ask(async |client| {
        let mut jobs = Vec::new();
        for state in ["running", "scheduled"] {
            let some = client.jobs(&[("state", state), ("limit", MOST)]).await?;
            jobs.extend(some.running.into_values().chain(some.scheduled.into_values()));
        }
        Ok(jobs)
    });
    let length = words::short_length(found.iter().map(|job| job.id.as_str()));
    let offers = found.iter().map(|job| {
        let end = words::end_of(&job.id, length);
        let id = if starts(end, current) { end } else { job.id.as_str() };
        (id.to_owned(), format!("{} {}", job.job_name, job.status))
    });
    matching(offers, current)
}

/// Completes the name of a definition.
pub(super) fn definitions(current: &OsStr) -> Vec<CompletionCandidate> {
    let found = ask(async |client| Ok(client.definitions().await?.definitions));
    let offers = found.into_iter().map(|(name, view)| (name, view.image.unwrap_or_default()));
    matching(offers, current)
}

/// Completes the name of a schedule.
pub(super) fn schedules(current: &OsStr) -> Vec<CompletionCandidate> {
    let found = ask(async |client| Ok(client.schedules().await?.schedules));
    matching(found.into_iter().map(|(name, view)| (name, view.says)), current)
}

/// Asks the server of the environment or of the current context. Returns nothing after an error.
fn ask<T: Default>(call: impl AsyncFnOnce(&Client) -> Result<T, ClientError>) -> T {
    let answer = || {
        let client = ServerOptions::default().client().ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let answer =
            runtime.block_on(async { tokio::time::timeout(PATIENCE, call(&client)).await });
        runtime.shutdown_background();
        answer.ok()?.ok()
    };
    answer().unwrap_or_default()
}

fn starts(text: &str, current: &OsStr) -> bool {
    current.to_str().is_some_and(|current| text.starts_with(current))
}

fn matching(
    offers: impl Iterator<Item = (String, String)>,
    current: &OsStr,
) -> Vec<CompletionCandidate> {
    offers
        .filter(|(text, help)| starts(text, current) && is_printable(text) && is_printable(help))
        .map(|(text, help)| CompletionCandidate::new(text).help(Some(help.into())))
        .collect()
}

fn is_printable(text: &str) -> bool {
    super::text::clean(text) == text
}
