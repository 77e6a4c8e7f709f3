//! Restore: reconciles the store of a restored backup with the engine before anything is started.
//!
//! The candidates are the jobs that were in the running map of the backup, or due before the
//! restored store was first served. Each one is compared with the engine: with its containers,
//! found by their labels, and with the event log. [`crate::domain::protocol::restored`] decides
//! each case.
//!
//! The store keeps its restored-backup mark until every job has been reconciled, so a crash in
//! between only repeats the work. Until then nothing is claimed. The log counts only if it comes
//! from the engine that held the containers.

use std::collections::{BTreeSet, HashMap};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::job::{Job, Map};
use crate::domain::names::id::{Attempt, ContainerId, EngineId, JobId, Timestamp};
use crate::domain::protocol::restored::{LoggedStart, reconcile_restored};
use crate::engine::{EngineError, Listed, Started};
use crate::scheduler::schedule_updates;
use crate::scheduler::timing::LOG_MARGIN;
use crate::scheduler::{
    context::{Context, Health, TransientError},
    timing::Backoff,
};
use crate::store::{Restored, StoreError};

/// Reconciles a restored store; does nothing for any other. Returns when that is done or `stop` is
/// cancelled.
pub(in crate::scheduler) async fn run(context: &Context, stop: &CancellationToken) {
    let see_to_it = async {
        let mut backoff = Backoff::new();
        while let Err(failure) = reconcile(context).await {
            warn!(error = %failure, "the jobs of the backup cannot be reconciled yet; nothing is started until then");
            backoff.pause().await;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = see_to_it => {}
    }
}

async fn reconcile(context: &Context) -> Result<(), TransientError> {
    let Some(restored) = context.store.restored(context.clock.now()).await? else { return Ok(()) };
    warn!(since = %restored.since, "this store is a restored backup: checking the engine for jobs that ran since");
    let engine = engine_that_is_up(context).await;
    let instance = context.store.instance();
    let listed = take_back_staged(context, context.engine.list(instance).await?, &restored).await?;
    let evidence = EngineContents {
        containers: latest(listed),
        // Queried after the removals, so that the log includes a container started before its
        // removal.
        log: context.engine.started(instance, restored.since - LOG_MARGIN).await?,
        is_the_same_engine: restored.engine == Some(engine),
    };
    let mut jobs = BTreeSet::from_iter(context.store.overtaken(restored.served_at).await?);
    // Adds jobs that the engine started because they got an earlier due time since the backup.
    jobs.extend(evidence.containers.keys().chain(evidence.log.attempts.keys()));
    for job in &jobs {
        reconcile_job(context, *job, &evidence, &restored).await?;
    }
    // Ticks that passed since the backup may have run elsewhere, under ids that this store does not
    // have.
    let now = context.clock.now();
    while schedule_updates::look(context, now).await?.is_some_and(|at| at <= now) {}
    context.store.forget_restored().await?;
    info!(jobs = jobs.len(), "the jobs of the backup are reconciled");
    Ok(())
}

/// The engine's containers and event log.
struct EngineContents {
    containers: HashMap<JobId, (Attempt, ContainerId)>,
    log: Started,
    is_the_same_engine: bool,
}

impl EngineContents {
    fn logged(&self, job: JobId) -> LoggedStart {
        match self.log.attempts.get(&job) {
            Some(attempt) => LoggedStart::Started(*attempt),
            None if self.is_the_same_engine && self.log.reaches_back => LoggedStart::Nothing,
            None => LoggedStart::Inconclusive,
        }
    }
}

async fn engine_that_is_up(context: &Context) -> EngineId {
    loop {
        context.health.until(Health::is_up).await;
        if let Health::Up(description) = &*context.health.look() {
            return description.id.clone();
        }
    }
}

/// Removes containers that were staged for jobs not due yet, which will run at their due times.
/// Returns the other containers.
async fn take_back_staged(
    context: &Context,
    listed: Vec<Listed>,
    restored: &Restored,
) -> Result<Vec<Listed>, TransientError> {
    let mut others = Vec::with_capacity(listed.len());
    for container in listed {
        if is_staged(context, &container, restored).await? {
            match context.engine.remove(&container.id).await {
                Ok(()) | Err(EngineError::NotFound) => continue,
                Err(failure @ EngineError::NoAnswer(_)) => return Err(failure.into()),
                // The container may be running by now.
                Err(failure) => {
                    warn!(container = %container.name, error = %failure, "cannot remove a staged container")
                }
            }
        }
        others.push(container);
    }
    Ok(others)
}

async fn is_staged(
    context: &Context,
    container: &Listed,
    restored: &Restored,
) -> Result<bool, StoreError> {
    let Some(owner) = container.owner.filter(|_| !container.running && !container.exited) else {
        return Ok(false);
    };
    let job = context.store.get(owner.job).await?;
    let is_to_come = |job: &Job| job.map() == Map::Scheduled && job.due_at > restored.served_at;
    Ok(job.is_some_and(|job| is_to_come(&job) && owner.attempt > job.attempt))
}

/// Returns the container of each job's latest attempt.
fn latest(listed: Vec<Listed>) -> HashMap<JobId, (Attempt, ContainerId)> {
    let mut latest: HashMap<JobId, (Attempt, ContainerId)> = HashMap::new();
    for (owner, id) in
        listed.into_iter().filter_map(|container| Some((container.owner?, container.id)))
    {
        let known = latest.get(&owner.job).is_some_and(|(attempt, _)| *attempt >= owner.attempt);
        if !known {
            latest.insert(owner.job, (owner.attempt, id));
        }
    }
    latest
}

/// Reconciles one job. Starts over if a caller changes the job meanwhile.
async fn reconcile_job(
    context: &Context,
    id: JobId,
    evidence: &EngineContents,
    restored: &Restored,
) -> Result<(), StoreError> {
    loop {
        let Some(job) = context.store.get(id).await? else { return Ok(()) };
        let container = evidence.containers.get(&id).cloned();
        let Some(event) = reconcile_restored(&job, container, evidence.logged(id)) else {
            return Ok(());
        };
        let now: Timestamp = context.clock.now();
        let name = event.name();
        let Ok(next) = job.on(event, now) else { return Ok(()) };
        match context.advance(&job, &next, now).await {
            Ok(()) => {
                warn!(job = %id, attempt = %next.attempt, event = name, since = %restored.since, "the job went on since the backup");
                return Ok(());
            }
            Err(StoreError::Outdated) => {}
            Err(failure) => return Err(failure),
        }
    }
}
