//! The driver's steps, one function each: calls the engine and interprets its answer.
//!
//! The driver trusts an answer. A missing answer becomes `StepError::Retry`, and the driver
//! inspects the container before it does anything else. In particular, `start` is never called
//! twice for one intent: the driver memory is marked before the call.

use std::pin::pin;

use chrono::Duration;
use tracing::warn;

use super::attempt::{Driver, StepError};
use crate::domain::container::{Container, Evidence, EvidenceQuery, Exit, Phase, UNSEEN_END};
use crate::domain::job::transition::{Ending, Event, Failure};
use crate::domain::job::{Reason, Run, State, StopCause};
use crate::domain::names::id::{ContainerId, Timestamp};
use crate::domain::names::image::ImageRef;
use crate::domain::protocol::Observed;
use crate::domain::spec::PullPolicy;
use crate::engine::{EngineError, PullProgress};
use crate::scheduler::context::Health;
use crate::scheduler::timing::EARLY;
use crate::scheduler::timing::LOG_MARGIN;

impl Driver {
    pub(super) async fn inspect(&mut self) -> Result<(), StepError> {
        let began_at = self.context.clock.now();
        self.observed = match self.find_container().await? {
            None => Observed::Absent,
            Some(container) if self.is_ours(&container) => Observed::Present(container),
            Some(_) => Observed::Foreign,
        };
        self.note_whether_alive(began_at);
        match &self.observed {
            Observed::Present(Container { phase: Phase::Removing, id, .. })
                if !self.job.is_over() =>
            {
                // Usually the container is gone at the next inspect. An engine killed during a
                // removal does not resume it, so the removal is repeated.
                self.context.engine.remove(id).await?;
                Err(StepError::Retry("its container is being removed".to_owned()))
            }
            Observed::Unknown | Observed::Absent | Observed::Foreign | Observed::Present(_) => {
                Ok(())
            }
        }
    }

    /// Notes that the job was alive at `looked_at`, if the observed state shows it.
    fn note_whether_alive(&self, looked_at: Timestamp) {
        let alive = &self.driver_handle.alive;
        match &self.observed {
            Observed::Present(Container {
                phase: Phase::Created { .. } | Phase::Running { .. },
                ..
            }) => {
                self.context.saw_alive(&self.job, alive, looked_at);
            }
            Observed::Absent | Observed::Foreign if self.is_only_claimed() => {
                self.context.saw_alive(&self.job, alive, looked_at);
            }
            // A finished job is recorded, and that record wakes the waiting jobs.
            Observed::Unknown | Observed::Absent | Observed::Foreign | Observed::Present(_) => {}
        }
    }

    /// Inspects the container of this attempt: by the id on disk, else by the id this process
    /// knows, else by its labels.
    async fn find_container(&self) -> Result<Option<Container>, EngineError> {
        let engine = &self.context.engine;
        if let Some(container) = self.job.state.container() {
            return engine.inspect(container).await;
        }
        if let Some(container) = &self.made
            && let Some(seen) = engine.inspect(container).await?
        {
            return Ok(Some(seen));
        }
        engine.find(&self.context.owner(&self.job)).await
    }

    fn is_ours(&self, container: &Container) -> bool {
        container.owner == Some(self.context.owner(&self.job))
    }

    fn image(&self) -> Result<ImageRef, StepError> {
        self.job
            .spec
            .fields()
            .image
            .clone()
            .ok_or_else(|| StepError::Retry("it was claimed without an image".to_owned()))
    }

    pub(super) async fn pull(&mut self) -> Result<(), StepError> {
        let image = self.image()?;
        let driver_handle = self.driver_handle.clone();
        let report = move |progress| {
            *driver_handle.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(progress)
        };
        match self.fetch(&image, &report).await? {
            Ok(()) => {
                self.memory.pulled = true;
                self.record(Event::Pulled).await
            }
            Err(EngineError::Refused { reason, message }) => {
                self.record(Self::failed(reason, message)).await
            }
            Err(EngineError::NoSuchImage | EngineError::NotFound) => {
                self.record(Self::failed(
                    Reason::ImageNotFound,
                    format!("there is no image `{image}`"),
                ))
                .await
            }
            Err(other @ (EngineError::NoAnswer(_) | EngineError::Conflict(_))) => Err(other.into()),
        }
    }

