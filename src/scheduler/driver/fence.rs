//! The fence: finds out, without guessing, whether a container with an intent ever ran.
//!
//! The case: an intent is on disk, and the container shows no trace of a run. Either `start` was
//! never called, because our process was killed before. Or the engine is still working on a `start`
//! whose caller is gone. The fence takes six steps:
//!
//! 1. Ask the event log whether the engine that answers now created the container. The log is
//!    short, so this comes first.
//! 2. Wait longer than an engine still works on a start whose caller is gone.
//! 3. Inspect again. The fence ends here if the container shows a run or is gone.
//! 4. Remove the container without force. The engine refuses if the container runs, and the driver
//!    adopts it. A removed container can never start.
//! 5. Query the event log for a start. The last inspect showed no run, so only a start between
//!    inspect and removal is in doubt. A log that shows the removal and reaches back to the inspect
//!    also shows that start.
//! 6. If the log has no start, ask again whether this engine created the container.
//!
//! The result holds for one engine only: the one that created the container and was asked to start
//! it. An engine killed during a start may leave a running process, and the next engine does not
//! know of it.

use tracing::{info, warn};

use super::attempt::CreatorCheck;
use super::attempt::{Driver, StepError};
use crate::domain::container::{Container, Evidence, EvidenceQuery, Phase};
use crate::domain::job::Intent;
use crate::domain::names::id::{ContainerId, Timestamp};
use crate::domain::protocol::{Fenced, Observed};
use crate::engine::EngineError;
use crate::scheduler::timing::{Backoff, SETTLE};

impl Driver {
    pub(super) async fn fence(&mut self, intent: Intent) -> Result<(), StepError> {
        let Observed::Present(Container { created_at, .. }) = self.observed else { return Ok(()) };
        self.confirm_creator(&intent, created_at).await?;
        self.wait_out_start(&intent).await?;
        let looked_at = self.context.clock.now();
        self.inspect().await?;
        let untouched = matches!(&self.observed, Observed::Present(Container { id, phase: Phase::Created { refusal: None }, .. }) if *id == intent.container);
        if !untouched || !self.remove_unstarted(&intent.container).await? {
            return Ok(());
        }
        let started = self.ask(&intent, EvidenceQuery::StartedBeforeRemoval, looked_at).await?;
        let found = match started {
            Evidence::NotSeen if self.is_same_engine(&intent, created_at).await? => {
                Fenced::NeverStarted
            }
            Evidence::NotSeen | Evidence::Seen | Evidence::Inconclusive => Fenced::Ambiguous,
        };
        info!(job = %self.job.id, ?found, "its container is fenced");
        // Driver memory keeps the result until it is written down, whatever happens in between.
        (self.observed, self.memory.fenced) = (Observed::Absent, Some(found));
        Ok(())
    }

    /// Waits until the engine cannot be working on a start any more. Counts from the intent or, if
    /// later, from the last `start` in flight.
    async fn wait_out_start(&self, intent: &Intent) -> Result<(), StepError> {
        let asked_at = intent.at.max(self.start_in_flight_until);
        let settled =
            chrono::Duration::from_std(SETTLE).map_or(asked_at, |settle| asked_at + settle);
        tokio::select! {
            biased;
            () = self.until(settled) => Ok(()),
            () = self.driver_handle.wake.notified() => Err(StepError::Reload),
            () = self.stop.cancelled() => Err(StepError::Stopping),
        }
    }

    /// Removes the container. Returns false if it turned out to run. A removal without an answer is
    /// repeated, and a container that is gone already counts as removed.
    async fn remove_unstarted(&mut self, container: &ContainerId) -> Result<bool, StepError> {
        loop {
            match self.context.engine.remove(container).await {
                Ok(()) | Err(EngineError::NotFound) => return Ok(true),
                Err(EngineError::Conflict(_)) => {
                    self.observed = Observed::Unknown;
                    return Ok(false);
                }
                Err(error) => self.wait_out(error).await?,
            }
        }
    }

    /// Queries the event log until the engine answers: the container is removed, so only the log
    /// can tell.
    async fn ask(
        &self,
        intent: &Intent,
        question: EvidenceQuery,
        since: Timestamp,
    ) -> Result<Evidence, StepError> {
        loop {
            match self.context.engine.query_event_log(&intent.container, question, since).await {
                Ok(evidence) => return Ok(evidence),
                Err(error) => self.wait_out(error).await?,
            }
        }
    }

    /// Asks the engine right away whether it created the container, because the event log is short
    /// and soon forgets. After that, the unbroken connection confirms the creator.
    async fn confirm_creator(
        &mut self,
        intent: &Intent,
        created_at: Timestamp,
    ) -> Result<(), StepError> {
        if self.creator_confirmed(&intent.container) {
            return Ok(());
        }
        // Read before the query, so that a restart during the query is noticed.
        let connection = self.context.health.changes();
        let question = EvidenceQuery::CreatedByThisEngine;
        let created =
            self.context.engine.query_event_log(&intent.container, question, created_at).await?;
        let container = intent.container.clone();
        self.creator_check =
            (created == Evidence::Seen).then_some(CreatorCheck { container, connection });
        Ok(())
    }

    fn creator_confirmed(&self, container: &ContainerId) -> bool {
        let unbroken = self.context.health.changes();
        self.creator_check
            .as_ref()
            .is_some_and(|w| w.container == *container && w.connection == unbroken)
    }

    /// Returns whether the engine that shows no trace of a start is the one that was asked to start
    /// the container.
    async fn is_same_engine(
        &self,
        intent: &Intent,
        created_at: Timestamp,
    ) -> Result<bool, StepError> {
        Ok(match self.ask(intent, EvidenceQuery::CreatedByThisEngine, created_at).await? {
            Evidence::Seen => true,
            Evidence::NotSeen => false,
            Evidence::Inconclusive => self.creator_confirmed(&intent.container),
        })
    }

    /// Waits until the engine answers again. Only a stop of the server ends the wait early: a fence
    /// that has begun is finished.
    async fn wait_out(&self, error: EngineError) -> Result<(), StepError> {
        warn!(job = %self.job.id, %error, "the fence waits for the engine");
        self.pause(&mut Backoff::new()).await;
        loop {
            match self.engine_is_up().await {
                Err(StepError::Reload | StepError::Retry(_)) => {}
                _ if self.stop.is_cancelled() => return Err(StepError::Stopping),
                other => return other,
            }
        }
    }
}
