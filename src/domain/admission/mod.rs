//! Decisions about a job before it runs: the policy, the features of the engine, the grace of a
//! stop, and the limits of jobs at once.

pub mod caller;
pub mod features;
pub mod grace;
pub mod limits;
pub mod policy;
