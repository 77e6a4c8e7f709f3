//! Virtual time as a wall clock that can be set.

#![allow(dead_code, unreachable_pub, reason = "each binary of tests uses its part")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidetable::clock::Clock;
use tidetable::domain::names::id::Timestamp;
use tokio::time::Instant;

/// The time at which a clock begins, unless a test says otherwise, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

pub struct VirtualClock {
    began: Instant,
    /// The time shown at `began`, in milliseconds since 1970, plus all jumps.
    shown_ms: AtomicI64,
}

impl VirtualClock {
    pub fn new() -> Self {
        Self::starting_at(EPOCH_MS)
    }

    /// Creates a clock that begins at this time, in milliseconds since 1970.
    pub fn starting_at(shown_ms: i64) -> Self {
        Self { began: Instant::now(), shown_ms: AtomicI64::new(shown_ms) }
    }

    /// Returns the duration of the run so far; jumps of the clock do not count.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sets the clock forward, or back if `by_ms` is negative.
    pub fn jump(&self, by_ms: i64) {
        self.shown_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).expect("a time");
        Timestamp::from_timestamp_millis(self.shown_ms.load(Ordering::Relaxed) + elapsed)
            .expect("a time")
    }
}
