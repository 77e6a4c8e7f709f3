//! What happens to an engine, and what others do to it, behind the scheduler's back. For tests, which also ask here what
//! there is and what there was.

use std::time::Duration;

use rand::RngExt;

use super::SimulatedEngine;
use super::record::Who;
use super::record::{Evidence, Run, runs};
use super::world::World;
use crate::domain::id::{ContainerId, EngineId, JobId};
use crate::engine::{EngineError, Launch};

/// What becomes of the containers when an engine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toll {
    /// They run on (live-restore).
    Kept,
    /// The engine ends them, with 137, and then itself.
    Ended,
    /// They die with it. When it is back it finds them dead: 255, and dated then.
    Lost,
}

impl SimulatedEngine {
    /// Restarts at once; what runs is killed, in one way or the other, or (with live-restore) goes on.
    pub fn restart(&self, kill: bool) {
        let ended = kill && self.look().0.dice.random_bool(0.5);
        self.go_down(match (kill, ended) {
            (false, _) => Toll::Kept,
            (true, true) => Toll::Ended,
            (true, false) => Toll::Lost,
        });
        self.come_up();
    }

    /// Nothing answers until [`come_up`](Self::come_up). What was sent and not done yet was done just before, or never.
    pub fn go_down(&self, toll: Toll) {
        let (mut inner, now) = self.look();
        inner.down = true;
        inner.hang_up();
        let current = inner.current;
        let (on_its_way, others) =
            std::mem::take(&mut inner.sent).into_iter().partition(|(_, sent)| sent.is_to(current));
        inner.sent = others;
        for (_, sent) in on_its_way {
            if inner.dice.random_bool(0.5) {
                inner.perform(sent, now);
            }
        }
        match toll {
            Toll::Kept => {}
            Toll::Ended => inner.world().end_all(137, now, false),
            Toll::Lost => inner.world().end_all(255, now, true),
        }
        inner.world().wake_all();
        drop(inner);
        self.tell();
    }

    /// Answers again, with an empty log. One that was frozen is not any more.
    pub fn come_up(&self) {
        let (mut inner, now) = self.look();
        inner.world().come_back(now);
        (inner.down, inner.paused) = (false, false);
        drop(inner);
        self.tell();
    }

    /// Cuts the connection, or mends it. What was sent before is done all the same.
    pub fn cut(&self, cut: bool) {
        let (mut inner, _) = self.look();
        inner.cut = cut;
        inner.hang_up();
        inner.world().wake_all();
        drop(inner);
        self.tell();
    }

    /// Freezes the engine: calls are taken and not answered, until [`resume`](Self::resume). What runs goes on.
    pub fn pause(&self) {
        self.look().0.paused = true;
        self.tell();
    }

    /// Thaws it: what was sent in between is done now, also for callers who are gone.
    pub fn resume(&self) {
        let (mut inner, now) = self.look();
        inner.paused = false;
        while let Some(due) = inner.sent.first_entry().filter(|due| due.key().0 <= now.at) {
            let sent = due.remove();
            inner.perform(sent, now);
        }
        inner.world().wake_all();
        drop(inner);
        self.tell();
    }

    /// Another engine answers at this address, without any container. The one before goes on out of reach.
    pub fn swap(&self) {
        let (mut inner, _) = self.look();
        let world = World::new(format!("{}/{}", self.seed, inner.worlds.len()), self.keep_evidence);
        inner.worlds.push(world);
        let last = inner.worlds.len() - 1;
        drop(inner);
        self.connect_to(last);
    }

    /// The first engine answers again.
    pub fn swap_back(&self) {
        self.connect_to(0);
    }

    fn connect_to(&self, world: usize) {
        let (mut inner, _) = self.look();
        inner.hang_up();
        inner.world().wake_all();
        inner.current = world;
        drop(inner);
        self.tell();
    }

    /// Somebody else removes all containers that do not run. Says how many.
    pub fn prune(&self) -> usize {
        let (mut inner, now) = self.look();
        let world = inner.world();
        let idle: Vec<_> = world.list().into_iter().filter(|listed| !listed.running).collect();
        let pruned = idle
            .iter()
            .filter(|listed| world.remove(&listed.id, now, Who::SomebodyElse).is_ok())
            .count();
        drop(inner);
        self.tell();
        pruned
    }

    /// Somebody else removes a container, by force.
    pub fn remove_behind_back(&self, container: &ContainerId) {
        let (mut inner, now) = self.look();
        inner.world().kill(container, now, Who::SomebodyElse);
        let _does_not_run = inner.world().remove(container, now, Who::SomebodyElse);
        drop(inner);
        self.tell();
    }

    /// Somebody else kills a container's process.
    pub fn kill_behind_back(&self, container: &ContainerId) {
        let (mut inner, now) = self.look();
        inner.world().kill(container, now, Who::SomebodyElse);
        drop(inner);
        self.tell();
    }

    /// Somebody else starts a container.
    ///
    /// # Errors
    /// As of [`Engine::start`](crate::engine::Engine::start).
    pub fn start_behind_back(&self, container: &ContainerId) -> Result<(), EngineError> {
        let (mut inner, now) = self.look();
        let started = inner.world().start(container, now, Who::SomebodyElse);
        drop(inner);
        self.tell();
        started
    }

    /// Somebody else creates a container, with the labels of this launch or with none.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub fn create_behind_back(
        &self,
        launch: &Launch,
        labelled: bool,
    ) -> Result<ContainerId, EngineError> {
        let (mut inner, now) = self.look();
        let created =
            inner.world().create(launch, labelled.then_some(launch.owner), now, Who::SomebodyElse);
        drop(inner);
        self.tell();
        created
    }

    /// Somebody else renames a container.
    ///
    /// # Errors
    /// `Conflict` when the name is taken, `NotFound`.
    pub fn rename(&self, container: &ContainerId, name: &str) -> Result<(), EngineError> {
        self.look().0.world().rename(container, name)
    }

    /// Everything that ever happened to a container at this address, in order, whether or not it is still there.
    /// Empty where the settings do not keep it.
    pub fn evidence(&self) -> Vec<Evidence> {
        let (inner, _) = self.look();
        let mut all: Vec<_> =
            inner.worlds.iter().flat_map(|world| world.record.evidence()).collect();
        // Each engine's own are in order; the sort is stable.
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, evidence)| evidence.clone()).collect()
    }

    /// How many lines of evidence there are: whether to read them again.
    pub fn happened(&self) -> usize {
        self.look().0.worlds.iter().map(|world| world.record.evidence().count()).sum()
    }

    /// Every run of a process that there ever was, in the order in which they began.
    pub fn runs(&self) -> Vec<Run> {
        runs(&self.evidence())
    }

    /// The names of the containers that are there.
    pub fn containers(&self) -> Vec<String> {
        self.look().0.world().list().into_iter().map(|listed| listed.name).collect()
    }

    /// The container of this job's last attempt that is there.
    pub fn container_of(&self, job: JobId) -> Option<ContainerId> {
        self.look().0.world().container_of(job)
    }

    /// How many calls are on their way and not done yet. None, when all is quiet.
    pub fn on_their_way(&self) -> usize {
        self.look().0.sent.len()
    }

    /// How long until all that is on its way is done.
    pub fn quiet_in(&self) -> Duration {
        let (inner, now) = self.look();
        let last = inner.sent.last_key_value().map_or(now.at, |((at, _), _)| *at);
        last.saturating_duration_since(now.at)
    }

    pub(super) fn id_of(generation: usize) -> EngineId {
        EngineId(format!("simulated-{}", generation + 1))
    }
}
