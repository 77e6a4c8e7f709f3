//! The guarantees that every state of the world must keep, after any history.

use super::engine::{Ended, Stage};
use super::{ATTEMPTS, Book, Plan, World};
use crate::domain::job::{End, Job, Map, Outcome, Reason, State, StopTarget, Stopping};

/// A number of containers above anything that a plan's faults together can explain.
const TOO_MANY_CONTAINERS: u8 = 12;

/// A guarantee that some state breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The process of one attempt was started twice.
    SecondStart,
    /// A container runs, and the disk does not say that it may.
    RunsUnseen,
    /// The recorded exit is not that of the job's process, or no exit is recorded though the
    /// process ran.
    WrongEnd,
    /// The job ended `unknown`, and no row of the table allows it.
    UnknownWithoutNeed,
    /// The job ended `unknown`, though our own process had found out more.
    UnknownThoughItKnew,
    /// The job ended `timed_out`, and its process had ended before the time was up.
    TimedOutThoughItEnded,
    /// Our removal ended a process.
    Murder,
    /// Our removal destroyed output that was not stored.
    OutputLost,
    /// Output was stored before the end of its attempt was on disk.
    KeptBeforeTheEnd,
    /// The job refuses an event that the protocol wants to record, and will refuse it again.
    Refused,
    /// Container after container is created, and none is started.
    OneAfterTheOther,
    /// Some state leads to no end.
    NoEnd,
}

/// Returns every guarantee that this state breaks.
pub(super) fn broken(world: &World, book: &Book, plan: &Plan) -> Vec<Broken> {
    let job = book.job(world.disk);
    let truth = &world.engine.truth;
    let mut found = Vec::new();
    let mut check = |kept: bool, broken| found.extend((!kept).then_some(broken));
    check(truth.starts.iter().all(|starts| *starts <= 1), Broken::SecondStart);
    check((0..ATTEMPTS).all(|name| may_run(world, job, name)), Broken::RunsUnseen);
    check(!truth.murder, Broken::Murder);
    check(!truth.output_lost, Broken::OutputLost);
    check(
        (0..ATTEMPTS).all(|name| !world.kept[name] || has_ended(job, name)),
        Broken::KeptBeforeTheEnd,
    );
    check(!world.refused, Broken::Refused);
    check(world.engine.made < TOO_MANY_CONTAINERS, Broken::OneAfterTheOther);
    if let State::Ended(end) = &job.state {
        check(is_true(world, job, end), Broken::WrongEnd);
        check(
            end.outcome != Outcome::Unknown || is_unknown(world, book, end),
            Broken::UnknownWithoutNeed,
        );
        if plan.strict {
            check(
                end.outcome != Outcome::Unknown || nobody_knew(world, book, end),
                Broken::UnknownThoughItKnew,
            );
            check(end.outcome != Outcome::TimedOut || truth.overran, Broken::TimedOutThoughItEnded);
        }
    }
    found
}

/// Checks whether the attempt is over according to the disk.
fn has_ended(job: &Job, name: usize) -> bool {
    let attempts = job.attempt.0 as usize;
    attempts > name + 1 || (attempts == name + 1 && job.map() != Map::Running)
}

/// Checks that nothing is left to do: the job is over and has no driver. Containers are gone,
/// except an exited one that the spec says to keep and whose output is stored.
pub(super) fn is_at_rest(world: &World, book: &Book) -> bool {
    let job = book.job(world.disk);
    let keep = job.spec.fields().keep_container == Some(true);
    let stays = |stage, is_kept| keep && is_kept && matches!(stage, Stage::Exited(_));
    let things = world.engine.named.iter().zip(world.kept);
    let gone = things
        .filter_map(|(thing, kept)| Some((thing.as_ref()?, kept)))
        .all(|(it, kept)| stays(it.stage, kept));
    job.is_over() && world.driver.is_none() && gone
}

/// Checks that a container runs only while the disk says that its attempt may have been started, or
/// was.
fn may_run(world: &World, job: &Job, name: usize) -> bool {
    let runs = world.engine.named[name].filter(|thing| thing.stage == Stage::Running);
    let Some(thing) = runs else { return true };
    let named = match &job.state {
        State::Starting(Some(intent))
        | State::Stopping(Stopping { target: StopTarget::Intent(intent), .. }) => &intent.container,
        State::Running(run) | State::Stopping(Stopping { target: StopTarget::Run(run), .. }) => {
            &run.container
        }
        State::Scheduled
        | State::Queued(_)
        | State::Retrying(_)
        | State::Pulling
        | State::Starting(None)
        | State::Ended(_) => return false,
    };
    job.attempt.0 as usize == name + 1 && super::number(named) == thing.id
}

/// Checks the recorded end against the truth. A recorded exit must be that of the attempt's one
/// process. An end without an exit requires that no process of the attempt was ever started.
fn is_true(world: &World, job: &Job, end: &End) -> bool {
    let truth = &world.engine.truth;
    let name = job.attempt.0.saturating_sub(1) as usize;
    let by_engine = end.reason == Some(Reason::EngineRestarted);
    match (end.outcome, &end.exit) {
        (Outcome::Unknown, exit) => exit.is_none(),
        // With retries, an earlier attempt may have run.
        (Outcome::Canceled | Outcome::Missed, _) => {
            job.spec.retry().attempts() > 0 || truth.starts[0] == 0
        }
        (Outcome::Succeeded | Outcome::Failed | Outcome::TimedOut | Outcome::Stopped, None) => {
            truth.starts[name] == 0
        }
        (outcome, Some(exit)) => {
            let how = truth.ended[name];
            truth.starts[name] == 1
                && how.map(Ended::code) == Some(exit.code)
                && (outcome != Outcome::Succeeded || exit.code == 0)
                && (outcome != Outcome::Failed || exit.code != 0)
                && (!by_engine || how == Some(Ended::Killed))
        }
    }
}

/// Checks whether `docs/semantics.md` allows `unknown` here:
///
/// - `container_removed`: an intent or a run is on disk, and its container is gone from the engine.
///   Somebody else removed the container, or a fence did and its finding did not get on disk.
/// - `start_ambiguous`: the fence removed the container, and then the event log had a start of it
///   or had lost the time since the intent. Or the log's engine had restarted since.
fn is_unknown(world: &World, book: &Book, end: &End) -> bool {
    let truth = &world.engine.truth;
    let Some(id) = truth.meant[book.name(world.disk)] else { return false };
    let gone = world.engine.named.iter().flatten().all(|thing| thing.id != id);
    let was_removed = gone && (truth.by_hand.has(id) || truth.by_us.has(id));
    match end.reason {
        Some(Reason::ContainerRemoved) => was_removed,
        Some(Reason::StartAmbiguous) => {
            let engine = &world.engine;
            was_removed
                && (truth.began.has(id) || engine.forgot.has(id) || engine.inherited.has(id))
        }
        _ => false,
    }
}

/// Checks a rule stricter than the table. Our own removal explains `container_removed` only if the
/// process that removed the container, and knew the finding, has died.
fn nobody_knew(world: &World, book: &Book, end: &End) -> bool {
    let truth = &world.engine.truth;
    let Some(id) = truth.meant[book.name(world.disk)] else { return false };
    end.reason != Some(Reason::ContainerRemoved) || truth.by_hand.has(id) || truth.unsaid.has(id)
}
