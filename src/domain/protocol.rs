//! The start protocol, as one table: given what is on disk and what the engine was seen to have, what to do next.
//!
//! A container is found by the id on disk and, where none is, by its labels; what it is called by now does not matter. The
//! engine's unique names fence `create`; nothing fences `start`, for starting a container that has exited runs
//! it again. So an intent is on disk before `start` is called, `start` is called once for each intent, and a
//! container that was meant to be started and shows no trace of it is first put out of reach (removed, without
//! force) and only then asked about.
//!
//! [`step`] is called after every change of either side, in normal life and after a crash alike. It never guesses:
//! where the two sides do not tell what happened, the job ends `unknown`. It ends with the attempt: what becomes of a
//! container after that, and of its output, is in [`remains`](super::remains). What is absent from this file on purpose:
//! clocks, retries of calls, and any memory beyond [`Hand`].

use super::container::{Container, Exit, Phase, StartRefusal};
use super::id::{ContainerId, Timestamp};
use super::job::{Held, Intent, Job, Reason, Run, State, Stopping};
use super::spec::PullPolicy;
use super::transition::{Event, Failure};

/// What the engine was last seen to have of the job's present attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// Not looked yet, or the last call gave no answer.
    Unseen,
    /// Nothing.
    Absent,
    /// This container.
    Present(Container),
    /// Nothing, and the name that its container would have is taken by one without our labels.
    Foreign,
}

/// What this process itself has done for the attempt. All of it may be forgotten: a fresh `Hand` is always safe,
/// only slower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hand {
    /// It wrote the intent, and has not called `start` yet. A process that finds an intent on disk cannot know that.
    pub start_not_called: bool,
    /// It has pulled the image for this attempt.
    pub pulled: bool,
    /// It has fenced the container of the present intent, and this is what it found.
    pub fenced: Option<Fenced>,
}

/// What a fence found of a container that is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fenced {
    /// It never ran, and never will.
    NeverStarted,
    /// It ran, or nobody can tell.
    Ambiguous,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Inspect the container of this attempt.
    Look,
    /// Pull the image.
    Pull,
    /// Create the container.
    Create,
    /// Call `start`, once.
    Start(ContainerId),
    /// Find out whether a container that was meant to be started ever ran: wait until the intent has settled,
    /// remove it without force, ask the engine's event log.
    Fence(Intent),
    /// Wait until something happens.
    Watch,
    /// Ask the process to stop.
    Stop(ContainerId),
    /// Find out whose doing the end was, and record it.
    Collect(Run, Exit),
    /// Write this event down.
    Record(Event),
    /// Remove a container that never ran, without force.
    Remove(ContainerId),
    /// Nothing is left to do.
    Rest,
}

impl Step {
    /// Whether the engine has to answer for it to be done.
    pub fn needs_the_engine(&self) -> bool {
        match self {
            Self::Record(_) | Self::Watch | Self::Rest => false,
            Self::Look
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

/// The next step for `job`, given what the engine was seen to have.
pub fn step(job: &Job, sight: &Sight, hand: Hand) -> Step {
    match &job.state {
        // What an attempt that is over has left is cleared away beside it: `remains`.
        State::Scheduled | State::Queued(_) | State::Retrying(_) | State::Ended(_) => Step::Rest,
        State::Pulling => claimed(job, sight, Step::Pull),
        State::Starting(None) => {
            let always = job.spec.fields().pull == Some(PullPolicy::Always);
            let next =
                if always && !hand.pulled { Step::Record(Event::Pull) } else { Step::Create };
            claimed(job, sight, next)
        }
        State::Starting(Some(intent)) => {
            intended(intent, sight, hand, Step::Start(intent.container.clone()))
        }
        State::Stopping(Stopping { held: Held::Intent(intent), .. }) => {
            intended(intent, sight, hand, Step::Record(Event::NeverStarted))
        }
        State::Running(run) => running(run, sight, Step::Watch),
        State::Stopping(Stopping { held: Held::Run(run), .. }) => {
            running(run, sight, Step::Stop(run.container.clone()))
        }
    }
}

/// Claimed, no intent: nothing of ours was started, unless somebody else did it.
fn claimed(job: &Job, sight: &Sight, when_absent: Step) -> Step {
    match sight {
        Sight::Unseen => Step::Look,
        Sight::Absent => when_absent,
        Sight::Foreign => Step::Record(Event::Failed(Failure::new(
            Reason::CreateFailed,
            format!(
                "a container named `{}` is on the engine and is not ours",
                job.container_name()
            ),
        ))),
        Sight::Present(container) => match &container.phase {
            // Made ahead, and the job has changed since.
            Phase::Created { .. }
                if container.recipe.as_ref().is_some_and(|recipe| *recipe != job.recipe()) =>
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
            Phase::Removing => Step::Look,
        },
    }
}

/// An intent is on disk: from here on it may have run. `untouched` is what to do while it is certain that `start`
/// was not called for this intent.
fn intended(intent: &Intent, sight: &Sight, hand: Hand, untouched: Step) -> Step {
    match sight {
        Sight::Unseen => Step::Look,
        Sight::Absent => match hand.fenced {
            Some(Fenced::NeverStarted) => Step::Record(Event::NeverStarted),
            Some(Fenced::Ambiguous) => ambiguous(),
            None => gone(),
        },
        Sight::Foreign => gone(),
        Sight::Present(container) if container.id != intent.container => gone(),
        Sight::Present(container) => match &container.phase {
            Phase::Created { refusal: Some(refusal) } => {
                Step::Record(Event::Failed(refused(refusal)))
            }
            Phase::Created { refusal: None } if hand.start_not_called => untouched,
            Phase::Created { refusal: None } => Step::Fence(intent.clone()),
            Phase::Running { started_at } => {
                Step::Record(Event::Started(run_of(container, *started_at)))
            }
            Phase::Exited { started_at, exit } => {
                Step::Collect(run_of(container, *started_at), exit.clone())
            }
            Phase::Removing => Step::Look,
        },
    }
}

/// It was seen to run.
fn running(run: &Run, sight: &Sight, while_running: Step) -> Step {
    match sight {
        Sight::Unseen => Step::Look,
        Sight::Absent | Sight::Foreign => gone(),
        Sight::Present(container) if container.id != run.container => gone(),
        Sight::Present(container) => match &container.phase {
            Phase::Running { .. } => while_running,
            Phase::Exited { started_at, .. } if *started_at != run.started_at => started_again(),
            Phase::Exited { exit, .. } => Step::Collect(run.clone(), exit.clone()),
            Phase::Removing => Step::Look,
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

fn ambiguous() -> Step {
    Step::Record(Event::Lost(Failure::new(
        Reason::StartAmbiguous,
        "its container was meant to be started and showed no trace of a run; the engine's log has a start of it just \
         before it was removed, or does not reach back far enough, or the engine was restarted over it",
    )))
}

/// The run that ended is not the one that was recorded: how that one ended, the engine no longer knows.
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

/// An engine that cannot start a process says so in the way shells do: 127 for a command that is not there, 126 for
/// one that may not run.
fn refused(refusal: &StartRefusal) -> Failure {
    let reason = if matches!(refusal.code, 126 | 127) {
        Reason::CommandNotFound
    } else {
        Reason::StartFailed
    };
    Failure::new(reason, refusal.message.clone())
}

#[cfg(test)]
mod tests;
