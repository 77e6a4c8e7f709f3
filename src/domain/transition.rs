//! The one function that moves a job.
//!
//! `job.on(event, now)` gives the job as it is after the event, or refuses. It returns no list of effects,
//! because an effect that is only in memory is lost in a crash: what to do next is derived from the new state
//! by [`protocol::step`](super::protocol::step), after a restart just as in normal life.
//!
//! Every pair of state and event is either named here or refused; a refusal is a value, for the same event may
//! well arrive twice or too late.

use std::time::Duration;

use chrono::SubsecRound;

use super::container::Exit;
use super::hold::Hold;
use super::id::{Attempt, ContainerId, Timestamp};
use super::job::{
    End, Held, Intent, Job, Outcome, Reason, Run, Setback, State, StopCause, Stopping, Wait,
};
use super::spec::JobSpec;

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It is due and has to wait.
    Queue(Reason),
    /// It is due and is held back by this, for this reason.
    Hold(Reason, Hold),
    /// It is due and is given a slot. A name that was not resolved before comes with its spec.
    Claim(Option<Box<JobSpec>>),
    /// It is taken off the schedule.
    Cancel,
    /// It shall be due at another time.
    Reschedule(Timestamp),
    /// Its start deadline passed before it was started.
    MissDeadline,
    /// By its schedule's rules it is not run.
    Skip(Failure),
    /// It can never be started, and no container was made.
    Reject(Failure),
    /// The image is not on the engine: it is being fetched.
    Pull,
    /// The image is there.
    Pulled,
    /// This container is about to be started.
    Intend(ContainerId),
    /// The container that was meant to be started never ran and never will.
    NeverStarted,
    /// The container runs.
    Started(Run),
    /// The process ended.
    Exited(Ending),
    /// The attempt failed before its process ran.
    Failed(Failure),
    /// It cannot be established whether or how it ran.
    Lost(Failure),
    /// A container of this attempt is on the engine, of which this store, a restored backup, did not know. It may have
    /// been started.
    Adopt(Attempt, ContainerId),
    /// This attempt may have run while this store was a backup, and nothing of it is left.
    MayHaveRun(Attempt, Failure),
    /// It shall stop, and is killed after this grace. Where it is asked to stop already, the kill only comes nearer.
    Stop(StopCause, Duration),
}

/// A reason and its sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub reason: Reason,
    /// The sentence for a person.
    pub error: String,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What ran.
    pub run: Run,
    /// How its process ended.
    pub exit: Exit,
    /// Whether it was the engine's restart that ended it.
    pub by_engine_restart: bool,
    /// Whether this process saw it run after a stop was asked for, and called the engine to stop it.
    pub stop_was_called: bool,
}

/// Said when an event does not fit the state: nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {status} cannot take the event {event}")]
pub struct Refused {
    /// The status it is in.
    pub status: super::job::Status,
    /// The event's name.
    pub event: &'static str,
}

impl Failure {
    /// A failure with this code and sentence.
    pub fn new(reason: Reason, error: impl Into<String>) -> Self {
        Self { reason, error: error.into() }
    }
}

impl Event {
    /// The event's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::Hold(..) => "hold",
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
    /// The job as it is after `event`, at `now`.
    ///
    /// # Errors
    /// [`Refused`] when the event does not fit the state; the job is as it was.
    pub fn on(&self, event: Event, now: Timestamp) -> Result<Self, Refused> {
        let refused = Refused { status: self.state.status(), event: event.name() };
        let mut next = self.clone();
        next.version = self.version.next();
        next.state = match event {
            Event::Queue(reason) => self.queue(reason, None, now).ok_or(refused)?,
            Event::Hold(reason, hold) => self.queue(reason, Some(hold), now).ok_or(refused)?,
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
                // What became of the attempt before a retry stays to be seen.
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

    /// Claimed, and certainly not started yet.
    fn is_claimed(&self) -> bool {
        matches!(self.state, State::Pulling | State::Starting(None))
    }

    /// The first attempt of which nothing is known here, if there can be one: a later one, or the present one that was
    /// claimed and not yet meant to be started.
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

    fn queue(&self, reason: Reason, hold: Option<Hold>, now: Timestamp) -> Option<State> {
        match &self.state {
            State::Queued(wait) if wait.reason == reason && wait.hold == hold => None,
            _ if self.is_waiting() => Some(State::Queued(Wait { reason, since: now, hold })),
            _ => None,
        }
    }

    fn never_started(&self, now: Timestamp) -> Option<State> {
        match &self.state {
            State::Starting(Some(_)) => Some(State::Starting(None)),
            State::Stopping(Stopping { held: Held::Intent(_), why, .. }) => {
                Some(stopped(*why, now, None))
            }
            _ => None,
        }
    }

    fn started(&self, run: Run) -> Option<State> {
        match &self.state {
            State::Pulling | State::Starting(_) => Some(State::Running(run)),
            State::Stopping(stopping @ Stopping { held: Held::Intent(_), .. }) => {
                Some(State::Stopping(Stopping { held: Held::Run(run), ..stopping.clone() }))
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
            // Its own end, but who asked for a stop wants no further attempt.
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
            State::Stopping(Stopping { held: Held::Intent(_), why, .. }) => {
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

    /// An end keeps what was known of the run.
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
        let stopping = |held| Some(State::Stopping(Stopping { held, why, since: now, kill_at }));
        match &self.state {
            _ if self.is_claimed() => Some(stopped(why, now, None)),
            State::Starting(Some(intent)) => stopping(Held::Intent(intent.clone())),
            State::Running(run) => stopping(Held::Run(run.clone())),
            State::Stopping(asked) if asked.kill_at.is_none_or(|known| kill_at < Some(known)) => {
                Some(State::Stopping(Stopping { kill_at, ..asked.clone() }))
            }
            _ => None,
        }
    }

    /// The next attempt, if the job's `retry` has one left for this failure; else the end.
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
                State::Retrying(Setback { reason: failure.reason, error: failure.error, exit_code })
            }
            None => ended(outcome, now, Some(failure), ending),
        }
    }

    /// The wait before the next attempt: the job's delay, doubled with every attempt up to six minutes, spread
    /// by up to a tenth so that jobs that failed together do not all come back together. The spread is a hash
    /// of job and attempt: the same job waits the same time in every replay.
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

/// Why this ending is a failure, or `None` where it is a success.
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
    let (run, exit) = ending.map_or((None, None), |e| (Some(e.run), Some(e.exit)));
    let at = exit.as_ref().map_or(now, |exit| exit.at);
    State::Ended(End { outcome, at, reason, error, run, exit })
}

/// What was skipped because nobody was there in time is missed; the rest was taken off by a rule.
fn outcome_of_skip(reason: Reason) -> Outcome {
    match reason {
        Reason::OutsideWindow | Reason::NotCaughtUp => Outcome::Missed,
        _ => Outcome::Canceled,
    }
}

/// The end of a job that was asked to stop. A timeout outranks retries.
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
