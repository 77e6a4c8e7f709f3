//! What becomes of ticks that passed while nobody was there: the scheduler was down, the machine slept.
//!
//! Every tick has a fate, and the ledger says which. Fates come as stretches of consecutive ticks: a schedule of every
//! second that slept for a year has 31 million of them, and still only a few things to say. Only [`CatchUp::All`] has a
//! fate for each tick, lazily: who takes them does so page by page, and can come back for the rest with what was
//! settled last.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::super::id::Timestamp;
use super::Timetable;

/// How late a tick may be noticed and still count as on time: a restart takes that long.
pub const ON_TIME: Duration = Duration::from_secs(60);

/// Which of the ticks that were missed are run afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The last one, and it stands for all.
    #[default]
    Last,
    /// None.
    None,
    /// Each of them.
    All,
}

/// A schedule's rules for what it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUpRules {
    /// Which are run.
    pub catch_up: CatchUp,
    /// Those before are too old to be.
    pub window: Duration,
    /// How long a tick may wait for its turn and still be on time.
    pub jitter: Duration,
}

/// Consecutive ticks with one fate: all that the timetable has from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The nominal time of the first.
    pub first: Timestamp,
    /// The nominal time of the last; the same where it is one tick.
    pub last: Timestamp,
    /// What becomes of each.
    pub fate: Fate,
}

/// What becomes of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A job of its own, as if nothing had been.
    Runs,
    /// A job of its own, late.
    CaughtUp,
    /// The job of the tick with this nominal time stands for it, too.
    CaughtUpBy(Timestamp),
    /// No job: it is older than the window.
    OutsideWindow,
    /// No job: the schedule does not catch up.
    NotCaughtUp,
}

/// The fates of all ticks after `since` (the last that was settled, or when the schedule was made) and not after `now`,
/// oldest first.
pub fn settle(
    timetable: &Timetable,
    since: Timestamp,
    now: Timestamp,
    rules: CatchUpRules,
) -> impl Iterator<Item = Settled> {
    let before = |at: Timestamp, by: Duration| {
        TimeDelta::from_std(by)
            .ok()
            .and_then(|by| at.checked_sub_signed(by))
            .unwrap_or(Timestamp::MIN_UTC)
    };
    let newest = timetable.latest(since, now).map(|tick| tick.nominal);
    let is_on_time = newest.is_some_and(|newest| newest >= before(now, ON_TIME + rules.jitter));

    // The newest is looked at for itself; whatever is said of the others ends before it.
    let tick = TimeDelta::milliseconds(1);
    let others_until = newest.map_or(since, |newest| newest - tick);
    let border = before(now, rules.window);
    let window_from = (border - tick).clamp(since, others_until.max(since));
    let stretch = move |after: Timestamp, until: Timestamp, fate: Fate| {
        let first = timetable.next_after(after)?.nominal;
        Some(Settled { first, last: timetable.latest(after, until)?.nominal, fate })
    };
    let too_old = stretch(since, window_from, Fate::OutsideWindow);
    let one_by_one = (rules.catch_up == CatchUp::All).then(|| {
        let ticks = timetable
            .after(window_from)
            .map(|tick| tick.nominal)
            .take_while(move |at| *at <= others_until);
        ticks.map(|at| Settled { first: at, last: at, fate: Fate::CaughtUp })
    });
    let newest_fate = |newest: Timestamp| match rules.catch_up {
        _ if is_on_time => Fate::Runs,
        _ if newest < border => Fate::OutsideWindow,
        CatchUp::None => Fate::NotCaughtUp,
        CatchUp::Last | CatchUp::All => Fate::CaughtUp,
    };
    let together = match (rules.catch_up, newest) {
        (CatchUp::None, _) => stretch(window_from, others_until, Fate::NotCaughtUp),
        (CatchUp::Last, Some(newest)) => {
            stretch(window_from, others_until, Fate::CaughtUpBy(newest))
        }
        (CatchUp::Last, None) | (CatchUp::All, _) => None,
    };
    let newest = newest.map(|at| Settled { first: at, last: at, fate: newest_fate(at) });
    too_old.into_iter().chain(one_by_one.into_iter().flatten()).chain(together).chain(newest)
}
