//! Clears away the remains of finished attempts on the engine: keeps their output, then removes
//! their containers.
//!
//! The end of the attempt is on disk before clearing begins. So the slot, the queue, callers and
//! the job's next attempt do not wait for it. A container stays until its output is kept.
//!
//! The driver hands over the remains of its attempt. The sweep finds the remains that a dead server
//! had not cleared yet. Each attempt has one task at a time ([`ClearingSlot`]).
//!
//! Clearing never gives up: it waits for an engine that does not answer and for a disk without
//! space.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::stream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::context::clearings::{ClearingSlot, Leftover};
use super::{
    context::{Context, Health, TransientError},
    timing::Backoff,
};
use crate::domain::container::Owner;
use crate::domain::job::Job;
use crate::domain::names::id::{Attempt, ContainerId, JobId};
use crate::domain::protocol::remains::{Clearing, Remains, next_clearing};
use crate::engine::{EngineError, LogStream};
use crate::store::StoreError;
use crate::store::logs::KeepError;

impl Context {
    /// Takes on the remains of an attempt; `None` if that was done already, or nothing is left.
    pub(super) fn left_over(
        &self,
        job: &Job,
        attempt: Attempt,
        container: Option<ContainerId>,
        remains: Remains,
    ) -> Option<Leftover> {
        let clearings = self.clearings.clone();
        if attempt.0 == 0
            || remains == Remains::Gone
            || !clearings.attempts().insert((job.id, attempt))
        {
            return None;
        }
        let keep_container = job.spec.fields().keep_container == Some(true);
        let place = ClearingSlot { clearings, attempt: (job.id, attempt) };
        Some(Leftover {
            place,
            container,
            remains,
            keep_container,
            log_limit: job.spec.log_limit(),
        })
    }

    /// Returns whether the output of a finished attempt may still be on the engine only.
    pub(super) fn may_be_unkept(&self, job: JobId, attempt: Attempt) -> bool {
        // A driver hands over before its handle is removed.
        self.driver_handle(job).is_some()
            || self.clearings.has(job, attempt)
            || !self.clearings.swept.load(Ordering::SeqCst)
    }
}

/// Clears an attempt away. Ends early when the server stops; the next process finishes the work.
pub(super) async fn run(context: Arc<Context>, left: Leftover, stop: CancellationToken) {
    let mut task = Task { context, left, is_kept: false, stop };
    let mut backoff = Backoff::new();
    while !task.stop.is_cancelled() {
        let next = next_clearing(task.left.keep_container, &task.left.remains, task.is_kept);
        if next == Clearing::Done {
            return;
        }
        match task.perform(next).await {
            Ok(()) => backoff = Backoff::new(),
            Err(TransientError::Store(StoreError::Closed)) => return,
            Err(failure) => {
                let job = task.left.place.attempt.0;
                if !task.stop.is_cancelled() {
                    warn!(%job, error = %failure, "its container is not cleared away yet; trying again");
                }
                if matches!(failure, TransientError::Engine(_)) {
                    task.left.remains = Remains::Unknown;
                }
                let _stopped = unless_stopped(&task.stop, backoff.pause()).await;
            }
        }
    }
}

/// Returns the result, or `None` if the server stops first.
async fn unless_stopped<T>(stop: &CancellationToken, doing: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = doing => Some(done),
    }
}

struct Task {
    context: Arc<Context>,
    left: Leftover,
    is_kept: bool,
    stop: CancellationToken,
}

impl Task {
    async fn perform(&mut self, next: Clearing) -> Result<(), TransientError> {
        let (context, stop) = (self.context.clone(), self.stop.clone());
        if unless_stopped(&stop, context.health.until(Health::is_up)).await.is_none() {
            return Ok(());
        }
        debug!(job = %self.left.place.attempt.0, step = ?next, "next step");
        match next {
            Clearing::Inspect => unless_stopped(&stop, self.inspect()).await.unwrap_or(Ok(())),
            // Handles the stop itself: a half-written file is taken back.
            Clearing::Keep(container) => self.keep(&container).await,
            Clearing::Remove(container) => {
                unless_stopped(&stop, self.remove(&container)).await.unwrap_or(Ok(()))
            }
            Clearing::Done => Ok(()),
        }
    }

    async fn inspect(&mut self) -> Result<(), TransientError> {
        let (job, attempt) = self.left.place.attempt;
        let owner = Owner { instance: self.context.store.instance(), job, attempt };
        let seen = match &self.left.container {
            Some(container) => self.context.engine.inspect(container).await?,
            None => self.context.engine.find(&owner).await?,
        };
        let ours = seen.filter(|container| container.owner == Some(owner));
        self.left.remains = ours.as_ref().map_or(Remains::Gone, Remains::from);
        Ok(())
    }

    /// Keeps the output, unless an earlier process has done so.
    async fn keep(&mut self, container: &ContainerId) -> Result<(), TransientError> {
        let (job, attempt) = self.left.place.attempt;
        if !self.context.logs.has(job, attempt).await? {
            let context = self.context.clone();
            let Some(_turn) = unless_stopped(&self.stop, context.clearings.keeping.acquire()).await
            else {
                return Ok(());
            };
            match self.keep_output(container).await {
                Ok(()) => {}
                Err(TransientError::Engine(EngineError::NotFound)) => {
                    self.left.remains = Remains::Unknown;
                    return Ok(());
                }
                Err(TransientError::Engine(
                    error @ (EngineError::Refused { .. } | EngineError::Conflict(_)),
                )) => {
                    warn!(%job, %error, "the engine cannot give its output; empty output is kept");
                    self.keep_all(stream::empty().boxed()).await?;
                }
                Err(other) => return Err(other),
            }
        }
        self.is_kept = true;
        Ok(())
    }

    async fn keep_output(&self, container: &ContainerId) -> Result<(), TransientError> {
        match unless_stopped(&self.stop, self.context.engine.logs(container, false)).await {
            Some(output) => self.keep_all(self.until_stopped(output?)).await,
            None => Err(stopping().into()),
        }
    }

    async fn keep_all(&self, output: LogStream) -> Result<(), TransientError> {
        let (job, attempt) = self.left.place.attempt;
        match self.context.logs.keep(job, attempt, output, self.left.log_limit).await {
            Ok(_) => Ok(()),
            Err(KeepError::Store(error)) => Err(error.into()),
            Err(KeepError::Source(error)) => Err(error.into()),
        }
    }

    /// Returns the same output, cut off with an error when the server stops.
    fn until_stopped(&self, output: LogStream) -> LogStream {
        let next = |(mut output, stop): (LogStream, CancellationToken)| async move {
            match unless_stopped(&stop, output.next()).await {
                Some(next) => next.map(|next| (next, (output, stop))),
                None => Some((Err(stopping()), (output, stop))),
            }
        };
        stream::unfold((output, self.stop.clone()), next).boxed()
    }

    async fn remove(&mut self, container: &ContainerId) -> Result<(), TransientError> {
        // Removal is not urgent, and other containers may be starting.
        self.context.start_limit.wait_until_idle().await;
        match self.context.engine.remove(container).await {
            Ok(()) | Err(EngineError::NotFound) => {}
            Err(failure @ EngineError::NoAnswer(_)) => return Err(failure.into()),
            Err(failure) => {
                let job = self.left.place.attempt.0;
                warn!(%job, error = %failure, "its container cannot be removed yet; the next sweep tries again");
            }
        }
        self.left.remains = Remains::Gone;
        Ok(())
    }
}

fn stopping() -> EngineError {
    EngineError::NoAnswer("the server stops".to_owned())
}
