//! The one function that moves a job from state to state.
//!
//! `job.on(event, now)` returns the job as it is after the event, or refuses the event. The
//! function returns no list of effects, because a crash loses effects that exist only in memory.
//! [`protocol::step`](crate::domain::protocol::step) derives the next action from the new state
//! instead, after a restart just as in normal operation.
//!
//! Every pair of state and event is either named here or refused. A refusal is a value, because the
//! same event may arrive twice or too late.

use std::time::Duration;

use chrono::SubsecRound;

use super::state::{
    End, FailedAttempt, Intent, Job, Run, State, StopCause, StopTarget, Stopping, Wait,
};
use super::wait_group::WaitGroup;
use crate::domain::container::{Exit, Usage};
use crate::domain::names::id::{Attempt, ContainerId, Timestamp};
use crate::domain::names::status::{Outcome, Reason};
use crate::domain::spec::JobSpec;

/// An event in the life of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The job is due and has to wait for this reason.
    Queue(Reason),
    /// The job is due and waits in this group, for this reason.
    WaitInGroup(Reason, WaitGroup),
    /// The job is due and gets a slot. The spec comes along if the name was not resolved before.
    Claim(Option<Box<JobSpec>>),
    /// The job is taken off the schedule.
    Cancel,
    /// The job's due time moves to this instant.
    Reschedule(Timestamp),
    /// The start deadline passed before the job was started.
    MissDeadline,
    /// The rules of the job's schedule forbid this run.
    Skip(Failure),
    /// The job can never be started, and no container was made.
    Reject(Failure),
    /// The image is not on the engine, and a pull begins.
    Pull,
    /// The image is on the engine.
    Pulled,
    /// The driver is about to start this container.
    Intend(ContainerId),
    /// The container in the intent never ran and never will.
    NeverStarted,
    /// The container's process runs.
    Started(Run),
    Exited(Ending),
    /// The attempt failed before its process ran.
    Failed(Failure),
    /// No evidence is left that shows whether or how the attempt ran.
    Lost(Failure),
    /// The engine has a container of this attempt that this store, a restored backup, didn't know.
    /// The container may have been started.
    Adopt(Attempt, ContainerId),
    /// The attempt may have run after the backup in this store was made. No trace of it is left.
    MayHaveRun(Attempt, Failure),
    /// The job shall stop, and is killed after this grace. If a stop was requested before, the kill
    /// can only come sooner.
    Stop(StopCause, Duration),
}

/// The reason for a failure, as a code and as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code for programs.
    pub reason: Reason,
    /// The sentence for people.
    pub error: String,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub run: Run,
    /// The exit of the run's process.
    pub exit: Exit,
    /// True if the engine's restart ended the run.
    pub by_engine_restart: bool,
    /// True if this process saw the run active after a stop was requested, and called the engine to
    /// stop it.
    pub stop_was_called: bool,
    /// The resources that the run used, if this process has measured them.
    pub usage: Option<Usage>,
}

/// The error for an event that does not fit the state. The job is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {status} cannot take the event {event}")]
pub struct Refused {
    /// The status of the job.
    pub status: crate::domain::names::status::Status,
    /// The name of the event.
    pub event: &'static str,
}

impl Failure {
    pub fn new(reason: Reason, error: impl Into<String>) -> Self {
        Self { reason, error: error.into() }
    }
}

impl Event {
    /// Returns the name of the event for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::WaitInGroup(..) => "hold",
            Self::Claim(_) => "claim",
            Self::Cancel => "cancel",
            Self::Reschedule(_) => "reschedule",
            Self::MissDeadline => "miss_deadline",
            Self::Skip(_) => "skip",
            Self::Reject(_) => "reject",
            Self::Pull => "pull",
            Self::Pulled => "pulled",
            Self::Intend(_) => "intend",
            Self::NeverStarted => "never_started",
            Self::Started(_) => "started",
            Self::Exited(_) => "exited",
            Self::Failed(_) => "failed",
            Self::Lost(_) => "lost",
            Self::Adopt(..) => "adopt",
            Self::MayHaveRun(..) => "may_have_run",
            Self::Stop(..) => "stop",
        }
    }
}