    /// Waits for the image. Returns early if the job was changed, and then it is read first.
    async fn fetch(
        &self,
        image: &ImageRef,
        report: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<Result<(), EngineError>, StepError> {
        let mut pull = pin!(self.context.engine.pull(
            image,
            self.job.spec.fields().platform.as_deref(),
            report
        ));
        loop {
            tokio::select! {
                biased;
                pulled = &mut pull => return Ok(pulled),
                // Dropping a pull discards the layers pulled so far, so only a changed job ends it.
                () = self.driver_handle.wake.notified() => if self.has_changed().await { return Err(StepError::Reload) },
                () = self.until_too_late() => return Err(StepError::Reload),
                () = self.stop.cancelled() => return Err(StepError::Stopping),
            }
        }
    }

    /// Returns whether the stored job has changed. Returns false if the store fails; the next
    /// wake-up asks again.
    async fn has_changed(&self) -> bool {
        match self.context.store.get(self.job.id).await {
            Ok(job) => job.is_none_or(|job| job.version != self.job.version),
            Err(_) => false,
        }
    }

    pub(super) async fn create(&mut self) -> Result<(), StepError> {
        let image = self.image()?;
        let secrets = match self.context.rules().catalog.secrets.variables(&self.job.spec).await {
            Ok(secrets) => secrets,
            Err(failure) => return self.record(Event::Failed(failure)).await,
        };
        let launch = self.context.launch(&self.job, image.clone(), secrets);
        self.acquire_start_permit().await?;
        if self.is_too_late() {
            return Ok(());
        }
        if !self.context.health.look().is_up() {
            return Err(StepError::Retry(
                "the engine went away before the container was created".to_owned(),
            ));
        }
        match self.context.engine.create(&launch).await {
            // The container is inspected before the intent is written: it may have changed since
            // the answer.
            Ok(container) => {
                self.made = Some(container);
                self.inspect().await
            }
            Err(EngineError::Conflict(message)) => self.conflict(message).await,
            Err(EngineError::NoSuchImage) => self.without_image(&image).await,
            Err(EngineError::Refused { reason, message }) => {
                self.record(Self::failed(reason, message)).await
            }
            Err(other @ (EngineError::NoAnswer(_) | EngineError::NotFound)) => Err(other.into()),
        }
    }

    /// Puts the secrets into a container that is about to get an intent. The process that created
    /// it may have died before doing so, and after the intent it is too late. Returns the failure
    /// if that is not possible.
    pub(super) async fn put_files(
        &self,
        container: &ContainerId,
    ) -> Result<Option<Failure>, StepError> {
        let files = match self.context.rules().catalog.secrets.files(&self.job.spec).await {
            Ok(files) if files.is_empty() => return Ok(None),
            Ok(files) => files,
            Err(failure) => return Ok(Some(failure)),
        };
        match self.context.engine.put_files(container, &files).await {
            Ok(()) => Ok(None),
            Err(EngineError::Refused { reason, message }) => {
                Ok(Some(Failure::new(reason, message)))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Finds out which container has the name. It can be ours, created by a call whose answer was
    /// lost. The engine may still be creating or removing it, with nothing to see yet. Or it is a
    /// foreign one.
    async fn conflict(&mut self, message: String) -> Result<(), StepError> {
        self.inspect().await?;
        if self.observed != Observed::Absent {
            return Ok(());
        }
        match self.context.engine.named(&self.job.container_name()).await? {
            None => return Err(StepError::Retry(message)),
            Some(container) if self.is_ours(&container) => {
                self.observed = Observed::Present(container)
            }
            Some(_) => self.observed = Observed::Foreign,
        }
        Ok(())
    }

    async fn without_image(&mut self, image: &ImageRef) -> Result<(), StepError> {
        let never = self.job.spec.fields().pull == Some(PullPolicy::Never);
        if never {
            return self
                .record(Self::failed(
                    Reason::ImageNotFound,
                    format!("the engine does not have `{image}`, and `pull` is `never`"),
                ))
                .await;
        }
        if self.memory.pulled {
            return self
                .record(Self::failed(
                    Reason::ImageNotFound,
                    format!("`{image}` was pulled, and the engine does not have it"),
                ))
                .await;
        }
        self.record(Event::Pull).await
    }

    /// Takes a permit, kept until `start` has answered or nothing will be started. The intent is
    /// written only with a permit: after a crash, an intent of a job that merely waited could not
    /// be told from a started one.
    pub(super) async fn acquire_start_permit(&mut self) -> Result<(), StepError> {
        if self.permit.is_none() {
            self.permit = Some(self.context.start_limit.take().await);
        }
        Ok(())
    }

    pub(super) async fn start(&mut self, container: ContainerId) -> Result<(), StepError> {
        self.acquire_start_permit().await?;
        self.wait_for_its_time().await;
        let called_at = self.context.clock.now();
        // From here on `start` may have been called, even if this future is dropped.
        self.memory.start_not_called = false;
        self.driver_handle.alive.note_start();
        let started = self.context.engine.start(&container).await;
        self.permit = None;
        self.start_in_flight_until = self.context.clock.now();
        match started {
            // The container's state decides in either case: the engine records a refusal on the
            // container.
            Ok(()) => {
                self.inspect().await?;
                self.learn_how_long_it_took(called_at);
                Ok(())
            }
            Err(EngineError::NotFound | EngineError::Conflict(_) | EngineError::NoSuchImage) => {
                self.inspect().await
            }
            Err(EngineError::Refused { reason, message }) => {
                self.inspect().await?;
                match &self.observed {
                    Observed::Present(Container { phase: Phase::Created { .. }, .. }) => {
                        self.record(Self::failed(reason, message)).await
                    }
                    Observed::Unknown
                    | Observed::Absent
                    | Observed::Foreign
                    | Observed::Present(_) => Ok(()),
                }
            }
            Err(other @ EngineError::NoAnswer(_)) => Err(other.into()),
        }
    }

    fn learn_how_long_it_took(&self, called_at: Timestamp) {
        if let Observed::Present(Container { phase, .. }) = &self.observed
            && let Phase::Running { started_at } | Phase::Exited { started_at, .. } = phase
        {
            self.context.start_latencies.saw(&self.job, *started_at - called_at);
        }
    }

    /// Waits for the start time of a job that was claimed a moment early. The intent is on disk, so
    /// a server that is stopping waits for this too.
    async fn wait_for_its_time(&self) {
        let (clock, starts_at) =
            (&self.context.clock, self.context.start_latencies.starts_at(&self.job));
        // The wait would exceed `EARLY` only if the clock was set back since the claim.
        clock.reach(starts_at.min(clock.now() + EARLY)).await;
    }

    /// Waits for a wake-up (a container event or a request) or for the job's timeout.
    pub(super) async fn await_exit(&mut self) -> Result<(), StepError> {
        let sample_at = self.usage.next_sample_at();
        let sample_due = async {
            match sample_at {
                None => std::future::pending().await,
                Some(instant) => tokio::time::sleep_until(instant).await,
            }
        };
        let timeout = async {
            match self.runs_out_at() {
                None => std::future::pending().await,
                Some(instant) => self.until(instant).await,
            }
        };
        tokio::select! {
            biased;
            () = self.driver_handle.wake.notified() => Err(StepError::Reload),
            () = self.stop.cancelled() => Err(StepError::Stopping),
            () = timeout => self.time_is_up().await,
            () = sample_due => {
                self.sample_usage().await;
                Ok(())
            }
        }
    }

    /// Stops the job if it still runs: it may have ended unnoticed before its timeout.
    async fn time_is_up(&mut self) -> Result<(), StepError> {
        self.inspect().await?;
        match &self.observed {
            Observed::Present(Container { phase: Phase::Running { .. }, .. }) => {
                let (rules, now) = (self.context.rules(), self.context.clock.now());
                self.record(rules.catalog.policy.stop(&self.job, StopCause::Timeout, None, now))
                    .await
            }
            Observed::Unknown | Observed::Absent | Observed::Foreign | Observed::Present(_) => {
                Ok(())
            }
        }
    }

    fn runs_out_at(&self) -> Option<Timestamp> {
        let allowed = Duration::from_std(self.job.spec.fields().timeout?.as_duration()).ok()?;
        self.job.state.run()?.started_at.checked_add_signed(allowed)
    }

    pub(super) async fn stop_container(&mut self, container: ContainerId) -> Result<(), StepError> {
        self.stop_was_called = true;
        self.ask_to_stop(&container).await?;
        self.inspect().await?;
        match &self.observed {
            Observed::Present(Container { phase: Phase::Running { .. }, .. }) => {
                Err(StepError::Retry("it was asked to stop and still runs".to_owned()))
            }
            Observed::Unknown | Observed::Absent | Observed::Foreign | Observed::Present(_) => {
                Ok(())
            }
        }
    }

    /// Waits until the container has ended, or until a request to stop sooner arrives.
    async fn ask_to_stop(&self, container: &ContainerId) -> Result<(), StepError> {
        let mut stopping = pin!(self.context.engine.stop(container, self.grace_left()));
        loop {
            tokio::select! {
                biased;
                stopped = &mut stopping => return Ok(stopped?),
                // A second stop call sends the signal again, so only a request to stop sooner
                // restarts the call.
                () = self.driver_handle.wake.notified() => match self.has_changed().await {
                    true => return Err(StepError::Reload),
                    false => self.look_while_stopping(container).await?,
                },
                // The request is on disk: the next process resumes it.
                () = self.stop.cancelled() => return Err(StepError::Stopping),
            }
        }
    }

    /// Inspects the container while it stops, and notes that the job is alive for jobs waiting to
    /// know.
    async fn look_while_stopping(&self, container: &ContainerId) -> Result<(), StepError> {
        let began_at = self.context.clock.now();
        let seen = self.context.engine.inspect(container).await?;
        if seen.is_some_and(|seen| matches!(seen.phase, Phase::Running { .. })) {
            self.context.saw_alive(&self.job, &self.driver_handle.alive, began_at);
        }
        Ok(())
    }

    /// Returns the rest of the grace period. The period counts from the stop request, also across a
    /// restart.
    fn grace_left(&self) -> std::time::Duration {
        let State::Stopping(stopping) = &self.job.state else { return std::time::Duration::ZERO };
        let kill_at = self.context.rules().catalog.policy.kill_at(&self.job, stopping);
        (kill_at - self.context.clock.now()).to_std().unwrap_or_default()
    }

    /// Records the end of the run. The container stays until its output is kept.
    pub(super) async fn collect(&mut self, run: Run, exit: Exit) -> Result<(), StepError> {
        let by_engine_restart = self.is_engines_doing(&run, &exit).await?;
        if by_engine_restart
            && exit.code == UNSEEN_END
            && self.engine_keeps_containers()
            && !self.is_only_claimed()
        {
            let said = "its process ended while its engine was away, which keeps containers running meanwhile and did not see how this one ended";
            return self.record(Event::Lost(Failure::new(Reason::EngineRestarted, said))).await;
        }
        self.record(Event::Exited(Ending {
            run,
            exit,
            by_engine_restart,
            stop_was_called: self.stop_was_called,
            usage: self.usage.total(),
        }))
        .await
    }

    /// Returns whether the engine has live-restore. With live-restore, a process that the engine
    /// found dead may have ended by itself.
    fn engine_keeps_containers(&self) -> bool {
        matches!(&*self.context.health.look(), Health::Up(engine) if engine.features.keeps_containers)
    }

    /// Returns whether a restart of the engine ended the process. Three facts have to hold. The
    /// exit code is one with which an engine ends its containers or finds them dead. No stop
    /// request explains it. The engine that answers now is not the one that started the process.
    async fn is_engines_doing(&self, run: &Run, exit: &Exit) -> Result<bool, StepError> {
        let asked_for = match &self.job.state {
            State::Stopping(stopping) => !stopping.came_too_late(exit, self.stop_was_called),
            _ => false,
        };
        if asked_for || exit.oom_killed || !matches!(exit.code, 137 | 143 | UNSEEN_END) {
            return Ok(false);
        }
        let question = EvidenceQuery::StartedByThisEngine;
        let evidence = self
            .context
            .engine
            .query_event_log(&run.container, question, run.started_at - LOG_MARGIN)
            .await?;
        Ok(evidence == Evidence::NotSeen)
    }

    pub(super) async fn remove(&mut self, container: ContainerId) -> Result<(), StepError> {
        match self.context.engine.remove(&container).await {
            Ok(()) | Err(EngineError::NotFound) => {
                self.observed = Observed::Absent;
                Ok(())
            }
            Err(EngineError::Conflict(message)) => {
                warn!(job = %self.job.id, error = %message, "its container cannot be removed yet; the next sweep tries again");
                self.observed = Observed::Absent;
                Ok(())
            }
            Err(other) => Err(other.into()),
        }
    }
}
