//! The scheduler: claims due jobs, starts and watches their containers, and records how they end.
//!
//! Six kinds of task do the work. One owner ([`Scheduler::run`]) waits for all of them:
//!
//! - the *dispatcher* (`dispatch`) asks the store for due jobs and claims them;
//! - a *driver* (`driver`) takes one claimed job step by step through the start protocol.
//!   Everything a driver holds is also on disk or on the engine, so dropping a driver at any point
//!   loses nothing;
//! - a *clearing* (`clear`) keeps the output of a finished attempt, then removes its container;
//! - the *stager* (`stage`) has the engine create containers for jobs that are due soon, so that
//!   only `start` remains;
//! - the *monitor* (`reconcile`) keeps the connection to the engine and passes on its container
//!   events. After every gap, and now and then, it compares the engine's containers with the store
//!   (`reconcile::sweep`);
//! - the check of *bare names* (`names`) warns about names in the config that may be mistyped.
//!
//! Each task reads the store, which is the only truth. Between tasks pass wake-ups, which carry
//! nothing and may be lost or doubled. Three things pass besides: a driver returns what its attempt
//! left (`Leftover`), a driver takes its container from the stager (`Stage::take`), and a sweep
//! reports what it found. If one of them is lost, an inspect or the next sweep finds the same
//! again. Callers act through a [`Handle`], which writes to the store and then wakes the task
//! concerned.
//!
//! All of them share the `context`, which has the state of each part and calls none.

mod clear;
mod context;
mod dispatch;
mod driver;
mod names;
mod reconcile;
mod resolve;
mod rules;
mod schedule_updates;
mod secrets;
mod service;
mod stage;
mod tasks;
mod timing;

pub use context::Health;
pub use rules::{Catalog, Origin, Rules, Settings};
pub use secrets::{SecretSource, SecretSources};

pub use crate::domain::admission::caller::Caller;
pub use service::definitions::{DefineError, Defined};

pub use service::handle::{Accepted, ActError, Handle, JobRequest, SubmitError};
pub use service::output::{
    Attempts, Output, OutputBlock, OutputError, OutputState, OutputStream, Progress, Until,
};
pub use service::schedules::{Put, ScheduleError};
pub use service::tide::TideRequest;
pub use tasks::{Parts, Scheduler};
pub use timing::{
    BACKOFF, EARLY, LONGEST_NAP, ORPHAN_AGE, PING_EVERY, ROUND, SETTLE, STAGE_AHEAD, SWEEP_EVERY,
};
