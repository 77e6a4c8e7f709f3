//! The sweep: compares what the engine has with what the store says.
//!
//! It judges nothing itself. A container whose job has a driver gets that driver to look; a job that should have a
//! driver gets one; a container of an attempt that is over is removed; a container of ours without a job is an orphan:
//! reported, and removed when it does not run and is old. An empty list proves nothing: no job is ever given up because
//! it was missing from one. Containers of other instances, and those without our labels, are not touched.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::{ORPHAN_AGE, Shared};
use crate::domain::id::JobId;
use crate::domain::job::{Job, Map};
use crate::engine::{EngineError, Listed};

/// One comparison.
///
/// # Errors
/// When the engine does not answer. What the store cannot tell now is left to the next sweep.
pub(super) async fn run(shared: &Shared) -> Result<(), EngineError> {
    let listed = shared.engine.list(shared.store.instance()).await?;
    for container in &listed {
        visit(shared, container).await?;
    }
    let running: HashSet<JobId> =
        listed.iter().filter(|c| c.running).filter_map(|c| c.owner.map(|owner| owner.job)).collect();
    poke_all_but(shared, &running);
    find_undriven(shared).await;
    shared.swept.store(true, Ordering::Relaxed);
    Ok(())
}

/// A driver whose container is listed as running knows that already; every other one had better look.
fn poke_all_but(shared: &Shared, running: &HashSet<JobId>) {
    for (job, seat) in shared.seats().iter() {
        if !running.contains(job) {
            seat.poke.notify_one();
        }
    }
}

async fn visit(shared: &Shared, container: &Listed) -> Result<(), EngineError> {
    let Some(owner) = container.owner.filter(|owner| owner.instance == shared.store.instance()) else { return Ok(()) };
    if shared.seat(owner.job).is_some() {
        return Ok(());
    }
    match shared.store.get(owner.job).await {
        Ok(Some(job)) if is_left_over(&job, owner.attempt) => clear(shared, &job, container).await,
        Ok(Some(job)) => {
            if owner.attempt > job.attempt && job.map() == Map::Scheduled && !container.running && !container.exited {
                shared.found_staged(&job, &container.id);
            }
            Ok(())
        }
        Ok(None) => orphan(shared, container).await,
        Err(failure) => {
            warn!(job = %owner.job, error = %failure, "its job cannot be read; its container stays");
            Ok(())
        }
    }
}

/// Whether this attempt is over. One that comes after the job's present attempt was staged ahead.
fn is_left_over(job: &Job, attempt: crate::domain::id::Attempt) -> bool {
    attempt < job.attempt || (attempt == job.attempt && job.map() != Map::Running) || job.is_over()
}

async fn clear(shared: &Shared, job: &Job, container: &Listed) -> Result<(), EngineError> {
    let kept = job.spec.fields().keep_container == Some(true) && container.exited;
    if kept {
        return Ok(());
    }
    remove(shared, container, "a container of a job that is over").await
}

async fn orphan(shared: &Shared, container: &Listed) -> Result<(), EngineError> {
    let age = (shared.clock.now() - container.created_at).to_std().unwrap_or_default();
    if container.running || age < ORPHAN_AGE {
        warn!(container = %container.name, running = container.running, "a container of ours has no job");
        return Ok(());
    }
    remove(shared, container, "an old container of ours without a job").await
}

async fn remove(shared: &Shared, container: &Listed, what: &str) -> Result<(), EngineError> {
    match shared.engine.remove(&container.id).await {
        Ok(()) | Err(EngineError::NotFound) => info!(container = %container.name, "removed {what}"),
        Err(failure @ EngineError::NoAnswer(_)) => return Err(failure),
        Err(failure) => warn!(container = %container.name, error = %failure, "cannot remove {what}"),
    }
    Ok(())
}

/// A job in the running map whose driver broke gets another one.
async fn find_undriven(shared: &Shared) {
    match shared.store.active().await {
        Ok(active) => {
            for job in active.into_iter().filter(|job| shared.seat(*job).is_none()) {
                // Full means that there are many, and the next sweep finds the rest.
                let _ = shared.found.try_send(job);
            }
        }
        Err(failure) => warn!(error = %failure, "the store cannot be asked what runs"),
    }
}
