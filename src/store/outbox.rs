//! The outbox holds the notifications of ended jobs.
//!
//! A notification is written in the transaction of its transition, so each such transition has its
//! notifications and no other event does. A notification stays until it is delivered or abandoned.
//! After a crash in between, the next process delivers it again.

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::names::id::{JobId, Seq, Timestamp};

/// A notification of an ended job to one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The number of the notification in this store.
    pub id: i64,
    /// The URL to call.
    pub url: String,
    /// The job that ended.
    pub job: JobId,
    /// The number of the journal row in which the job ended.
    pub seq: Seq,
    /// The body to send, JSON.
    pub body: String,
    /// The time of the transition.
    pub made_at: Timestamp,
    /// The number of failed deliveries.
    pub tries: u32,
}

/// The operations on pending notifications.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Lists the receivers that have pending notifications, with the time of the earliest one.
    async fn receivers(&self) -> Result<Vec<(String, Timestamp)>, StoreError>;

    /// Returns the notification for `receiver` that fell due first, if one is due at `now`.
    async fn next_notification(
        &self,
        receiver: &str,
        now: Timestamp,
    ) -> Result<Option<Notification>, StoreError>;

    /// Removes a notification that was delivered or abandoned.
    async fn remove_notification(&self, id: i64) -> Result<(), StoreError>;

    /// Reschedules a rejected notification to `until`, and counts the failed delivery.
    async fn postpone_notification(&self, id: i64, until: Timestamp) -> Result<(), StoreError>;
}
