//! A value that others wait for. Like tokio's `watch`, but those who wait are woken in the order in which they began to,
//! and not in a random one: one seed is one story.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The value, and who waits for it to change.
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changes: AtomicU64,
    changed: Notify,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changes: AtomicU64::new(0), changed: Notify::new() }
    }

    /// The value as it is now. Not to be held across an await.
    pub(crate) fn look(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value, and wakes those who wait when `change` says that it did.
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

    /// How often it has changed: the same number says that it is the same as then, and was all the time.
    pub(crate) fn changes(&self) -> u64 {
        let _as_of_one_moment = self.look();
        self.changes.load(Ordering::Relaxed)
    }

    /// Waits until this holds of the value.
    pub(crate) async fn until(&self, holds: impl Fn(&T) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(&self.look()) {
                return;
            }
            // `notify_waiters` reaches whoever asked before it, polled or not.
            changed.await;
        }
    }
}

/// A count of what happened, for those who only want to know that something did.
pub(crate) type News = Watched<u64>;

impl News {
    /// Something happened.
    pub(crate) fn tell(&self) {
        self.change(|count| {
            *count += 1;
            true
        });
    }

    /// Waits until something has happened since the count was this.
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
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let (watched, (woken, mut order)) = (Arc::new(Watched::new(0)), mpsc::unbounded_channel());
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
    async fn what_happened_before_the_wait_is_not_waited_for() {
        let news = News::default();
        let seen = *news.look();
        news.tell();
        news.since(seen).await;
    }
}