impl Job {
    /// Returns the job as it is after `event` at `now`.
    ///
    /// # Errors
    /// [`Refused`] if the event does not fit the state; the job is unchanged.
    pub fn on(&self, event: Event, now: Timestamp) -> Result<Self, Refused> {
        let refused = Refused { status: self.state.status(), event: event.name() };
        let mut next = self.clone();
        next.version = self.version.next();
        next.state = match event {
            Event::Queue(reason) => self.queue(reason, None, now).ok_or(refused)?,
            Event::WaitInGroup(reason, wait_group) => {
                self.queue(reason, Some(wait_group), now).ok_or(refused)?
            }
            Event::Claim(spec) => {
                if !self.is_waiting() {
                    return Err(refused);
                }
                next.attempt = self.attempt.next();
                if let Some(spec) = spec {
                    next.spec = *spec;
                }
                State::Starting(None)
            }
            Event::Cancel if self.is_waiting() => over(Outcome::Canceled, now, None),
            Event::Reschedule(due_at) if self.is_waiting() => {
                next.due_at = due_at;
                // A rescheduled retry keeps the outcome of its last attempt visible.
                if matches!(self.state, State::Queued(_)) {
                    State::Scheduled
                } else {
                    self.state.clone()
                }
            }
            Event::MissDeadline if self.is_waiting() || self.is_claimed() => over(
                Outcome::Missed,
                now,
                Some(Failure::new(
                    Reason::DeadlinePassed,
                    "the start deadline passed before it could be started",
                )),
            ),
            Event::Skip(failure) if self.is_waiting() => {
                over(outcome_of_skip(failure.reason), now, Some(failure))
            }
            Event::Reject(failure) if self.is_waiting() => {
                over(Outcome::Failed, now, Some(failure))
            }
            Event::Pull if self.state == State::Starting(None) => State::Pulling,
            Event::Pulled if self.state == State::Pulling => State::Starting(None),
            Event::Intend(container) if self.is_claimed() => {
                State::Starting(Some(Intent { container, at: now }))
            }
            Event::NeverStarted => self.never_started(now).ok_or(refused)?,
            Event::Started(run) => self.started(run).ok_or(refused)?,
            Event::Exited(ending) => self.exited(ending, &mut next, now).ok_or(refused)?,
            Event::Failed(failure) => self.failed(failure, &mut next, now).ok_or(refused)?,
            Event::Lost(failure) => self.lost(failure, &mut next, now).ok_or(refused)?,
            Event::Adopt(attempt, container) if self.is_news(attempt) => {
                next.attempt = attempt;
                State::Starting(Some(Intent { container, at: now }))
            }
            Event::MayHaveRun(attempt, failure) if self.is_news(attempt) => {
                next.attempt = attempt;
                next.clone().retry_or(Outcome::Unknown, failure, None, &mut next, now)
            }
            Event::Stop(why, grace) => self.stop(why, grace, now).ok_or(refused)?,
            Event::Cancel
            | Event::Reschedule(_)
            | Event::MissDeadline
            | Event::Skip(_)
            | Event::Reject(_)
            | Event::Pull
            | Event::Pulled
            | Event::Intend(_)
            | Event::Adopt(..)
            | Event::MayHaveRun(..) => return Err(refused),
        };
        Ok(next)
    }

    fn is_waiting(&self) -> bool {
        matches!(self.state, State::Scheduled | State::Queued(_) | State::Retrying(_))
    }

    /// Checks whether the job is claimed and certainly not started yet.
    fn is_claimed(&self) -> bool {
        matches!(self.state, State::Pulling | State::Starting(None))
    }

    /// Returns the first attempt that this store knows nothing about: the present one if it is
    /// claimed and has no intent yet, else the next one. `None` if no such attempt can exist.
    pub fn first_unknown_attempt(&self) -> Option<Attempt> {
        match &self.state {
            State::Pulling | State::Starting(None) => Some(self.attempt),
            State::Scheduled
            | State::Queued(_)
            | State::Retrying(_)
            | State::Starting(Some(_))
            | State::Running(_) => Some(self.attempt.next()),
            State::Stopping(_) | State::Ended(_) => None,
        }
    }

    fn is_news(&self, attempt: Attempt) -> bool {
        self.first_unknown_attempt().is_some_and(|unknown| attempt >= unknown)
    }

