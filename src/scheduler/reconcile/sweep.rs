//! The sweep: compares the engine's containers with the store.
//!
//! The sweep decides nothing itself. If a container's job has a driver, that driver inspects the
//! container. A job without the driver it should have gets one. A container of a finished attempt
//! is cleared away (`clear`). A container of ours without a job is an orphan: reported, and removed
//! if it is old and does not run.
//!
//! An empty list proves nothing: no job is ever given up because it was missing from one.
//! Containers of other instances, and containers without our labels, are not touched.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use crate::domain::job::{Job, Map};
use crate::domain::names::id::{Attempt, JobId};
use crate::domain::protocol::remains::Remains;
use crate::engine::{EngineError, Listed};
use crate::scheduler::{
    context::{Context, clearings::SweepFinding},
    timing::ORPHAN_AGE,
};

/// Compares the engine's containers with the store once.
///
/// # Errors
/// The engine does not answer. Cases that the store cannot decide now are left to the next sweep.
pub(in crate::scheduler) async fn run(context: &Context) -> Result<(), EngineError> {
    let listed = context.engine.list(context.store.instance()).await?;
    let mut all_known = true;
    for container in &listed {
        all_known &= visit(context, container).await?;
    }
    if all_known {
        context.clearings.note_swept();
    }
    let running: HashSet<JobId> = listed
        .iter()
        .filter(|c| c.running)
        .filter_map(|c| c.owner.map(|owner| owner.job))
        .collect();
    poke_all_but(context, &running);
    find_undriven(context).await;
    context.swept.store(true, Ordering::Relaxed);
    Ok(())
}

/// Wakes every driver whose container is not listed as running. The others know the state of their
/// containers already.
fn poke_all_but(context: &Context, running: &HashSet<JobId>) {
    for (job, driver_handle) in context.driver_handles().iter() {
        if !running.contains(job) {
            driver_handle.wake.notify_one();
        }
    }
}

/// Handles one container. Returns false if the container has to be left to the next sweep.
async fn visit(context: &Context, container: &Listed) -> Result<bool, EngineError> {
    let Some(owner) = container.owner.filter(|owner| owner.instance == context.store.instance())
    else {
        return Ok(true);
    };
    let is_driven = || context.driver_handle(owner.job).is_some();
    if (container.running && is_driven()) || context.clearings.has(owner.job, owner.attempt) {
        return Ok(true);
    }
    match context.store.get(owner.job).await {
        Ok(Some(job)) if is_left_over(&job, owner.attempt, is_driven()) => {
            Ok(hand_over(context, &job, owner.attempt, container))
        }
        Ok(Some(job)) => {
            let is_ahead = owner.attempt > job.attempt && job.map() == Map::Scheduled;
            if is_ahead && !is_driven() && !container.running && !container.exited {
                context.found_staged(&job, &container.id);
            }
            Ok(true)
        }
        Ok(None) => orphan(context, container).await.map(|()| true),
        Err(failure) => {
            warn!(job = %owner.job, error = %failure, "its job cannot be read; its container stays");
            Ok(false)
        }
    }
}

/// Returns whether this attempt is over and no driver will hand over its remains. An attempt later
/// than the job's current one was staged ahead.
fn is_left_over(job: &Job, attempt: Attempt, is_driven: bool) -> bool {
    let is_present_over = (attempt == job.attempt && job.map() != Map::Running) || job.is_over();
    attempt < job.attempt || (is_present_over && !is_driven)
}

/// Hands the remains over, as not inspected yet: the list may be older than the container's current
/// state.
fn hand_over(context: &Context, job: &Job, attempt: Attempt, container: &Listed) -> bool {
    let left = context.left_over(job, attempt, Some(container.id.clone()), Remains::Unknown);
    left.is_none_or(|left| context.found.try_send(SweepFinding::LeftOver(left)).is_ok())
}

async fn orphan(context: &Context, container: &Listed) -> Result<(), EngineError> {
    let age = (context.clock.now() - container.created_at).to_std().unwrap_or_default();
    if container.running || age < ORPHAN_AGE {
        warn!(container = %container.name, running = container.running, "a container of ours has no job");
        return Ok(());
    }
    remove(context, container, "an old container of ours without a job").await
}

async fn remove(context: &Context, container: &Listed, what: &str) -> Result<(), EngineError> {
    match context.engine.remove(&container.id).await {
        Ok(()) | Err(EngineError::NotFound) => info!(container = %container.name, "removed {what}"),
        Err(failure @ EngineError::NoAnswer(_)) => return Err(failure),
        Err(failure) => {
            warn!(container = %container.name, error = %failure, "cannot remove {what}")
        }
    }
    Ok(())
}

/// Requests a driver for every job in the running map without one, because its driver panicked.
async fn find_undriven(context: &Context) {
    match context.store.active().await {
        Ok(active) => {
            for job in active.into_iter().filter(|job| context.driver_handle(*job).is_none()) {
                // A full channel means that there are many, and the next sweep finds the rest.
                let _ = context.found.try_send(SweepFinding::Undriven(job));
            }
        }
        Err(failure) => warn!(error = %failure, "cannot read the running jobs"),
    }
}
