//! The intervals and limits of the scheduler, and the wait between two tries.

use std::time::Duration;

use chrono::TimeDelta;

/// The longest time between two reads of the wall clock. A clock that was set, or a machine that
/// slept, is noticed within this time.
pub const LONGEST_NAP: Duration = Duration::from_secs(1);

/// The age of an intent at which the fence removes its container and queries the event log. Longer
/// than an engine still works on a `start` whose caller is gone.
pub const SETTLE: Duration = Duration::from_secs(30);

/// The interval between two comparisons of engine and store when no event arrives.
pub const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// The interval between two checks that a quiet engine is still there.
pub const PING_EVERY: Duration = Duration::from_secs(10);

/// The age at which a container of ours whose job is not in the store is removed, unless it runs.
pub const ORPHAN_AGE: Duration = Duration::from_secs(10 * 60);

/// The first and the longest wait before a failed action is retried.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The number of due jobs that one round considers.
pub const ROUND: usize = 256;

/// The head start of a claim: a job with a staged container is claimed this long before its `start`
/// is called. Covers claiming the job, inspecting the container and writing the intent.
pub const EARLY: TimeDelta = TimeDelta::milliseconds(10);

/// The default for how long before its due time a job's container is created.
pub const STAGE_AHEAD: Duration = Duration::from_secs(15);

/// The margin by which a container's start event may precede its start time in the event log, clock
/// differences and rounding included.
pub(super) const LOG_MARGIN: TimeDelta = TimeDelta::seconds(5);

// Sweeps and pings have to be rarer than reads of the wall clock, or they would never be on time.
const _: () = assert!(
    LONGEST_NAP.as_millis() < PING_EVERY.as_millis()
        && PING_EVERY.as_millis() <= SWEEP_EVERY.as_millis()
);

// A `create` whose caller is gone may still arrive before an orphan reaches this age.
const _: () = assert!(SETTLE.as_millis() < ORPHAN_AGE.as_millis());

/// A wait that doubles with every consecutive failure, from `BACKOFF.0` to `BACKOFF.1`.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(BACKOFF.0)
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACKOFF.1);
    }
}