    fn queue(
        &self,
        reason: Reason,
        wait_group: Option<WaitGroup>,
        now: Timestamp,
    ) -> Option<State> {
        match &self.state {
            State::Queued(wait) if wait.reason == reason && wait.wait_group == wait_group => None,
            _ if self.is_waiting() => Some(State::Queued(Wait { reason, since: now, wait_group })),
            _ => None,
        }
    }

    fn never_started(&self, now: Timestamp) -> Option<State> {
        match &self.state {
            State::Starting(Some(_)) => Some(State::Starting(None)),
            State::Stopping(Stopping { target: StopTarget::Intent(_), why, .. }) => {
                Some(stopped(*why, now, None))
            }
            _ => None,
        }
    }

    fn started(&self, run: Run) -> Option<State> {
        match &self.state {
            State::Pulling | State::Starting(_) => Some(State::Running(run)),
            State::Stopping(stopping @ Stopping { target: StopTarget::Intent(_), .. }) => {
                Some(State::Stopping(Stopping { target: StopTarget::Run(run), ..stopping.clone() }))
            }
            _ => None,
        }
    }

    fn exited(&self, ending: Ending, next: &mut Self, now: Timestamp) -> Option<State> {
        match &self.state {
            State::Stopping(stopping)
                if !stopping.came_too_late(&ending.exit, ending.stop_was_called) =>
            {
                Some(stopped(stopping.why, now, Some(ending)))
            }
            // The process ended by itself, but a caller who requested a stop wants no further
            // attempt.
            State::Stopping(Stopping { why: StopCause::Request, .. }) => {
                Some(match verdict(&ending) {
                    None => ended(Outcome::Succeeded, now, None, Some(ending)),
                    Some(failure) => ended(Outcome::Failed, now, Some(failure), Some(ending)),
                })
            }
            State::Stopping(_) | State::Pulling | State::Starting(_) | State::Running(_) => {
                Some(match verdict(&ending) {
                    None => ended(Outcome::Succeeded, now, None, Some(ending)),
                    Some(failure) => {
                        self.retry_or(Outcome::Failed, failure, Some(ending), next, now)
                    }
                })
            }
            _ => None,
        }
    }

    fn failed(&self, failure: Failure, next: &mut Self, now: Timestamp) -> Option<State> {
        match &self.state {
            State::Pulling | State::Starting(_) => {
                Some(self.retry_or(Outcome::Failed, failure, None, next, now))
            }
            State::Stopping(Stopping { target: StopTarget::Intent(_), why, .. }) => {
                Some(stopped(*why, now, None))
            }
            _ => None,
        }
    }

    fn lost(&self, failure: Failure, next: &mut Self, now: Timestamp) -> Option<State> {
        match &self.state {
            State::Starting(Some(_)) | State::Running(_) => {
                let state = self.retry_or(Outcome::Unknown, failure, None, next, now);
                Some(self.with_run(state))
            }
            State::Stopping(_) => Some(self.with_run(over(Outcome::Unknown, now, Some(failure)))),
            _ => None,
        }
    }

    /// Adds the known run to an end; returns any other state unchanged.
    fn with_run(&self, state: State) -> State {
        match state {
            State::Ended(end) => State::Ended(End { run: self.state.run().cloned(), ..end }),
            other => other,
        }
    }

    fn stop(&self, why: StopCause, grace: Duration, now: Timestamp) -> Option<State> {
        let kill_at =
            chrono::Duration::from_std(grace).ok().and_then(|grace| now.checked_add_signed(grace));
        let kill_at = Some(kill_at.unwrap_or(now));
        let stopping =
            |target| Some(State::Stopping(Stopping { target, why, since: now, kill_at }));
        match &self.state {
            _ if self.is_claimed() => Some(stopped(why, now, None)),
            State::Starting(Some(intent)) => stopping(StopTarget::Intent(intent.clone())),
            State::Running(run) => stopping(StopTarget::Run(run.clone())),
            State::Stopping(asked) if asked.kill_at.is_none_or(|known| kill_at < Some(known)) => {
                Some(State::Stopping(Stopping { kill_at, ..asked.clone() }))
            }
            _ => None,
        }
    }

