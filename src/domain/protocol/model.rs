//! A model check of the start protocol, in every order in which events can happen.
//!
//! [`step`](super::step::step) and `Job::on` are the real ones. Around them is a minimal world: an
//! [`engine`], a [`driver`] that does what `scheduler/driver` does, a disk with one job, people and
//! time. The search visits every state of this world, breadth first, and uses no randomness.
//! Between any two moves of the driver, any of these may happen:
//!
//! - A process ends, or a request whose caller got no answer takes effect.
//! - Somebody stops the job or removes its container.
//! - The engine restarts, the disk refuses a write, or our process dies and loses its memory.
//!
//! Three things keep the model finite. Each kind of fault happens a few times at most ([`Faults`]).
//! All instants are the same. A driver has no version, only a mark that nobody else has written the
//! job ([`driver::Driver::fresh`]).
//!
//! The model leaves out other jobs and their claim order, another engine at the same address, and
//! people who start our containers by hand.
//!
//! The model is harsher than the world in one respect: a start whose caller is gone may take effect
//! at any time, however late. The fence's wait is trusted only with [`Plan::settle_holds`]. The
//! model is kinder in another respect: its engine keeps the contract of the `Engine` trait, unless
//! [`Plan::as_docker`] is set.
//!
//! Switching off the protocol's rules one by one shows that the search is able to find violations.

use super::step::Observed;
use super::step::tests::{at, container, created, id};
use crate::domain::container::{Exit, Phase};
use crate::domain::job::transition::Event;
use crate::domain::job::{Map, StopCause};
use crate::domain::names::id::ContainerId;
use driver::{Driver, Seen};
use engine::{Ended, Engine, Id, Stage};
use search::{Book, JobNo};

#[path = "model/checks.rs"]
mod checks;
#[path = "model/clearing.rs"]
mod clearing;
#[path = "model/driver.rs"]
mod driver;
#[path = "model/engine.rs"]
mod engine;
#[path = "model/promise.rs"]
mod promise;
#[path = "model/search.rs"]
mod search;

/// The grace of every stop. Time stands still in the model, so the value makes no difference.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);
/// The largest number of attempts of a job in the model.
const ATTEMPTS: usize = 2;

/// The setup of one search.
#[derive(Clone, Copy)]
struct Plan {
    /// The job's spec as JSON.
    spec: &'static str,
    /// True if the engine has the image at first.
    image: bool,
    /// The allowed number of each fault.
    faults: Faults,
    /// True if a start can take no effect any more once its intent has settled.
    settle_holds: bool,
    /// True if the engine behaves as seen through `engine/docker`, not as the trait's contract
    /// says. The event log then counts as covering the time if it has the removal. A removal that
    /// meets another one in progress is not done yet.
    as_docker: bool,
    /// The rule that is switched off; `None` if all apply.
    without: Option<Rule>,
    /// True if `unknown` is allowed only when none of our processes had found out more.
    strict: bool,
}

/// The number of faults of each kind that may still happen on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Faults {
    /// Deaths of our process.
    crashes: u8,
    /// Calls that get no answer from the engine.
    silences: u8,
    /// Restarts of the engine; each ends the running processes and empties the event log.
    restarts: u8,
    /// Losses of the event log alone. A real log keeps only its last events.
    forgets: u8,
    /// Forced removals of our containers by somebody else.
    removals: u8,
    /// Writes that the disk reports as failed.
    full_disks: u8,
    /// Stops or cancellations of the job by somebody.
    requests: u8,
    /// Passings of the job's start deadline.
    deadlines: u8,
    /// Passings of the time that the container may run.
    timeouts: u8,
}

/// A rule of the protocol or of its driver that a search can switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The intent is on disk before `start` is called.
    IntendBeforeStarting,
    /// A container that may have been asked to start is fenced, not started.
    FenceBeforeStartingAgain,
    /// The fence removes the container.
    RemoveInTheFence,
    /// The fence queries the event log after the removal, not before.
    RemoveBeforeAsking,
    /// The fence removes without force.
    NeverForce,
    /// A missing answer tells nothing about the container.
    NoAnswerIsNoFailure,
    /// The driver memory is marked before `start` is called.
    MarkBeforeCalling,
    /// The process that wrote the intent knows that `start` was not called yet.
    KnowWhatWasNotCalled,
    /// A container is identified by its id, not by its name.
    CompareIds,
    /// The fence believes only the engine that created the container.
    AskWhoCreatedIt,
    /// Output is stored before its container is removed.
    KeepOutputFirst,
}

