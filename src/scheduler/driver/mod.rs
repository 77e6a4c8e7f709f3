//! The driver of one job: takes it step by step through the start protocol.

mod attempt;
mod fence;
mod launch;
mod liveness;
mod sample;
mod steps;
mod usage;

pub(super) use attempt::run;
