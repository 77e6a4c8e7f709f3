//! The staged containers, and the jobs that the stager has to check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::container::SpecHash;
use crate::domain::job::Job;
use crate::domain::names::id::{ContainerId, JobId, Timestamp};
use crate::sync::OrderedWatch;

/// The staged containers, and the jobs to check.
#[derive(Default)]
pub(in crate::scheduler) struct Stage {
    pub(in crate::scheduler) slots: OrderedWatch<BTreeMap<JobId, Slot>>,
    pub(in crate::scheduler) asked: Mutex<BTreeSet<(Timestamp, JobId)>>,
    pub(in crate::scheduler) news: Notify,
}

pub(in crate::scheduler) enum Slot {
    /// The stager works on the job. True if it has to check the job again afterwards.
    Busy { look_again: bool },
    /// The container exists, and the stager does not work on it.
    Ready(Staged),
}

/// A container created ahead of its job's due time.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scheduler) struct Staged {
    pub(in crate::scheduler) container: ContainerId,
    /// The spec hash; `None` for a container that was found on the engine.
    pub(in crate::scheduler) spec_hash: Option<SpecHash>,
    /// The job, if it aims to begin at its due time; else `None`.
    pub(in crate::scheduler) aimed: Option<Box<Job>>,
}

impl Stage {
    /// Hands over this job's staged container, after the stager has finished work on it. `None` if
    /// there is none.
    pub(in crate::scheduler) async fn take(&self, job: JobId) -> Option<ContainerId> {
        loop {
            self.slots.until(|slots| !matches!(slots.get(&job), Some(Slot::Busy { .. }))).await;
            let mut slots = self.slots.look();
            match slots.remove(&job) {
                None => return None,
                Some(Slot::Ready(staged)) => return Some(staged.container),
                Some(busy @ Slot::Busy { .. }) => drop(slots.insert(job, busy)),
            }
        }
    }

    /// Returns whether only `start` remains to be done for this job.
    pub(in crate::scheduler) fn is_ready(&self, job: JobId) -> bool {
        matches!(self.slots.look().get(&job), Some(Slot::Ready(_)))
    }

    pub(in crate::scheduler) fn knows(&self, job: JobId) -> bool {
        self.slots.look().contains_key(&job)
    }

    pub(in crate::scheduler) fn ask(&self, due_at: Timestamp, job: JobId) {
        self.asked().insert((due_at, job));
        self.news.notify_one();
    }

    pub(in crate::scheduler) fn asked(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, JobId)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a job's place busy for as long as the returned work exists. Returns `None` if the
    /// place is busy already, and then the job is checked again afterwards.
    pub(in crate::scheduler) fn begin(self: &Arc<Self>, job: JobId) -> Option<Work> {
        let mut slots = self.slots.look();
        let staged = match slots.insert(job, Slot::Busy { look_again: false }) {
            None => None,
            Some(Slot::Ready(staged)) => Some(staged),
            Some(Slot::Busy { .. }) => {
                slots.insert(job, Slot::Busy { look_again: true });
                return None;
            }
        };
        Some(Work { stage: self.clone(), job, staged })
    }
}

/// A busy place. Dropping it frees the place, which then holds `staged`.
pub(in crate::scheduler) struct Work {
    pub(in crate::scheduler) stage: Arc<Stage>,
    pub(in crate::scheduler) job: JobId,
    pub(in crate::scheduler) staged: Option<Staged>,
}

impl Drop for Work {
    fn drop(&mut self) {
        let staged = self.staged.take();
        let mut again = false;
        self.stage.slots.change(|slots| {
            again = matches!(slots.remove(&self.job), Some(Slot::Busy { look_again: true }));
            if let Some(staged) = staged {
                slots.insert(self.job, Slot::Ready(staged));
            }
            true
        });
        if again {
            self.stage.ask(Timestamp::UNIX_EPOCH, self.job);
        }
    }
}
