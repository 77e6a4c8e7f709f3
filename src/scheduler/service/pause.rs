//! The pause of everything, as callers see it: while it holds, jobs that come due wait.

use std::sync::PoisonError;

use super::handle::Handle;
use crate::domain::admission::caller::Caller;
use crate::domain::admission::pause::Pause;
use crate::domain::names::actor::Actor;
use crate::domain::names::id::Timestamp;
use crate::scheduler::context::Context;
use crate::store::StoreError;

impl Handle {
    /// Starts nothing new from now on, until `until` or until a caller resumes. A second pause
    /// replaces the first.
    ///
    /// # Errors
    /// A store that fails; then nothing is paused.
    pub async fn pause(
        &self,
        caller: &Caller,
        until: Option<Timestamp>,
        why: Option<String>,
    ) -> Result<Pause, StoreError> {
        let since = self.now();
        let pause = Pause { until, why, by: caller.name.clone(), since };
        self.context.set_pause(Some(pause.clone()), since, &caller.actor()).await?;
        Ok(pause)
    }

    /// Ends the pause of everything. Does nothing if there is none.
    ///
    /// # Errors
    /// A store that fails; then the pause goes on.
    pub async fn resume(&self, caller: &Caller) -> Result<(), StoreError> {
        if self.paused().is_some() {
            self.context.set_pause(None, self.now(), &caller.actor()).await?;
        }
        Ok(())
    }

    /// Returns the pause that holds now.
    pub fn paused(&self) -> Option<Pause> {
        self.context.paused(self.now())
    }
}

impl Context {
    /// Returns the pause that holds at `now`.
    pub(in crate::scheduler) fn paused(&self, now: Timestamp) -> Option<Pause> {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pause.filter(|pause| !pause.is_over(now))
    }

    /// Reads the pause of an earlier process.
    pub(in crate::scheduler) async fn read_pause(&self) -> Result<(), StoreError> {
        let pause = self.store.pause().await?;
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = pause;
        Ok(())
    }

    /// Ends a pause whose time is over. Returns the end of the pause that holds, if it has one.
    pub(in crate::scheduler) async fn look_at_pause(
        &self,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match pause {
            Some(pause) if pause.is_over(now) => {
                self.set_pause(None, now, &Actor::Scheduler).await?;
                Ok(None)
            }
            Some(pause) => Ok(pause.until),
            None => Ok(None),
        }
    }

    async fn set_pause(
        &self,
        pause: Option<Pause>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        self.store.set_pause(pause.as_ref(), at, by).await?;
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = pause;
        self.wake.notify_one();
        Ok(())
    }
}
