//! Tests of the HTTP API, the command line and the config file, over real connections to a server on
//! the simulated engine.

#[path = "../support/mod.rs"]
mod support;

mod bare_names;
mod browser;
mod changes;
mod cli;
mod cli_snapshots;
mod config_file;
mod config_schedules;
mod cut_answers;
mod definitions;
mod docs;
mod events;
mod flags;
mod jobs;
mod limits;
mod logs;
mod metrics;
mod notify;
mod openapi;
mod pages;
mod problems;
mod reload;
mod schedules;
mod text;
mod tide;
