//! A driver takes one job through the start protocol, from its claim until the end of its attempt is on disk.
//!
//! It asks [`protocol::step`](crate::domain::protocol::step) what to do, does that one thing, and asks again. What it
//! holds (the job as last read, the container as last seen, what this process has done) can all be had again: a driver
//! that finds a job after a crash starts with nothing and goes the same way. A transition is on disk before the next
//! step is taken.
//!
//! What its attempt left on the engine it hands over, to be cleared away beside whatever comes next (`clear`).
//!
//! It never gives up: an engine that does not answer and a disk that refuses are waited for. Only the job's own rules
//! (deadline, timeout, a stop) end it.

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

/// Drives the job until it is over, or waits for its next attempt, or `stop` is cancelled. Gives what it left.
pub(super) async fn run(
    shared: Arc<Shared>,
    id: JobId,
    claimed: Option<Job>,
    seat: Arc<Seat>,
    stop: CancellationToken,
) -> Option<Leftover> {
    // Whoever claimed it just now knows that nothing is on the engine yet, unless it was staged: by this process, or by one
    // before it, whose containers the first sweep finds. Were it wrong, `create` would conflict.
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

/// The job as it is stored. A store that fails is asked again.
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

/// What was read, unless the server stops first.
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
    /// The container that was made for this attempt, as far as this process knows.
    made: Option<ContainerId>,
    hand: Hand,
    /// When a `start` of this job was last waited for: by this process, or, for all it knows, by one before it.
    unheard_since: Timestamp,
    /// Whether this process has called the engine to stop the present attempt, which it saw run.
    stop_was_called: bool,
    witness: Option<fence::Witness>,
    /// Its place among the creates and starts in flight.
    turn: Option<Turn>,
    seat: Arc<Seat>,
    stop: CancellationToken,
}

/// Why a step was not done.
enum Setback {
    /// The engine or the disk: pause, look again, go on.
    Again(String),
    /// The job was changed by somebody else: read it, go on.
    Reread,
    /// The server is stopping.
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
                // Whatever it waits for now, others need not.
                self.turn = None;
            }
            match taken {
                Ok(()) => backoff = Backoff::new(),
                Err(Setback::Stop) => return None,
                Err(Setback::Reread) => self.reread().await,
                Err(Setback::Again(why)) => {
                    warn!(job = %self.job.id, error = %why, "a step was not done; looking again");
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

    /// Does one step.
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

    /// Writes an event down. Only then is the job what it says.
    async fn record(&mut self, event: Event) -> Result<(), Setback> {
        if matches!(event, Event::Lost(_)) {
            self.make_sure_it_is_our_engine().await?;
        }
        if let Event::Intend(container) = event {
            return self.intend(container).await;
        }
        if matches!(event, Event::Started(_)) && self.is_only_claimed() {
            warn!(job = %self.job.id, "its container was started by somebody else; it is adopted");
        }
        self.write(event).await?;
        self.turn = None;
        self.hand = Hand { start_not_called: false, fenced: None, ..self.hand };
        Ok(())
    }

    /// Writes down that this container is about to be started, when it is its turn and it has all that it needs.
    async fn intend(&mut self, container: ContainerId) -> Result<(), Setback> {
        self.take_turn().await?;
        if self.is_too_late() {
            // It waited too long for its turn: the next step is to say so.
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

    /// Claimed, and certainly not started yet.
    fn is_only_claimed(&self) -> bool {
        matches!(self.job.state, State::Pulling | State::Starting(None))
    }

    fn is_too_late(&self) -> bool {
        self.job.start_deadline().is_some_and(|deadline| deadline < self.shared.clock.now())
    }

    /// That a container is gone is only believed of the engine it was on.
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

    /// Waits until the engine can be worked with; a job that is changed meanwhile is read first.
    async fn engine_is_up(&self) -> Result<(), Setback> {
        tokio::select! {
            biased;
            () = self.shared.health.until(Health::is_up) => Ok(()),
            () = self.stop.cancelled() => Err(Setback::Stop),
            () = self.seat.poke.notified() => Err(Setback::Reread),
            () = self.until_too_late() => Err(Setback::Again("its start deadline passes".to_owned())),
        }
    }

    /// Ends when the start deadline passes of a job that certainly was not started; else never.
    async fn until_too_late(&self) {
        match self.job.start_deadline().filter(|_| self.is_only_claimed()) {
            None => std::future::pending().await,
            // A deadline passes after its last millisecond.
            Some(deadline) => self.until(deadline + TimeDelta::milliseconds(1)).await,
        }
    }

    /// Ends when the wall clock says so, which may be sooner or later than it seemed.
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

    /// Reads the job again, and looks at its container again.
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
