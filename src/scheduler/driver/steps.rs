//! The driver's steps, one function each: what is asked of the engine, and what its answer says.
//!
//! An answer is believed, a missing one is not: it becomes `Setback::Again`, and the driver looks at the container
//! before it does anything else. `start` in particular is never called twice for one intent: the hand is marked before
//! the call.

use std::pin::pin;

use chrono::Duration;
use tracing::warn;

use super::{Driver, Health, Setback};
use crate::domain::container::{Container, Exit, Phase, Question, Testimony, UNSEEN_END};
use crate::domain::id::{ContainerId, Timestamp};
use crate::domain::image::ImageRef;
use crate::domain::job::{Reason, Run, State, StopCause};
use crate::domain::protocol::Sight;
use crate::domain::spec::PullPolicy;
use crate::domain::transition::{Ending, Event, Failure};
use crate::engine::{EngineError, PullProgress};
use crate::scheduler::EARLY;

/// How much earlier than a container's start its event may be in the log, clocks and rounding included.
pub(in crate::scheduler) const LOG_MARGIN: Duration = Duration::seconds(5);

impl Driver {
    pub(super) async fn look(&mut self) -> Result<(), Setback> {
        let began_at = self.shared.clock.now();
        self.sight = match self.see().await? {
            None => Sight::Absent,
            Some(container) if self.is_ours(&container) => Sight::Present(container),
            Some(_) => Sight::Foreign,
        };
        self.note_whether_alive(began_at);
        match &self.sight {
            Sight::Present(Container { phase: Phase::Removing, id, .. }) if !self.job.is_over() => {
                // Gone at the next look, mostly. But an engine that was killed over a removal does not go on with it.
                self.shared.engine.remove(id).await?;
                Err(Setback::Again("its container is being removed".to_owned()))
            }
            Sight::Unseen | Sight::Absent | Sight::Foreign | Sight::Present(_) => Ok(()),
        }
    }

    /// Notes what a look says of the job being over, where it says that it is not.
    fn note_whether_alive(&self, looked_at: Timestamp) {
        let alive = &self.seat.alive;
        match &self.sight {
            Sight::Present(Container {
                phase: Phase::Created { .. } | Phase::Running { .. },
                ..
            }) => {
                self.shared.saw_alive(&self.job, alive, looked_at);
            }
            Sight::Absent | Sight::Foreign if self.is_only_claimed() => {
                self.shared.saw_alive(&self.job, alive, looked_at);
            }
            // What is over is recorded, and that wakes those who wait.
            Sight::Unseen | Sight::Absent | Sight::Foreign | Sight::Present(_) => {}
        }
    }

    /// The container of this attempt: by the id on disk, else by the one that this process knows, else by its labels.
    async fn see(&self) -> Result<Option<Container>, EngineError> {
        let engine = &self.shared.engine;
        if let Some(container) = self.job.state.container() {
            return engine.inspect(container).await;
        }
        if let Some(container) = &self.made
            && let Some(seen) = engine.inspect(container).await?
        {
            return Ok(Some(seen));
        }
        engine.find(&self.shared.owner(&self.job)).await
    }

    fn is_ours(&self, container: &Container) -> bool {
        container.owner == Some(self.shared.owner(&self.job))
    }

    fn image(&self) -> Result<ImageRef, Setback> {
        self.job
            .spec
            .fields()
            .image
            .clone()
            .ok_or_else(|| Setback::Again("it was claimed without an image".to_owned()))
    }

