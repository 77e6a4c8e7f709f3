//! The index of wait groups: tells the dispatcher which groups to check again.
//!
//! The jobs are in the store, and this index holds only the wait groups. So the end of one job
//! leads to the jobs it kept waiting, and to no others. The index can always be rebuilt. It is read
//! at the start, and again now and then, so a missed wake-up only delays a job.

use std::sync::{MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::domain::job::wait_group::{Limit, WaitGroup};
use crate::domain::job::{Job, Map};
use crate::domain::names::actor::Actor;
use crate::domain::names::id::Timestamp;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::spec::JobSpec;
use crate::scheduler::context::Context;
use crate::scheduler::context::wait_groups::WaitGroups;
use crate::scheduler::timing::SWEEP_EVERY;
use crate::store::StoreError;

/// The number of wait groups read per query.
const PAGE: usize = 1_000;

impl Context {
    pub(in crate::scheduler) fn wait_groups(&self) -> MutexGuard<'_, WaitGroups> {
        self.wait_groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rebuilds the index from the store if the last time is `SWEEP_EVERY` ago. Marks every group
    /// to be checked.
    pub(in crate::scheduler) async fn read_wait_groups(&self) -> Result<(), StoreError> {
        let (read_at, asked) = self.wait_groups().last_read();
        if read_at.is_some_and(|at| at.elapsed() < SWEEP_EVERY) {
            return Ok(());
        }
        let mut all = WaitGroups { read_at: Some(Instant::now()), asked, ..WaitGroups::default() };
        let mut last: Option<WaitGroup> = None;
        loop {
            let page = self.store.wait_groups(last.as_ref(), PAGE).await?;
            page.iter().for_each(|wait_group| all.add(wait_group));
            let is_last_page = page.len() < PAGE;
            last = page.into_iter().next_back();
            if is_last_page {
                break;
            }
        }
        let mut known = self.wait_groups();
        if known.asked != asked {
            // The rules changed during the read: this round's groups follow the older rules, so the
            // next round reads again.
            (all.read_at, all.asked) = (None, known.asked);
        }
        *known = all;
        Ok(())
    }

    /// Writes a transition that the scheduler causes.
    pub(in crate::scheduler) async fn advance(
        &self,
        before: &Job,
        after: &Job,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.advance_by(before, after, at, &Actor::Scheduler).await
    }

    /// Writes a transition, and marks the groups that the job kept waiting. An error other than
    /// `Outdated` leaves open whether the transition is on disk, so the groups are marked then too.
    pub(in crate::scheduler) async fn advance_by(
        &self,
        before: &Job,
        after: &Job,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let written = self.store.advance(before, after, at, by).await;
        let has_run = before.map() == Map::Running && after.map() != Map::Running;
        let is_done = before.attempt.0 > 0 && after.is_over();
        if written.is_ok() {
            self.metrics.advanced(before, after);
            self.stage_again(after);
        }
        if (has_run || is_done) && !matches!(written, Err(StoreError::Outdated)) {
            self.release(before, &before.spec);
        }
        written
    }

    /// Marks the groups that wait for this job's limits, because the job no longer counts.
    pub(in crate::scheduler) fn release(&self, job: &Job, spec: &JobSpec) {
        let mut wait_groups = self.wait_groups();
        let mut is_waited_for = wait_groups.freed(&Limit::Name(job.name.clone()));
        if let Some(queue) = &spec.fields().queue {
            is_waited_for |= wait_groups.freed(&Limit::Queue(queue.clone()));
        }
        if let Some(origin) = job.origin.schedule() {
            is_waited_for |= wait_groups.freed_by_schedule(&origin.schedule);
        }
        if is_waited_for {
            self.wake.notify_one();
        }
    }

    /// Marks the groups of a changed schedule, because their jobs may be free to start.
    pub(in crate::scheduler) fn schedule_changed(&self, schedule: &ScheduleName) {
        self.wait_groups().freed_by_schedule(schedule);
        self.wake.notify_one();
    }
}
