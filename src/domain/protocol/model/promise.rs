//! What is promised of every state of the world, whatever went before.

use super::engine::{Ended, Stage};
use super::{ATTEMPTS, Book, Plan, World};
use crate::domain::job::{End, Held, Job, Map, Outcome, Reason, State, Stopping};

/// More containers than all the faults of a plan together can explain.
const TOO_MANY_CONTAINERS: u8 = 12;

/// A promise that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The process of one attempt was started twice.
    SecondStart,
    /// A container runs of which the disk does not say that it may.
    RunsUnseen,
    /// The job ended by an exit that was not its process's, or without one though its process ran.
    WrongEnd,
    /// `unknown`, and no row of the table says so.
    UnknownWithoutNeed,
    /// `unknown`, though our own process had found out what happened.
    UnknownThoughItKnew,
    /// `timed_out`, and it had ended before its time was up.
    TimedOutThoughItEnded,
    /// Our removal ended a process.
    Murder,
    /// Our removal took output along that was not kept.
    OutputLost,
    /// Output was kept, and the end of its attempt was not on disk.
    KeptBeforeTheEnd,
    /// The job refuses what the protocol wants to record, and will refuse it again.
    Refused,
    /// One container is made after the other, and none is started.
    OneAfterTheOther,
    /// There is a state from which no end is reached.
    NoEnd,
}

/// Every promise that this state breaks.
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

/// Whether the disk says that this attempt is over.
fn has_ended(job: &Job, name: usize) -> bool {
    let attempts = job.attempt.0 as usize;
    attempts > name + 1 || (attempts == name + 1 && job.map() != Map::Running)
}

/// Nothing is left to do: the job is over, nobody sees to it, and no container is left but one that is to be kept, and whose
/// output is kept, too.
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

/// A container runs only while the disk says of its attempt that it may have been started, or was.
fn may_run(world: &World, job: &Job, name: usize) -> bool {
    let runs = world.engine.named[name].filter(|thing| thing.stage == Stage::Running);
    let Some(thing) = runs else { return true };
    let named = match &job.state {
        State::Starting(Some(intent))
        | State::Stopping(Stopping { held: Held::Intent(intent), .. }) => &intent.container,
        State::Running(run) | State::Stopping(Stopping { held: Held::Run(run), .. }) => {
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

/// An end by exit was seen in that very process, which was started once; one without an exit is that of an attempt that
/// never ran and never will.
fn is_true(world: &World, job: &Job, end: &End) -> bool {
    let truth = &world.engine.truth;
    let name = job.attempt.0.saturating_sub(1) as usize;
    let by_engine = end.reason == Some(Reason::EngineRestarted);
    match (end.outcome, &end.exit) {
        (Outcome::Unknown, exit) => exit.is_none(),
        // With retries an earlier attempt may have run.
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

/// The situations in which `semantics.md` allows `unknown`:
///
/// - `container_removed`: an intent or a run on disk, and its container is not on the engine any more. Somebody else
///   removed it, or a fence did whose finding did not get on disk;
/// - `start_ambiguous`: the fence removed the container, and then the engine's log had a start of it, or had lost the
///   time since the intent, or was that of an engine that had restarted since.
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

/// Stricter than the table: a removal of our own explains `container_removed` only where the process that removed it,
/// and knew, has died.
fn nobody_knew(world: &World, book: &Book, end: &End) -> bool {
    let truth = &world.engine.truth;
    let Some(id) = truth.meant[book.name(world.disk)] else { return false };
    end.reason != Some(Reason::ContainerRemoved) || truth.by_hand.has(id) || truth.unsaid.has(id)
}
