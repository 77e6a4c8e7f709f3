//! The store: jobs, the journal of their transitions, and the output of removed containers.
//!
//! A write returns only when its data would survive a power cut. A transition names the job version
//! that it was decided on. The store refuses the transition when another one came first, so two
//! tasks that act on one job cannot both win. Each transition adds one journal row in the same
//! transaction.
//!
//! Signatures carry no SQL. [`sqlite`] is one store and others may follow: one folder here, one line in
//! `app`, which opens the store, and one in the contract suite `tests/storage/contract`. Container
//! output goes to compressed files beside the database ([`logs`]).

pub mod backup;
pub mod check;
mod definitions;
mod dispatch;
mod error;
mod idempotency;
mod jobs;
mod journal;
mod lock;
pub mod logs;
mod meta;
mod open_files;
pub mod outbox;
mod report;
pub mod schedules;
mod snapshot;
pub mod sqlite;
mod stats;
pub mod threads;
mod totals;
pub mod watch;

pub use definitions::{Definition, DefinitionStore, Revision};
pub use dispatch::DispatchStore;
pub use error::{OpenError, StoreError};
pub use idempotency::{RequestKey, StoredResponse};
pub use jobs::JobStore;
pub use journal::{ENTRIES_BUFFERED, Entry, Journal, ObjectChange, Transition};
pub use meta::{MetaStore, Restored};
pub use outbox::Outbox;
pub use report::Report;
pub use schedules::ScheduleStore;
pub use snapshot::{EndedSearch, Filter, MAX_PAGE, Order, Snapshot};
pub use stats::{LastEnd, StatsStore, StoreStats};
pub use totals::Totals;

/// Everything that the server needs of a store. Each part is a small trait of its own.
pub trait Store:
    JobStore
    + DispatchStore
    + Journal
    + DefinitionStore
    + ScheduleStore
    + Outbox
    + MetaStore
    + StatsStore
{
}

impl<T> Store for T where
    T: JobStore
        + DispatchStore
        + Journal
        + DefinitionStore
        + ScheduleStore
        + Outbox
        + MetaStore
        + StatsStore
{
}
