//! The two clocks of the simulated engine. Events happen by tokio's clock, and their dates come
//! from the wall clock.
//!
//! A wall clock can be set. Setting it neither changes past events nor delays or hastens future
//! ones, so nothing here is ordered by the wall clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::domain::names::id::Timestamp;

/// The stand-in for an endless duration (30 years), short enough to be added to an instant.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// The deviation above which a wall clock counts as set.
const SET: chrono::Duration = chrono::Duration::seconds(1);

/// A reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) wall: Timestamp,
}

impl Now {
    pub(super) fn read(clock: &dyn Clock) -> Self {
        Self { at: Instant::now(), wall: clock.now() }
    }

    /// Returns the reading that the clocks would have given at the earlier instant `at`.
    pub(super) fn back_to(self, at: Instant) -> Self {
        let ago =
            chrono::Duration::from_std(self.at.saturating_duration_since(at)).unwrap_or_default();
        Self {
            at: at.min(self.at),
            wall: self.wall.checked_sub_signed(ago).unwrap_or(Timestamp::MIN_UTC),
        }
    }

    /// Returns the wall-clock time at `at`, which was `after` an event dated `since`. Returns
    /// exactly `since + after`, free of the clocks' rounding to milliseconds, unless the clock was
    /// set in between.
    pub(super) fn dated(self, at: Instant, since: Timestamp, after: Duration) -> Timestamp {
        let (read, expected) = (self.back_to(at).wall, wall_after(since, after));
        if (read - expected).abs() < SET { expected } else { read }
    }
}

pub(super) fn instant_after(at: Instant, after: Duration) -> Instant {
    at + after.min(FOREVER)
}

pub(super) fn wall_after(at: Timestamp, after: Duration) -> Timestamp {
    chrono::Duration::from_std(after)
        .ok()
        .and_then(|after| at.checked_add_signed(after))
        .unwrap_or(Timestamp::MAX_UTC)
}
