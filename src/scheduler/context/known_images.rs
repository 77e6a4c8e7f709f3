//! The engine's answers about bare image names.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::names::image::ImageRef;

/// The engine's answers about bare names, with their times.
#[derive(Default)]
pub(in crate::scheduler) struct Names(Mutex<HashMap<ImageRef, (bool, Instant)>>);

impl Names {
    pub(in crate::scheduler) fn known(&self, image: &ImageRef) -> Option<bool> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_there, since) = *names.get(image)?;
        let good_for = if is_there { KNOWN_FOR.0 } else { KNOWN_FOR.1 };
        (since.elapsed() < good_for).then_some(is_there)
    }

    pub(in crate::scheduler) fn note(&self, image: ImageRef, is_there: bool) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES {
            names.clear();
        }
        names.insert(image, (is_there, Instant::now()));
    }
}

/// The time for which an answer stays valid: if the image exists, and if it does not.
const KNOWN_FOR: (Duration, Duration) = (Duration::from_secs(10 * 60), Duration::from_secs(5));

/// The number of names remembered.
const NAMES: usize = 1_000;
