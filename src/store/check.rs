//! Whether a data directory is whole: what `tidetable check` says. Reads only, and works beside a running server.
//!
//! The database is looked at as of one moment (`sqlite/check`), and every kept log is read to its end (`logs/check`).

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::lock::is_in_use;
use super::{OpenError, logs, sqlite};

/// The most findings that are listed; all are counted.
const LISTED: usize = 100;

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The folder.
    pub data_dir: String,
    /// Whether nothing was found.
    pub whole: bool,
    /// Whether a server had it open. Its write-ahead log is its own business then, and files may be unfinished.
    pub in_use: bool,
    /// Jobs that were read.
    pub jobs: u64,
    /// Rows of the journal that were read.
    pub transitions: u64,
    /// Kept logs that were read.
    pub logs: u64,
    /// What is wrong, a sentence each: the first hundred.
    pub findings: Vec<String>,
    /// How many there are.
    pub found: u64,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
}

impl Report {
    pub(super) fn found(&mut self, finding: impl Into<String>) {
        self.found += 1;
        if self.findings.len() < LISTED {
            self.findings.push(finding.into());
        }
    }
}

/// Looks at everything in this data directory, and changes nothing.
///
/// # Errors
/// [`OpenError::NoStore`], and [`OpenError::NotReadable`] when the system refuses: then nothing is known. What is damaged
/// is no error: it is in the report.
pub fn check(dir: &Path) -> Result<Report, OpenError> {
    if !dir.join(sqlite::FILE).is_file() {
        return Err(OpenError::NoStore { path: dir.display().to_string() });
    }
    let mut report = Report { data_dir: dir.display().to_string(), ..Report::default() };
    let unreadable = |error: std::io::Error| OpenError::not_readable(dir, &error);
    let damage = sqlite::log_damage(dir).map_err(unreadable)?;
    // Asked after the look: the log of a server that came up meanwhile was being written.
    report.in_use = is_in_use(dir)?;
    if let Some(damage) = damage.filter(|_| !report.in_use) {
        report.found(damage);
    }
    sqlite::check(dir, &mut report)?;
    logs::check(&dir.join("logs"), &mut report).map_err(unreadable)?;
    report.whole = report.found == 0;
    Ok(report)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { data_dir, jobs, transitions, logs, .. } = self;
        let verdict = if self.whole { "whole" } else { "damaged" };
        write!(
            f,
            "{data_dir} is {verdict}: {jobs} jobs, {transitions} transitions and {logs} kept logs were read"
        )?;
        for finding in &self.findings {
            write!(f, "\n- {finding}")?;
        }
        let more = self.found - self.findings.len() as u64;
        if more > 0 {
            write!(f, "\n- and {more} more")?;
        }
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        if !self.whole {
            write!(
                f,
                "\nStop the server, put this folder aside, and serve a backup of it; see docs/reliability.md"
            )?;
        }
        Ok(())
    }
}
