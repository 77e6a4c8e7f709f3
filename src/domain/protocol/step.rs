//! The start protocol as one table: from the state on disk and the observed state, to the next
//! step.
//!
//! A container is found by the id on disk, or by its labels if the disk has no id. A container's
//! current name does not matter. A unique name prevents a second `create`. Nothing prevents a
//! second `start`: starting an exited container runs it again. Three rules follow:
//!
//! - The intent is on disk before `start` is called.
//! - `start` is called once for each intent.
//! - A container with an intent but no trace of a start is first put out of reach (removed, without
//!   force). Only then is the event log queried about it.
//!
//! The scheduler calls [`step`] after every change on disk or engine, in normal operation and after
//! a crash alike. [`step`] never guesses: if disk and engine don't show what happened, the job ends
//! `unknown`. The protocol ends with the attempt; [`remains`](super::remains) handles the container
//! and its output after that. This file has no clocks, no retries of calls, and no memory beyond
//! [`DriverMemory`], on purpose.

use crate::domain::container::{Container, Exit, Phase, StartRefusal};
use crate::domain::job::transition::{Event, Failure};
use crate::domain::job::{Intent, Job, Reason, Run, State, StopTarget, Stopping};
use crate::domain::names::id::{ContainerId, Timestamp};
use crate::domain::spec::PullPolicy;

/// The observed state: what the engine last showed of the job's present attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// Not inspected yet, or the last call got no answer.
    Unknown,
    /// The engine has no such container.
    Absent,
    /// The engine has this container.
    Present(Container),
    /// The engine has no such container, and a container without our labels has its name.
    Foreign,
}

/// The driver memory: what this process knows it has done for the current attempt. Losing it is
/// always safe; recovery is only slower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverMemory {
    /// True if this process wrote the intent and has not called `start` yet. A process that finds
    /// an intent on disk cannot know this.
    pub start_not_called: bool,
    /// True if this process has pulled the image for this attempt.
    pub pulled: bool,
    /// The finding of this process's fence for the present intent; `None` before a fence.
    pub fenced: Option<Fenced>,
}

/// The finding of a fence about a container that is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fenced {
    /// The container never ran, and never will.
    NeverStarted,
    /// The container ran, or nobody can tell.
    Ambiguous,
}

/// The next action of the driver.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Inspect the container of this attempt.
    Inspect,
    Pull,
    Create,
    /// Call `start` on the container, once.
    Start(ContainerId),
    /// Find out whether a container with an intent ever ran. Wait until the intent has settled,
    /// remove the container without force, then query the engine's event log.
    Fence(Intent),
    /// Wait until the container exits or the driver is woken.
    AwaitExit,
    Stop(ContainerId),
    /// Find out who ended the process, and record the end.
    Collect(Run, Exit),
    /// Write this event to the store.
    Record(Event),
    /// Remove a container that never ran, without force.
    Remove(ContainerId),
    Done,
}

impl Step {
    /// Checks whether the step needs an answer from the engine.
    pub fn needs_the_engine(&self) -> bool {
        match self {
            Self::Record(_) | Self::AwaitExit | Self::Done => false,
            Self::Inspect
            | Self::Pull
            | Self::Create
            | Self::Start(_)
            | Self::Fence(_)
            | Self::Stop(_)
            | Self::Collect(..)
            | Self::Remove(_) => true,
        }
    }
}

/// Returns the next step for `job`, given the observed state and the driver memory.
pub fn step(job: &Job, observed: &Observed, memory: DriverMemory) -> Step {
    match &job.state {
        // The leftovers of a finished attempt are cleared away separately: see `remains`.
        State::Scheduled | State::Queued(_) | State::Retrying(_) | State::Ended(_) => Step::Done,
        State::Pulling => claimed(job, observed, Step::Pull),
        State::Starting(None) => {
            let always = job.spec.fields().pull == Some(PullPolicy::Always);
            let next =
                if always && !memory.pulled { Step::Record(Event::Pull) } else { Step::Create };
            claimed(job, observed, next)
        }
        State::Starting(Some(intent)) => {
            intended(intent, observed, memory, Step::Start(intent.container.clone()))
        }
        State::Stopping(Stopping { target: StopTarget::Intent(intent), .. }) => {
            intended(intent, observed, memory, Step::Record(Event::NeverStarted))
        }
        State::Running(run) => running(run, observed, Step::AwaitExit),
        State::Stopping(Stopping { target: StopTarget::Run(run), .. }) => {
            running(run, observed, Step::Stop(run.container.clone()))
        }
    }
}

