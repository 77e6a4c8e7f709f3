//! The only module that reads the time or draws random numbers. All others are handed a [`Clock`]
//! and a [`Rng`], so a whole service can run in virtual time and be repeated from a seed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{SubsecRound, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::domain::names::id::Timestamp;

/// A source of the wall-clock time, which may jump.
pub trait Clock: Send + Sync + 'static {
    /// Returns the time now, in UTC, to the millisecond.
    fn now(&self) -> Timestamp;

    /// Waits for an instant as exactly as possible. The length of the wait is fixed when it begins,
    /// so setting the clock meanwhile has no effect.
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

/// The lead with which a thread takes over from the runtime's timers. The timers count in
/// milliseconds and fire up to one late; the kernel wakes a thread within some tens of
/// microseconds.
const TIMERS: Duration = Duration::from_millis(2);

/// The clock of the operating system.
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
                // The thread only sleeps, so it returns nothing worth checking.
                let _ = tokio::task::spawn_blocking(move || std::thread::sleep(rest)).await;
            }
        }
        .boxed()
    }
}

/// A random number generator that threads share.
#[derive(Debug)]
pub struct Rng(Mutex<StdRng>);

impl Rng {
    /// Returns a generator that the operating system seeds.
    pub fn from_system() -> Self {
        Self(Mutex::new(rand::make_rng()))
    }

    /// Returns a generator with this seed. Equal seeds give the same numbers in the same order.
    pub fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// Draws the next `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}
