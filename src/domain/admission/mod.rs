//! Decisions about a job before it runs: the policy, the features of the engine, the grace of a
//! stop, the limits of jobs at once, and the pause of everything.

pub mod caller;
pub mod features;
pub mod grace;
pub mod limits;
pub mod pause;
pub mod policy;
