//! `tidetable ls --watch`: on a terminal, lists jobs again whenever one changes. In a pipe, prints
//! a line for each change.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::display::{self, Display};
use super::jobs::{self, LsArgs};
use super::lines::Lines;
use super::{exit, job_sheet};
use crate::client::{Client, ClientError};

/// The time between two lists, in which further changes are gathered.
const GATHERING: Duration = Duration::from_millis(500);
/// The longest time between two lists. The words for times grow old.
const LONGEST: Duration = Duration::from_secs(5);
/// The lines of a terminal that hold no job: the header, and the line of the cursor.
const OTHER_LINES: usize = 2;

pub(super) async fn run(client: &Client, args: &LsArgs, display: &Display) -> anyhow::Result<u8> {
    if display.is_terminal && display.is_for_person() {
        on_terminal(client, args, display).await
    } else {
        in_lines(client, args, display).await
    }
}

async fn on_terminal(client: &Client, args: &LsArgs, display: &Display) -> anyhow::Result<u8> {
    let since = args.since(display)?;
    let mut changes = pin!(client.events(&job_events()).await?);
    let _screen = Screen::enter();
    loop {
        let (mut jobs, _) = jobs::list(client, args, since).await?;
        if let Some(height) = display::height() {
            jobs::cut(&mut jobs, height.saturating_sub(OTHER_LINES).max(1));
        }
        // Moves the cursor to the first line, then clears the screen below it.
        display::write("\x1b[H\x1b[J");
        let display = display.renewed();
        display.list(&jobs, &job_sheet::sheet(&jobs, &display)?)?;
        let mut until = Instant::now() + LONGEST;
        while let Ok(change) = timeout_at(until, changes.try_next()).await {
            if change?.is_none() {
                return Ok(exit::FAILED);
            }
            until = until.min(Instant::now() + GATHERING);
        }
    }
}

async fn in_lines(client: &Client, args: &LsArgs, display: &Display) -> anyhow::Result<u8> {
    let since = args.since(display)?;
    // The stream begins before the list, so no change falls between the two.
    let mut changes = pin!(client.events(&job_events()).await?);
    let (jobs, _) = jobs::list(client, args, since).await?;
    let sheet = job_sheet::sheet(&jobs, display)?;
    sheet.rows.iter().try_for_each(|row| display.line(row))?;
    let mut lines = Lines::default();
    while let Some(chunk) = changes.try_next().await? {
        for line in lines.add(&chunk) {
            let event: Value = serde_json::from_slice(&line)?;
            let Some(id) = event["job"].as_str() else { continue };
            match client.job(id).await {
                Ok(job) if jobs::is_wanted(&job, args, since) && jobs::has_state(&job, args) => {
                    display.line(&job_sheet::row(&job, usize::MAX, display)?)?;
                }
                // A job may be forgotten before it is read.
                Ok(_) => {}
                Err(ClientError::Refused(problem)) if problem.status == 404 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(exit::FAILED)
}

fn job_events() -> [(&'static str, String); 1] {
    [("kind", "job".to_owned())]
}

/// The alternate screen of the terminal, which is left when the value is dropped.
struct Screen;

impl Screen {
    fn enter() -> Self {
        display::write("\x1b[?1049h");
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        display::write("\x1b[?1049l");
    }
}
