//! The rules of the scheduler without any machinery: ids, specs, dates, policy and the state of a
//! job. The protocol here starts a container at most once.
//!
//! Nothing here reads a clock, draws a random number, waits, or touches a disk or a socket. The
//! time and the observed state of the engine are arguments. The whole guarantee of the project is
//! therefore in two files, and two tables of cases test it:
//!
//! - [`job`] has a job, its states, and in [`job::transition`] the one function that changes it.
//! - [`protocol`] has the one function that decides the next step from the stored state and the
//!   observed state of the engine. Normal operation and recovery after a crash both use it; there
//!   is no second path.
//!
//! The modules from the bottom up; each uses only those before it:
//!
//! - [`text`]: dates, sizes and durations as people write them.
//! - [`names`]: ids, image references, names, statuses and reasons.
//! - [`container`], [`output`], [`precondition`]: containers on an engine, their output, and the
//!   condition of a conditional request.
//! - [`spec`]: the container to run.
//! - [`recurrence`]: the times at which a schedule is due.
//! - [`job`], [`protocol`]: see above.
//! - [`admission`]: the requests that are allowed, and the jobs that may run at once.
//! - [`schedule`]: jobs that repeat, the record of their ticks, and runs that overlap.
//! - [`forecast`]: the runs of the next hours.

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
