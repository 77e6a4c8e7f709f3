//! The store in one SQLite database in the data directory.
//!
//! One writer (`writer`) puts all waiting commands into one transaction, with `synchronous=FULL` in
//! WAL mode: a reply leaves after the fsync. Readers have connections of their own and never wait
//! for the writer. Every query names its index (`queries`), and a test reads the query plans. Only
//! `rows` turns rows into jobs.

mod background_check;
mod backup;
mod check;
mod checkpoints;
mod connection;
mod definition_store;
mod definitions;
mod ended;
mod errors;
mod idempotency;
mod journal;
mod meta_store;
mod open;
mod outbox;
mod outbox_store;
mod overview;
mod pages;
mod pool;
mod queries;
mod rows;
mod schedule_store;
mod schedules;
mod schema;
mod stats;
mod store;
mod wait_groups;
mod wal;
mod writer;

pub(super) use backup::back_up;
pub(super) use check::{check, log_damage};
pub use connection::FILE;
pub use store::SqliteStore;
pub use writer::Writer;
