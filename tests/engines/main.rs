//! Tests on real engines: Docker and Podman, as `make test` provides them.

#[path = "../support/mod.rs"]
mod support;

mod contract;
mod crash;
mod daemon;
mod limits;
mod registry;
mod restore;
mod schedules;
mod spec;
mod usage;