/// Decides for a claimed job without an intent: none of our containers was started, unless somebody
/// else started one.
fn claimed(job: &Job, observed: &Observed, when_absent: Step) -> Step {
    match observed {
        Observed::Unknown => Step::Inspect,
        Observed::Absent => when_absent,
        Observed::Foreign => Step::Record(Event::Failed(Failure::new(
            Reason::CreateFailed,
            format!(
                "a container named `{}` is on the engine and is not ours",
                job.container_name()
            ),
        ))),
        Observed::Present(container) => match &container.phase {
            // The container was created ahead of time, and the job has changed since.
            Phase::Created { .. }
                if container
                    .spec_hash
                    .as_ref()
                    .is_some_and(|spec_hash| *spec_hash != job.spec_hash()) =>
            {
                Step::Remove(container.id.clone())
            }
            Phase::Created { refusal: None } => Step::Record(Event::Intend(container.id.clone())),
            Phase::Created { refusal: Some(refusal) } => {
                Step::Record(Event::Failed(refused(refusal)))
            }
            Phase::Running { started_at } => {
                Step::Record(Event::Started(run_of(container, *started_at)))
            }
            Phase::Exited { started_at, exit } => {
                Step::Collect(run_of(container, *started_at), exit.clone())
            }
            Phase::Removing => Step::Inspect,
        },
    }
}

/// Decides for a job with an intent on disk: the container may have run. `untouched` is the step
/// while it is certain that `start` was not called for this intent.
fn intended(intent: &Intent, observed: &Observed, memory: DriverMemory, untouched: Step) -> Step {
    match observed {
        Observed::Unknown => Step::Inspect,
        Observed::Absent => match memory.fenced {
            Some(Fenced::NeverStarted) => Step::Record(Event::NeverStarted),
            Some(Fenced::Ambiguous) => ambiguous(),
            None => gone_unseen(),
        },
        Observed::Foreign => gone_unseen(),
        Observed::Present(container) if container.id != intent.container => gone_unseen(),
        Observed::Present(container) => match &container.phase {
            Phase::Created { refusal: Some(refusal) } => {
                Step::Record(Event::Failed(refused(refusal)))
            }
            Phase::Created { refusal: None } if memory.start_not_called => untouched,
            Phase::Created { refusal: None } => Step::Fence(intent.clone()),
            Phase::Running { started_at } => {
                Step::Record(Event::Started(run_of(container, *started_at)))
            }
            Phase::Exited { started_at, exit } => {
                Step::Collect(run_of(container, *started_at), exit.clone())
            }
            Phase::Removing => Step::Inspect,
        },
    }
}

/// Decides for a job whose process was seen running.
fn running(run: &Run, observed: &Observed, while_running: Step) -> Step {
    match observed {
        Observed::Unknown => Step::Inspect,
        Observed::Absent | Observed::Foreign => gone(),
        Observed::Present(container) if container.id != run.container => gone(),
        Observed::Present(container) => match &container.phase {
            Phase::Running { .. } => while_running,
            Phase::Exited { started_at, .. } if *started_at != run.started_at => started_again(),
            Phase::Exited { exit, .. } => Step::Collect(run.clone(), exit.clone()),
            Phase::Removing => Step::Inspect,
            Phase::Created { .. } => gone(),
        },
    }
}

fn gone() -> Step {
    Step::Record(Event::Lost(Failure::new(
        Reason::ContainerRemoved,
        "its container was removed by somebody else, and with it the evidence of how it ended",
    )))
}

/// Records that a container with an intent is gone. A fence removes such a container, too, and the
/// server may have been killed before it wrote down what the fence found.
fn gone_unseen() -> Step {
    Step::Record(Event::Lost(Failure::new(
        Reason::ContainerRemoved,
        "its container is gone, and nobody saw whether it ran: somebody else removed it, or the server was killed \
         while it looked into an unanswered start",
    )))
}

fn ambiguous() -> Step {
    Step::Record(Event::Lost(Failure::new(
        Reason::StartAmbiguous,
        "its container was meant to be started and showed no trace of a run; the engine's log has a start of it just \
         before it was removed, or does not reach back far enough, or the engine was restarted over it",
    )))
}

/// Records a restart by somebody else. The run that ended is not the recorded one, and the engine
/// no longer knows how the recorded run ended.
fn started_again() -> Step {
    Step::Record(Event::Lost(Failure::new(
        Reason::StartedAgain,
        "its container was started again by somebody else, and with that the evidence of how it ended is gone",
    )))
}

fn run_of(container: &Container, started_at: Timestamp) -> Run {
    Run {
        container: container.id.clone(),
        started_at,
        image_digest: container.image_digest.clone(),
    }
}

/// Converts a failed start to a failure. An engine reports a start that failed by the shell's exit
/// codes: 127 for a command that is missing, 126 for a command that may not run.
fn refused(refusal: &StartRefusal) -> Failure {
    let reason = if matches!(refusal.code, 126 | 127) {
        Reason::CommandNotFound
    } else {
        Reason::StartFailed
    };
    Failure::new(reason, refusal.message.clone())
}

#[cfg(test)]
pub(super) mod tests;
