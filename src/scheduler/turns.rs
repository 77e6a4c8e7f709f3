//! Turns: how many creates and starts the engine is given at once. The number may be changed while turns are taken.
//!
//! A semaphore can only forget places that nobody has. When there are to be fewer than are taken, the rest is owed, and paid
//! by those that are given back: nobody who has a turn loses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::watched::Watched;

/// How long what nobody waits for is put off at most.
const LONGEST_PATIENCE: Duration = Duration::from_secs(2);

/// The places, taken and free.
pub(super) struct Turns {
    places: Arc<Semaphore>,
    size: Mutex<Size>,
    busy: Watched<Busy>,
}

/// Whether there is time for what nobody waits for.
#[derive(Default)]
struct Busy {
    /// How many turns are taken.
    taken: usize,
    /// Whether jobs wait for slots: then what holds one is in somebody's way.
    crowded: bool,
}

struct Size {
    /// How many there are to be.
    most: usize,
    /// How many too many there are.
    owed: usize,
}

/// A place. It is given back when this is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    place: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(super) fn new(most: usize) -> Arc<Self> {
        let (places, size) = (Arc::new(Semaphore::new(most)), Mutex::new(Size { most, owed: 0 }));
        Arc::new(Self { places, size, busy: Watched::default() })
    }

    /// Waits for a place; those who wait get theirs in the order in which they came.
    pub(super) async fn take(self: &Arc<Self>) -> Turn {
        // Never closed; who would not have a place then is as good as who has one.
        let place = self.places.clone().acquire_owned().await.ok();
        self.busy.change(|busy| {
            busy.taken += 1;
            false
        });
        Turn { turns: self.clone(), place }
    }

    /// Waits until nothing is being started, or jobs wait for slots; but not for long. An engine that removes a container
    /// starts another one more slowly.
    pub(super) async fn calm(&self) {
        let calm = self.busy.until(|busy| busy.taken == 0 || busy.crowded);
        let _either_way = tokio::time::timeout(LONGEST_PATIENCE, calm).await;
    }

    /// Whether jobs wait for slots.
    pub(super) fn set_crowded(&self, crowded: bool) {
        self.busy.change(|busy| std::mem::replace(&mut busy.crowded, crowded) != crowded);
    }

    /// There are so many from now on.
    pub(super) fn resize(&self, most: usize) {
        let mut size = self.size();
        let (more, fewer) = (most.saturating_sub(size.most), size.most.saturating_sub(most));
        let forgiven = more.min(size.owed);
        size.owed -= forgiven;
        self.places.add_permits(more - forgiven);
        size.owed += fewer - self.places.forget_permits(fewer);
        size.most = most;
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.busy.change(|busy| {
            busy.taken -= 1;
            busy.taken == 0
        });
        let mut size = self.turns.size();
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

    /// As many as can be had at once.
    fn all(turns: &Arc<Turns>) -> Vec<Turn> {
        std::iter::from_fn(|| turns.take().now_or_never()).take(100).collect()
    }

    #[test]
    fn who_has_a_turn_keeps_it_when_there_are_to_be_fewer_and_the_next_waits() {
        let turns = Turns::new(4);
        let mut taken = all(&turns);
        turns.resize(2);
        taken.truncate(2);
        assert_eq!(all(&turns).len(), 0, "two are taken, and there are two");
        taken.pop();
        assert_eq!(all(&turns).len(), 1);
    }

    #[test]
    fn who_waits_is_let_in_when_there_are_to_be_more() {
        let turns = Turns::new(1);
        let _taken = all(&turns);
        let mut waiting = Box::pin(turns.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        turns.resize(2);
        assert!(waiting.now_or_never().is_some());
    }

    proptest! {
        #[test]
        fn there_are_as_many_as_was_said_last_whatever_was_said_before(
            sizes in prop::collection::vec((1_usize..9, 0_usize..9), 1..20)
        ) {
            let turns = Turns::new(4);
            let mut taken = Vec::new();
            for (size, kept) in sizes {
                taken.extend(all(&turns));
                turns.resize(size);
                taken.truncate(kept);
                taken.extend(all(&turns));
                prop_assert_eq!(taken.len(), size.max(kept.min(taken.len())));
            }
        }
    }
}
