//! The rules of the scheduler without any machinery: ids, specs, dates, policy and the state of a
//! job. The protocol here starts a container at most once.
//!
//! Nothing here reads a clock, draws a random number, waits, or touches a disk or a socket. The
//! time and the observed state of the engine are arguments. Four functions hold the guarantees of
//! the project, and tables of cases test each of them:
//!
//! - [`Job::on`](job::Job::on) is the only function that changes a job.
//! - [`step`](protocol::step()) chooses the next step of an attempt, from the job on disk, the
//!   observed state of the engine, and the driver memory.
//! - [`next_clearing`](protocol::remains::next_clearing) chooses the next step for the container
//!   that a finished attempt left.
//! - [`reconcile_restored`](protocol::restored::reconcile_restored) chooses the event for a job of
//!   a restored backup.
//!
//! Normal operation and recovery after a crash use the same functions; there is no second path.
//!
//! The modules from the bottom up; each uses only those before it:
//!
//! - [`text`]: dates, sizes and durations as people write them.
//! - [`names`]: ids, image references, names, statuses and reasons.
//! - [`container`], [`output`], [`precondition`]: containers on an engine, their output, and the
//!   condition of a conditional request.
//! - [`spec`]: the container to run.
//! - [`recurrence`]: the times at which a schedule is due.
//! - [`job`]: a job, its states, and the function that changes it.
//! - [`protocol`]: the start protocol.
//! - [`admission`]: the requests that are allowed, and the jobs that may run at once.
//! - [`schedule`]: jobs that repeat, the record of their ticks, and runs that overlap.
//! - [`forecast`]: the runs of the next hours.
//! - [`tide`]: the chart of past, running and future runs.

pub mod admission;
pub mod container;
pub mod forecast;
pub mod job;
pub mod names;
pub mod output;
pub mod precondition;
pub mod protocol;
pub mod recurrence;
pub mod schedule;
pub mod spec;
pub mod text;
pub mod tide;
