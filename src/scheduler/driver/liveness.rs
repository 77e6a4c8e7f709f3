//! The time up to which a started job is known to be alive. Overlap decisions rest on it.
//!
//! The store calls a job running until its end is recorded, and an end is recorded only when a
//! driver inspects the container. After a restart of the server or an outage of the engine that may
//! be long after the end. So each driver notes when it last saw its job alive. A decision that
//! needs a later time asks the driver, and is made again after the driver has inspected.

use std::sync::atomic::Ordering;

use crate::domain::job::{Job, Map};
use crate::domain::names::id::{JobId, Timestamp};
use crate::scheduler::context::Context;
use crate::scheduler::context::drivers::Liveness;

impl Context {
    /// Returns whether a job that is not over in the store is known to have been alive at `since`.
    pub(in crate::scheduler) fn was_alive(&self, job: &Job, since: Timestamp) -> bool {
        // Between two attempts no container runs, so nothing can have ended.
        job.map() != Map::Running
            || self
                .driver_handle(job.id)
                .is_some_and(|driver_handle| driver_handle.alive.was_seen_since(since))
    }

    /// Asks the job's driver to inspect. After that, the jobs that the schedule keeps waiting are
    /// judged again.
    pub(in crate::scheduler) fn ask_whether_alive(&self, job: JobId) {
        // A job without a driver gets one from the next sweep.
        if let Some(driver_handle) = self.driver_handle(job)
            && !driver_handle.alive.asked.swap(true, Ordering::SeqCst)
        {
            driver_handle.wake.notify_one();
        }
    }

    /// Notes that an inspect begun at `at` found this job alive, and has waiting decisions made
    /// again.
    pub(in crate::scheduler) fn saw_alive(&self, job: &Job, alive: &Liveness, at: Timestamp) {
        alive.saw(at);
        if alive.asked.swap(false, Ordering::SeqCst)
            && let Some(origin) = job.origin.schedule()
        {
            self.schedule_changed(&origin.schedule);
        }
    }
}
