//! Outages of the engine, and interference of others with its containers, unknown to the scheduler.
//! Tests call these functions, and also the queries at the end.

use std::time::Duration;

use rand::RngExt;

use super::engine::SimulatedEngine;
use super::record::Cause;
use super::record::{RecordedEvent, Run, runs};
use super::state::EngineState;
use crate::domain::names::id::{ContainerId, EngineId, JobId};
use crate::engine::{EngineError, Launch};

/// The effect of an engine's stop on its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartEffect {
    /// The containers keep running (live-restore).
    Kept,
    /// The engine ends them with 137, and then itself.
    Ended,
    /// The containers die with the engine. When the engine is back, it finds them dead and dates
    /// them then, with code 255.
    Lost,
}

impl SimulatedEngine {
    /// Restarts the engine at once. With `kill` every process ends, in one of the two ways, chosen
    /// at random. Without `kill` all keep running (live-restore).
    pub fn restart(&self, kill: bool) {
        let ended = kill && self.look().0.rng.random_bool(0.5);
        self.go_down(match (kill, ended) {
            (false, _) => RestartEffect::Kept,
            (true, true) => RestartEffect::Ended,
            (true, false) => RestartEffect::Lost,
        });
        self.come_up();
    }

    /// Stops the engine: calls get no answer until [`come_up`](Self::come_up). Each call that was
    /// sent and not yet performed is performed now or never.
    pub fn go_down(&self, effect: RestartEffect) {
        let (mut inner, now) = self.look();
        inner.down = true;
        inner.hang_up();
        let current = inner.current;
        let (on_its_way, others) =
            std::mem::take(&mut inner.sent).into_iter().partition(|(_, sent)| sent.is_to(current));
        inner.sent = others;
        for (_, sent) in on_its_way {
            if inner.rng.random_bool(0.5) {
                inner.perform(sent, now);
            }
        }
        match effect {
            RestartEffect::Kept => {}
            RestartEffect::Ended => inner.state().end_all(137, now, false),
            RestartEffect::Lost => inner.state().end_all(255, now, true),
        }
        inner.state().wake_all();
        drop(inner);
        self.tell();
    }

    /// Starts the engine again with an empty event log. A frozen engine is no longer frozen.
    pub fn come_up(&self) {
        let (mut inner, now) = self.look();
        inner.state().come_back(now);
        (inner.down, inner.paused) = (false, false);
        drop(inner);
        self.tell();
    }

    /// Cuts or restores the connection. Calls that were sent before are still performed.
    pub fn cut(&self, cut: bool) {
        let (mut inner, _) = self.look();
        inner.cut = cut;
        inner.hang_up();
        inner.state().wake_all();
        drop(inner);
        self.tell();
    }

    /// Freezes the engine: calls are accepted and not answered until [`resume`](Self::resume).
    /// Processes keep running.
    pub fn pause(&self) {
        self.look().0.paused = true;
        self.tell();
    }

    /// Ends the freeze and performs the calls that were sent meanwhile, also for callers that have
    /// gone.
    pub fn resume(&self) {
        let (mut inner, now) = self.look();
        inner.paused = false;
        while let Some(due) = inner.sent.first_entry().filter(|due| due.key().0 <= now.at) {
            let sent = due.remove();
            inner.perform(sent, now);
        }
        inner.state().wake_all();
        drop(inner);
        self.tell();
    }

    /// Lets another engine without containers answer at this address. The previous engine keeps
    /// running out of reach.
    pub fn swap(&self) {
        let (mut inner, _) = self.look();
        let state =
            EngineState::new(format!("{}/{}", self.seed, inner.states.len()), self.keep_record);
        inner.states.push(state);
        let last = inner.states.len() - 1;
        drop(inner);
        self.connect_to(last);
    }

    /// Lets the first engine answer again.
    pub fn swap_back(&self) {
        self.connect_to(0);
    }

    fn connect_to(&self, state: usize) {
        let (mut inner, _) = self.look();
        inner.hang_up();
        inner.state().wake_all();
        inner.current = state;
        drop(inner);
        self.tell();
    }

