//! The attempts that are being cleared away, and the findings of a sweep.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::domain::names::id::{Attempt, ContainerId, JobId};
use crate::domain::protocol::remains::Remains;

/// The attempts that are being cleared away.
pub(in crate::scheduler) struct Clearings {
    pub(in crate::scheduler) attempts: Mutex<BTreeSet<(JobId, Attempt)>>,
    pub(in crate::scheduler) keeping: Semaphore,
    /// True once a sweep has handed over everything that earlier processes left.
    pub(in crate::scheduler) swept: AtomicBool,
}

/// A finished attempt, with its remains.
pub(in crate::scheduler) struct Leftover {
    pub(in crate::scheduler) place: ClearingSlot,
    /// The attempt's container; `None` where the id is unknown.
    pub(in crate::scheduler) container: Option<ContainerId>,
    pub(in crate::scheduler) remains: Remains,
    pub(in crate::scheduler) keep_container: bool,
    pub(in crate::scheduler) log_limit: u64,
}

/// The exclusive right to clear an attempt away, returned on drop.
pub(in crate::scheduler) struct ClearingSlot {
    pub(in crate::scheduler) clearings: Arc<Clearings>,
    pub(in crate::scheduler) attempt: (JobId, Attempt),
}

impl Default for Clearings {
    fn default() -> Self {
        Self {
            attempts: Mutex::default(),
            keeping: Semaphore::new(KEPT_AT_ONCE),
            swept: AtomicBool::new(false),
        }
    }
}

impl Clearings {
    /// Notes that a sweep has handed over everything it found.
    pub(in crate::scheduler) fn note_swept(&self) {
        self.swept.store(true, Ordering::SeqCst);
    }

    /// Returns whether this attempt is being cleared away.
    pub(in crate::scheduler) fn has(&self, job: JobId, attempt: Attempt) -> bool {
        self.attempts().contains(&(job, attempt))
    }

    pub(in crate::scheduler) fn attempts(&self) -> MutexGuard<'_, BTreeSet<(JobId, Attempt)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClearingSlot {
    fn drop(&mut self) {
        self.clearings.attempts().remove(&self.attempt);
    }
}

/// The number of attempts whose output is read and written at once.
const KEPT_AT_ONCE: usize = 16;

/// A finding of a sweep that no task attends to yet.
pub(in crate::scheduler) enum SweepFinding {
    /// A job in the running map without a driver.
    Undriven(JobId),
    /// The remains of a finished attempt.
    LeftOver(Leftover),
}
