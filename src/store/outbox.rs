//! The outbox: what is to be told of jobs that have ended.
//!
//! A letter is written in the transaction of the transition that it tells of, so there is one for each such end and for
//! nothing else. It is there until it was told or given up: whoever dies in between leaves it to be told again.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::id::{JobId, Seq, Timestamp};

/// Something that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Which.
    pub id: i64,
    /// Where it goes.
    pub url: String,
    /// Of which job it tells.
    pub job: JobId,
    /// Of which transition.
    pub seq: Seq,
    /// What it says, JSON.
    pub body: String,
    /// When it was written.
    pub made_at: Timestamp,
    /// How often it was refused.
    pub tries: u32,
}

/// The letters of a store.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Everyone to whom something is to be told, and when the first of it is.
    async fn receivers(&self) -> Result<Vec<(String, Timestamp)>, StoreError>;

    /// What this receiver is to be told first, of what it is to be told by now.
    async fn first_letter(
        &self,
        receiver: &str,
        now: Timestamp,
    ) -> Result<Option<Letter>, StoreError>;

    /// Was told, or is given up.
    async fn drop_letter(&self, id: i64) -> Result<(), StoreError>;

    /// Was refused, and is tried again then.
    async fn put_letter_off(&self, id: i64, until: Timestamp) -> Result<(), StoreError>;
}
