//! The handlers of the JSON API, one file for each kind of thing.

mod created;
pub(super) mod definitions;
pub(super) mod events;
pub(super) mod forecast;
mod idempotency;
pub(super) mod jobs;
pub(super) mod listing;
mod log_pick;
mod log_query;
pub(super) mod logs;
pub(super) mod metrics;
mod past;
pub(super) mod pause;
pub(super) mod preview;
pub(super) mod schedule_list;
pub(super) mod schedules;
pub(super) mod summary;
pub(super) mod system;
pub(super) mod tide;