/// The whole world at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The job as stored on disk.
    disk: JobNo,
    /// The driver of the job; `None` if nobody drives the job.
    driver: Option<Driver>,
    /// True for each attempt whose output is on disk.
    kept: [bool; ATTEMPTS],
    engine: Engine,
    left: Faults,
    late: bool,
    time_is_up: bool,
    /// True if the job has refused an event that the protocol wanted to record.
    refused: bool,
}

/// An event between two states of the world.
#[derive(Clone, Copy, Debug)]
struct Move {
    who: &'static str,
    does: &'static str,
    /// True if the move happens sooner or later when possible. Steps, answers and ends do. Faults,
    /// requests and late effects of unanswered requests need not happen.
    is_due: bool,
}

/// The moves that are possible in a state.
struct Moves<'a> {
    plan: &'a Plan,
    book: &'a mut Book,
    from: World,
    to: Vec<(Move, World)>,
}

impl World {
    fn at_first(plan: &Plan, book: &mut Book) -> Self {
        Self {
            disk: book.first(plan.spec),
            driver: None,
            kept: [false; ATTEMPTS],
            engine: Engine::with_image(plan.image),
            left: plan.faults,
            late: false,
            time_is_up: false,
            refused: false,
        }
    }
}

impl<'a> Moves<'a> {
    fn of(plan: &'a Plan, book: &'a mut Book, from: World) -> Vec<(Move, World)> {
        let mut moves = Self { plan, book, from, to: Vec::new() };
        moves.of_the_scheduler();
        moves.of_the_driver();
        moves.of_clearing_away();
        moves.of_the_engine();
        moves.of_requests_without_an_answer();
        moves.of_faults();
        moves.of_people_and_time();
        moves.to
    }

    /// Adds the moves of the dispatcher, and of the sweep that finds jobs without a driver. Neither
    /// touches a job that has a driver.
    fn of_the_scheduler(&mut self) {
        let job = self.book.job(self.from.disk);
        match job.map() {
            _ if self.from.driver.is_some() => {}
            Map::Scheduled => self.claim(),
            Map::Running => {
                let found = Driver::found(self.from.disk);
                self.push("scheduler", "gives it a driver", true, |w| w.driver = Some(found));
            }
            Map::History => {}
        }
    }

    fn claim(&mut self) {
        let event = if self.from.late { Event::MissDeadline } else { Event::Claim(None) };
        let job = self.book.on(self.from.disk, event).expect("it waits");
        let driver = (!self.book.job(job).is_over()).then(|| Driver::of_a_claim(job));
        self.push("scheduler", "claims it", true, |w| (w.disk, w.driver) = (job, driver));
    }

    /// Adds ends of processes and ends of removals.
    fn of_the_engine(&mut self) {
        for name in 0..ATTEMPTS {
            match self.from.engine.named[name].map(|thing| thing.stage) {
                Some(Stage::Running) => {
                    self.push("process", "ends well", true, |w| w.engine.end(name, Ended::Well));
                    self.push("process", "ends badly", true, |w| w.engine.end(name, Ended::Badly));
                }
                Some(Stage::Removing) => {
                    self.push("engine", "has removed it", true, |w| w.engine.finish_removal(name))
                }
                Some(Stage::Created | Stage::Refused | Stage::Exited(_)) | None => {}
            }
        }
    }

    /// Adds the late effects of unanswered requests. A request takes effect at any time, or never.
    fn of_requests_without_an_answer(&mut self) {
        let engine = self.from.engine;
        for name in (0..ATTEMPTS).filter(|name| engine.creates[*name] > 0) {
            self.push("engine", "creates it late", false, |w| {
                w.engine.creates[name] -= 1;
                w.engine.create(name);
            });
        }
        for id in engine.starts.each() {
            for (does, can_run) in [("starts it late", true), ("cannot start it, late", false)] {
                self.push("engine", does, false, |w| {
                    w.engine.starts.take(id);
                    w.engine.start(id, can_run);
                });
            }
            if self.plan.settle_holds {
                self.push("engine", "drops a start", true, |w| _ = w.engine.starts.take(id));
            }
        }
        for id in engine.removals.each() {
            self.push("engine", "removes it late", false, |w| {
                w.engine.removals.take(id);
                w.engine.begin_removal(id);
            });
        }
    }

