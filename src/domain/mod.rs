//! The rules of the scheduler without any machinery: ids, specs, dates, policy and the state of a
//! job. The protocol here starts a container at most once.
//!
//! Nothing here reads a clock, draws a random number, waits, or touches a disk or a socket. The
//! time and the observed state of the engine are arguments. The whole guarantee of the project is
//! therefore in two files, and two tables of cases test it:
//!
//! - [`job`] holds a job and its state; [`transition`] has the one function that changes it.
//! - [`protocol`] has the one function that decides the next step from the stored state and the
//!   observed state of the engine. Normal operation and recovery after a crash both use it; there
//!   is no second path.
//!
//! The other modules are vocabulary:
//!
//! - [`spec`] (the container to run), [`policy`] (the requests that are allowed), [`container`]
//!   (containers on an engine), [`date`] and [`units`] (dates, sizes and durations in text).
//! - [`schedule`] and [`recurrence`] (jobs that repeat, and their due times), [`planned`] (the
//!   progress of a schedule), [`forecast`] (the coming ticks of a schedule).
//! - [`declared`], [`ledger`], [`overlap`], [`queue`], [`hold`], [`expected`], [`image`], [`id`].

mod check;
pub mod container;
pub mod date;
pub mod declared;
pub mod features;
pub mod forecast;
pub mod gpus;
pub mod grace;
pub mod id;
pub mod image;
pub mod job;
pub mod ledger;
mod linux;
pub mod notify;
pub mod output;
pub mod overlap;
pub mod planned;
pub mod policy;
pub mod precondition;
pub mod protocol;
pub mod queue;
pub mod recurrence;
pub mod remains;
pub mod restored;
pub mod schedule;
pub mod secret;
pub mod spec;
pub mod stamp;
pub mod status;
pub mod transition;
pub mod units;
pub mod wait_group;
pub mod words;
