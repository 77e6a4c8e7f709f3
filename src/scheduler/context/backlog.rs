//! The log lines about schedules whose ticks come faster than their jobs can be started.
//!
//! Each skipped tick is in the ledger. The log has one line for many ticks, so that a schedule that
//! is due every second does not fill it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::domain::job::Reason;
use crate::domain::names::schedule::ScheduleName;

/// The shortest time between two lines about skipped ticks.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The ticks skipped since the last line.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct SkippedTicks {
    skipped: usize,
    told_at: Option<Instant>,
}

impl SkippedTicks {
    /// Counts skipped ticks of this schedule if `reason` means that too many jobs wait. Logs a line
    /// if the last one is long enough ago.
    pub(in crate::scheduler) fn note(
        &mut self,
        schedule: &ScheduleName,
        reason: Reason,
        ticks: usize,
    ) {
        if ticks == 0 || !matches!(reason, Reason::StillWaiting | Reason::Backlog) {
            return;
        }
        self.skipped += ticks;
        if self.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return;
        }
        warn!(
            skipped = self.skipped,
            %schedule,
            reason = reason.as_str(),
            "ticks come faster than jobs can be started, and are skipped; the last was of this schedule"
        );
        *self = Self { skipped: 0, told_at: Some(Instant::now()) };
    }
}
