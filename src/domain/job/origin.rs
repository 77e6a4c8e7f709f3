//! The schedule and the tick that a job comes from.

use crate::domain::names::id::Timestamp;
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

/// The schedule and the tick that a job comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub schedule: ScheduleName,
    /// The generation of the schedule when the job was created.
    pub generation: Generation,
    /// The tick's nominal time; `None` for a job that a caller triggered.
    pub nominal: Option<Timestamp>,
}
