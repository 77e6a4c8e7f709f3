//! A disk that is slow, and refuses, by the die of its story: full, broken, or broken after it had done it.

use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidetable::store::StoreError;

pub struct Disk(Mutex<Mood>);

struct Mood {
    dice: StdRng,
    /// How many operations of a thousand are refused.
    refuses: u32,
    refused: u32,
    /// The longest that a commit takes.
    slowest: Duration,
}

/// What becomes of a commit.
pub enum Write {
    Done,
    Refused(StoreError),
    /// It is on disk, and the answer is an error.
    DoneUnheard(StoreError),
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Mood {
            dice: StdRng::seed_from_u64(seed ^ 0xd15c),
            refuses: 0,
            refused: 0,
            slowest: Duration::ZERO,
        }))
    }

    /// From now on this many operations of a thousand are refused.
    pub fn refuse(&self, per_mille: u32) {
        self.0.lock().unwrap().refuses = per_mille;
    }

    /// From now on a commit takes up to this long.
    pub fn slow_down(&self, slowest: Duration) {
        self.0.lock().unwrap().slowest = slowest;
    }

    /// How long the next commit takes.
    pub fn next_delay(&self) -> Duration {
        let mut mood = self.0.lock().unwrap();
        let slowest = u64::try_from(mood.slowest.as_millis()).unwrap();
        Duration::from_millis(if slowest == 0 { 0 } else { mood.dice.random_range(0..=slowest) })
    }

    pub fn refused(&self) -> u32 {
        self.0.lock().unwrap().refused
    }

    pub fn next_write(&self) -> Write {
        let mut mood = self.0.lock().unwrap();
        if !mood.refuses() {
            return Write::Done;
        }
        match mood.dice.random_range(0..4) {
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

impl Mood {
    fn refuses(&mut self) -> bool {
        let refuses = self.refuses > 0 && self.dice.random_range(0..1_000) < self.refuses;
        self.refused += u32::from(refuses);
        refuses
    }
}
