//! `max_waiting` of the policy: the number of jobs that may wait before further ones are refused.
//!
//! The store counts jobs as it writes them. Other jobs may arrive between reading that count and
//! the write. So a caller reserves a waiting slot first, and returns it when the job is on disk and
//! counted. Too many jobs are never accepted. At the limit, one of several concurrent jobs may be
//! refused although there was space for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::handle::SubmitError;
use crate::scheduler::context::Context;

/// A waiting slot for one more job, held until the job is on disk.
pub(in crate::scheduler) struct WaitingSlot<'a>(&'a AtomicUsize);

impl Drop for WaitingSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Context {
    /// Reserves a waiting slot for a job that is about to be written.
    ///
    /// # Errors
    /// [`SubmitError::TooMany`] when `max_waiting` jobs wait already.
    pub(in crate::scheduler) fn reserve_waiting_slot(
        &self,
    ) -> Result<WaitingSlot<'_>, SubmitError> {
        let coming = self.coming.fetch_add(1, Ordering::AcqRel) + 1;
        let slot = WaitingSlot(&self.coming);
        match self.rules().catalog.policy.max_waiting {
            Some(most) if self.store.waiting() + coming > most.get() => {
                Err(SubmitError::TooMany(most))
            }
            Some(_) | None => Ok(slot),
        }
    }
}
