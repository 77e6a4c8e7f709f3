//! Figures about the store as a whole, for the summary.

use crate::domain::job::Status;
use crate::domain::names::id::Timestamp;

/// Figures about the store as a whole, as of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of jobs of each status that occurs.
    pub by_status: Vec<(Status, u64)>,
    /// The number of jobs of each status that ended in the period.
    pub ended: Vec<(Status, u64)>,
    /// The lateness of the starts in the period in milliseconds: the median and the 99th percentile.
    /// `None` without starts.
    pub lateness_ms: Option<(i64, i64)>,
    /// The due time of the next job that waits for its date.
    pub next_due_at: Option<Timestamp>,
    /// The time at which the oldest job was accepted.
    pub oldest_at: Option<Timestamp>,
    /// The size of the database in bytes.
    pub bytes: u64,
    /// The free space on the disk of the data directory in bytes; `None` if it cannot be read.
    pub disk_free_bytes: Option<u64>,
}
