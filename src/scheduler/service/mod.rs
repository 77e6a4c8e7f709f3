//! Services for callers: submit, change and read jobs, schedules and definitions.

pub(super) mod config_schedules;
pub(super) mod definitions;
pub(super) mod dry_run;
pub(super) mod forecast;
pub(super) mod handle;
pub(super) mod metrics;
pub(super) mod open_output;
pub(super) mod output;
mod output_reader;
pub(super) mod pause;
pub(super) mod schedules;
pub(super) mod tide;
pub(super) mod waiting_slots;
