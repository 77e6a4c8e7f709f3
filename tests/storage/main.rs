//! Tests of the store: its contract, and disks that are full, damaged, or lose their power.

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod contract;
mod damage;
mod data_dir;
mod disk_full;
mod power;
mod upgrade;