    /// Removes all containers that do not run, as another user would. Returns their number.
    pub fn prune(&self) -> usize {
        let (mut inner, now) = self.look();
        let state = inner.state();
        let idle: Vec<_> = state.list().into_iter().filter(|listed| !listed.running).collect();
        let pruned = idle
            .iter()
            .filter(|listed| state.remove(&listed.id, now, Cause::SomebodyElse).is_ok())
            .count();
        drop(inner);
        self.tell();
        pruned
    }

    /// Removes a container by force, as another user would.
    pub fn remove_behind_back(&self, container: &ContainerId) {
        let (mut inner, now) = self.look();
        inner.state().kill(container, now, Cause::SomebodyElse);
        let _does_not_run = inner.state().remove(container, now, Cause::SomebodyElse);
        drop(inner);
        self.tell();
    }

    /// Kills a container's process, as another user would.
    pub fn kill_behind_back(&self, container: &ContainerId) {
        let (mut inner, now) = self.look();
        inner.state().kill(container, now, Cause::SomebodyElse);
        drop(inner);
        self.tell();
    }

    /// Starts a container, as another user would.
    ///
    /// # Errors
    /// The errors of [`Engine::start`](crate::engine::Engine::start).
    pub fn start_behind_back(&self, container: &ContainerId) -> Result<(), EngineError> {
        let (mut inner, now) = self.look();
        let started = inner.state().start(container, now, Cause::SomebodyElse);
        drop(inner);
        self.tell();
        started
    }

    /// Creates a container, as another user would, with the labels of this launch or with none.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub fn create_behind_back(
        &self,
        launch: &Launch,
        labelled: bool,
    ) -> Result<ContainerId, EngineError> {
        let (mut inner, now) = self.look();
        let created = inner.state().create(
            launch,
            labelled.then_some(launch.owner),
            now,
            Cause::SomebodyElse,
        );
        drop(inner);
        self.tell();
        created
    }

    /// Renames a container, as another user would.
    ///
    /// # Errors
    /// `Conflict` when the name is taken, `NotFound`.
    pub fn rename(&self, container: &ContainerId, name: &str) -> Result<(), EngineError> {
        self.look().0.state().rename(container, name)
    }

    /// Returns every event of every container at this address, in order, also of removed
    /// containers. Empty where the settings do not keep the record.
    pub fn recorded_events(&self) -> Vec<RecordedEvent> {
        let (inner, _) = self.look();
        let mut all: Vec<_> =
            inner.states.iter().flat_map(|state| state.record.recorded_events()).collect();
        // The events of each engine are in order, and the sort is stable.
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, evidence)| evidence.clone()).collect()
    }

    /// Returns the number of events, so tests know when to read them again.
    pub fn happened(&self) -> usize {
        self.look().0.states.iter().map(|state| state.record.recorded_events().count()).sum()
    }

    /// Returns every run of every process, ordered by start.
    pub fn runs(&self) -> Vec<Run> {
        runs(&self.recorded_events())
    }

    /// Returns the names of the existing containers.
    pub fn containers(&self) -> Vec<String> {
        self.look().0.state().list().into_iter().map(|listed| listed.name).collect()
    }

    /// Returns the existing container of this job's last attempt.
    pub fn container_of(&self, job: JobId) -> Option<ContainerId> {
        self.look().0.state().container_of(job)
    }

    /// Returns the number of calls that were sent and not yet performed; 0 when the engine is idle.
    pub fn on_their_way(&self) -> usize {
        self.look().0.sent.len()
    }

    /// Returns the time until all calls that were sent are performed.
    pub fn quiet_in(&self) -> Duration {
        let (inner, now) = self.look();
        let last = inner.sent.last_key_value().map_or(now.at, |((at, _), _)| *at);
        last.saturating_duration_since(now.at)
    }

    pub(super) fn id_of(generation: usize) -> EngineId {
        EngineId(format!("simulated-{}", generation + 1))
    }
}
