//! An engine as small as can be: it holds at most one container per name, starts what it is told to start (again, if it
//! has run before), removes without force what does not run, and writes a log of its own.
//!
//! Requests without an answer are kept apart: they take effect later, or never. What truly happened is kept in
//! [`Truth`], which only the properties read.

use super::{ATTEMPTS, Plan, Rule};
use crate::domain::container::Testimony;

/// The number of a container, in the order in which they are made. Never used again, like an engine's id.
pub(super) type Id = u8;

/// The containers of one job's attempts, and what was asked of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Engine {
    /// Whether the image is there.
    pub(super) image: bool,
    /// What is there under the name of each attempt.
    pub(super) named: [Option<Thing>; ATTEMPTS],
    pub(super) made: u8,
    /// Requests whose caller got no answer, or is gone.
    pub(super) creates: [u8; ATTEMPTS],
    pub(super) starts: Ids,
    pub(super) removals: Ids,
    /// Containers of which the log has a start.
    log: Ids,
    /// Containers of which the log has the removal.
    log_of_removals: Ids,
    /// Containers of which the log has lost a part since their intent.
    pub(super) forgot: Ids,
    /// Containers that the engine had before it restarted.
    pub(super) inherited: Ids,
    pub(super) truth: Truth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Thing {
    pub(super) id: Id,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Created,
    /// Created, and a failed start is written on it.
    Refused,
    Running,
    Exited(Ended),
    Removing,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ended {
    Well,
    Badly,
    /// By the engine's restart.
    Killed,
    /// Because it was asked to.
    Stopped,
}

impl Ended {
    pub(super) fn code(self) -> i32 {
        match self {
            Self::Well => 0,
            Self::Badly => 1,
            Self::Killed => 137,
            Self::Stopped => 143,
        }
    }
}

/// What truly happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Truth {
    /// How often a process of this attempt was started.
    pub(super) starts: [u8; ATTEMPTS],
    /// How the last one ended.
    pub(super) ended: [Option<Ended>; ATTEMPTS],
    /// Containers whose process was started.
    pub(super) began: Ids,
    /// The container that this attempt's last intent names.
    pub(super) meant: [Option<Id>; ATTEMPTS],
    /// Containers that intents name.
    pub(super) intended: Ids,
    /// Removed by somebody else.
    pub(super) by_hand: Ids,
    /// Removed by us, before or after the end.
    pub(super) by_us: Ids,
    /// Removed by a fence whose process died before it had written down what it found.
    pub(super) unsaid: Ids,
    /// Whether the first attempt ran when its time was up.
    pub(super) overran: bool,
    /// A process that nobody asked to stop was ended by our removal.
    pub(super) murder: bool,
    /// A container was removed by us that had the only copy of its output.
    pub(super) output_lost: bool,
}

/// A set of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ids(u16);

impl Ids {
    pub(super) fn has(self, id: Id) -> bool {
        self.0 & (1 << id) != 0
    }

    pub(super) fn add(&mut self, id: Id) {
        self.0 |= 1 << id;
    }

    /// Takes one out, if it is in.
    pub(super) fn take(&mut self, id: Id) -> bool {
        let had = self.has(id);
        self.0 &= !(1 << id);
        had
    }

    pub(super) fn each(self) -> impl Iterator<Item = Id> {
        (0..16).filter(move |id| self.has(*id))
    }
}

/// The answer to `create`.
pub(super) enum Creation {
    Done,
    Taken,
    NoImage,
}

/// The answer to `start`.
pub(super) enum Start {
    /// It runs, or ran already, or there is nothing to start: what an inspection shows decides.
    LookAtIt,
    Refused,
}

/// The answer to `remove`.
pub(super) enum Removal {
    Done,
    Conflict,
    /// Another one is at it.
    UnderWay,
}

impl Engine {
    pub(super) fn with_image(image: bool) -> Self {
        Self { image, ..Self::default() }
    }

    pub(super) fn create(&mut self, name: usize) -> Creation {
        if self.named[name].is_some() {
            return Creation::Taken;
        }
        if !self.image {
            return Creation::NoImage;
        }
        self.made += 1;
        self.named[name] = Some(Thing { id: self.made, stage: Stage::Created });
        Creation::Done
    }

