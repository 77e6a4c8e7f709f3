//! A slow disk that refuses operations, decided by the random number generator of its run.
//!
//! A refused commit finds the disk full or broken. In a quarter of the cases the commit is on disk
//! and the answer is an error.

use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidetable::store::StoreError;

pub struct Disk(Mutex<DiskFaults>);

struct DiskFaults {
    rng: StdRng,
    /// The number of operations out of a thousand that are refused.
    refuses: u32,
    refused: u32,
    /// The longest duration of a commit.
    slowest: Duration,
}

/// The fate of a commit.
pub enum Write {
    Done,
    Refused(StoreError),
    /// The commit is on disk, and the answer is an error.
    DoneUnheard(StoreError),
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(DiskFaults {
            rng: StdRng::seed_from_u64(seed ^ 0xd15c),
            refuses: 0,
            refused: 0,
            slowest: Duration::ZERO,
        }))
    }

    /// Refuses this many operations out of a thousand from now on.
    pub fn refuse(&self, per_mille: u32) {
        self.0.lock().unwrap().refuses = per_mille;
    }

    /// Makes each commit take up to `slowest` from now on.
    pub fn slow_down(&self, slowest: Duration) {
        self.0.lock().unwrap().slowest = slowest;
    }

    /// Returns the duration of the next commit, drawn at random.
    pub fn next_delay(&self) -> Duration {
        let mut mood = self.0.lock().unwrap();
        let slowest = u64::try_from(mood.slowest.as_millis()).unwrap();
        Duration::from_millis(if slowest == 0 { 0 } else { mood.rng.random_range(0..=slowest) })
    }

    pub fn refused(&self) -> u32 {
        self.0.lock().unwrap().refused
    }

    pub fn next_write(&self) -> Write {
        let mut mood = self.0.lock().unwrap();
        if !mood.refuses() {
            return Write::Done;
        }
        match mood.rng.random_range(0..4) {
            0 | 1 => Write::Refused(StoreError::Full),
            2 => Write::Refused(StoreError::Failed("disk I/O error".to_owned())),
            _ => Write::DoneUnheard(StoreError::Failed(
                "disk I/O error at the last moment".to_owned(),
            )),
        }
    }

    pub fn next_read(&self) -> Result<(), StoreError> {
        match self.0.lock().unwrap().refuses() {
            true => Err(StoreError::Failed("disk I/O error".to_owned())),
            false => Ok(()),
        }
    }
}

impl DiskFaults {
    fn refuses(&mut self) -> bool {
        let refuses = self.refuses > 0 && self.rng.random_range(0..1_000) < self.refuses;
        self.refused += u32::from(refuses);
        refuses
    }
}
