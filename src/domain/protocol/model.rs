//! The promise, checked in every order in which things can happen.
//!
//! [`step`](super::step) and `Job::on` are the real ones. Around them is a world as small as can be: an [`engine`], a
//! [`driver`] that does what `scheduler/driver` does, a disk with one job, people and time. Every state that this world
//! can get into is visited, breadth first, and nothing is left to chance: between any two moves of the driver a process
//! may end, a request whose caller got no answer may take effect, somebody may stop the job or remove its container,
//! the engine may restart, the disk may refuse, and our own process may die and lose all that it holds.
//!
//! What keeps it finite: each kind of fault happens a few times at most ([`Faults`]), all instants are the same one, and
//! instead of its version a driver has the mark that nobody else has written the job ([`driver::Driver::fresh`]).
//! What is not in it: other jobs and the order in which they are claimed, an engine of another id at the same address,
//! and anybody who starts our containers by hand.
//!
//! It is harsher than the world in one thing: a start whose caller is gone may take effect at any time, however late.
//! Only where [`Plan::settle_holds`] is the fence's wait believed in. It is kinder in another: its engine is what the seam
//! promises, unless [`Plan::as_docker`].
//!
//! That a search which finds nothing has looked is shown by switching off the protocol's rules, one by one.

use super::{at, container, created, id};
use crate::domain::container::{Exit, Phase};
use crate::domain::id::ContainerId;
use crate::domain::job::{Map, StopCause};
use crate::domain::protocol::Sight;
use crate::domain::transition::Event;
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

/// The grace of every stop. Time stands still in the model, so it makes no difference.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);
/// The most attempts that a job in the model has.
const ATTEMPTS: usize = 2;

/// What is tried.
#[derive(Clone, Copy)]
struct Plan {
    /// The job's spec.
    spec: &'static str,
    /// Whether the image is there from the start.
    image: bool,
    /// What may go wrong, and how often.
    faults: Faults,
    /// Whether a start has taken effect or never will once its intent has settled.
    settle_holds: bool,
    /// Whether the engine's edge is as `engine/docker` has it, and not as the seam says: a log is taken to cover the time
    /// where it has the removal, and a removal counts as done while another one is at it.
    as_docker: bool,
    /// The rule that is switched off.
    without: Option<Rule>,
    /// Whether `unknown` is only allowed where nobody ever knew better.
    strict: bool,
}

/// How often things may still go wrong on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Faults {
    /// Our process dies.
    crashes: u8,
    /// The engine gives no answer.
    silences: u8,
    /// The engine restarts, which ends what runs there and empties its log.
    restarts: u8,
    /// Only the log is emptied: it holds no more than the last events.
    forgets: u8,
    /// Somebody removes a container of ours, by force.
    removals: u8,
    /// The disk says that a write has failed.
    full_disks: u8,
    /// Somebody stops or cancels the job.
    requests: u8,
    /// The job's start deadline passes.
    deadlines: u8,
    /// The time passes that its container may run.
    timeouts: u8,
}

/// A rule of the protocol or of its driver, to be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The intent is on disk before `start` is called.
    IntendBeforeStarting,
    /// A container that may have been asked to start is fenced, not started.
    FenceBeforeStartingAgain,
    /// The fence removes the container.
    RemoveInTheFence,
    /// The fence asks the log after the removal, not before.
    RemoveBeforeAsking,
    /// The fence removes without force.
    NeverForce,
    /// No answer says nothing.
    NoAnswerIsNoFailure,
    /// The hand is marked before `start` is called.
    MarkBeforeCalling,
    /// Whoever wrote the intent knows that `start` was not called yet.
    KnowWhatWasNotCalled,
    /// A container is the one that is meant when it has its id, not when it has its name.
    CompareIds,
    /// The fence believes no engine but the one that created the container.
    AskWhoCreatedIt,
    /// Output is kept before its container is removed.
    KeepOutputFirst,
}

/// All that there is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The job as it is stored.
    disk: JobNo,
    /// Who drives it, if anybody does.
    driver: Option<Driver>,
    /// Whether the output of each attempt is on disk.
    kept: [bool; ATTEMPTS],
    engine: Engine,
    left: Faults,
    late: bool,
    time_is_up: bool,
    /// The job has refused what the protocol wanted to record.
    refused: bool,
}

/// What happens between two states of the world.
#[derive(Clone, Copy, Debug)]
struct Move {
    who: &'static str,
    does: &'static str,
    /// Whether it happens sooner or later where it can: steps, answers and ends do; faults, requests and late effects of
    /// requests without an answer need not.
    is_due: bool,
}

/// All moves that are possible in a state.
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

    /// The dispatcher, and the sweep that finds what nobody drives. A job's driver keeps both away.
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

    /// Processes end, and removals come to an end.
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

    /// They take effect at any time, or never.
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

    // What an answer may do to the world, and what becomes of the driver when there is none.

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

    /// The request is sent, and no answer comes: none is given, or nobody is left to hear it.
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
    /// All that the process held is gone. What its fence had found, and not yet written down, nobody knows any more.
    fn crash(&mut self) {
        self.left.crashes -= 1;
        let fencing = self.driver.take().and_then(|driver| driver.is_fencing());
        fencing.into_iter().for_each(|id| self.engine.truth.unsaid.add(id));
    }
}

// The model's small values, as the domain has them.

fn container_id(number: Id) -> ContainerId {
    id(&number.to_string())
}

fn number(container: &ContainerId) -> Id {
    container.0.parse().expect("made by `container_id`")
}

fn sight(seen: Seen) -> Sight {
    let thing = match seen {
        Seen::Unseen => return Sight::Unseen,
        Seen::Absent => return Sight::Absent,
        Seen::Here(thing) => thing,
    };
    let phase = match thing.stage {
        Stage::Created => created(),
        Stage::Refused => super::refused_with(128),
        Stage::Running => Phase::Running { started_at: at(11) },
        Stage::Exited(how) => {
            // Events are written down at second 100: what a stop has ended, ended after that.
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
