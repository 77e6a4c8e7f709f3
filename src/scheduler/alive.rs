//! Until when a job that was begun is known not to be over: what decisions about overlap rest on.
//!
//! The store calls a job running until its end is recorded, and an end is recorded when somebody looks: after a start of
//! the server or a gap of the engine that may be long after it. So each driver notes when it last saw its job alive. Who
//! needs to know of a later moment asks, and is woken when the driver has looked.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::Shared;
use crate::domain::id::{JobId, Timestamp};
use crate::domain::job::{Job, Map};

/// The last moment at which a driver's job was seen not to be over.
pub(super) struct Alive {
    /// Milliseconds since 1970; [`NEVER`] or [`ALWAYS`].
    seen_at: AtomicI64,
    /// Whether somebody waits for the next look.
    asked: AtomicBool,
}

/// Nobody has looked yet.
const NEVER: i64 = i64::MIN;
/// This process has not called `start`, so nothing can have ended.
const ALWAYS: i64 = i64::MAX;

impl Default for Alive {
    fn default() -> Self {
        Self { seen_at: AtomicI64::new(NEVER), asked: AtomicBool::new(false) }
    }
}

impl Alive {
    /// Notes that nothing was started, and that only this driver will do so.
    pub(super) fn is_not_started(&self) {
        self.seen_at.store(ALWAYS, Ordering::SeqCst);
    }

    /// Forgets what was seen: `start` is about to be called.
    pub(super) fn is_about_to_start(&self) {
        self.seen_at.store(NEVER, Ordering::SeqCst);
    }

    /// Notes a look that began at `at` and found the job not to be over.
    fn saw(&self, at: Timestamp) {
        self.seen_at.store(at.timestamp_millis(), Ordering::SeqCst);
    }

    fn was_seen_since(&self, since: Timestamp) -> bool {
        self.seen_at.load(Ordering::SeqCst) >= since.timestamp_millis()
    }
}

impl Shared {
    /// Whether a job that is not over as stored is known not to have been over at `since`.
    pub(super) fn was_alive(&self, job: &Job, since: Timestamp) -> bool {
        // Between two attempts nothing runs that could have ended.
        job.map() != Map::Running
            || self.seat(job.id).is_some_and(|seat| seat.alive.was_seen_since(since))
    }

    /// Has the job's driver look at it. Those that its schedule keeps waiting are looked at again after that.
    pub(super) fn ask_whether_alive(&self, job: JobId) {
        // One without a driver gets one with the next sweep.
        if let Some(seat) = self.seat(job)
            && !seat.alive.asked.swap(true, Ordering::SeqCst)
        {
            seat.poke.notify_one();
        }
    }

    /// Notes that a look that began at `at` found this job not to be over, and wakes those who asked.
    pub(super) fn saw_alive(&self, job: &Job, alive: &Alive, at: Timestamp) {
        alive.saw(at);
        if alive.asked.swap(false, Ordering::SeqCst)
            && let Some(origin) = &job.origin
        {
            self.schedule_changed(&origin.schedule);
        }
    }
}
