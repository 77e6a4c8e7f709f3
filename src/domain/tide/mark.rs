//! A mark in a lane: one run, several that are too close to be told apart, or a run that is absent.

use crate::domain::job::{Reason, Status};
use crate::domain::names::id::{JobId, Timestamp};

/// The kind of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MarkKind {
    /// A job that is over and was started, or could not be.
    Run,
    Running,
    /// A run in the future, or one that is overdue and waits.
    Planned,
    Skipped,
    Missed,
    /// Several marks that are too close to be told apart.
    Many,
}

impl MarkKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Running => "running",
            Self::Planned => "planned",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Many => "many",
        }
    }
}

/// A mark in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub kind: MarkKind,
    /// The status of the job; of several, the worst.
    pub status: Status,
    pub from: Timestamp,
    pub to: Timestamp,
    pub due_at: Timestamp,
    /// The job; of several, one that has the worst status. `None` for a tick without a job.
    pub job: Option<JobId>,
    /// The expected end of a running job; `None` if no earlier run is known.
    pub expected_to: Option<Timestamp>,
    /// Set if a process ran, or is planned to.
    pub has_run: bool,
    /// The reason for an absence, if one is known.
    pub reason: Option<Reason>,
    /// The number of marks by status; one entry with 1 for a single mark.
    pub tally: Vec<(Status, u64)>,
    /// The row within the lane. Marks that overlap are in different rows while rows are left.
    pub row: u8,
    /// The number of rows where this mark is: 1 unless it overlaps with others.
    pub rows: u8,
}

impl Mark {
    /// Creates the mark of a job that is over.
    pub(super) fn past(
        status: Status,
        from: Timestamp,
        to: Timestamp,
        due_at: Timestamp,
        job: JobId,
    ) -> Self {
        let kind = match status {
            Status::Canceled => MarkKind::Skipped,
            Status::Missed => MarkKind::Missed,
            _ => MarkKind::Run,
        };
        Self { due_at, job: Some(job), ..Self::new(kind, status, from, to) }
    }

    pub(super) fn new(kind: MarkKind, status: Status, from: Timestamp, to: Timestamp) -> Self {
        Self {
            kind,
            status,
            from,
            to,
            due_at: from,
            job: None,
            expected_to: None,
            has_run: true,
            reason: None,
            tally: vec![(status, 1)],
            row: 0,
            rows: 1,
        }
    }

    /// Returns the number of runs or ticks that the mark stands for.
    pub fn count(&self) -> u64 {
        self.tally.iter().map(|(_, count)| count).sum()
    }

    /// Returns whether the mark is about the future.
    pub fn is_ahead(&self) -> bool {
        self.status.map() == crate::domain::job::Map::Scheduled
    }

    /// Counts one more mark with the same status. Unlike [`Self::absorb`], needs no second mark.
    pub(super) fn count_one_more(&mut self, from: Option<Timestamp>, to: Option<Timestamp>) {
        self.kind = MarkKind::Many;
        self.from = from.map_or(self.from, |from| from.min(self.from));
        self.to = to.map_or(self.to, |to| to.max(self.to));
        self.tally.iter_mut().for_each(|(_, count)| *count += 1);
    }

    /// Merges another mark into this one.
    pub(super) fn absorb(&mut self, other: Self) {
        if severity(other.status) > severity(self.status) {
            (self.status, self.job, self.due_at) = (other.status, other.job, other.due_at);
            self.reason = other.reason;
        }
        self.kind = MarkKind::Many;
        self.has_run |= other.has_run;
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        for (status, count) in other.tally {
            add(&mut self.tally, status, count);
        }
    }
}

/// Adds to the count of a status.
pub(super) fn add(tally: &mut Vec<(Status, u64)>, status: Status, count: u64) {
    match tally.iter_mut().find(|(known, _)| *known == status) {
        Some((_, known)) => *known += count,
        None => {
            tally.push((status, count));
            tally.sort_by_key(|(status, _)| std::cmp::Reverse(severity(*status)));
        }
    }
}

/// Returns the rank of a status: the highest of several gives a merged mark its colour.
const fn severity(status: Status) -> u8 {
    match status {
        Status::Failed => 8,
        Status::TimedOut => 7,
        Status::Unknown => 6,
        Status::Missed => 5,
        Status::Stopped => 4,
        Status::Pulling | Status::Starting | Status::Running | Status::Stopping => 3,
        Status::Succeeded => 2,
        Status::Canceled => 1,
        Status::Scheduled | Status::Queued | Status::Retrying => 0,
    }
}
