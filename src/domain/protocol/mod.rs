//! The start protocol: the next step of a job, from the state on disk and the observed state of the
//! engine.
//!
//! `step` has the table for an attempt, `remains` the one for what an attempt leaves on the engine,
//! and `restored` the one for a job from a restored backup. `model` checks every interleaving of
//! the protocol with crashes and lost answers in a small world.

#[cfg(test)]
mod model;
pub mod remains;
pub mod restored;
mod step;

pub use step::{DriverMemory, Fenced, Observed, Step, step};