    /// Starts the process, or finds that it cannot be started. Nothing fences this: one that has exited runs again.
    pub(super) fn start(&mut self, id: Id, can_run: bool) -> Start {
        let Some(name) = self.name_of(id) else { return Start::LookAtIt };
        match self.named[name].map(|thing| thing.stage) {
            Some(Stage::Created | Stage::Refused | Stage::Exited(_)) if can_run => {
                self.named[name] = Some(Thing { id, stage: Stage::Running });
                self.log.add(id);
                self.truth.began.add(id);
                self.truth.starts[name] += 1;
                Start::LookAtIt
            }
            Some(Stage::Created) => {
                self.named[name] = Some(Thing { id, stage: Stage::Refused });
                Start::Refused
            }
            Some(Stage::Refused | Stage::Exited(_) | Stage::Running | Stage::Removing) | None => {
                Start::LookAtIt
            }
        }
    }

    /// A process begins of which the engine's next life will know nothing: to it the container was never started.
    pub(super) fn start_behind_its_back(&mut self, id: Id) {
        let Some(name) = self.name_of(id) else { return };
        if self.named[name].is_some_and(|thing| thing.stage == Stage::Created) {
            self.truth.began.add(id);
            self.truth.starts[name] += 1;
        }
    }

    pub(super) fn stop(&mut self, id: Id) {
        if let Some(name) = self.name_of(id) {
            self.end(name, Ended::Stopped);
        }
    }

    /// Removes what does not run; with the rule switched off, also what does.
    pub(super) fn remove(&mut self, id: Id, plan: &Plan) -> Removal {
        let Some(name) = self.name_of(id) else { return Removal::Done };
        match self.named[name].map(|thing| thing.stage) {
            Some(Stage::Running) if plan.without == Some(Rule::NeverForce) => {
                self.truth.murder = true
            }
            Some(Stage::Running) => return Removal::Conflict,
            Some(Stage::Removing) if plan.as_docker => return Removal::UnderWay,
            Some(Stage::Created | Stage::Refused | Stage::Exited(_) | Stage::Removing) | None => {}
        }
        self.truth.by_us.add(id);
        self.finish_removal(name);
        Removal::Done
    }

    /// A removal whose caller is gone begins: the container can be seen going.
    pub(super) fn begin_removal(&mut self, id: Id) {
        let Some(name) = self.name_of(id) else { return };
        if self.named[name].is_some_and(|thing| thing.stage != Stage::Running) {
            self.named[name] = Some(Thing { id, stage: Stage::Removing });
            self.truth.by_us.add(id);
        }
    }

    pub(super) fn remove_by_hand(&mut self, name: usize) {
        self.named[name].iter().for_each(|thing| self.truth.by_hand.add(thing.id));
        self.finish_removal(name);
    }

    pub(super) fn finish_removal(&mut self, name: usize) {
        self.named[name].take().iter().for_each(|thing| self.log_of_removals.add(thing.id));
    }

    pub(super) fn end(&mut self, name: usize, how: Ended) {
        if let Some(Thing { id, stage: Stage::Running }) = self.named[name] {
            self.named[name] = Some(Thing { id, stage: Stage::Exited(how) });
            self.truth.ended[name] = Some(how);
        }
    }

    /// Kills what runs, drops what was asked for, and begins a new log.
    pub(super) fn restart(&mut self) {
        for name in 0..ATTEMPTS {
            self.end(name, Ended::Killed);
            if self.named[name].is_some_and(|thing| thing.stage == Stage::Removing) {
                self.named[name] = None;
            }
        }
        (self.creates, self.starts, self.removals) = Default::default();
        self.named.iter().flatten().for_each(|thing| self.inherited.add(thing.id));
        self.forget();
    }

    /// The log loses all it has.
    pub(super) fn forget(&mut self) {
        (self.log, self.log_of_removals) = Default::default();
        self.truth.intended.each().for_each(|id| self.forgot.add(id));
    }

    /// What the log says of a start of a container that is gone. It covers the time from the intent on, unless it has
    /// lost a part of that; or, as Docker is asked, from the last look on, if it has the removal, too. It is that of the
    /// engine which was asked to start it, or it proves nothing.
    pub(super) fn testimony_of_a_start(&self, id: Id, plan: &Plan) -> Testimony {
        let is_its_own = !self.inherited.has(id) || plan.without == Some(Rule::AskWhoCreatedIt);
        let covers =
            is_its_own && !self.forgot.has(id) && (!plan.as_docker || self.log_of_removals.has(id));
        match (self.log.has(id), covers) {
            (true, _) => Testimony::Seen,
            (false, true) => Testimony::NotSeen,
            (false, false) => Testimony::CannotTell,
        }
    }

    /// What stands under a name, by the id that it has there.
    fn name_of(&self, id: Id) -> Option<usize> {
        self.named.iter().position(|thing| thing.is_some_and(|thing| thing.id == id))
    }
}
