//! A minimal engine. It holds at most one container per name and starts a container on request,
//! even one that has run before. It removes without force only containers that don't run, and it
//! writes its own event log.
//!
//! Requests without an answer are kept apart: they take effect later, or never. [`Truth`] records
//! the true events; only the checked properties read it.

use super::{ATTEMPTS, Plan, Rule};
use crate::domain::container::Evidence;

/// The number of a container, in order of creation. Never reused, like an engine's id.
pub(super) type Id = u8;

/// The containers of one job's attempts, and the pending requests for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Engine {
    /// True if the engine has the image.
    pub(super) image: bool,
    /// The container under the name of each attempt.
    pub(super) named: [Option<Thing>; ATTEMPTS],
    pub(super) made: u8,
    /// Pending requests whose caller got no answer, or is gone.
    pub(super) creates: [u8; ATTEMPTS],
    pub(super) starts: Ids,
    pub(super) removals: Ids,
    /// Containers with a start in the event log.
    log: Ids,
    /// Containers with a removal in the event log.
    log_of_removals: Ids,
    /// Containers for which the event log has lost a part since their intent.
    pub(super) forgot: Ids,
    /// Containers that the engine already had before its last restart.
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
    /// Created, with a failed start recorded on it.
    Refused,
    Running,
    Exited(Ended),
    Removing,
}

/// The way in which a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ended {
    Well,
    Badly,
    /// Ended by the engine's restart.
    Killed,
    /// Ended by a request to stop.
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

/// The true events, which no process of ours can see directly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Truth {
    /// The number of process starts of each attempt.
    pub(super) starts: [u8; ATTEMPTS],
    /// The end of the last process of each attempt.
    pub(super) ended: [Option<Ended>; ATTEMPTS],
    /// Containers with a started process.
    pub(super) began: Ids,
    /// The container in the last intent of each attempt.
    pub(super) meant: [Option<Id>; ATTEMPTS],
    /// Containers that any intent names.
    pub(super) intended: Ids,
    /// Containers removed by somebody else.
    pub(super) by_hand: Ids,
    /// Containers removed by us, before or after the end.
    pub(super) by_us: Ids,
    /// Containers removed by a fence whose process died before it wrote down its finding.
    pub(super) unsaid: Ids,
    /// True if the first attempt still ran when its time was up.
    pub(super) overran: bool,
    /// True if our removal ended a process that nobody had asked to stop.
    pub(super) murder: bool,
    /// True if we removed a container that had the only copy of its output.
    pub(super) output_lost: bool,
}

/// A set of containers, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ids(u16);

impl Ids {
    pub(super) fn has(self, id: Id) -> bool {
        self.0 & (1 << id) != 0
    }

    pub(super) fn add(&mut self, id: Id) {
        self.0 |= 1 << id;
    }

    /// Removes an id from the set, and returns whether it was present.
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
    /// The container runs, has run already, or does not exist. An inspection decides.
    LookAtIt,
    Refused,
}

/// The answer to `remove`.
pub(super) enum Removal {
    Done,
    Conflict,
    /// Another removal is in progress.
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

    /// Starts the process, or fails to. Nothing fences this call: an exited container runs again.
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

    /// Starts a process that the engine forgets when it restarts. To the restarted engine the
    /// container was never started.
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

    /// Removes a container that does not run. With the rule `NeverForce` off, removes a running
    /// one, too.
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

    /// Begins a removal whose caller is gone: the container is seen in the removing phase.
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

    /// Restarts the engine: kills running processes, drops pending requests, and begins a new log.
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

    /// Empties the event log.
    pub(super) fn forget(&mut self) {
        (self.log, self.log_of_removals) = Default::default();
        self.truth.intended.each().for_each(|id| self.forgot.add(id));
    }

    /// Answers whether the event log has a start of a removed container. The log covers the time
    /// from the intent on, unless it has lost a part of that time. With [`Plan::as_docker`] it
    /// covers the time from the last inspection on, provided that it also has the removal. A log
    /// without the start proves nothing if the engine did not create the container itself.
    pub(super) fn testimony_of_a_start(&self, id: Id, plan: &Plan) -> Evidence {
        let is_its_own = !self.inherited.has(id) || plan.without == Some(Rule::AskWhoCreatedIt);
        let covers =
            is_its_own && !self.forgot.has(id) && (!plan.as_docker || self.log_of_removals.has(id));
        match (self.log.has(id), covers) {
            (true, _) => Evidence::Seen,
            (false, true) => Evidence::NotSeen,
            (false, false) => Evidence::Inconclusive,
        }
    }

    /// Returns the index of the name under which this container exists now.
    fn name_of(&self, id: Id) -> Option<usize> {
        self.named.iter().position(|thing| thing.is_some_and(|thing| thing.id == id))
    }
}
