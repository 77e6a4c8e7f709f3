//! Counts the decided ticks of schedules, as the ledger records them.
//!
//! A tick without a job is decided by a schedule update. A tick with a job is decided by that job:
//! the ticks that were noticed late or are covered by a later job are remembered until then. The
//! memory is lost in a restart; such a tick then counts as `ran`, or not at all if it is covered.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::job::{Job, Reason};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::ledger::{LedgerRow, TickEffect, TickOutcome};
use crate::domain::schedule::record::ScheduleUpdate;

/// The most ticks that are remembered until their job decides them.
const MAX_PENDING: usize = 10_000;
/// The most ticks of one row that are counted one by one. The rest is estimated from these.
const COUNTED: u32 = 1_000;

/// Ticks that await the decision of a job.
#[derive(Debug, Default)]
pub(super) struct PendingTicks {
    late: BTreeSet<(ScheduleName, Timestamp)>,
    covered: BTreeMap<JobId, u64>,
}

/// A number of ticks of one schedule with the same outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) outcome: TickOutcome,
    pub(super) reason: Option<Reason>,
    pub(super) ticks: u64,
}

impl PendingTicks {
    /// Returns the ticks that a schedule update decides, and remembers the ones that wait for a
    /// job.
    pub(super) fn updated(&mut self, update: &ScheduleUpdate) -> Vec<Decided> {
        let mut decided = Vec::new();
        for (_, nominal) in &update.late {
            self.remember_late(&update.name, *nominal);
        }
        for row in &update.rows {
            let ticks = count(row, update);
            match (row.outcome, row.job) {
                (Some(outcome), _) => decided.push(Decided { outcome, reason: row.reason, ticks }),
                (None, Some(job)) if row.covered => {
                    if self.covered.len() < MAX_PENDING {
                        *self.covered.entry(job).or_default() += ticks;
                    }
                }
                (None, _) if row.late => self.remember_late(&update.name, row.first),
                (None, _) => {}
            }
        }
        decided
    }

    /// Returns the ticks that a transition of their job decides.
    pub(super) fn advanced(&mut self, before: &Job, after: &Job) -> Vec<Decided> {
        let effect = TickEffect::of(before, after).and_then(|effect| effect.decided);
        let origin = after.origin.schedule();
        let tick = origin.and_then(|origin| Some((origin.schedule.clone(), origin.nominal?)));
        let Some(((outcome, reason), tick)) = effect.zip(tick) else { return Vec::new() };
        let is_late = self.late.remove(&tick);
        let covered = self.covered.remove(&after.id).unwrap_or_default();
        let late = |is_late: bool| match outcome {
            TickOutcome::Ran if is_late => TickOutcome::CaughtUp,
            TickOutcome::Ran
            | TickOutcome::Skipped
            | TickOutcome::Missed
            | TickOutcome::CaughtUp => outcome,
        };
        let mut decided = vec![Decided { outcome: late(is_late), reason, ticks: 1 }];
        if covered > 0 {
            let reason = if outcome == TickOutcome::Ran { Some(Reason::CaughtUp) } else { reason };
            decided.push(Decided { outcome: late(true), reason, ticks: covered });
        }
        decided
    }

    fn remember_late(&mut self, schedule: &ScheduleName, nominal: Timestamp) {
        if self.late.len() < MAX_PENDING {
            self.late.insert((schedule.clone(), nominal));
        }
    }
}

/// Returns the number of ticks of a row. A row of many ticks is measured at its beginning.
fn count(row: &LedgerRow, update: &ScheduleUpdate) -> u64 {
    if row.first == row.last {
        return 1;
    }
    let Some(after) = &update.after else { return 1 };
    let (mut ticks, mut last) = (0_u32, row.first);
    for tick in after.timetable().between(row.first, row.last).take(COUNTED as usize) {
        (ticks, last) = (ticks + 1, tick.nominal);
    }
    if ticks < COUNTED {
        return u64::from(ticks).max(1);
    }
    let seconds = |from: Timestamp, to: Timestamp| (to - from).num_seconds().max(1);
    let (all, measured) = (seconds(row.first, row.last), seconds(row.first, last));
    u64::try_from(all.saturating_mul(i64::from(COUNTED - 1)) / measured + 1).unwrap_or(1)
}
