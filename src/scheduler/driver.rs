//! A driver takes one job through the start protocol, from its claim until the end of its attempt
//! is on disk.
//!
//! A driver asks [`protocol::step`](crate::domain::protocol::step) for the next step, does that one
//! step, and asks again. Each transition is on disk before the next step is taken.
//!
//! A driver holds the job as last read, the container as last seen, and the driver memory. All
//! three can be rebuilt: a driver that takes over a job after a crash starts with nothing and takes
//! the same steps.
//!
//! After the attempt the driver hands over the remains, which `clear` removes in parallel with the
//! job's next attempt.
//!
//! A driver never gives up: it waits for an engine that does not answer and for a disk that refuses
//! writes. Only the job's own rules (start deadline, timeout, a stop) end it.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::clear::Leftover;
use super::turns::Turn;
use super::{Backoff, Health, Seat, Shared};
use crate::domain::id::{ContainerId, JobId, Timestamp};
use crate::domain::job::{Job, Reason, State};
use crate::domain::protocol::{Hand, Sight, Step, step};
use crate::domain::remains::Remains;
use crate::domain::transition::{Event, Failure};
use crate::engine::EngineError;
use crate::store::StoreError;

mod fence;
mod steps;

pub(super) use steps::LOG_MARGIN;

/// Drives the job until it is over, waits for its next attempt, or `stop` is cancelled. Returns the
/// remains of the attempt.
pub(super) async fn run(
    shared: Arc<Shared>,
    id: JobId,
    claimed: Option<Job>,
    seat: Arc<Seat>,
    stop: CancellationToken,
) -> Option<Leftover> {
    // A fresh claim proves that no container exists yet, unless one was staged by this process or
    // by an earlier one. The first sweep finds the containers of earlier processes. If the
    // assumption were wrong, `create` would conflict.
    let made = shared.stage.take(id).await;
    let is_fresh = claimed.is_some() && made.is_none() && shared.is_swept();
    let sight = if is_fresh { Sight::Absent } else { Sight::Unseen };
    if claimed.is_some() {
        seat.alive.is_not_started();
    }
    let job = match claimed {
        Some(job) => Some(job),
        None => unless_stopped(&stop, read(&shared, id)).await,
    };
    let job = job?;
    let unheard_since = shared.clock.now();
    let driver = Driver {
        shared,
        job,
        sight,
        made,
        hand: Hand::default(),
        unheard_since,
        stop_was_called: false,
        witness: None,
        turn: None,
        seat,
        stop,
    };
    driver.run().await
}

/// Reads the stored job. A failing store is asked again, with a growing pause.
async fn read(shared: &Shared, id: JobId) -> Option<Job> {
    let mut backoff = Backoff::new();
    loop {
        match shared.store.get(id).await {
            Ok(job) => return job,
            Err(StoreError::Closed) => return None,
            Err(failure) => error!(job = %id, error = %failure, "cannot be read; trying again"),
        }
        backoff.pause().await;
    }
}

/// Returns the job that was read, or `None` if the server stops first.
async fn unless_stopped(
    stop: &CancellationToken,
    reading: impl Future<Output = Option<Job>>,
) -> Option<Job> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        job = reading => job,
    }
}

struct Driver {
    shared: Arc<Shared>,
    job: Job,
    sight: Sight,
    /// The container created for this attempt; `None` if this process knows of none.
    made: Option<ContainerId>,
    hand: Hand,
    /// The last time at which a `start` of this job may have been in flight. Initially the start of
    /// this driver, because an earlier process may have called `start` until then.
    unheard_since: Timestamp,
    /// True once this process has called `stop` for the current attempt, which it saw running.
    stop_was_called: bool,
    witness: Option<fence::Witness>,
    /// The permit for a create or start in flight.
    turn: Option<Turn>,
    seat: Arc<Seat>,
    stop: CancellationToken,
}

/// The reason a step was not done.
enum Setback {
    /// The engine or the disk failed: pause, inspect again, go on.
    Again(String),
    /// Something else changed the job: read it, go on.
    Reread,
    Stop,
}

impl From<EngineError> for Setback {
    fn from(error: EngineError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Outdated => Self::Reread,
            StoreError::Closed => Self::Stop,
            StoreError::Full
            | StoreError::Gone(_)
            | StoreError::Failed(_)
            | StoreError::Damaged(_) => Self::Again(error.to_string()),
        }
    }
}

impl Driver {
    async fn run(mut self) -> Option<Leftover> {
        let mut backoff = Backoff::new();
        while !self.stop.is_cancelled() {
            let next = self.next_step();
            if next == Step::Rest {
                return self.leaves();
            }
            debug!(job = %self.job.id, step = ?next, "next step");
            let taken = self.take(next).await;
            if taken.is_err() {
                // Releases the permit: the driver waits now, and other jobs can use it.
                self.turn = None;
            }
            match taken {
                Ok(()) => backoff = Backoff::new(),
                Err(Setback::Stop) => return None,
                Err(Setback::Reread) => self.reread().await,
                Err(Setback::Again(why)) => {
                    warn!(job = %self.job.id, error = %why, "a step was not done; inspecting again");
                    self.sight = Sight::Unseen;
                    self.pause(&mut backoff).await;
                    self.reread().await;
                }
            }
        }
        None
    }

    fn leaves(&self) -> Option<Leftover> {
        let container = self.job.state.container().or(self.made.as_ref()).cloned();
        self.shared.left_over(&self.job, self.job.attempt, container, Remains::from(&self.sight))
    }

