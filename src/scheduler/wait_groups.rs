//! The index of wait groups: tells the dispatcher which groups to check again.
//!
//! The jobs are in the store, and this index holds only the wait groups. So the end of one job
//! leads to the jobs it kept waiting, and to no others. The index can always be rebuilt. It is read
//! at the start, and again now and then, so a missed notification only delays a job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{SWEEP_EVERY, Shared};
use crate::domain::job::wait_group::{Limit, WaitGroup};
use crate::domain::job::{Job, Map};
use crate::domain::names::id::Timestamp;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::spec::JobSpec;
use crate::store::StoreError;

/// The number of wait groups read per query.
const PAGE: usize = 1_000;

/// The known wait groups, and the ones to check.
#[derive(Debug, Default)]
pub(super) struct WaitGroups {
    by_limit: BTreeMap<Limit, BTreeSet<WaitGroup>>,
    by_schedule: BTreeMap<ScheduleName, BTreeSet<WaitGroup>>,
    to_look_at: BTreeSet<WaitGroup>,
    read_at: Option<Instant>,
    /// The number of requests to rebuild the index.
    asked: u64,
}

impl WaitGroups {
    /// Adds a wait group that a job joins. The group is checked once more, because its limit may be
    /// freed at this moment.
    pub(super) fn add(&mut self, wait_group: &WaitGroup) {
        for limit in wait_group.limits() {
            self.by_limit.entry(limit).or_default().insert(wait_group.clone());
        }
        if let Some(schedule) = &wait_group.schedule {
            self.by_schedule.entry(schedule.clone()).or_default().insert(wait_group.clone());
        }
        self.to_look_at.insert(wait_group.clone());
    }

    /// Removes a wait group that has no jobs.
    pub(super) fn remove(&mut self, wait_group: &WaitGroup) {
        for limit in wait_group.limits() {
            forget(&mut self.by_limit, &limit, wait_group);
        }
        if let Some(schedule) = &wait_group.schedule {
            forget(&mut self.by_schedule, schedule, wait_group);
        }
    }

    /// Returns the groups to check, and clears the set.
    pub(super) fn take(&mut self) -> BTreeSet<WaitGroup> {
        std::mem::take(&mut self.to_look_at)
    }

    /// Marks these groups to be checked again.
    pub(super) fn look_again(&mut self, wait_groups: impl IntoIterator<Item = WaitGroup>) {
        self.to_look_at.extend(wait_groups);
    }

    /// Marks the index as outdated, to be rebuilt from the store.
    pub(super) fn read_again(&mut self) {
        self.read_at = None;
        self.asked += 1;
    }

    fn last_read(&self) -> (Option<Instant>, u64) {
        (self.read_at, self.asked)
    }

    /// Marks the groups under this limit to be checked, because it may have capacity. Returns
    /// whether there are any.
    fn freed(&mut self, limit: &Limit) -> bool {
        let waiting = self.by_limit.get(limit);
        self.to_look_at.extend(waiting.into_iter().flatten().cloned());
        waiting.is_some()
    }

    fn freed_by_schedule(&mut self, schedule: &ScheduleName) -> bool {
        let waiting = self.by_schedule.get(schedule);
        self.to_look_at.extend(waiting.into_iter().flatten().cloned());
        waiting.is_some()
    }
}

fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<WaitGroup>>, key: &K, wait_group: &WaitGroup) {
    if let Some(wait_groups) = index.get_mut(key) {
        wait_groups.remove(wait_group);
        if wait_groups.is_empty() {
            index.remove(key);
        }
    }
}

impl Shared {
    pub(super) fn wait_groups(&self) -> MutexGuard<'_, WaitGroups> {
        self.wait_groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rebuilds the index from the store if the last time is `SWEEP_EVERY` ago. Marks every group
    /// to be checked.
    pub(super) async fn read_wait_groups(&self) -> Result<(), StoreError> {
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

    /// Writes a transition, and marks the groups that the job kept waiting. An error other than
    /// `Outdated` leaves open whether the transition is on disk, so the groups are marked then too.
    pub(super) async fn advance(
        &self,
        before: &Job,
        after: &Job,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let written = self.store.advance(before, after, at).await;
        let has_run = before.map() == Map::Running && after.map() != Map::Running;
        let is_done = before.attempt.0 > 0 && after.is_over();
        if written.is_ok() {
            self.stage_again(after);
        }
        if (has_run || is_done) && !matches!(written, Err(StoreError::Outdated)) {
            self.release(before, &before.spec);
        }
        written
    }

    /// Marks the groups that wait for this job's limits, because the job no longer counts.
    pub(super) fn release(&self, job: &Job, spec: &JobSpec) {
        let mut wait_groups = self.wait_groups();
        let mut is_waited_for = wait_groups.freed(&Limit::Name(job.name.clone()));
        if let Some(queue) = &spec.fields().queue {
            is_waited_for |= wait_groups.freed(&Limit::Queue(queue.clone()));
        }
        if let Some(origin) = &job.origin {
            is_waited_for |= wait_groups.freed_by_schedule(&origin.schedule);
        }
        if is_waited_for {
            self.wake.notify_one();
        }
    }

    /// Marks the groups of a changed schedule, because their jobs may be free to start.
    pub(super) fn schedule_changed(&self, schedule: &ScheduleName) {
        self.wait_groups().freed_by_schedule(schedule);
        self.wake.notify_one();
    }
}
