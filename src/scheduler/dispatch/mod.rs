//! The dispatcher: claims due jobs while slots, queues and schedules allow it.

mod admission;
mod dispatcher;
mod wait_groups;

pub(super) use dispatcher::run;
