//! The start limit: bounds the number of creates and starts in flight on the engine. The limit may
//! be changed while permits are in use.
//!
//! A semaphore can only forget permits that are free. When the limit is lowered below the number of
//! permits in use, the excess is removed as permits are returned: a permit in use is never revoked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sync::OrderedWatch;

/// The longest time a removal is delayed to let starts go first.
const MAX_REMOVAL_DELAY: Duration = Duration::from_secs(2);

/// The permits, used and free.
pub(in crate::scheduler) struct StartLimit {
    pub(in crate::scheduler) places: Arc<Semaphore>,
    pub(in crate::scheduler) size: Mutex<Size>,
    pub(in crate::scheduler) busy: OrderedWatch<Busy>,
}

/// The load that decides whether work that is not urgent may run.
#[derive(Default)]
pub(in crate::scheduler) struct Busy {
    /// The number of permits in use.
    pub(in crate::scheduler) taken: usize,
    /// True while jobs wait for slots. Then [`StartLimit::wait_until_idle`] returns at once.
    pub(in crate::scheduler) slots_wanted: bool,
}

pub(in crate::scheduler) struct Size {
    pub(in crate::scheduler) most: usize,
    /// The number of permits to remove as they are returned.
    pub(in crate::scheduler) owed: usize,
}

/// A permit to create or start a container, returned on drop.
pub(in crate::scheduler) struct StartPermit {
    pub(in crate::scheduler) start_limit: Arc<StartLimit>,
    pub(in crate::scheduler) place: Option<OwnedSemaphorePermit>,
}

impl StartLimit {
    pub(in crate::scheduler) fn new(most: usize) -> Arc<Self> {
        let (places, size) = (Arc::new(Semaphore::new(most)), Mutex::new(Size { most, owed: 0 }));
        Arc::new(Self { places, size, busy: OrderedWatch::default() })
    }

    /// Waits for a permit. Waiters get theirs in FIFO order.
    pub(in crate::scheduler) async fn take(self: &Arc<Self>) -> StartPermit {
        // The semaphore is never closed, so this cannot fail. If it did, the caller would go on
        // without a permit.
        let place = self.places.clone().acquire_owned().await.ok();
        self.busy.change(|busy| {
            busy.taken += 1;
            false
        });
        StartPermit { start_limit: self.clone(), place }
    }

    /// Waits until no permit is in use, at most [`MAX_REMOVAL_DELAY`]. Returns at once while jobs
    /// wait for slots. Meant for work that is not urgent and slows down starts, such as a removal.
    pub(in crate::scheduler) async fn wait_until_idle(&self) {
        let idle = self.busy.until(|busy| busy.taken == 0 || busy.slots_wanted);
        let _either_way = tokio::time::timeout(MAX_REMOVAL_DELAY, idle).await;
    }

    /// Notes whether jobs wait for slots.
    pub(in crate::scheduler) fn set_crowded(&self, slots_wanted: bool) {
        self.busy
            .change(|busy| std::mem::replace(&mut busy.slots_wanted, slots_wanted) != slots_wanted);
    }

    /// Changes the limit to `most`. Permits in use stay valid.
    pub(in crate::scheduler) fn resize(&self, most: usize) {
        let mut size = self.size();
        let (more, fewer) = (most.saturating_sub(size.most), size.most.saturating_sub(most));
        let forgiven = more.min(size.owed);
        size.owed -= forgiven;
        self.places.add_permits(more - forgiven);
        size.owed += fewer - self.places.forget_permits(fewer);
        size.most = most;
    }

    pub(in crate::scheduler) fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StartPermit {
    fn drop(&mut self) {
        self.start_limit.busy.change(|busy| {
            busy.taken -= 1;
            busy.taken == 0
        });
        let mut size = self.start_limit.size();
        if size.owed > 0
            && let Some(place) = self.place.take()
        {
            size.owed -= 1;
            place.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    /// Takes all free permits, at most 100.
    fn all(start_limit: &Arc<StartLimit>) -> Vec<StartPermit> {
        std::iter::from_fn(|| start_limit.take().now_or_never()).take(100).collect()
    }

    #[test]
    fn lowering_the_limit_keeps_existing_permits() {
        let start_limit = StartLimit::new(4);
        let mut taken = all(&start_limit);
        start_limit.resize(2);
        taken.truncate(2);
        assert_eq!(all(&start_limit).len(), 0, "two are taken, and there are two");
        taken.pop();
        assert_eq!(all(&start_limit).len(), 1);
    }

    #[test]
    fn raising_the_limit_admits_a_waiter() {
        let start_limit = StartLimit::new(1);
        let _taken = all(&start_limit);
        let mut waiting = Box::pin(start_limit.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        start_limit.resize(2);
        assert!(waiting.now_or_never().is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))]

        #[test]
        fn the_last_limit_applies_after_any_changes(
            sizes in prop::collection::vec((1_usize..9, 0_usize..9), 1..20)
        ) {
            let start_limit = StartLimit::new(4);
            let mut taken = Vec::new();
            for (size, kept) in sizes {
                taken.extend(all(&start_limit));
                start_limit.resize(size);
                taken.truncate(kept);
                taken.extend(all(&start_limit));
                prop_assert_eq!(taken.len(), size.max(kept.min(taken.len())));
            }
        }
    }
}