    /// Returns the next attempt's state if the job's `retry` has an attempt left for this failure,
    /// else the end.
    fn retry_or(
        &self,
        outcome: Outcome,
        failure: Failure,
        ending: Option<Ending>,
        next: &mut Self,
        now: Timestamp,
    ) -> State {
        let exit_code = ending.as_ref().map(|ending| ending.exit.code);
        let retry = self.spec.retry();
        let wanted =
            self.attempt.0 <= retry.attempts() && retry.covers(outcome, failure.reason, exit_code);
        let due = wanted
            .then(|| now.checked_add_signed(self.retry_delay()))
            .flatten()
            .map(|due| due.trunc_subsecs(3));
        match due {
            Some(due) => {
                next.due_at = due;
                State::Retrying(FailedAttempt {
                    reason: failure.reason,
                    error: failure.error,
                    exit_code,
                })
            }
            None => ended(outcome, now, Some(failure), ending),
        }
    }

    /// Returns the wait before the next attempt: the job's delay, doubled with every attempt up to
    /// six minutes. A first delay above six minutes stays as it is.
    ///
    /// A spread of up to a tenth is added, so that jobs that failed together don't all retry
    /// together. The spread is a hash of job and attempt, so the same job waits the same time in
    /// every replay.
    fn retry_delay(&self) -> chrono::Duration {
        const LONGEST: Duration = Duration::from_secs(6 * 60);
        let first = self.spec.retry().delay();
        let doublings = self.attempt.0.saturating_sub(1).min(16);
        let delay = first.saturating_mul(1 << doublings).min(LONGEST.max(first));
        let bytes = self.id.as_bytes();
        let die = bytes.iter().fold(self.attempt.0, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u32::from(*byte))
        });
        let spread = delay / 10 * (die % 101) / 100;
        chrono::Duration::from_std(delay + spread).unwrap_or(chrono::Duration::MAX)
    }
}

/// Returns the failure that this ending amounts to; `None` for a success.
fn verdict(ending: &Ending) -> Option<Failure> {
    let Exit { code, oom_killed, .. } = ending.exit;
    if ending.by_engine_restart {
        return Some(Failure::new(
            Reason::EngineRestarted,
            format!("the engine restarted and ended the container (exit code {code})"),
        ));
    }
    match ending.exit.signal() {
        _ if code == 0 => None,
        Some(_) if oom_killed => Some(Failure::new(
            Reason::OomKilled,
            format!("the container ran out of memory and was killed (exit code {code})"),
        )),
        Some(signal) => Some(Failure::new(
            Reason::Signaled,
            format!("the process was ended by signal {signal} (exit code {code})"),
        )),
        None => Some(Failure::new(
            Reason::ExitNonzero,
            format!("the process ended with exit code {code}"),
        )),
    }
}

fn over(outcome: Outcome, now: Timestamp, failure: Option<Failure>) -> State {
    ended(outcome, now, failure, None)
}

fn ended(
    outcome: Outcome,
    now: Timestamp,
    failure: Option<Failure>,
    ending: Option<Ending>,
) -> State {
    let (reason, error) = failure.map_or((None, None), |f| (Some(f.reason), Some(f.error)));
    let usage = ending.as_ref().and_then(|ending| ending.usage);
    let (run, exit) = ending.map_or((None, None), |e| (Some(e.run), Some(e.exit)));
    let at = exit.as_ref().map_or(now, |exit| exit.at);
    State::Ended(End { outcome, at, reason, error, run, exit, usage })
}

/// Returns `Missed` for a skip because nobody was there in time, `Canceled` for a skip by a rule.
fn outcome_of_skip(reason: Reason) -> Outcome {
    match reason {
        Reason::OutsideWindow | Reason::NotCaughtUp => Outcome::Missed,
        _ => Outcome::Canceled,
    }
}

/// Returns the end of a job that was asked to stop. A timeout outranks retries.
fn stopped(why: StopCause, now: Timestamp, ending: Option<Ending>) -> State {
    match why {
        StopCause::Request => ended(Outcome::Stopped, now, None, ending),
        StopCause::Timeout => {
            let failure =
                Failure::new(Reason::Timeout, "it ran past its `timeout` and was stopped");
            ended(Outcome::TimedOut, now, Some(failure), ending)
        }
    }
}

#[cfg(test)]
mod tests;
