//! The fence: finds out, without guessing, whether a container with an intent ever ran.
//!
//! The case: an intent is on disk, and the container shows no trace of a run. Either `start` was
//! never called, because our process was killed before. Or the engine is still working on a `start`
//! whose caller is gone. The fence takes three steps:
//!
//! 1. Wait longer than an engine still works on a start whose caller is gone, then inspect again.
//! 2. Remove the container without force. The engine refuses if the container runs, and the driver
//!    adopts it. A removed container can never start.
//! 3. Query the engine's event log. The container did not run a moment before its removal, so only
//!    a start in that moment can be missing. A log that shows the removal and reaches back to the
//!    inspect also shows that start.
//!
//! The result holds for one engine only: the one that created the container and was asked to start
//! it. An engine killed during a start may leave a running process, and the next engine does not
//! know of it.

use tracing::{info, warn};

use super::{Driver, Setback};
use crate::domain::container::{Container, Phase, Question, Testimony};
use crate::domain::id::{ContainerId, Timestamp};
use crate::domain::job::Intent;
use crate::domain::protocol::{Fenced, Sight};
use crate::engine::EngineError;
use crate::scheduler::{Backoff, SETTLE};

/// The proof that the answering engine created this container. Valid while the connection holds.
pub(super) struct Witness {
    container: ContainerId,
    /// The number of health changes at the time of the proof.
    connection: u64,
}

impl Driver {
    pub(super) async fn fence(&mut self, intent: Intent) -> Result<(), Setback> {
        let Sight::Present(Container { created_at, .. }) = self.sight else { return Ok(()) };
        self.call_witness(&intent, created_at).await?;
        self.settle(&intent).await?;
        let looked_at = self.shared.clock.now();
        self.look().await?;
        let untouched = matches!(&self.sight, Sight::Present(Container { id, phase: Phase::Created { refusal: None }, .. }) if *id == intent.container);
        if !untouched || !self.put_out_of_reach(&intent.container).await? {
            return Ok(());
        }
        let started = self.ask(&intent, Question::StartedBeforeRemoval, looked_at).await?;
        let found = match started {
            Testimony::NotSeen if self.is_same_engine(&intent, created_at).await? => {
                Fenced::NeverStarted
            }
            Testimony::NotSeen | Testimony::Seen | Testimony::CannotTell => Fenced::Ambiguous,
        };
        info!(job = %self.job.id, ?found, "its container is fenced");
        // Driver memory keeps the result until it is written down, whatever happens in between.
        (self.sight, self.hand.fenced) = (Sight::Absent, Some(found));
        Ok(())
    }

    /// Waits until the engine cannot be working on a start any more. Counts from the intent or, if
    /// later, from the last `start` in flight.
    async fn settle(&self, intent: &Intent) -> Result<(), Setback> {
        let asked_at = intent.at.max(self.unheard_since);
        let settled =
            chrono::Duration::from_std(SETTLE).map_or(asked_at, |settle| asked_at + settle);
        tokio::select! {
            biased;
            () = self.until(settled) => Ok(()),
            () = self.seat.poke.notified() => Err(Setback::Reread),
            () = self.stop.cancelled() => Err(Setback::Stop),
        }
    }

    /// Removes the container. Returns false if it turned out to run. A removal without an answer is
    /// repeated, and a container that is gone already counts as removed.
    async fn put_out_of_reach(&mut self, container: &ContainerId) -> Result<bool, Setback> {
        loop {
            match self.shared.engine.remove(container).await {
                Ok(()) | Err(EngineError::NotFound) => return Ok(true),
                Err(EngineError::Conflict(_)) => {
                    self.sight = Sight::Unseen;
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
        question: Question,
        since: Timestamp,
    ) -> Result<Testimony, Setback> {
        loop {
            match self.shared.engine.testimony(&intent.container, question, since).await {
                Ok(testimony) => return Ok(testimony),
                Err(error) => self.wait_out(error).await?,
            }
        }
    }

    /// Asks the engine right away whether it created the container, because the event log is short
    /// and soon forgets. After that, the unbroken connection confirms the creator.
    async fn call_witness(
        &mut self,
        intent: &Intent,
        created_at: Timestamp,
    ) -> Result<(), Setback> {
        if self.is_vouched_for(&intent.container) {
            return Ok(());
        }
        // Read before the query, so that a restart during the query is noticed.
        let connection = self.shared.health.changes();
        let question = Question::CreatedByThisEngine;
        let created = self.shared.engine.testimony(&intent.container, question, created_at).await?;
        let container = intent.container.clone();
        self.witness = (created == Testimony::Seen).then_some(Witness { container, connection });
        Ok(())
    }

    fn is_vouched_for(&self, container: &ContainerId) -> bool {
        let unbroken = self.shared.health.changes();
        self.witness.as_ref().is_some_and(|w| w.container == *container && w.connection == unbroken)
    }

    /// Returns whether the engine that shows no trace of a start is the one that was asked to start
    /// the container.
    async fn is_same_engine(
        &self,
        intent: &Intent,
        created_at: Timestamp,
    ) -> Result<bool, Setback> {
        Ok(match self.ask(intent, Question::CreatedByThisEngine, created_at).await? {
            Testimony::Seen => true,
            Testimony::NotSeen => false,
            Testimony::CannotTell => self.is_vouched_for(&intent.container),
        })
    }

    /// Waits until the engine answers again. Only a stop of the server ends the wait early: a fence
    /// that has begun is finished.
    async fn wait_out(&self, error: EngineError) -> Result<(), Setback> {
        warn!(job = %self.job.id, %error, "the fence waits for the engine");
        self.pause(&mut Backoff::new()).await;
        loop {
            match self.engine_is_up().await {
                Err(Setback::Reread | Setback::Again(_)) => {}
                _ if self.stop.is_cancelled() => return Err(Setback::Stop),
                other => return other,
            }
        }
    }
}
