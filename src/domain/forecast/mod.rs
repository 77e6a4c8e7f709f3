//! A forecast of the runs over the next hours, and of the times at which they pile up.
//!
//! The module is pure: it reads no clock and no store. A [`Draft`] takes waiting jobs, running
//! jobs and schedules, a page at a time, and keeps the earliest [`MAX_ENTRIES`]. Only a schedule's
//! next tick has a job; later ticks are computed. Earlier runs of the same name give the expected
//! duration ([`typical`]). With it, `load` lets every entry begin when it is due, and counts.
//!
//! A forecast is no plan. A run that has to wait for a slot is later than forecast, and a
//! [`PileUp`] warns of that. A job without known runs is assumed to be over in a second.

mod draft;
mod entry;
mod load;
#[cfg(test)]
mod tests;

pub use draft::{Draft, MAX_ENTRIES, RUNS_LOOKED_AT};
pub use entry::{Entry, Forecast, Known, OverlapWarning, PileUp, typical};
