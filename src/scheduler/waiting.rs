//! `max_waiting` of the policy: how many jobs may wait before a further one is refused.
//!
//! The store counts as it writes. Between the look at that number and the write others may come; so whoever looks takes a
//! place first and gives it back when the job is on disk and counted. Never too many are accepted; at the limit itself
//! one of several that come at once may be refused though there was room for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Shared;
use super::handle::SubmitError;

/// Room for one more job, until it is on disk.
pub(super) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// Takes a place for a job that is about to be written.
    ///
    /// # Errors
    /// [`SubmitError::TooMany`] where as many wait as may.
    pub(super) fn place(&self) -> Result<Place<'_>, SubmitError> {
        let coming = self.coming.fetch_add(1, Ordering::AcqRel) + 1;
        let place = Place(&self.coming);
        match self.rules().catalog.policy.max_waiting {
            Some(most) if self.store.waiting() + coming > most.get() => {
                Err(SubmitError::TooMany(most))
            }
            Some(_) | None => Ok(place),
        }
    }
}
