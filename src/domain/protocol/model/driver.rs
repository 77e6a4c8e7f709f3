//! A model of `scheduler/driver`, cut at the points where the driver waits: its memory, and each
//! possible next move.
//!
//! The model calls [`step`] and the job's own transition function, as the real driver does. Between
//! any two of its moves, anything else may happen, and the process may die.

use super::engine::{Creation, Id, Removal, Stage, Start, Thing};
use super::{JobNo, Moves, Rule, World, container_id, number};
use crate::domain::container::{Container, Evidence};
use crate::domain::job::transition::{Ending, Event, Failure};
use crate::domain::job::{Job, Reason, State, StopCause, StopTarget, Stopping};
use crate::domain::protocol::step::{DriverMemory, Fenced, Observed, Step, step};
use crate::domain::spec::PullPolicy;

/// The memory of a driver, and its position within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Driver {
    /// The job as last read or written.
    pub(super) job: JobNo,
    /// True if nobody else has written the job since. The real driver compares versions.
    pub(super) fresh: bool,
    observed: Seen,
    start_not_called: bool,
    pulled: bool,
    /// The container that this driver has fenced, and the finding.
    pub(super) fenced: Option<(Id, Fenced)>,
    pub(super) at: At,
}

/// A compact form of [`Observed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Seen {
    Unknown,
    Absent,
    Here(Thing),
}

/// The position of a driver within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// About to ask the protocol for the next step.
    Top,
    /// About to inspect the container.
    Look(Then),
    /// About to write this finding to disk.
    Write(Finding),
    /// Inside the fence, about to remove the container.
    PutOutOfReach(Id),
    /// Inside the fence, about to query the engine's event log.
    Ask(Id),
    /// A step was not done: about to read the job again.
    Reread,
}

/// The reason for an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Then {
    Decide,
    /// `create` found the name taken.
    Taken,
    Refused,
    Stopped,
    /// Inside the fence, before the removal.
    Fence(Id),
    /// The container's time is up.
    TimeIsUp,
}

/// The content of an engine's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Finding {
    NoImage,
    NeverPulled,
    Pulled,
    NotPulled,
    StartFailed,
    NeverStarted(Id),
    Exited { by_engine_restart: bool },
    TooLate,
    TimeIsUp,
}

impl Driver {
    /// Returns the driver of a process that has just claimed the job.
    pub(super) fn of_a_claim(job: JobNo) -> Self {
        Self { observed: Seen::Absent, ..Self::found(job) }
    }

    /// Returns the driver of a process that finds the job on disk.
    pub(super) fn found(job: JobNo) -> Self {
        Self {
            job,
            fresh: true,
            observed: Seen::Unknown,
            start_not_called: false,
            pulled: false,
            fenced: None,
            at: At::Top,
        }
    }

    fn to(self, at: At) -> Self {
        Self { at, ..self }
    }

    fn memory(&self) -> DriverMemory {
        let Self { start_not_called, pulled, fenced, .. } = *self;
        DriverMemory { start_not_called, pulled, fenced: fenced.map(|(_, found)| found) }
    }

    /// Returns the container that this driver may have removed in a fence, while the finding is not
    /// on disk yet.
    pub(super) fn is_fencing(&self) -> Option<Id> {
        match self.at {
            At::PutOutOfReach(id) | At::Ask(id) => Some(id),
            At::Write(Finding::NeverStarted(id)) => Some(id),
            At::Top | At::Look(_) | At::Write(_) | At::Reread => self.fenced.map(|(id, _)| id),
        }
    }
}

