//! What a scheduler of containers is about, without any machinery: ids, specs, dates, policy, the job and how
//! it moves, and the protocol by which a container is started at most once.
//!
//! Nothing here reads a clock, rolls a die, waits, or touches a disk or a socket: the time and what the engine
//! was seen to have are arguments. That is why the whole promise of the project can be read in two files and
//! tested as two tables:
//!
//! - [`job`] holds a job and its state; [`transition`] is the one function that moves it.
//! - [`protocol`] is the one function that says what to do next, given what is on disk and what is on the
//!   engine. Normal life and recovery after a crash both go through it; there is no second path.
//!
//! The rest is vocabulary: [`spec`] (what to run), [`policy`] (what one may ask for), [`container`] (what an
//! engine can have), [`date`] and [`units`] (how people write them), [`schedule`] and [`recurrence`] (what is
//! due again and again, and when), [`planned`] (how far a schedule has come), [`forecast`] (what it will come to),
//! [`declared`], [`ledger`], [`overlap`], [`queue`], [`hold`], [`expected`], [`image`] and [`id`].

pub mod abilities;
mod check;
pub mod container;
pub mod date;
pub mod declared;
pub mod expected;
pub mod forecast;
pub mod gpus;
pub mod grace;
pub mod hold;
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
pub mod words;
