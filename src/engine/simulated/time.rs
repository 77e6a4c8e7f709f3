//! The two times of the simulated engine: tokio's, by which things happen, and the wall clock's, by which they are told.
//!
//! A wall clock may be set. What has happened by then has happened, and what is to come comes no sooner or later, so
//! nothing here is ordered by it.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::domain::id::Timestamp;

/// As long as for ever, and short enough to be added to an instant.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// A clock that is off by more than this was set.
const SET: chrono::Duration = chrono::Duration::seconds(1);

/// One look at both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) wall: Timestamp,
}

impl Now {
    pub(super) fn read(clock: &dyn Clock) -> Self {
        Self { at: Instant::now(), wall: clock.now() }
    }

    /// The look that would have been had a while ago.
    pub(super) fn back_to(self, at: Instant) -> Self {
        let ago =
            chrono::Duration::from_std(self.at.saturating_duration_since(at)).unwrap_or_default();
        Self {
            at: at.min(self.at),
            wall: self.wall.checked_sub_signed(ago).unwrap_or(Timestamp::MIN_UTC),
        }
    }

    /// What the wall clock showed at `at`, which was `after` something that it dated `since`. The dates agree to the
    /// millisecond that clocks are read to, unless the clock was set in between.
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
