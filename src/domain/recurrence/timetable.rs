//! A recurrence between the first and the last instant of a schedule.
//!
//! The ledger is built on timetables. A stretch of ticks with the same outcome needs a single row
//! on disk, because a timetable can list its ticks again at any time.

use chrono::TimeDelta;

use super::rule::{Recurrence, Tick};
use crate::domain::names::id::Timestamp;

/// A recurrence with its bounds, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    pub recurrence: Recurrence,
    /// The earliest instant for a tick; `None` means no bound.
    pub start_at: Option<Timestamp>,
    /// The latest instant for a tick; `None` means no bound.
    pub end_at: Option<Timestamp>,
}

impl Timetable {
    /// Returns the first tick after this instant and within the bounds, if there is one.
    pub fn next_after(&self, after: Timestamp) -> Option<Tick> {
        let just_before = |start: Timestamp| start.checked_sub_signed(TimeDelta::nanoseconds(1));
        let after = self.start_at.and_then(just_before).map_or(after, |start| start.max(after));
        self.recurrence
            .next_after(after)
            .filter(|tick| self.end_at.is_none_or(|end| tick.nominal <= end))
    }

    /// Returns the ticks after this instant, in order.
    pub fn after(&self, after: Timestamp) -> impl Iterator<Item = Tick> {
        std::iter::successors(self.next_after(after), |tick| self.next_after(tick.nominal))
    }

    /// Returns the ticks from `first` to `last`, both included, in order.
    pub fn between(&self, first: Timestamp, last: Timestamp) -> impl Iterator<Item = Tick> {
        let before = first.checked_sub_signed(TimeDelta::nanoseconds(1)).unwrap_or(first);
        self.after(before).take_while(move |tick| tick.nominal <= last)
    }

    /// Returns the last tick after `after` and not after `until`. The search is a bisection: a year
    /// of every second takes as long as a day of every hour.
    pub fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Tick> {
        let is_due = |tick: &Tick| tick.nominal <= until;
        let mut latest = self.next_after(after).filter(is_due)?;
        let mut none_after = until;
        loop {
            let half = none_after.signed_duration_since(latest.nominal) / 2;
            // Ticks are at least a second apart.
            if half < TimeDelta::milliseconds(400) {
                return Some(latest);
            }
            match self.next_after(latest.nominal + half).filter(is_due) {
                Some(later) => latest = later,
                None => none_after = latest.nominal + half,
            }
        }
    }
}

impl From<Recurrence> for Timetable {
    fn from(recurrence: Recurrence) -> Self {
        Self { recurrence, start_at: None, end_at: None }
    }
}
