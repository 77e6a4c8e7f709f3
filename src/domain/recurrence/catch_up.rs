//! Decides ticks that passed unattended: the scheduler was down, or the machine slept.
//!
//! Every tick has a fate, which the ledger records. Fates come as stretches of consecutive ticks. A
//! schedule of every second that slept for a year has 31 million ticks, and still only a few
//! stretches. Only [`CatchUp::All`] has a fate for each tick, and computes them lazily. Callers
//! take such fates page by page, and continue from the last tick that they have decided.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::timetable::Timetable;
use crate::domain::names::id::Timestamp;

/// The greatest delay with which a tick may be noticed and still count as on time: a restart takes
/// that long.
pub const ON_TIME: Duration = Duration::from_secs(60);

/// The policy for missed ticks: the ones that run afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The last tick runs and covers all others.
    #[default]
    Last,
    /// No missed tick runs.
    None,
    /// Each missed tick runs.
    All,
}

/// A schedule's rules for missed ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUpRules {
    /// The missed ticks that run.
    pub catch_up: CatchUp,
    /// The greatest age at which a missed tick runs.
    pub window: Duration,
    /// The longest time for which jitter delays a tick; a tick so delayed is still on time.
    pub jitter: Duration,
}

/// Consecutive ticks with one fate: all ticks of the timetable from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledTicks {
    /// The nominal time of the first tick.
    pub first: Timestamp,
    /// The nominal time of the last tick; equal to `first` for a single tick.
    pub last: Timestamp,
    /// The fate of each tick.
    pub decision: TickDecision,
}

/// The decision about a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TickDecision {
    /// A job of its own, on time.
    Runs,
    /// A job of its own, late.
    CaughtUp,
    /// No job of its own: the job of the tick with this nominal time covers it.
    CaughtUpBy(Timestamp),
    /// No job: the tick is older than the window.
    OutsideWindow,
    /// No job: the schedule does not catch up.
    NotCaughtUp,
}

/// Decides all ticks after `since` and not after `now`, oldest first. `since` is the last tick that
/// was decided, or the time when the schedule was created.
pub fn settle(
    timetable: &Timetable,
    since: Timestamp,
    now: Timestamp,
    rules: CatchUpRules,
) -> impl Iterator<Item = SettledTicks> {
    let before = |at: Timestamp, by: Duration| {
        TimeDelta::from_std(by)
            .ok()
            .and_then(|by| at.checked_sub_signed(by))
            .unwrap_or(Timestamp::MIN_UTC)
    };
    let newest = timetable.latest(since, now).map(|tick| tick.nominal);
    let is_on_time = newest.is_some_and(|newest| newest >= before(now, ON_TIME + rules.jitter));

    // The newest tick is decided by itself; the stretches of the others end before it.
    let tick = TimeDelta::milliseconds(1);
    let others_until = newest.map_or(since, |newest| newest - tick);
    let border = before(now, rules.window);
    let window_from = (border - tick).clamp(since, others_until.max(since));
    let stretch = move |after: Timestamp, until: Timestamp, decision: TickDecision| {
        let first = timetable.next_after(after)?.nominal;
        Some(SettledTicks { first, last: timetable.latest(after, until)?.nominal, decision })
    };
    let too_old = stretch(since, window_from, TickDecision::OutsideWindow);
    let one_by_one = (rules.catch_up == CatchUp::All).then(|| {
        let ticks = timetable
            .after(window_from)
            .map(|tick| tick.nominal)
            .take_while(move |at| *at <= others_until);
        ticks.map(|at| SettledTicks { first: at, last: at, decision: TickDecision::CaughtUp })
    });
    let newest_fate = |newest: Timestamp| match rules.catch_up {
        _ if is_on_time => TickDecision::Runs,
        _ if newest < border => TickDecision::OutsideWindow,
        CatchUp::None => TickDecision::NotCaughtUp,
        CatchUp::Last | CatchUp::All => TickDecision::CaughtUp,
    };
    let together = match (rules.catch_up, newest) {
        (CatchUp::None, _) => stretch(window_from, others_until, TickDecision::NotCaughtUp),
        (CatchUp::Last, Some(newest)) => {
            stretch(window_from, others_until, TickDecision::CaughtUpBy(newest))
        }
        (CatchUp::Last, None) | (CatchUp::All, _) => None,
    };
    let newest = newest.map(|at| SettledTicks { first: at, last: at, decision: newest_fate(at) });
    too_old.into_iter().chain(one_by_one.into_iter().flatten()).chain(together).chain(newest)
}