    fn of_faults(&mut self) {
        let left = self.from.left;
        if self.from.driver.is_some() && left.crashes > 0 {
            self.push("scheduler", "dies", false, World::crash);
        }
        if left.restarts > 0 {
            self.push("engine", "restarts", false, |w| {
                w.left.restarts -= 1;
                w.engine.restart();
            });
            for id in self.from.engine.starts.each() {
                self.push(
                    "engine",
                    "is killed over a start, and knows nothing of it",
                    false,
                    |w| {
                        w.left.restarts -= 1;
                        w.engine.start_behind_its_back(id);
                        w.engine.restart();
                    },
                );
            }
        }
        if left.forgets > 0 {
            self.push("engine", "forgets its log", false, |w| {
                w.left.forgets -= 1;
                w.engine.forget();
            });
        }
        let named = self.from.engine.named;
        for name in (0..ATTEMPTS).filter(|name| left.removals > 0 && named[*name].is_some()) {
            self.push("somebody", "removes the container", false, |w| {
                w.left.removals -= 1;
                w.engine.remove_by_hand(name);
            });
        }
    }

    fn of_people_and_time(&mut self) {
        let left = self.from.left;
        for event in [Event::Cancel, Event::Stop(StopCause::Request, GRACE)] {
            let Some(job) = self.book.on(self.from.disk, event).ok().filter(|_| left.requests > 0)
            else {
                continue;
            };
            self.push("somebody", "stops the job", false, |w| {
                w.left.requests -= 1;
                w.disk = job;
                w.driver.iter_mut().for_each(|driver| driver.fresh = false);
            });
        }
        if left.deadlines > 0 {
            self.push("time", "passes the start deadline", false, |w| {
                w.left.deadlines -= 1;
                w.late = true;
            });
        }
        if left.timeouts > 0 && self.from.engine.truth.starts[0] > 0 {
            self.push("time", "passes the timeout", false, |w| {
                w.left.timeouts -= 1;
                w.time_is_up = true;
                w.engine.truth.overran =
                    w.engine.named[0].is_some_and(|thing| thing.stage == Stage::Running);
            });
        }
    }

    fn push(
        &mut self,
        who: &'static str,
        does: &'static str,
        is_due: bool,
        change: impl FnOnce(&mut World),
    ) {
        let mut world = self.from;
        change(&mut world);
        world.driver = world.driver.filter(|driver| !self.is_done(driver));
        self.to.push((Move { who, does, is_due }, world));
    }

    // Effects of an answer on the world, and the driver's next position without an answer.

    fn drive(&mut self, does: &'static str, driver: Driver, change: impl FnOnce(&mut World)) {
        self.push("driver", does, true, |w| {
            w.driver = Some(driver);
            change(w);
        });
    }

    fn silence(&mut self, does: &'static str, driver: Driver, change: impl FnOnce(&mut World)) {
        if self.from.left.silences > 0 {
            self.push("driver", does, false, |w| {
                w.left.silences -= 1;
                w.driver = Some(driver);
                change(w);
            });
        }
    }

    /// Adds a request that gets no answer: the engine gives none, or our process dies before it
    /// hears one.
    fn unanswered(&mut self, call: &'static str, driver: Driver, request: impl Fn(&mut World)) {
        self.silence(call, driver, &request);
        if self.from.left.crashes > 0 {
            self.push("scheduler, which dies,", call, false, |w| {
                request(w);
                w.crash();
            });
        }
    }

    fn full_disk(&mut self, does: &'static str, driver: Driver, change: impl FnOnce(&mut World)) {
        if self.from.left.full_disks > 0 {
            self.push("driver", does, false, |w| {
                w.left.full_disks -= 1;
                w.driver = Some(driver);
                change(w);
            });
        }
    }
}

impl World {
    /// Drops the memory of our process. A finding of its fence that is not on disk is lost for
    /// good.
    fn crash(&mut self) {
        self.left.crashes -= 1;
        let fencing = self.driver.take().and_then(|driver| driver.is_fencing());
        fencing.into_iter().for_each(|id| self.engine.truth.unsaid.add(id));
    }
}

// Conversions from the model's small values to the domain's types.

fn container_id(number: Id) -> ContainerId {
    id(&number.to_string())
}

fn number(container: &ContainerId) -> Id {
    container.0.parse().expect("made by `container_id`")
}

fn observed(seen: Seen) -> Observed {
    let thing = match seen {
        Seen::Unknown => return Observed::Unknown,
        Seen::Absent => return Observed::Absent,
        Seen::Here(thing) => thing,
    };
    let phase = match thing.stage {
        Stage::Created => created(),
        Stage::Refused => super::step::tests::refused_with(128),
        Stage::Running => Phase::Running { started_at: at(11) },
        Stage::Exited(how) => {
            // Events are written at second 100, so a process that a stop ended must end after that.
            let ended_at = if how == Ended::Stopped { at(120) } else { at(20) };
            Phase::Exited {
                started_at: at(11),
                exit: Exit { code: how.code(), oom_killed: false, at: ended_at },
            }
        }
        Stage::Removing => Phase::Removing,
    };
    container(&thing.id.to_string(), phase)
}
