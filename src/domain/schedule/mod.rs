//! A schedule: the job to run again and again, and the record of its ticks.
//!
//! `spec` has the schedule as a caller writes it, `source` its owner. `record` is the stored state
//! and the one function that advances it; `merge` merges a changed config file into it. `ledger`
//! has the outcome of each tick, `overlap` the decision about runs that overlap.

pub mod ledger;
mod merge;
pub mod overlap;
pub mod record;
pub mod source;
mod spec;

pub use spec::{Overlap, Schedule, ScheduleFields};
