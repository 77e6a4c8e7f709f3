//! Samples what a running container uses.
//!
//! The first sample comes a second after the driver saw the process run, and the pauses double up
//! to ten seconds: a short run has a sample, and a long one costs little. A sample that fails is
//! left out. A process that took over from an earlier one begins anew; the engine's own sums go on,
//! and only a peak of before is forgotten.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::container::Usage;

/// The pause before the first sample.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause between two samples.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest time that a driver waits for a sample.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The samples of one attempt.
pub(super) struct UsageSamples {
    /// False for an engine that measures nothing: no sample is ever due.
    is_measured: bool,
    next_at: Option<Instant>,
    pause: Duration,
    total: Option<Usage>,
}

impl UsageSamples {
    pub(super) fn new(is_measured: bool) -> Self {
        Self { is_measured, next_at: None, pause: FIRST, total: None }
    }

    /// Returns the usage up to the last sample. `None` without a sample.
    pub(super) fn total(&self) -> Option<Usage> {
        self.total
    }

    /// Returns the time of the next sample. `None` if the engine measures nothing.
    pub(super) fn next_sample_at(&mut self) -> Option<Instant> {
        let pause = self.pause;
        self.is_measured.then(|| *self.next_at.get_or_insert_with(|| Instant::now() + pause))
    }

    /// Adds a sample, if there is one, and plans the next.
    pub(super) fn add(&mut self, sample: Option<Usage>) {
        if let Some(sample) = sample {
            self.total = Some(self.total.map_or(sample, |total| total.with(sample)));
        }
        self.pause = (2 * self.pause).min(LONGEST);
        self.next_at = Some(Instant::now() + self.pause);
    }
}
