//! Where a job comes from.

use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::schedule::ScheduleName;

/// The number of a schedule's generation; every change starts a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a job comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A caller posted it.
    #[default]
    Api,
    /// A schedule made it for a tick, or a caller triggered the schedule.
    Schedule(ScheduledBy),
    /// A caller ran this job again.
    Rerun(JobId),
}

/// The schedule and the tick that a job comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledBy {
    pub schedule: ScheduleName,
    /// The generation of the schedule when the job was created.
    pub generation: Generation,
    /// The tick's nominal time; `None` for a job that a caller triggered.
    pub nominal: Option<Timestamp>,
}

impl Origin {
    /// Returns the schedule that the job comes from, if any.
    pub fn schedule(&self) -> Option<&ScheduledBy> {
        match self {
            Self::Schedule(by) => Some(by),
            Self::Api | Self::Rerun(_) => None,
        }
    }
}
