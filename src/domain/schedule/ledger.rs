//! The ledger: the outcome of every tick of a schedule, and the effect of a job's transition on its
//! tick.
//!
//! A tick is named by its schedule, the schedule's generation (which grows with every change), and
//! its nominal time. Each name has at most one row, and so at most one job. An undecided row is
//! written together with the job. The outcome is written in the same transaction as the job's
//! transition.

use chrono::TimeDelta;

use crate::domain::job::origin::Generation;
use crate::domain::job::{Job, Map, Outcome, Reason};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::recurrence::{TickDecision, Timetable};

/// The outcome of a tick, once it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TickOutcome {
    /// A job started for the tick.
    Ran,
    /// No run, because of the schedule's rules or a request.
    Skipped,
    /// No run, because it was too late for the run that was due.
    Missed,
    /// A job started late for the tick, or a later tick's job covered it.
    CaughtUp,
}

impl TickOutcome {
    const ALL: [Self; 4] = [Self::Ran, Self::Skipped, Self::Missed, Self::CaughtUp];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::CaughtUp => "caught_up",
        }
    }

    /// Returns the outcome with this word; `None` for an unknown word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// A row of the ledger: consecutive ticks with the same outcome, mostly a single tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    pub generation: Generation,
    /// The nominal time of the first tick.
    pub first: Timestamp,
    /// The nominal time of the last tick.
    pub last: Timestamp,
    /// Set when the tick was noticed late. Its job, if any, is created or started after its time.
    pub late: bool,
    /// The outcome; `None` while the job waits.
    pub outcome: Option<TickOutcome>,
    /// The reason for the outcome, where one applies.
    pub reason: Option<Reason>,
    /// The job that was created for the tick, or a later tick's job that covers it; `None` without
    /// a job.
    pub job: Option<JobId>,
    /// Set when the job belongs to a later tick. These ticks then share its outcome and its reason.
    pub covered: bool,
}

impl LedgerRow {
    /// Returns the row's ticks before `before`, latest first, each as a row of its own. `timetable`
    /// has to be the one of the row's generation.
    pub fn ticks(
        &self,
        timetable: &Timetable,
        before: Option<Timestamp>,
    ) -> impl Iterator<Item = LedgerRow> {
        let tick = TimeDelta::milliseconds(1);
        let all_after = self.first - tick;
        let until = before.map_or(self.last, |before| self.last.min(before - tick));
        let latest = move |until| timetable.latest(all_after, until).map(|tick| tick.nominal);
        // A row of a single tick keeps that tick even if the rules of its zone have changed since.
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

/// The effect of a job's transition on its tick and its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickEffect {
    /// The tick's outcome and reason, if the transition decides the tick.
    pub decided: Option<(TickOutcome, Option<Reason>)>,
    /// Set when the transition counts as a run.
    pub is_run: bool,
    /// Set when the run failed for good.
    pub failed: bool,
}

impl TickEffect {
    /// Returns the effect of the transition; `None` if there is none.
    pub fn of(before: &Job, after: &Job) -> Option<Self> {
        let tick = after.origin.schedule()?.nominal;
        let end = after.state.end();
        let is_first = before.attempt.0 == 0 && after.attempt.0 > 0;
        // An attempt that waits for its retry has run.
        let has_run = after.attempt.0 > 1 || (after.attempt.0 == 1 && before.map() != Map::Running);
        let decided = match end {
            // A job that was claimed and then came too late is missed, too.
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

/// Returns the reason why ticks of this fate have no job of their own.
pub(crate) fn why(decision: TickDecision, restored: bool) -> Reason {
    match decision {
        _ if restored => Reason::Restored,
        TickDecision::CaughtUpBy(_) | TickDecision::Runs | TickDecision::CaughtUp => {
            Reason::CaughtUp
        }
        TickDecision::OutsideWindow => Reason::OutsideWindow,
        TickDecision::NotCaughtUp => Reason::NotCaughtUp,
    }
}

/// Returns the reason as an English sentence.
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
