//! Waiting for one job to change. Who waits for one is not woken for any other: a thousand callers that wait cost the jobs that pass by
//! nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::id::JobId;

/// The jobs that somebody waits for, and how many do.
#[derive(Clone, Default)]
pub struct Watches(Arc<Mutex<Jobs>>);

type Jobs = HashMap<JobId, (usize, Arc<Watched>)>;

#[derive(Default)]
struct Watched {
    changes: AtomicU64,
    changed: Notify,
}

/// One who waits for a job to change, from when this was made on.
pub struct Watch {
    job: JobId,
    watched: Arc<Watched>,
    seen: u64,
    all: Watches,
}

impl Watches {
    /// Waits for this job from now on.
    pub fn watch(&self, job: JobId) -> Watch {
        let mut jobs = self.jobs();
        let (count, watched) = jobs.entry(job).or_default();
        *count += 1;
        let (watched, seen) = (watched.clone(), watched.changes.load(Ordering::Acquire));
        drop(jobs);
        Watch { job, watched, seen, all: self.clone() }
    }

    /// Wakes those who wait for this job, in the order in which they began to.
    pub fn changed(&self, job: JobId) {
        if let Some((_, watched)) = self.jobs().get(&job) {
            watched.changes.fetch_add(1, Ordering::AcqRel);
            watched.changed.notify_waiters();
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Ends when the job has changed since this was made, or since this ended last.
    pub async fn changed(&mut self) {
        loop {
            let notified = self.watched.changed.notified();
            let changes = self.watched.changes.load(Ordering::Acquire);
            if changes != self.seen {
                self.seen = changes;
                return;
            }
            // `notify_waiters` reaches whoever asked before it, polled or not.
            notified.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut jobs = self.all.jobs();
        let Some((count, _)) = jobs.get_mut(&self.job) else { return };
        *count -= 1;
        if *count == 0 {
            jobs.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn job(n: u8) -> JobId {
        JobId::from_bytes([n; 16])
    }

    #[test]
    fn who_waits_for_a_job_hears_of_its_changes_and_of_no_others() {
        let all = Watches::default();
        let (mut one, mut same, mut other) =
            (all.watch(job(1)), all.watch(job(1)), all.watch(job(2)));
        assert!(one.changed().now_or_never().is_none());
        all.changed(job(1));
        all.changed(job(3));
        assert!(one.changed().now_or_never().is_some() && same.changed().now_or_never().is_some());
        assert!(one.changed().now_or_never().is_none(), "it has not changed since");
        assert!(other.changed().now_or_never().is_none());
    }

    #[test]
    fn a_job_for_which_nobody_waits_any_more_is_forgotten() {
        let all = Watches::default();
        let (one, mut same) = (all.watch(job(1)), all.watch(job(1)));
        drop(one);
        all.changed(job(1));
        assert!(same.changed().now_or_never().is_some(), "it is still waited for");
        drop(same);
        assert!(all.jobs().is_empty());
    }
}
