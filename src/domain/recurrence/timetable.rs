//! A recurrence between a schedule's first and last instant: the ticks that there are.
//!
//! It is what a ledger is made of. A stretch of ticks that had the same fate needs one row on disk and not one for each,
//! since [`Timetable::between`] has them all whenever someone wants to read them.

use chrono::TimeDelta;

use super::super::id::Timestamp;
use super::{Recurrence, Tick};

/// A recurrence with its bounds; a tick at a bound counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// When it is due.
    pub recurrence: Recurrence,
    /// Not before.
    pub start_at: Option<Timestamp>,
    /// Not after.
    pub end_at: Option<Timestamp>,
}

impl Timetable {
    /// The first tick after this instant, if there is one.
    pub fn next_after(&self, after: Timestamp) -> Option<Tick> {
        let just_before = |start: Timestamp| start.checked_sub_signed(TimeDelta::nanoseconds(1));
        let after = self.start_at.and_then(just_before).map_or(after, |start| start.max(after));
        self.recurrence
            .next_after(after)
            .filter(|tick| self.end_at.is_none_or(|end| tick.nominal <= end))
    }

    /// The ticks after this instant, in order.
    pub fn after(&self, after: Timestamp) -> impl Iterator<Item = Tick> {
        std::iter::successors(self.next_after(after), |tick| self.next_after(tick.nominal))
    }

    /// The ticks from the one instant to the other, both included, in order.
    pub fn between(&self, first: Timestamp, last: Timestamp) -> impl Iterator<Item = Tick> {
        let before = first.checked_sub_signed(TimeDelta::nanoseconds(1)).unwrap_or(first);
        self.after(before).take_while(move |tick| tick.nominal <= last)
    }

    /// The last tick after the one instant and not after the other. Found by halving: a year of every second takes as
    /// long as a day of every hour.
    pub fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Tick> {
        let is_due = |tick: &Tick| tick.nominal <= until;
        let mut latest = self.next_after(after).filter(is_due)?;
        let mut none_after = until;
        loop {
            let half = none_after.signed_duration_since(latest.nominal) / 2;
            // Ticks are a second apart or more.
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
