//! Which of the holds under which jobs wait have to be looked at.
//!
//! The jobs are in the store; here are only the names of what they wait for, so that the end of one job leads to those
//! that it kept waiting and to no others. It is an index that can always be had again: it is read at the start, and again
//! now and then, so that nothing depends on no news being lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{SWEEP_EVERY, Shared};
use crate::domain::hold::{Hold, Limit};
use crate::domain::id::Timestamp;
use crate::domain::job::{Job, Map};
use crate::domain::schedule::ScheduleName;
use crate::domain::spec::JobSpec;
use crate::store::StoreError;

/// How many holds are read at once.
const PAGE: usize = 1_000;

/// The holds that are known.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_limit: BTreeMap<Limit, BTreeSet<Hold>>,
    by_schedule: BTreeMap<ScheduleName, BTreeSet<Hold>>,
    to_look_at: BTreeSet<Hold>,
    read_at: Option<Instant>,
    /// How often it was asked for that they be read.
    asked: u64,
}

impl Holds {
    /// A job waits under this hold, or is about to. It is looked at once more: what it waits for may end just now.
    pub(super) fn add(&mut self, hold: &Hold) {
        for limit in hold.limits() {
            self.by_limit.entry(limit).or_default().insert(hold.clone());
        }
        if let Some(schedule) = &hold.schedule {
            self.by_schedule.entry(schedule.clone()).or_default().insert(hold.clone());
        }
        self.to_look_at.insert(hold.clone());
    }

    /// Nobody waits under this hold.
    pub(super) fn remove(&mut self, hold: &Hold) {
        for limit in hold.limits() {
            forget(&mut self.by_limit, &limit, hold);
        }
        if let Some(schedule) = &hold.schedule {
            forget(&mut self.by_schedule, schedule, hold);
        }
    }

    /// Those that have to be looked at, once.
    pub(super) fn take(&mut self) -> BTreeSet<Hold> {
        std::mem::take(&mut self.to_look_at)
    }

    /// Those that have to be looked at again.
    pub(super) fn look_again(&mut self, holds: impl IntoIterator<Item = Hold>) {
        self.to_look_at.extend(holds);
    }

    /// What is known here may not be so: it is to be read.
    pub(super) fn read_again(&mut self) {
        self.read_at = None;
        self.asked += 1;
    }

    fn last_read(&self) -> (Option<Instant>, u64) {
        (self.read_at, self.asked)
    }

    /// There may be room under this limit. Whether anybody waits for that.
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

fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Hold>>, key: &K, hold: &Hold) {
    if let Some(holds) = index.get_mut(key) {
        holds.remove(hold);
        if holds.is_empty() {
            index.remove(key);
        }
    }
}

impl Shared {
    pub(super) fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the holds under which jobs wait, if that was long ago; each is then looked at.
    pub(super) async fn read_holds(&self) -> Result<(), StoreError> {
        let (read_at, asked) = self.holds().last_read();
        if read_at.is_some_and(|at| at.elapsed() < SWEEP_EVERY) {
            return Ok(());
        }
        let mut all = Holds { read_at: Some(Instant::now()), asked, ..Holds::default() };
        let mut last: Option<Hold> = None;
        loop {
            let page = self.store.holds(last.as_ref(), PAGE).await?;
            page.iter().for_each(|hold| all.add(hold));
            let is_last_page = page.len() < PAGE;
            last = page.into_iter().next_back();
            if is_last_page {
                break;
            }
        }
        let mut known = self.holds();
        if known.asked != asked {
            // By rules that changed meanwhile: those of this round are older.
            (all.read_at, all.asked) = (None, known.asked);
        }
        *known = all;
        Ok(())
    }

    /// Writes a transition; those whom the job kept waiting are looked at. An error says nothing: it may be on disk.
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
            self.let_go(before, &before.spec);
        }
        written
    }

    /// This job, with this spec, takes no more part in its limits.
    pub(super) fn let_go(&self, job: &Job, spec: &JobSpec) {
        let mut holds = self.holds();
        let mut is_waited_for = holds.freed(&Limit::Name(job.name.clone()));
        if let Some(queue) = &spec.fields().queue {
            is_waited_for |= holds.freed(&Limit::Queue(queue.clone()));
        }
        if let Some(origin) = &job.origin {
            is_waited_for |= holds.freed_by_schedule(&origin.schedule);
        }
        if is_waited_for {
            self.wake.notify_one();
        }
    }

    /// This schedule has changed: its jobs may wait no more.
    pub(super) fn schedule_changed(&self, schedule: &ScheduleName) {
        self.holds().freed_by_schedule(schedule);
        self.wake.notify_one();
    }
}
