//! The ledger: what became of every tick of a schedule, and what a job says about the tick that it was made for.
//!
//! A tick is named by its schedule, the schedule's generation (which grows with every change), and its nominal time; of
//! each name there is at most one row, and so at most one job. The row is written together with the job, while nothing is
//! decided; what is decided is written in the transaction in which the job moves on.

use chrono::TimeDelta;

use super::id::{JobId, Timestamp};
use super::job::{Job, Map, Outcome, Reason};
use super::recurrence::{Fate, Timetable};
use super::schedule::ScheduleName;

/// How often a schedule was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The schedule that a job comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name.
    pub schedule: ScheduleName,
    /// As it was then.
    pub generation: Generation,
    /// The tick's nominal time; nothing for a job that a caller triggered.
    pub nominal: Option<Timestamp>,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TickOutcome {
    /// A job was started for it.
    Ran,
    /// By its rules or by request there was no run.
    Skipped,
    /// There should have been a run, and it was too late for it.
    Missed,
    /// A job was started for it, late; or a later tick's job stood for it.
    CaughtUp,
}

impl TickOutcome {
    const ALL: [Self; 4] = [Self::Ran, Self::Skipped, Self::Missed, Self::CaughtUp];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::CaughtUp => "caught_up",
        }
    }

    /// The one that this word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// A row of the ledger: consecutive ticks of which the same is to be said; mostly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// Of which generation.
    pub generation: Generation,
    /// The nominal time of the first.
    pub first: Timestamp,
    /// The nominal time of the last.
    pub last: Timestamp,
    /// Whether its job was made when the tick was long past.
    pub late: bool,
    /// What became of it; nothing while its job waits.
    pub outcome: Option<TickOutcome>,
    /// Why.
    pub reason: Option<Reason>,
    /// The job that was made for it, or that stands for it.
    pub job: Option<JobId>,
    /// Whether the job is a later tick's. These ticks then share its outcome and its reason.
    pub covered: bool,
}

impl LedgerRow {
    /// Its ticks before this instant, the latest first, each as a row of its own. `timetable` is that of its generation.
    pub fn ticks(
        &self,
        timetable: &Timetable,
        before: Option<Timestamp>,
    ) -> impl Iterator<Item = LedgerRow> {
        let tick = TimeDelta::milliseconds(1);
        let all_after = self.first - tick;
        let until = before.map_or(self.last, |before| self.last.min(before - tick));
        let latest = move |until| timetable.latest(all_after, until).map(|tick| tick.nominal);
        // What is one tick is that also where its zone has other rules by now.
        let newest = if self.first == self.last {
            Some(self.first).filter(|at| *at <= until)
        } else {
            latest(until)
        };
        std::iter::successors(newest, move |at| latest(*at - tick)).map(|at| Self {
            first: at,
            last: at,
            ..self.clone()
        })
    }
}

/// What a job's transition says about its tick and to its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The tick is decided.
    pub decided: Option<(TickOutcome, Option<Reason>)>,
    /// It counts as a run.
    pub is_run: bool,
    /// The run failed for good.
    pub failed: bool,
}

impl News {
    /// What the transition says, if anything.
    pub fn of(before: &Job, after: &Job) -> Option<Self> {
        let tick = after.origin.as_ref()?.nominal;
        let end = after.state.end();
        let is_first = before.attempt.0 == 0 && after.attempt.0 > 0;
        // An attempt that waits to be tried again has run.
        let has_run = after.attempt.0 > 1 || (after.attempt.0 == 1 && before.map() != Map::Running);
        let decided = match end {
            // Also where it was claimed, and then was too late.
            Some(end) if end.outcome == Outcome::Missed && !has_run => Some(TickOutcome::Missed),
            _ if is_first => Some(TickOutcome::Ran),
            Some(_) if after.attempt.0 == 0 => Some(TickOutcome::Skipped),
            _ => None,
        };
        let failed = end.is_some_and(|end| match end.outcome {
            Outcome::Failed | Outcome::TimedOut | Outcome::Unknown => true,
            Outcome::Succeeded | Outcome::Stopped | Outcome::Canceled | Outcome::Missed => false,
        });
        let reason = |outcome| {
            if outcome == TickOutcome::Ran { None } else { end.and_then(|end| end.reason) }
        };
        let decided = tick.and(decided).map(|outcome| (outcome, reason(outcome)));
        let news = Self { decided, is_run: is_first && tick.is_some(), failed };
        (news.decided.is_some() || news.failed).then_some(news)
    }
}

/// Why ticks of this fate have no job of their own.
pub(super) fn why(fate: Fate, restored: bool) -> Reason {
    match fate {
        _ if restored => Reason::Restored,
        Fate::CaughtUpBy(_) | Fate::Runs | Fate::CaughtUp => Reason::CaughtUp,
        Fate::OutsideWindow => Reason::OutsideWindow,
        Fate::NotCaughtUp => Reason::NotCaughtUp,
    }
}

/// The reason as a sentence.
pub fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Overlap => "the run before it was not over",
        Reason::StillWaiting => "an earlier tick of the schedule still waits to be started",
        Reason::Backlog => "100 earlier ticks of the schedule wait to be started, and no more may",
        Reason::Paused => "the schedule is paused",
        Reason::Limit => "the schedule has run as often as it may (`max_runs`)",
        Reason::ScheduleChanged => "the schedule was changed before this was due",
        Reason::ScheduleDeleted => "the schedule was deleted before this ran",
        Reason::CaughtUp => "a later tick's run stands for this one",
        Reason::OutsideWindow => "it was missed for longer than `catch_up_window`",
        Reason::NotCaughtUp => "it was missed, and the schedule does not catch up",
        _ => "it was taken off the schedule",
    }
}
