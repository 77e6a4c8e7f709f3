//! A value that tasks can wait on, like tokio's `watch`. Waiters are woken in FIFO order instead of
//! a random order, which keeps simulation runs reproducible.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A value, with the tasks that wait for it to change.
#[derive(Debug, Default)]
pub(crate) struct OrderedWatch<T> {
    value: Mutex<T>,
    changes: AtomicU64,
    changed: Notify,
}

impl<T> OrderedWatch<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changes: AtomicU64::new(0), changed: Notify::new() }
    }

    /// Returns the value, locked. The lock must not be held across an await.
    pub(crate) fn look(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value, and wakes the waiters if `change` returns true. Returns the result of
    /// `change`.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.look();
        let changed = change(&mut value);
        if changed {
            self.changes.fetch_add(1, Ordering::Relaxed);
            drop(value);
            self.changed.notify_waiters();
        }
        changed
    }

    /// Returns the number of changes so far. An equal number later means that the value did not
    /// change in between.
    pub(crate) fn changes(&self) -> u64 {
        let _as_of_one_moment = self.look();
        self.changes.load(Ordering::Relaxed)
    }

    /// Waits until `holds` is true for the value.
    pub(crate) async fn until(&self, holds: impl Fn(&T) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(&self.look()) {
                return;
            }
            // `notify_waiters` wakes every future that was created before it, polled or not.
            changed.await;
        }
    }
}

/// A count of changes, for tasks that only need to know that something changed.
pub(crate) type ChangeCounter = OrderedWatch<u64>;

impl ChangeCounter {
    /// Counts one change and wakes the waiters.
    pub(crate) fn tell(&self) {
        self.change(|count| {
            *count += 1;
            true
        });
    }

    /// Waits until the count differs from `seen`.
    pub(crate) async fn since(&self, seen: u64) {
        self.until(|count| *count != seen).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn waiters_are_woken_in_fifo_order() {
        let (watched, (woken, mut order)) =
            (Arc::new(OrderedWatch::new(0)), mpsc::unbounded_channel());
        for n in 0..20 {
            let (watched, woken) = (watched.clone(), woken.clone());
            tokio::spawn(async move {
                watched.until(|value| *value > 0).await;
                woken.send(n).expect("somebody listens");
            });
            tokio::task::yield_now().await;
        }
        assert!(!watched.change(|_| false), "nobody is woken for nothing");
        watched.change(|value| {
            *value = 1;
            true
        });
        for n in 0..20 {
            assert_eq!(order.recv().await, Some(n));
        }
    }

    #[tokio::test]
    async fn a_change_before_the_wait_returns_at_once() {
        let news = ChangeCounter::default();
        let seen = *news.look();
        news.tell();
        news.since(seen).await;
    }
}
