//! Waits for one job to change. Waiters are woken only for their own job, so a thousand idle
//! waiters cost nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::names::id::JobId;

/// The jobs that callers wait for, with the number of callers.
#[derive(Clone, Default)]
pub struct Watches(Arc<Mutex<Jobs>>);

type Jobs = HashMap<JobId, (usize, Arc<JobWaiters>)>;

#[derive(Default)]
struct JobWaiters {
    changes: AtomicU64,
    changed: Notify,
}

/// A waiter for the changes of one job after the watch was made.
pub struct Watch {
    job: JobId,
    watched: Arc<JobWaiters>,
    seen: u64,
    all: Watches,
}

impl Watches {
    /// Watches this job, beginning now.
    pub fn watch(&self, job: JobId) -> Watch {
        let mut jobs = self.jobs();
        let (count, watched) = jobs.entry(job).or_default();
        *count += 1;
        let (watched, seen) = (watched.clone(), watched.changes.load(Ordering::Acquire));
        drop(jobs);
        Watch { job, watched, seen, all: self.clone() }
    }

    /// Wakes the waiters for this job in FIFO order.
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
    /// Waits until the job has changed since the watch was made, or since this method last
    /// returned.
    pub async fn changed(&mut self) {
        loop {
            let notified = self.watched.changed.notified();
            let changes = self.watched.changes.load(Ordering::Acquire);
            if changes != self.seen {
                self.seen = changes;
                return;
            }
            // `notify_waiters` reaches every `notified()` that exists, polled or not.
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
    fn waiter_hears_only_changes_of_its_own_job() {
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
    fn job_without_waiters_is_forgotten() {
        let all = Watches::default();
        let (one, mut same) = (all.watch(job(1)), all.watch(job(1)));
        drop(one);
        all.changed(job(1));
        assert!(same.changed().now_or_never().is_some(), "it is still waited for");
        drop(same);
        assert!(all.jobs().is_empty());
    }
}
