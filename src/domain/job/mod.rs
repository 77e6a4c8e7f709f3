//! A job: the state that it is in, and the one function that changes it.
//!
//! `state` has the job and its states, `transition` the change from one to the next, `wait_group`
//! the limits for which a due job waits, and `origin` the schedule that a job comes from.

pub mod origin;
mod state;
pub mod transition;
pub mod wait_group;

pub use super::names::status::{Map, Outcome, Reason, Status};
pub use state::{
    End, FailedAttempt, Intent, Job, Run, State, StopCause, StopTarget, Stopping, Wait,
};
