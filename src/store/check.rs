//! Checks a data directory for `tidetable check`. Only reads, and works beside a running server.
//!
//! The database is checked as of one moment (`sqlite/check`), and every kept log is read to its end
//! (`logs/check`).

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::lock::is_in_use;
use super::{OpenError, logs, sqlite};

/// The most findings listed; all are counted.
const LISTED: usize = 100;

/// The extent and the findings of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The path that was checked.
    pub data_dir: String,
    /// True if nothing was found.
    pub whole: bool,
    /// True if a server had the directory open. The check ignores the write-ahead log then, and
    /// some files may be unfinished.
    pub in_use: bool,
    /// The number of jobs read.
    pub jobs: u64,
    /// The number of journal rows read.
    pub transitions: u64,
    /// The number of kept logs read.
    pub logs: u64,
    /// The first hundred findings, one sentence each.
    pub findings: Vec<String>,
    /// The number of findings.
    pub found: u64,
    /// Remarks that are no damage.
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

/// Checks everything in this data directory and changes nothing. Damage is no error: it is in the
/// report.
///
/// # Errors
/// [`OpenError::NoStore`], [`OpenError::Newer`], and [`OpenError::NotReadable`] when the system
/// refuses; the state of the data is unknown then.
pub fn check(dir: &Path) -> Result<Report, OpenError> {
    if !dir.join(sqlite::FILE).is_file() {
        return Err(OpenError::NoStore { path: dir.display().to_string() });
    }
    let mut report = Report { data_dir: dir.display().to_string(), ..Report::default() };
    let unreadable = |error: std::io::Error| OpenError::not_readable(dir, &error);
    let damage = sqlite::log_damage(dir).map_err(unreadable)?;
    // Comes after the log: a server that started meanwhile was writing its log.
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
