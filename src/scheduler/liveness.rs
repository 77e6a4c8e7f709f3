//! The time up to which a started job is known to be alive. Overlap decisions rest on it.
//!
//! The store calls a job running until its end is recorded, and an end is recorded only when a
//! driver inspects the container. After a restart of the server or an outage of the engine that may
//! be long after the end. So each driver notes when it last saw its job alive. A decision that
//! needs a later time asks the driver, and is made again after the driver has inspected.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::Shared;
use crate::domain::job::{Job, Map};
use crate::domain::names::id::{JobId, Timestamp};

/// The last time at which a driver saw its job alive (not over).
pub(super) struct Liveness {
    /// Milliseconds since 1970; [`NEVER`] or [`ALWAYS`].
    seen_at: AtomicI64,
    /// True while a decision waits for the next inspect.
    asked: AtomicBool,
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
    pub(super) fn is_not_started(&self) {
        self.seen_at.store(ALWAYS, Ordering::SeqCst);
    }

    /// Forgets the last time, because `start` is about to be called.
    pub(super) fn is_about_to_start(&self) {
        self.seen_at.store(NEVER, Ordering::SeqCst);
    }

    /// Notes an inspect that began at `at` and found the job alive.
    fn saw(&self, at: Timestamp) {
        self.seen_at.store(at.timestamp_millis(), Ordering::SeqCst);
    }

    fn was_seen_since(&self, since: Timestamp) -> bool {
        self.seen_at.load(Ordering::SeqCst) >= since.timestamp_millis()
    }
}

impl Shared {
    /// Returns whether a job that is not over in the store is known to have been alive at `since`.
    pub(super) fn was_alive(&self, job: &Job, since: Timestamp) -> bool {
        // Between two attempts no container runs, so nothing can have ended.
        job.map() != Map::Running
            || self
                .driver_handle(job.id)
                .is_some_and(|driver_handle| driver_handle.alive.was_seen_since(since))
    }

    /// Asks the job's driver to inspect. After that, the jobs that the schedule keeps waiting are
    /// judged again.
    pub(super) fn ask_whether_alive(&self, job: JobId) {
        // A job without a driver gets one from the next sweep.
        if let Some(driver_handle) = self.driver_handle(job)
            && !driver_handle.alive.asked.swap(true, Ordering::SeqCst)
        {
            driver_handle.wake.notify_one();
        }
    }

    /// Notes that an inspect begun at `at` found this job alive, and has waiting decisions made
    /// again.
    pub(super) fn saw_alive(&self, job: &Job, alive: &Liveness, at: Timestamp) {
        alive.saw(at);
        if alive.asked.swap(false, Ordering::SeqCst)
            && let Some(origin) = &job.origin
        {
            self.schedule_changed(&origin.schedule);
        }
    }
}
