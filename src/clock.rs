//! The one place where the time is read and the one source of randomness. Everything else is handed a [`Clock`] and
//! a [`Dice`], so that a whole service can run in virtual time, from a seed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{SubsecRound, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::domain::id::Timestamp;

/// Tells the wall-clock time, which may jump.
pub trait Clock: Send + Sync + 'static {
    /// Now, UTC, to the millisecond.
    fn now(&self) -> Timestamp;

    /// Waits for an instant, as exactly as it can be done, and for as long as it is away now: a clock that is set meanwhile
    /// changes nothing.
    fn reach(&self, instant: Timestamp) -> BoxFuture<'static, ()> {
        let left = (instant - self.now()).to_std().unwrap_or_default();
        async move {
            if !left.is_zero() {
                tokio::time::sleep(left).await;
            }
        }
        .boxed()
    }
}

/// The runtime's timers know milliseconds and come up to one late; this much before it, a thread of its own takes over, which
/// the kernel wakes to some tens of microseconds.
const TIMERS: Duration = Duration::from_millis(2);

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Utc::now().trunc_subsecs(3)
    }

    fn reach(&self, instant: Timestamp) -> BoxFuture<'static, ()> {
        let left = (instant - Utc::now()).to_std().unwrap_or_default();
        let deadline = Instant::now() + left;
        async move {
            if let Some(most) = left.checked_sub(TIMERS) {
                tokio::time::sleep(most).await;
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if !rest.is_zero() {
                // It only sleeps: there is nothing to be told of it.
                let _ = tokio::task::spawn_blocking(move || std::thread::sleep(rest)).await;
            }
        }
        .boxed()
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
