//! Advances schedules: decides past ticks and makes the job of the next one.
//!
//! Schedules have no list in memory and no task. Each round of the dispatcher first advances every
//! schedule that is due to be checked ([`look`]), and only then asks for due jobs.
//! [`crate::domain::schedule::record`] decides each schedule update, and the store writes it in one
//! transaction. The second writer of the same record is refused, reads it again, and finds it done.

use futures::future::join_all;

use super::context::Context;
use super::timing::ROUND;
use crate::domain::job::Job;
use crate::domain::names::actor::Actor;
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::record::{ScheduleRecord, ScheduleUpdate};
use crate::store::StoreError;

/// The number of passes over the schedules in one round, so that other jobs are not kept waiting.
const LOOKS: usize = 16;

/// Decides the ticks of every schedule whose time has come. Returns the time of the next check, or
/// `None` without any.
///
/// # Errors
/// A store that fails. Ticks decided before the failure stay decided.
pub(super) async fn look(
    context: &Context,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    for _ in 0..LOOKS {
        let records = context.store.schedules_due(now, ROUND).await?;
        if records.is_empty() {
            break;
        }
        // Written concurrently, so that schedules due at one instant share a commit.
        let updates = join_all(records.iter().map(|record| update(context, record, now))).await;
        updates.into_iter().collect::<Result<(), StoreError>>()?;
    }
    context.store.next_schedule_check().await
}

/// Advances one schedule. Does nothing if another writer came first, since that one has done it.
pub(super) async fn update(
    context: &Context,
    record: &ScheduleRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    let waiting = waiting(context, &record.name).await?;
    let restored = context.store.restored(now).await?.is_some();
    let update = record.advance(&waiting, now, restored, &mut || context.new_id(now));
    write(context, update, now, &Actor::Schedule(record.name.clone())).await.map(drop)
}

/// Writes a schedule update that `by` caused. Returns false if the record was outdated. Restages
/// the jobs that were added or ended.
pub(super) async fn write(
    context: &Context,
    update: ScheduleUpdate,
    now: Timestamp,
    by: &Actor,
) -> Result<bool, StoreError> {
    let (name, backlog) = (update.name.clone(), update.backlog());
    let kept = update.clone();
    let written = unless_outdated(context.store.apply_schedule_update(update, now, by).await)?;
    if written {
        context.metrics.schedule_updated(&kept);
        for (reason, ticks) in backlog {
            context.backlog().note(&name, reason, ticks);
        }
        let changed = kept.jobs.iter().chain(kept.ended.iter().map(|(_, after)| after));
        changed.for_each(|job| context.stage_again(job));
    }
    Ok(written)
}

/// Returns the jobs of this schedule's ticks that wait for their first attempt.
pub(super) async fn waiting(
    context: &Context,
    name: &ScheduleName,
) -> Result<Vec<Job>, StoreError> {
    let mut jobs = context.store.jobs_of(name).await?;
    let is_tick = |job: &Job| job.origin.schedule().is_some_and(|origin| origin.nominal.is_some());
    jobs.retain(|job| job.attempt.0 == 0 && is_tick(job));
    Ok(jobs)
}

/// Returns false if the record was outdated, true if it was written.
pub(super) fn unless_outdated(written: Result<(), StoreError>) -> Result<bool, StoreError> {
    match written {
        Ok(()) => Ok(true),
        Err(StoreError::Outdated) => Ok(false),
        Err(failure) => Err(failure),
    }
}

impl Context {
    pub(super) fn new_id(&self, now: Timestamp) -> JobId {
        JobId::new(now, self.rng.bytes())
    }
}
