//! The event streams that are open: how many, in all and of each caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;

use super::problem::Problem;
use crate::domain::admission::caller::Caller;

/// The most streams of one caller.
const MAX_OF_A_CALLER: usize = 2_000;
/// The most streams in all.
const MAX_IN_ALL: usize = 4_000;

/// The streams that are open, by caller.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// A place among the open streams, given back when the stream ends.
pub(super) struct Place {
    streams: Streams,
    caller: String,
}

impl Streams {
    /// Takes a place for one more stream.
    ///
    /// # Errors
    /// Returns 503 when too many streams are open.
    pub(super) fn take(&self, caller: &Caller) -> Result<Place, Problem> {
        let mut open = self.open();
        let in_all: usize = open.values().sum();
        let own = open.entry(caller.name.clone()).or_default();
        if in_all >= MAX_IN_ALL || *own >= MAX_OF_A_CALLER {
            let detail = "too many event streams are open: share one stream between its readers";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail));
        }
        *own += 1;
        drop(open);
        Ok(Place { streams: self.clone(), caller: caller.name.clone() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        let Some(own) = open.get_mut(&self.caller) else { return };
        *own -= 1;
        if *own == 0 {
            open.remove(&self.caller);
        }
    }
}
