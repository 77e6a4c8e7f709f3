//! The tide chart: past, running and future runs over one stretch of time, and how many run at
//! once.
//!
//! The module is pure: it reads no clock and no store. [`PastRuns`] takes past runs one at a time
//! and counts those that a picture could not tell apart, so a million runs need little memory.
//! [`Parts::chart`] then adds the running jobs, the ticks without a run and the forecast, chooses
//! the lanes, and merges marks that are closer than two pixels.
//!
//! The axis is real time. A change of a zone's offset makes no gap.

mod at_once;
mod chart;
mod lane;
mod mark;
mod pack;
mod past;
mod says;
#[cfg(test)]
mod tests;

pub use chart::{Busiest, Parts, RunningJob, Tide};
pub use lane::{Lane, LaneKind, LaneName};
pub use mark::{Mark, MarkKind};
pub use past::{AbsentTicks, PastRun, PastRuns, Window};
pub use says::{duration, says, word};