    pub(super) async fn pull(&mut self) -> Result<(), Setback> {
        let image = self.image()?;
        let seat = self.seat.clone();
        let report = move |progress| {
            *seat.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(progress)
        };
        match self.fetch(&image, &report).await? {
            Ok(()) => {
                self.hand.pulled = true;
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

    /// Waits for the image; a job that is changed meanwhile is read first.
    async fn fetch(
        &self,
        image: &ImageRef,
        report: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<Result<(), EngineError>, Setback> {
        let mut pull = pin!(self.shared.engine.pull(
            image,
            self.job.spec.fields().platform.as_deref(),
            report
        ));
        loop {
            tokio::select! {
                biased;
                pulled = &mut pull => return Ok(pulled),
                // Dropping a pull throws away what has come of its layers: only a job that has changed is worth that.
                () = self.seat.poke.notified() => if self.has_changed().await { return Err(Setback::Reread) },
                () = self.until_too_late() => return Err(Setback::Reread),
                () = self.stop.cancelled() => return Err(Setback::Stop),
            }
        }
    }

    /// Whether somebody else has changed the job. A store that cannot say is asked again at the next poke.
    async fn has_changed(&self) -> bool {
        match self.shared.store.get(self.job.id).await {
            Ok(job) => job.is_none_or(|job| job.version != self.job.version),
            Err(_) => false,
        }
    }

    pub(super) async fn create(&mut self) -> Result<(), Setback> {
        let image = self.image()?;
        let secrets = match self.shared.rules().catalog.secrets.variables(&self.job.spec).await {
            Ok(secrets) => secrets,
            Err(failure) => return self.record(Event::Failed(failure)).await,
        };
        let launch = self.shared.launch(&self.job, image.clone(), secrets);
        self.take_turn().await?;
        if self.is_too_late() {
            return Ok(());
        }
        if !self.shared.health.look().is_up() {
            return Err(Setback::Again(
                "the engine went away before the container was created".to_owned(),
            ));
        }
        match self.shared.engine.create(&launch).await {
            // Looked at before the intent: the answer may be older than what somebody else did.
            Ok(container) => {
                self.made = Some(container);
                self.look().await
            }
            Err(EngineError::Conflict(message)) => self.conflict(message).await,
            Err(EngineError::NoSuchImage) => self.without_image(&image).await,
            Err(EngineError::Refused { reason, message }) => {
                self.record(Self::failed(reason, message)).await
            }
            Err(other @ (EngineError::NoAnswer(_) | EngineError::NotFound)) => Err(other.into()),
        }
    }

    /// Puts its secrets into a container that is about to get an intent: whoever made it may have died before it did
    /// this, and after the intent it is too late. Says why that cannot be done.
    pub(super) async fn provide(
        &self,
        container: &ContainerId,
    ) -> Result<Option<Failure>, Setback> {
        let files = match self.shared.rules().catalog.secrets.files(&self.job.spec).await {
            Ok(files) if files.is_empty() => return Ok(None),
            Ok(files) => files,
            Err(failure) => return Ok(Some(failure)),
        };
        match self.shared.engine.provide(container, &files).await {
            Ok(()) => Ok(None),
            Err(EngineError::Refused { reason, message }) => {
                Ok(Some(Failure::new(reason, message)))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The name is taken: by a container that we made and did not hear of, by one that the engine is still making or
    /// removing (then there is nothing to see yet), or by somebody else's.
    async fn conflict(&mut self, message: String) -> Result<(), Setback> {
        self.look().await?;
        if self.sight != Sight::Absent {
            return Ok(());
        }
        match self.shared.engine.named(&self.job.container_name()).await? {
            None => return Err(Setback::Again(message)),
            Some(container) if self.is_ours(&container) => self.sight = Sight::Present(container),
            Some(_) => self.sight = Sight::Foreign,
        }
        Ok(())
    }

    async fn without_image(&mut self, image: &ImageRef) -> Result<(), Setback> {
        let never = self.job.spec.fields().pull == Some(PullPolicy::Never);
        if never {
            return self
                .record(Self::failed(
                    Reason::ImageNotFound,
                    format!("the engine does not have `{image}`, and `pull` is `never`"),
                ))
                .await;
        }
        if self.hand.pulled {
            return self
                .record(Self::failed(
                    Reason::ImageNotFound,
                    format!("`{image}` was pulled, and the engine does not have it"),
                ))
                .await;
        }
        self.record(Event::Pull).await
    }

    /// A place among the creates and starts in flight, kept until `start` has answered or nothing is to be started. So
    /// an intent is never on disk while its job only waits for its turn: who finds it after a crash could not know.
    pub(super) async fn take_turn(&mut self) -> Result<(), Setback> {
        if self.turn.is_none() {
            self.turn = Some(self.shared.starting.take().await);
        }
        Ok(())
    }

    pub(super) async fn start(&mut self, container: ContainerId) -> Result<(), Setback> {
        self.take_turn().await?;
        self.wait_for_its_time().await;
        let called_at = self.shared.clock.now();
        // From here on it may have been called, whatever becomes of this future.
        self.hand.start_not_called = false;
        self.seat.alive.is_about_to_start();
        let started = self.shared.engine.start(&container).await;
        self.turn = None;
        self.unheard_since = self.shared.clock.now();
        match started {
            // What it says of itself decides in either case: a refusal is written on the container.
            Ok(()) => {
                self.look().await?;
                self.learn_how_long_it_took(called_at);
                Ok(())
            }
            Err(EngineError::NotFound | EngineError::Conflict(_) | EngineError::NoSuchImage) => {
                self.look().await
            }
            Err(EngineError::Refused { reason, message }) => {
                self.look().await?;
                match &self.sight {
                    Sight::Present(Container { phase: Phase::Created { .. }, .. }) => {
                        self.record(Self::failed(reason, message)).await
                    }
                    Sight::Unseen | Sight::Absent | Sight::Foreign | Sight::Present(_) => Ok(()),
                }
            }
            Err(other @ EngineError::NoAnswer(_)) => Err(other.into()),
        }
    }

    fn learn_how_long_it_took(&self, called_at: Timestamp) {
        if let Sight::Present(Container { phase, .. }) = &self.sight
            && let Phase::Running { started_at } | Phase::Exited { started_at, .. } = phase
        {
            self.shared.aims.saw(&self.job, *started_at - called_at);
        }
    }

    /// It was claimed a moment early. The intent is on disk: a server that is told to stop waits for this.
    async fn wait_for_its_time(&self) {
        let (clock, starts_at) = (&self.shared.clock, self.shared.starts_at(&self.job));
        // Longer than that only when the clock was set back since.
        clock.reach(starts_at.min(clock.now() + EARLY)).await;
    }

    /// Waits for a hint, for the job's timeout, or for a request.
    pub(super) async fn watch(&mut self) -> Result<(), Setback> {
        let timeout = async {
            match self.runs_out_at() {
                None => std::future::pending().await,
                Some(instant) => self.until(instant).await,
            }
        };
        tokio::select! {
            biased;
            () = self.seat.poke.notified() => Err(Setback::Reread),
            () = self.stop.cancelled() => Err(Setback::Stop),
            () = timeout => self.time_is_up().await,
        }
    }

    /// It may have ended before, unnoticed.
    async fn time_is_up(&mut self) -> Result<(), Setback> {
        self.look().await?;
        match &self.sight {
            Sight::Present(Container { phase: Phase::Running { .. }, .. }) => {
                let (rules, now) = (self.shared.rules(), self.shared.clock.now());
                self.record(rules.catalog.policy.stop(&self.job, StopCause::Timeout, None, now))
                    .await
            }
            Sight::Unseen | Sight::Absent | Sight::Foreign | Sight::Present(_) => Ok(()),
        }
    }

    fn runs_out_at(&self) -> Option<Timestamp> {
        let allowed = Duration::from_std(self.job.spec.fields().timeout?.as_duration()).ok()?;
        self.job.state.run()?.started_at.checked_add_signed(allowed)
    }

    pub(super) async fn stop_container(&mut self, container: ContainerId) -> Result<(), Setback> {
        self.stop_was_called = true;
        self.ask_to_stop(&container).await?;
        self.look().await?;
        match &self.sight {
            Sight::Present(Container { phase: Phase::Running { .. }, .. }) => {
                Err(Setback::Again("it was asked to stop and still runs".to_owned()))
            }
            Sight::Unseen | Sight::Absent | Sight::Foreign | Sight::Present(_) => Ok(()),
        }
    }

    /// Waits until it has ended, or is to be killed sooner.
    async fn ask_to_stop(&self, container: &ContainerId) -> Result<(), Setback> {
        let mut stopping = pin!(self.shared.engine.stop(container, self.grace_left()));
        loop {
            tokio::select! {
                biased;
                stopped = &mut stopping => return Ok(stopped?),
                // Asking the engine again sends the signal again: only a job that was asked to stop sooner is worth that.
                () = self.seat.poke.notified() => match self.has_changed().await {
                    true => return Err(Setback::Reread),
                    false => self.look_while_stopping(container).await?,
                },
                // The request is on disk: whoever comes next goes on with it.
                () = self.stop.cancelled() => return Err(Setback::Stop),
            }
        }
    }

    /// Tells those who wait to know it that the process still runs.
    async fn look_while_stopping(&self, container: &ContainerId) -> Result<(), Setback> {
        let began_at = self.shared.clock.now();
        let seen = self.shared.engine.inspect(container).await?;
        if seen.is_some_and(|seen| matches!(seen.phase, Phase::Running { .. })) {
            self.shared.saw_alive(&self.job, &self.seat.alive, began_at);
        }
        Ok(())
    }

    /// What is left of the grace, which counts from when the stop was asked for: also after a restart.
    fn grace_left(&self) -> std::time::Duration {
        let State::Stopping(stopping) = &self.job.state else { return std::time::Duration::ZERO };
        let kill_at = self.shared.rules().catalog.policy.kill_at(&self.job, stopping);
        (kill_at - self.shared.clock.now()).to_std().unwrap_or_default()
    }

    /// Records the end. Until its output is kept the container stays.
    pub(super) async fn collect(&mut self, run: Run, exit: Exit) -> Result<(), Setback> {
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
        }))
        .await
    }

    /// With live-restore a process that the engine found dead may well have ended by itself.
    fn engine_keeps_containers(&self) -> bool {
        matches!(&*self.shared.health.look(), Health::Up(engine) if engine.abilities.keeps_containers)
    }

    /// Whether it was the engine's restart that ended the process: it left one of the codes with which an engine ends
    /// its containers or finds them dead, nobody asked for it, and the engine that answers now is not the one that
    /// started it.
    async fn is_engines_doing(&self, run: &Run, exit: &Exit) -> Result<bool, Setback> {
        let asked_for = match &self.job.state {
            State::Stopping(stopping) => !stopping.came_too_late(exit, self.stop_was_called),
            _ => false,
        };
        if asked_for || exit.oom_killed || !matches!(exit.code, 137 | 143 | UNSEEN_END) {
            return Ok(false);
        }
        let question = Question::StartedByThisEngine;
        let testimony = self
            .shared
            .engine
            .testimony(&run.container, question, run.started_at - LOG_MARGIN)
            .await?;
        Ok(testimony == Testimony::NotSeen)
    }

    pub(super) async fn remove(&mut self, container: ContainerId) -> Result<(), Setback> {
        match self.shared.engine.remove(&container).await {
            Ok(()) | Err(EngineError::NotFound) => {
                self.sight = Sight::Absent;
                Ok(())
            }
            Err(EngineError::Conflict(message)) => {
                warn!(job = %self.job.id, error = %message, "its container cannot be removed yet; the next sweep tries again");
                self.sight = Sight::Absent;
                Ok(())
            }
            Err(other) => Err(other.into()),
        }
    }
}
