//! The fence: how it is found out, without guessing, whether a container that was meant to be started ever ran.
//!
//! The case: an intent is on disk, and the container shows no trace of a run. Either `start` was never called (we were
//! killed before), or the engine is still at it (it goes on though the caller is gone). So:
//!
//! 1. Wait for longer than an engine still works on a start whose caller is gone, then look again.
//! 2. Remove the container, without force. One that runs refuses, and is adopted. One that is gone can never start.
//! 3. Ask the engine's event log. It was seen not to run a moment before it was removed: only a start in that moment
//!    can have been missed, and a log that shows the removal and reaches back to the look shows that start too.
//!
//! All this is believed of one engine only: the one that created the container, and was asked to start it. One that was
//! killed over a start may have left a process that runs, and the next one does not know of it.

use tracing::{info, warn};

use super::{Driver, Setback};
use crate::domain::container::{Container, Phase, Question, Testimony};
use crate::domain::id::{ContainerId, Timestamp};
use crate::domain::job::Intent;
use crate::domain::protocol::{Fenced, Sight};
use crate::engine::EngineError;
use crate::scheduler::{Backoff, SETTLE};

/// That the engine which answers is the one that created this container, for as long as the connection holds.
pub(super) struct Witness {
    container: ContainerId,
    /// The count of the connection's changes.
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
        // Kept in hand until it is written down, whatever comes between.
        (self.sight, self.hand.fenced) = (Sight::Absent, Some(found));
        Ok(())
    }

    /// The intent may be older than the last `start` that was waited for: that one counts.
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

    /// Removes the container; false when it turned out to run. A removal without an answer is repeated: that it is gone
    /// already is as good.
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

    /// Asks until there is an answer: the container is out of reach, and only the log can tell now.
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

    /// Asks at once whether the engine is the one that created the container: its log is short, and does not tell for
    /// long. From then on the connection vouches for it.
    async fn call_witness(
        &mut self,
        intent: &Intent,
        created_at: Timestamp,
    ) -> Result<(), Setback> {
        if self.is_vouched_for(&intent.container) {
            return Ok(());
        }
        // From before the question, so that no restart falls between the two.
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

    /// Whether the engine that shows no trace of a start is the one that was asked to start it.
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

    /// Waits until the engine answers again. Only the server's own stop ends the wait early: what the fence has begun,
    /// it finishes.
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
