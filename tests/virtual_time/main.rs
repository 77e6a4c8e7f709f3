//! Tests in virtual time: the whole service on the simulated engine, on a paused clock.

#[path = "../support/mod.rs"]
mod support;

mod dispatcher_idle;
mod limits;
mod output;
mod recurrence;
mod renamed;
mod restore;
mod schedules;
mod simulation;
mod staging;
mod stop;