impl Moves<'_> {
    /// Returns the next step from the real protocol.
    fn next_step(&self, driver: &Driver) -> Step {
        let job = self.book.job(driver.job);
        step(job, &self.observed(driver, job), driver.memory())
    }

    /// Returns the observed state. Without the rule of comparing ids, any container of that name
    /// counts as the intended one.
    fn observed(&self, driver: &Driver, job: &Job) -> Observed {
        let observed = super::observed(driver.observed);
        match (observed, meant(job)) {
            (Observed::Present(container), Some(id))
                if self.plan.without == Some(Rule::CompareIds) =>
            {
                Observed::Present(Container { id: container_id(id), ..container })
            }
            (observed, _) => observed,
        }
    }

    /// Returns the container that a call by this id reaches.
    fn reached(&self, driver: &Driver, id: Id) -> Id {
        let here = self.from.engine.named[self.name(driver)];
        if self.plan.without == Some(Rule::CompareIds) {
            here.map_or(id, |thing| thing.id)
        } else {
            id
        }
    }

    fn name(&self, driver: &Driver) -> usize {
        self.book.name(driver.job)
    }

    /// Checks whether the driver has nothing left to do.
    pub(super) fn is_done(&self, driver: &Driver) -> bool {
        driver.at == At::Top && self.next_step(driver) == Step::Done
    }

    pub(super) fn of_the_driver(&mut self) {
        let Some(driver) = self.from.driver else { return };
        match driver.at {
            At::Top => self.take(driver, self.next_step(&driver)),
            At::Look(then) => self.look(driver, then),
            At::Write(finding) => self.write_finding(driver, finding),
            At::PutOutOfReach(id) => self.put_out_of_reach(driver, id),
            At::Ask(id) => self.ask(driver, id),
            At::Reread => self.reread(driver),
        }
    }

    fn take(&mut self, driver: Driver, next: Step) {
        match next {
            Step::Done => {}
            Step::Inspect => self.look(driver, Then::Decide),
            Step::Record(Event::Intend(id))
                if self.plan.without == Some(Rule::IntendBeforeStarting) =>
            {
                self.start(driver, number(&id));
            }
            Step::Record(event) => self.write("writes down what it knows", driver, event),
            Step::Pull => self.pull(driver),
            Step::Create => self.create(driver),
            Step::Start(id) => self.start(driver, number(&id)),
            Step::Fence(intent) if self.plan.without == Some(Rule::FenceBeforeStartingAgain) => {
                self.start(driver, number(&intent.container));
            }
            Step::Fence(intent) => {
                self.settle(driver, self.reached(&driver, number(&intent.container)))
            }
            Step::AwaitExit => self.watch(driver),
            Step::Stop(id) => self.stop(driver, number(&id)),
            Step::Collect(_, exit) => self.collect(driver, exit.code),
            Step::Remove(id) => unreachable!("no container here is of another recipe: {id:?}"),
        }
    }

    fn look(&mut self, driver: Driver, then: Then) {
        self.silence("gets no answer to inspect", driver.to(At::Reread), |_| {});
        let here = self.from.engine.named[self.name(&driver)];
        let observed = here.map_or(Seen::Absent, Seen::Here);
        let stage = here.map(|thing| thing.stage);
        let driver = Driver { observed, ..driver };
        let being_removed = stage == Some(Stage::Removing) && !self.book.job(driver.job).is_over();
        let at = match then {
            _ if being_removed => At::Reread,
            Then::Taken if here.is_none() => At::Reread,
            Then::Stopped if stage == Some(Stage::Running) => At::Reread,
            Then::Refused if matches!(stage, Some(Stage::Created | Stage::Refused)) => {
                At::Write(Finding::StartFailed)
            }
            Then::Fence(id) if here == Some(Thing { id, stage: Stage::Created }) => {
                self.fence_with(id)
            }
            Then::TimeIsUp if stage == Some(Stage::Running) => At::Write(Finding::TimeIsUp),
            Then::Decide
            | Then::Taken
            | Then::Refused
            | Then::Stopped
            | Then::Fence(_)
            | Then::TimeIsUp => At::Top,
        };
        // A log queried as in `engine/docker` counts from this inspection on. Earlier losses don't
        // matter.
        let from_here = matches!(then, Then::Fence(_)) && self.plan.as_docker;
        self.drive("inspects", driver.to(at), |w| {
            if let (Then::Fence(id), true) = (then, from_here) {
                w.engine.forgot.take(id);
            }
        });
    }

    fn pull(&mut self, driver: Driver) {
        self.drive("is poked while it pulls", driver.to(At::Reread), |_| {});
        self.drive("is refused the image", driver.to(At::Write(Finding::NotPulled)), |_| {});
        let pulled = Driver { pulled: true, ..driver.to(At::Write(Finding::Pulled)) };
        self.drive("pulls", pulled, |w| w.engine.image = true);
        self.silence("gets no answer to pull", driver.to(At::Reread), |_| {});
        self.silence("gets no answer to pull, which is done", driver.to(At::Reread), |w| {
            w.engine.image = true
        });
    }

    fn create(&mut self, driver: Driver) {
        if self.from.late {
            return self.write("is too late", driver, Event::MissDeadline);
        }
        let name = self.name(&driver);
        self.unanswered("asks to create, without an answer", driver.to(At::Reread), |w| {
            w.engine.creates[name] += 1
        });
        let mut engine = self.from.engine;
        let never = self.book.job(driver.job).spec.fields().pull == Some(PullPolicy::Never);
        let at = match engine.create(name) {
            Creation::Done => At::Look(Then::Decide),
            Creation::Taken => At::Look(Then::Taken),
            Creation::NoImage if never || driver.pulled => At::Write(Finding::NoImage),
            Creation::NoImage => At::Write(Finding::NeverPulled),
        };
        self.drive("creates", driver.to(at), |w| w.engine = engine);
    }

    fn start(&mut self, driver: Driver, id: Id) {
        let id = self.reached(&driver, id);
        let marks = self.plan.without != Some(Rule::MarkBeforeCalling);
        let driver = Driver { start_not_called: driver.start_not_called && !marks, ..driver };
        let is_failure = self.plan.without == Some(Rule::NoAnswerIsNoFailure);
        let unanswered = if is_failure { At::Write(Finding::StartFailed) } else { At::Reread };
        self.unanswered("asks to start, without an answer", driver.to(unanswered), |w| {
            w.engine.starts.add(id)
        });
        for (says, can_run) in [("starts", true), ("cannot start", false)] {
            let mut engine = self.from.engine;
            let then = match engine.start(id, can_run) {
                Start::LookAtIt => Then::Decide,
                Start::Refused => Then::Refused,
            };
            self.drive(says, driver.to(At::Look(then)), |w| w.engine = engine);
        }
    }

    fn watch(&mut self, driver: Driver) {
        self.drive("is poked", driver.to(At::Reread), |_| {});
        if self.from.time_is_up {
            self.drive("finds that its time is up", driver.to(At::Look(Then::TimeIsUp)), |_| {});
        }
    }

    fn stop(&mut self, driver: Driver, id: Id) {
        self.silence("gets no answer to stop", driver.to(At::Reread), |_| {});
        self.silence("gets no answer to stop, which is done", driver.to(At::Reread), |w| {
            w.engine.stop(id)
        });
        self.drive("stops", driver.to(At::Look(Then::Stopped)), |w| w.engine.stop(id));
    }

    /// Asks, for a killed process, whether the engine that answers is the one that started it.
    /// After a restart the engine is another one, or cannot tell.
    fn collect(&mut self, driver: Driver, code: i32) {
        let exited =
            |by_engine_restart| driver.to(At::Write(Finding::Exited { by_engine_restart }));
        self.drive("sees the end", exited(false), |_| {});
        if code == 137 && !matches!(self.book.job(driver.job).state, State::Stopping(_)) {
            self.silence("is not told whose doing it was", driver.to(At::Reread), |_| {});
            self.drive("sees the engine's hand", exited(true), |_| {});
        }
    }

    // The fence.

    fn settle(&mut self, driver: Driver, id: Id) {
        self.drive("is poked while it waits", driver.to(At::Reread), |_| {});
        if !self.plan.settle_holds || !self.from.engine.starts.has(id) {
            self.drive("finds the intent settled", driver.to(At::Look(Then::Fence(id))), |_| {});
        }
    }

    /// Returns the first position of the fence for a container that is present and untouched.
    fn fence_with(&self, id: Id) -> At {
        let asks_first =
            matches!(self.plan.without, Some(Rule::RemoveBeforeAsking | Rule::RemoveInTheFence));
        if asks_first { At::Ask(id) } else { At::PutOutOfReach(id) }
    }

    fn put_out_of_reach(&mut self, driver: Driver, id: Id) {
        self.unanswered("asks to remove, without an answer", driver, |w| w.engine.removals.add(id));
        let mut engine = self.from.engine;
        let driver = match engine.remove(id, self.plan) {
            Removal::Done if self.plan.without == Some(Rule::RemoveBeforeAsking) => {
                Driver { observed: Seen::Absent, ..driver.to(At::Write(Finding::NeverStarted(id))) }
            }
            Removal::Done => driver.to(At::Ask(id)),
            Removal::Conflict => Driver { observed: Seen::Unknown, ..driver.to(At::Top) },
            // The removal is requested again until the container is gone.
            Removal::UnderWay => driver,
        };
        self.drive("removes", driver, |w| w.engine = engine);
    }

    fn ask(&mut self, driver: Driver, id: Id) {
        let driver = match self.from.engine.testimony_of_a_start(id, self.plan) {
            Evidence::NotSeen if self.plan.without == Some(Rule::RemoveBeforeAsking) => {
                driver.to(At::PutOutOfReach(id))
            }
            Evidence::NotSeen => Driver {
                observed: Seen::Absent,
                fenced: Some((id, Fenced::NeverStarted)),
                ..driver.to(At::Top)
            },
            Evidence::Seen | Evidence::Inconclusive => Driver {
                observed: Seen::Absent,
                fenced: Some((id, Fenced::Ambiguous)),
                ..driver.to(At::Top)
            },
        };
        self.drive("asks the log", driver, |_| {});
    }

    // The store.

    fn write_finding(&mut self, driver: Driver, finding: Finding) {
        let failed = |reason| Event::Failed(Failure::new(reason, "a sentence"));
        let event = match finding {
            Finding::NoImage => failed(Reason::ImageNotFound),
            Finding::NeverPulled => Event::Pull,
            Finding::Pulled => Event::Pulled,
            Finding::NotPulled => failed(Reason::PullFailed),
            Finding::StartFailed => failed(Reason::StartFailed),
            Finding::NeverStarted(_) => Event::NeverStarted,
            Finding::TooLate => Event::MissDeadline,
            Finding::TimeIsUp => Event::Stop(StopCause::Timeout, super::GRACE),
            Finding::Exited { by_engine_restart } => match self.next_step(&driver) {
                Step::Collect(run, exit) => Event::Exited(Ending {
                    run,
                    exit,
                    by_engine_restart,
                    stop_was_called: false,
                    usage: None,
                }),
                other => unreachable!(
                    "nothing that it holds has changed since it was to collect: {other:?}"
                ),
            },
        };
        self.write("writes down what it found", driver, event);
    }

    /// Writes one transition. A disk that reports a failure may have written it anyway.
    fn write(&mut self, says: &'static str, driver: Driver, event: Event) {
        let event = if self.from.late && matches!(event, Event::Intend(_)) {
            Event::MissDeadline
        } else {
            event
        };
        let container = if let Event::Intend(id) = &event { Some(number(id)) } else { None };
        let again = driver.to(At::Reread);
        let Ok(job) = self.book.on(driver.job, event) else {
            return self.drive("is refused, and tries again", again, |w| w.refused = true);
        };
        if !driver.fresh {
            return self.drive("finds the job changed", again, |_| {});
        }
        let name = self.name(&driver);
        let commit = |w: &mut World| {
            w.disk = job;
            if let Some(id) = container {
                w.engine.truth.intended.add(id);
                w.engine.truth.meant[name] = Some(id);
            }
        };
        self.full_disk("finds the disk full", again, |_| {});
        self.full_disk("hears of a write that it failed, which it did not", again, commit);
        let knows = container.is_some() && self.plan.without != Some(Rule::KnowWhatWasNotCalled);
        self.drive(
            says,
            Driver { job, start_not_called: knows, fenced: None, ..driver.to(At::Top) },
            commit,
        );
    }

    /// Reads the job again. The real driver first inspects once more if the job is too late and was
    /// changed meanwhile.
    fn reread(&mut self, driver: Driver) {
        let same_attempt =
            self.book.job(driver.job).attempt == self.book.job(self.from.disk).attempt;
        let fresh = Driver::found(self.from.disk);
        let driver = if same_attempt {
            let Driver { start_not_called, pulled, fenced, .. } = driver;
            Driver { start_not_called, pulled, fenced, ..fresh }
        } else {
            fresh
        };
        let claimed =
            matches!(self.book.job(driver.job).state, State::Pulling | State::Starting(None));
        let at = if claimed && self.from.late { At::Write(Finding::TooLate) } else { At::Top };
        self.drive("reads the job again", driver.to(at), |_| {});
    }
}

/// Returns the container that the job's state names.
fn meant(job: &Job) -> Option<Id> {
    match &job.state {
        State::Starting(Some(intent))
        | State::Stopping(Stopping { target: StopTarget::Intent(intent), .. }) => {
            Some(number(&intent.container))
        }
        State::Running(run) | State::Stopping(Stopping { target: StopTarget::Run(run), .. }) => {
            Some(number(&run.container))
        }
        State::Scheduled
        | State::Queued(_)
        | State::Retrying(_)
        | State::Pulling
        | State::Starting(None)
        | State::Ended(_) => None,
    }
}
