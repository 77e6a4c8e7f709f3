//! A job: the state that it is in, and the one function that changes it.
//!
//! `state` has the job and its states, `transition` the change from one to the next, `wait_group`
//! the limits for which a due job waits, `origin` where a job comes from, and `says` the sentence
//! about it for people.

pub mod origin;
pub mod says;
mod state;
pub mod transition;
pub mod wait_group;

pub use super::names::status::{Map, Outcome, Reason, Status};
pub use state::{
    End, FailedAttempt, Intent, Job, Run, State, StopCause, StopTarget, Stopping, Wait,
};
