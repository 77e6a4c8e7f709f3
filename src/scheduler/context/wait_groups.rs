//! The index of wait groups, and the groups to check.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::domain::job::wait_group::{Limit, WaitGroup};
use crate::domain::names::schedule::ScheduleName;

/// The known wait groups, and the ones to check.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct WaitGroups {
    pub(in crate::scheduler) by_limit: BTreeMap<Limit, BTreeSet<WaitGroup>>,
    pub(in crate::scheduler) by_schedule: BTreeMap<ScheduleName, BTreeSet<WaitGroup>>,
    pub(in crate::scheduler) to_look_at: BTreeSet<WaitGroup>,
    pub(in crate::scheduler) read_at: Option<Instant>,
    /// The number of requests to rebuild the index.
    pub(in crate::scheduler) asked: u64,
}

impl WaitGroups {
    /// Adds a wait group that a job joins. The group is checked once more, because its limit may be
    /// freed at this moment.
    pub(in crate::scheduler) fn add(&mut self, wait_group: &WaitGroup) {
        for limit in wait_group.limits() {
            self.by_limit.entry(limit).or_default().insert(wait_group.clone());
        }
        if let Some(schedule) = &wait_group.schedule {
            self.by_schedule.entry(schedule.clone()).or_default().insert(wait_group.clone());
        }
        self.to_look_at.insert(wait_group.clone());
    }

    /// Removes a wait group that has no jobs.
    pub(in crate::scheduler) fn remove(&mut self, wait_group: &WaitGroup) {
        for limit in wait_group.limits() {
            forget(&mut self.by_limit, &limit, wait_group);
        }
        if let Some(schedule) = &wait_group.schedule {
            forget(&mut self.by_schedule, schedule, wait_group);
        }
    }

    /// Returns the groups to check, and clears the set.
    pub(in crate::scheduler) fn take(&mut self) -> BTreeSet<WaitGroup> {
        std::mem::take(&mut self.to_look_at)
    }

    /// Marks these groups to be checked again.
    pub(in crate::scheduler) fn look_again(
        &mut self,
        wait_groups: impl IntoIterator<Item = WaitGroup>,
    ) {
        self.to_look_at.extend(wait_groups);
    }

    /// Marks the index as outdated, to be rebuilt from the store.
    pub(in crate::scheduler) fn read_again(&mut self) {
        self.read_at = None;
        self.asked += 1;
    }

    pub(in crate::scheduler) fn last_read(&self) -> (Option<Instant>, u64) {
        (self.read_at, self.asked)
    }

    /// Marks the groups under this limit to be checked, because it may have capacity. Returns
    /// whether there are any.
    pub(in crate::scheduler) fn freed(&mut self, limit: &Limit) -> bool {
        let waiting = self.by_limit.get(limit);
        self.to_look_at.extend(waiting.into_iter().flatten().cloned());
        waiting.is_some()
    }

    pub(in crate::scheduler) fn freed_by_schedule(&mut self, schedule: &ScheduleName) -> bool {
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
