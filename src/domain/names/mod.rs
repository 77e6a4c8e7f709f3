//! Identifiers and fixed words: ids, image references, names of jobs, queues and schedules, and the
//! statuses, outcomes and reasons of a job.

pub mod actor;
pub mod change;
pub mod id;
pub mod image;
pub mod queue;
pub mod schedule;
pub mod status;
