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

use super::usage::UsageSamples;
use crate::domain::job::transition::{Event, Failure};
use crate::domain::job::{Job, Reason, State};
use crate::domain::names::id::{ContainerId, JobId, Timestamp};
use crate::domain::protocol::remains::Remains;
use crate::domain::protocol::{DriverMemory, Observed, Step, step};
use crate::engine::EngineError;
use crate::scheduler::context::clearings::Leftover;
use crate::scheduler::context::start_limit::StartPermit;
use crate::scheduler::{
    context::{Context, Health, drivers::DriverHandle},
    timing::Backoff,
};
use crate::store::StoreError;

/// Drives the job until it is over, waits for its next attempt, or `stop` is cancelled. Returns the
/// remains of the attempt.
pub(in crate::scheduler) async fn run(
    context: Arc<Context>,
    id: JobId,
    claimed: Option<Job>,
    driver_handle: Arc<DriverHandle>,
    stop: CancellationToken,
) -> Option<Leftover> {
    // A fresh claim proves that no container exists yet, unless one was staged by this process or
    // by an earlier one. The first sweep finds the containers of earlier processes. If the
    // assumption were wrong, `create` would conflict.
    let made = context.stage.take(id).await;
    let is_fresh = claimed.is_some() && made.is_none() && context.is_swept();
    let observed = if is_fresh { Observed::Absent } else { Observed::Unknown };
    if claimed.is_some() {
        driver_handle.alive.note_not_started();
    }
    let job = match claimed {
        Some(job) => Some(job),
        None => unless_stopped(&stop, read(&context, id)).await,
    };
    let job = job?;
    let start_in_flight_until = context.clock.now();
    let usage = UsageSamples::new(context.engine.measures_usage());
    let driver = Driver {
        context,
        job,
        observed,
        made,
        memory: DriverMemory::default(),
        start_in_flight_until,
        stop_was_called: false,
        creator_check: None,
        usage,
        permit: None,
        driver_handle,
        stop,
    };
    driver.run().await
}

