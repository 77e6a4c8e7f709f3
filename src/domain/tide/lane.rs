//! A lane of the chart: the marks of one schedule, or of the jobs of one name without a schedule.

use super::mark::{Mark, MarkKind};
use crate::domain::job::Status;

/// The kind of thing that a lane shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LaneKind {
    Schedule,
    /// A job name, for its jobs without a schedule.
    Job,
}

impl LaneKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Job => "job",
        }
    }
}

/// The name of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneName {
    pub kind: LaneKind,
    pub name: String,
}

/// A lane with its marks, ordered by their beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub name: LaneName,
    pub marks: Vec<Mark>,
    /// The number of runs by status, merged ones included.
    pub tally: Vec<(Status, u64)>,
}

impl Lane {
    /// Returns the number of runs that failed or did not happen, without the skipped ones.
    pub fn trouble(&self) -> u64 {
        self.count(|status| {
            matches!(status, Status::Failed | Status::TimedOut | Status::Unknown | Status::Missed)
        })
    }

    /// Returns the number of marks for which the status holds, merged ones included.
    pub fn count(&self, holds: impl Fn(Status) -> bool) -> u64 {
        self.tally.iter().filter(|(status, _)| holds(*status)).map(|(_, count)| count).sum()
    }

    pub(super) fn has_running(&self) -> bool {
        self.marks.iter().any(|mark| mark.kind == MarkKind::Running)
    }
}
