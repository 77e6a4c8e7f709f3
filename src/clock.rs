//! The one place where the time is read and the one source of randomness. Everything else is handed a [`Clock`] and
//! a [`Dice`], so that a whole service can run in virtual time, from a seed.

use std::sync::{Mutex, PoisonError};

use chrono::{SubsecRound, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::domain::id::Timestamp;

/// Tells the wall-clock time, which may jump.
pub trait Clock: Send + Sync + 'static {
    /// Now, UTC, to the millisecond.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Utc::now().trunc_subsecs(3)
    }
}

/// Random bytes.
#[derive(Debug)]
pub struct Dice(Mutex<StdRng>);

impl Dice {
    /// Seeded by the system.
    pub fn from_system() -> Self {
        Self(Mutex::new(rand::make_rng()))
    }

    /// Seeded by this number: the same numbers in the same order each time.
    pub fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// The next random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}