/// Reads the stored job. A failing store is asked again, with a growing pause.
async fn read(context: &Context, id: JobId) -> Option<Job> {
    let mut backoff = Backoff::new();
    loop {
        match context.store.get(id).await {
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

pub(in crate::scheduler) struct Driver {
    pub(super) context: Arc<Context>,
    pub(super) job: Job,
    pub(super) observed: Observed,
    /// The container created for this attempt; `None` if this process knows of none.
    pub(super) made: Option<ContainerId>,
    pub(super) memory: DriverMemory,
    /// The last time at which a `start` of this job may have been in flight. Initially the start of
    /// this driver, because an earlier process may have called `start` until then.
    pub(super) start_in_flight_until: Timestamp,
    /// True once this process has called `stop` for the current attempt, which it saw running.
    pub(super) stop_was_called: bool,
    pub(super) creator_check: Option<CreatorCheck>,
    /// The samples of what the present attempt uses.
    pub(super) usage: UsageSamples,
    /// The permit for a create or start in flight.
    pub(super) permit: Option<StartPermit>,
    pub(super) driver_handle: Arc<DriverHandle>,
    pub(super) stop: CancellationToken,
}

/// The proof that the answering engine created this container. Valid while the connection holds.
pub(in crate::scheduler) struct CreatorCheck {
    pub(super) container: ContainerId,
    /// The number of health changes at the time of the proof.
    pub(super) connection: u64,
}

/// The reason a step was not done.
pub(in crate::scheduler) enum StepError {
    /// The engine or the disk failed: pause, inspect again, go on.
    Retry(String),
    /// Something else changed the job: read it, go on.
    Reload,
    Stopping,
}

impl From<EngineError> for StepError {
    fn from(error: EngineError) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Outdated => Self::Reload,
            StoreError::Closed => Self::Stopping,
            StoreError::Full
            | StoreError::Gone(_)
            | StoreError::Failed(_)
            | StoreError::Damaged(_) => Self::Retry(error.to_string()),
        }
    }
}

impl Driver {
    pub(super) async fn run(mut self) -> Option<Leftover> {
        let mut backoff = Backoff::new();
        while !self.stop.is_cancelled() {
            let next = self.next_step();
            if next == Step::Done {
                return self.remains();
            }
            debug!(job = %self.job.id, step = ?next, "next step");
            let taken = self.perform(next).await;
            if taken.is_err() {
                // Releases the permit: the driver waits now, and other jobs can use it.
                self.permit = None;
            }
            match taken {
                Ok(()) => backoff = Backoff::new(),
                Err(StepError::Stopping) => return None,
                Err(StepError::Reload) => self.reload().await,
                Err(StepError::Retry(why)) => {
                    warn!(job = %self.job.id, error = %why, "a step was not done; inspecting again");
                    self.observed = Observed::Unknown;
                    self.pause(&mut backoff).await;
                    self.reload().await;
                }
            }
        }
        None
    }

    pub(super) fn remains(&self) -> Option<Leftover> {
        let container = self.job.state.container().or(self.made.as_ref()).cloned();
        self.context.left_over(
            &self.job,
            self.job.attempt,
            container,
            Remains::from(&self.observed),
        )
    }

    pub(super) fn next_step(&self) -> Step {
        if self.is_only_claimed() && self.is_too_late() {
            return Step::Record(Event::MissDeadline);
        }
        step(&self.job, &self.observed, self.memory)
    }

    pub(super) async fn perform(&mut self, next: Step) -> Result<(), StepError> {
        if next.needs_the_engine() {
            self.engine_is_up().await?;
        }
        match next {
            Step::Inspect => self.inspect().await,
            Step::Pull => self.pull().await,
            Step::Create => self.create().await,
            Step::Start(container) => self.start(container).await,
            Step::Fence(intent) => self.fence(intent).await,
            Step::AwaitExit => self.await_exit().await,
            Step::Stop(container) => self.stop_container(container).await,
            Step::Collect(run, exit) => self.collect(run, exit).await,
            Step::Record(event) => self.record(event).await,
            Step::Remove(container) => self.remove(container).await,
            Step::Done => Ok(()),
        }
    }

    /// Writes an event down. The job in memory changes only after the write.
    pub(super) async fn record(&mut self, event: Event) -> Result<(), StepError> {
        if matches!(event, Event::Lost(_)) {
            self.check_engine_id().await?;
        }
        if let Event::Intend(container) = event {
            return self.intend(container).await;
        }
        if matches!(event, Event::Started(_)) && self.is_only_claimed() {
            warn!(job = %self.job.id, "its container was started by somebody else and is adopted");
        }
        self.write(event).await?;
        self.permit = None;
        self.memory = DriverMemory { start_not_called: false, fenced: None, ..self.memory };
        Ok(())
    }

    /// Writes the intent to start this container, after taking a permit and providing the secrets.
    pub(super) async fn intend(&mut self, container: ContainerId) -> Result<(), StepError> {
        self.acquire_start_permit().await?;
        if self.is_too_late() {
            // The deadline passed while waiting for the permit: the next step records that.
            return Ok(());
        }
        if let Some(failure) = self.put_files(&container).await? {
            self.permit = None;
            return self.write(Event::Failed(failure)).await;
        }
        self.write(Event::Intend(container)).await?;
        self.memory = DriverMemory { start_not_called: true, fenced: None, ..self.memory };
        Ok(())
    }

    pub(super) async fn write(&mut self, event: Event) -> Result<(), StepError> {
        let now = self.context.clock.now();
        let name = event.name();
        let next =
            self.job.on(event, now).map_err(|refused| StepError::Retry(refused.to_string()))?;
        self.context.advance(&self.job, &next, now).await?;
        self.job = next;
        info!(job = %self.job.id, attempt = self.job.attempt.0, event = name, status = %self.job.state.status(), "moved");
        Ok(())
    }

    /// Returns whether the job is claimed and certainly not started yet.
    pub(super) fn is_only_claimed(&self) -> bool {
        matches!(self.job.state, State::Pulling | State::Starting(None))
    }

    pub(super) fn is_too_late(&self) -> bool {
        self.job.start_deadline().is_some_and(|deadline| deadline < self.context.clock.now())
    }

    /// Checks that the known engine answers. A missing container counts as lost only on the engine
    /// that held it.
    pub(super) async fn check_engine_id(&self) -> Result<(), StepError> {
        let known = self.context.store.engine().await?;
        let answering = self.context.engine.describe().await?;
        match known {
            Some(known) if known != answering.id => {
                let since = self.context.clock.now();
                self.context.health.change(|health| {
                    *health = Health::Changed { known, found: answering.id, since };
                    true
                });
                Err(StepError::Retry("another engine answers".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the engine is up. Returns early if the job was changed, and then it is read
    /// first.
    pub(super) async fn engine_is_up(&self) -> Result<(), StepError> {
        tokio::select! {
            biased;
            () = self.context.health.until(Health::is_up) => Ok(()),
            () = self.stop.cancelled() => Err(StepError::Stopping),
            () = self.driver_handle.wake.notified() => Err(StepError::Reload),
            () = self.until_too_late() => Err(StepError::Retry("its start deadline passes".to_owned())),
        }
    }

    /// Waits until the start deadline of a job that certainly was not started. Never returns for
    /// other jobs.
    pub(super) async fn until_too_late(&self) {
        match self.job.start_deadline().filter(|_| self.is_only_claimed()) {
            None => std::future::pending().await,
            // The deadline's last millisecond still counts as in time.
            Some(deadline) => self.until(deadline + TimeDelta::milliseconds(1)).await,
        }
    }

    /// Waits until the wall clock reaches `instant`, even if the clock is set forward or back
    /// meanwhile.
    pub(super) async fn until(&self, instant: Timestamp) {
        loop {
            match (instant - self.context.clock.now()).to_std() {
                Ok(left) if !left.is_zero() => {
                    tokio::time::sleep(left.min(crate::scheduler::timing::LONGEST_NAP)).await
                }
                _ => return,
            }
        }
    }

    pub(super) async fn pause(&self, backoff: &mut Backoff) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = backoff.pause() => {}
        }
    }

    /// Reads the job again and forgets the observed state of its container.
    pub(super) async fn reload(&mut self) {
        let id = self.job.id;
        if let Some(job) = unless_stopped(&self.stop, read(&self.context, id)).await {
            if job.attempt != self.job.attempt {
                (self.memory, self.made, self.stop_was_called) =
                    (DriverMemory::default(), None, false);
                self.usage = UsageSamples::new(self.context.engine.measures_usage());
            }
            self.job = job;
        }
        self.observed = Observed::Unknown;
    }

    pub(super) fn failed(reason: Reason, message: impl Into<String>) -> Event {
        Event::Failed(Failure::new(reason, message))
    }
}
