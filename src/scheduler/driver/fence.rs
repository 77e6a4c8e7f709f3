//! The fence: how it is found out, without guessing, whether a container that was meant to be started ever ran.
//!
//! The case: an intent is on disk, and the container shows no trace of a run. Either `start` was never called (we were
//! killed before), or the engine is still at it (it goes on though the caller is gone). So:
//!
//! 1. Wait until the intent is older than an engine still works on a start whose caller is gone, then look again.
//! 2. Remove the container, without force. One that runs refuses, and is adopted. One that is gone can never start.
//! 3. Ask the engine's event log. It was seen not to run a moment before it was removed: only a start in that moment
//!    can have been missed, and a log that shows the removal shows that start too.

use tracing::{info, warn};

use super::{Driver, Setback};
use crate::domain::container::{Container, Phase, Question, Testimony};
use crate::domain::id::ContainerId;
use crate::domain::job::{Intent, Reason};
use crate::domain::protocol::Sight;
use crate::domain::transition::{Event, Failure};
use crate::engine::EngineError;
use crate::scheduler::{Backoff, SETTLE};

impl Driver {
    pub(super) async fn fence(&mut self, intent: Intent) -> Result<(), Setback> {
        self.settle(&intent).await?;
        self.look().await?;
        let untouched = matches!(&self.sight, Sight::Present(Container { id, phase: Phase::Created { refusal: None }, .. }) if *id == intent.container);
        if !untouched || !self.put_out_of_reach(&intent.container).await? {
            return Ok(());
        }
        match self.ask_for_start(&intent).await? {
            Testimony::NotSeen => {
                info!(job = %self.job.id, "its container never ran; it is created again");
                self.sight = Sight::Absent;
                self.record(Event::NeverStarted).await
            }
            Testimony::Seen => self.ambiguous("the engine's log has a start of its container just before that was removed").await,
            Testimony::CannotTell => self.ambiguous("its container was meant to be started, shows no trace of a run, and the engine's log does not reach back far enough").await,
        }
    }

    async fn settle(&self, intent: &Intent) -> Result<(), Setback> {
        let settled = chrono::Duration::from_std(SETTLE)
            .ok()
            .and_then(|settle| intent.at.checked_add_signed(settle))
            .unwrap_or(intent.at);
        tokio::select! {
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
    async fn ask_for_start(&self, intent: &Intent) -> Result<Testimony, Setback> {
        loop {
            match self.shared.engine.testimony(&intent.container, Question::StartedBeforeRemoval, intent.at).await {
                Ok(testimony) => return Ok(testimony),
                Err(error) => self.wait_out(error).await?,
            }
        }
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

    async fn ambiguous(&mut self, why: &str) -> Result<(), Setback> {
        self.record(Event::Lost(Failure::new(Reason::StartAmbiguous, why))).await
    }
}
