//! Virtual time as a wall clock that can be set.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidetable::clock::Clock;
use tidetable::domain::names::id::Timestamp;
use tokio::time::Instant;

/// The time at which every run begins, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

pub struct VirtualClock {
    began: Instant,
    set_by_ms: AtomicI64,
}

impl VirtualClock {
    pub fn new() -> Self {
        Self { began: Instant::now(), set_by_ms: AtomicI64::new(0) }
    }

    /// Returns the duration of the run so far; jumps of the clock do not count.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sets the clock forward, or back if `by_ms` is negative.
    pub fn jump(&self, by_ms: i64) {
        self.set_by_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        Timestamp::from_timestamp_millis(
            EPOCH_MS + self.set_by_ms.load(Ordering::Relaxed) + elapsed,
        )
        .unwrap()
    }
}