    fn next_step(&self) -> Step {
        if self.is_only_claimed() && self.is_too_late() {
            return Step::Record(Event::MissDeadline);
        }
        step(&self.job, &self.sight, self.hand)
    }

    async fn take(&mut self, next: Step) -> Result<(), Setback> {
        if next.needs_the_engine() {
            self.engine_is_up().await?;
        }
        match next {
            Step::Look => self.look().await,
            Step::Pull => self.pull().await,
            Step::Create => self.create().await,
            Step::Start(container) => self.start(container).await,
            Step::Fence(intent) => self.fence(intent).await,
            Step::Watch => self.watch().await,
            Step::Stop(container) => self.stop_container(container).await,
            Step::Collect(run, exit) => self.collect(run, exit).await,
            Step::Record(event) => self.record(event).await,
            Step::Remove(container) => self.remove(container).await,
            Step::Rest => Ok(()),
        }
    }

    /// Writes an event down. The job in memory changes only after the write.
    async fn record(&mut self, event: Event) -> Result<(), Setback> {
        if matches!(event, Event::Lost(_)) {
            self.make_sure_it_is_our_engine().await?;
        }
        if let Event::Intend(container) = event {
            return self.intend(container).await;
        }
        if matches!(event, Event::Started(_)) && self.is_only_claimed() {
            warn!(job = %self.job.id, "its container was started by somebody else and is adopted");
        }
        self.write(event).await?;
        self.turn = None;
        self.hand = Hand { start_not_called: false, fenced: None, ..self.hand };
        Ok(())
    }

    /// Writes the intent to start this container, after taking a permit and providing the secrets.
    async fn intend(&mut self, container: ContainerId) -> Result<(), Setback> {
        self.take_turn().await?;
        if self.is_too_late() {
            // The deadline passed while waiting for the permit: the next step records that.
            return Ok(());
        }
        if let Some(failure) = self.provide(&container).await? {
            self.turn = None;
            return self.write(Event::Failed(failure)).await;
        }
        self.write(Event::Intend(container)).await?;
        self.hand = Hand { start_not_called: true, fenced: None, ..self.hand };
        Ok(())
    }

    async fn write(&mut self, event: Event) -> Result<(), Setback> {
        let now = self.shared.clock.now();
        let name = event.name();
        let next =
            self.job.on(event, now).map_err(|refused| Setback::Again(refused.to_string()))?;
        self.shared.advance(&self.job, &next, now).await?;
        self.job = next;
        info!(job = %self.job.id, attempt = self.job.attempt.0, event = name, status = %self.job.state.status(), "moved");
        Ok(())
    }

    /// Returns whether the job is claimed and certainly not started yet.
    fn is_only_claimed(&self) -> bool {
        matches!(self.job.state, State::Pulling | State::Starting(None))
    }

    fn is_too_late(&self) -> bool {
        self.job.start_deadline().is_some_and(|deadline| deadline < self.shared.clock.now())
    }

    /// Checks that the known engine answers. A missing container counts as lost only on the engine
    /// that held it.
    async fn make_sure_it_is_our_engine(&self) -> Result<(), Setback> {
        let known = self.shared.store.engine().await?;
        let answering = self.shared.engine.describe().await?;
        match known {
            Some(known) if known != answering.id => {
                let since = self.shared.clock.now();
                self.shared.health.change(|health| {
                    *health = Health::Changed { known, found: answering.id, since };
                    true
                });
                Err(Setback::Again("another engine answers".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the engine is up. Returns early if the job was changed, and then it is read
    /// first.
    async fn engine_is_up(&self) -> Result<(), Setback> {
        tokio::select! {
            biased;
            () = self.shared.health.until(Health::is_up) => Ok(()),
            () = self.stop.cancelled() => Err(Setback::Stop),
            () = self.seat.poke.notified() => Err(Setback::Reread),
            () = self.until_too_late() => Err(Setback::Again("its start deadline passes".to_owned())),
        }
    }

    /// Waits until the start deadline of a job that certainly was not started. Never returns for
    /// other jobs.
    async fn until_too_late(&self) {
        match self.job.start_deadline().filter(|_| self.is_only_claimed()) {
            None => std::future::pending().await,
            // The deadline's last millisecond still counts as in time.
            Some(deadline) => self.until(deadline + TimeDelta::milliseconds(1)).await,
        }
    }

    /// Waits until the wall clock reaches `instant`, even if the clock is set forward or back
    /// meanwhile.
    async fn until(&self, instant: Timestamp) {
        loop {
            match (instant - self.shared.clock.now()).to_std() {
                Ok(left) if !left.is_zero() => {
                    tokio::time::sleep(left.min(super::LONGEST_NAP)).await
                }
                _ => return,
            }
        }
    }

    async fn pause(&self, backoff: &mut Backoff) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = backoff.pause() => {}
        }
    }

    /// Reads the job again and forgets the observed state of its container.
    async fn reread(&mut self) {
        let id = self.job.id;
        if let Some(job) = unless_stopped(&self.stop, read(&self.shared, id)).await {
            if job.attempt != self.job.attempt {
                (self.hand, self.made, self.stop_was_called) = (Hand::default(), None, false);
            }
            self.job = job;
        }
        self.sight = Sight::Unseen;
    }

    fn failed(reason: Reason, message: impl Into<String>) -> Event {
        Event::Failed(Failure::new(reason, message))
    }
}
