//! The report of a check: the numbers read, and each damage found.

use std::fmt;

use serde::Serialize;

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
                "\nStop the server, put this folder aside, and serve a backup of it; see docs/operations.md"
            )?;
        }
        Ok(())
    }
}

/// The most findings listed; all are counted.
const LISTED: usize = 100;
