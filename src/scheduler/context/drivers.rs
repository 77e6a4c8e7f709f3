//! The handle of a driver: its wake-up, the last time it saw its job alive, and its pull's
//! progress.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

use crate::domain::names::id::Timestamp;
use crate::engine::PullProgress;

/// The shared handle to a running driver.
#[derive(Default)]
pub(in crate::scheduler) struct DriverHandle {
    pub(in crate::scheduler) wake: Notify,
    pub(in crate::scheduler) alive: Liveness,
    pub(in crate::scheduler) progress: Mutex<Option<PullProgress>>,
}

/// The last time at which a driver saw its job alive (not over).
pub(in crate::scheduler) struct Liveness {
    /// Milliseconds since 1970; [`NEVER`] or [`ALWAYS`].
    pub(in crate::scheduler) seen_at: AtomicI64,
    /// True while a decision waits for the next inspect.
    pub(in crate::scheduler) asked: AtomicBool,
}

/// The driver has not inspected yet.
const NEVER: i64 = i64::MIN;

/// No `start` was called by this process, so nothing can have ended.
const ALWAYS: i64 = i64::MAX;

impl Default for Liveness {
    fn default() -> Self {
        Self { seen_at: AtomicI64::new(NEVER), asked: AtomicBool::new(false) }
    }
}

impl Liveness {
    /// Notes that nothing was started, and that only this driver will do so.
    pub(in crate::scheduler) fn note_not_started(&self) {
        self.seen_at.store(ALWAYS, Ordering::SeqCst);
    }

    /// Forgets the last time, because `start` is about to be called.
    pub(in crate::scheduler) fn note_start(&self) {
        self.seen_at.store(NEVER, Ordering::SeqCst);
    }

    /// Notes an inspect that began at `at` and found the job alive.
    pub(in crate::scheduler) fn saw(&self, at: Timestamp) {
        self.seen_at.store(at.timestamp_millis(), Ordering::SeqCst);
    }

    pub(in crate::scheduler) fn was_seen_since(&self, since: Timestamp) -> bool {
        self.seen_at.load(Ordering::SeqCst) >= since.timestamp_millis()
    }
}
