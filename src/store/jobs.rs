//! The stored jobs.

use async_trait::async_trait;

use super::error::StoreError;
use super::idempotency::{RequestKey, StoredResponse};
use super::snapshot::Snapshot;
use crate::domain::job::Job;
use crate::domain::names::actor::Actor;
use crate::domain::names::id::{JobId, Timestamp};

/// The operations on stored jobs.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Adds a job that was just accepted.
    async fn insert(&self, job: &Job) -> Result<(), StoreError>;

    /// Adds an accepted job together with the stored response to its request. When a response newer
    /// than `since` exists for the same request, adds nothing and returns that response.
    async fn insert_idempotent(
        &self,
        job: &Job,
        answer: &StoredResponse,
        since: Timestamp,
    ) -> Result<Option<StoredResponse>, StoreError>;

    /// Returns the stored response to this request, if newer than `since`.
    async fn stored_response(
        &self,
        request: RequestKey,
        since: Timestamp,
    ) -> Result<Option<StoredResponse>, StoreError>;

    /// Replaces `before` by `after` and writes the transition, caused by `by`, to the journal.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the stored version is no longer `before.version`.
    async fn advance(
        &self,
        before: &Job,
        after: &Job,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError>;

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// Returns up to `limit` ids that begin with these lower-case hex digits (1 to 32).
    async fn ids_with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<JobId>, StoreError>;

    /// Returns up to `limit` ids that end with these lower-case hex digits (1 to 32), among the
    /// running jobs, the next jobs that are due, and the newest jobs.
    async fn ids_with_suffix(&self, suffix: &str, limit: usize) -> Result<Vec<JobId>, StoreError>;

    /// Returns the ids of all jobs in the running map.
    async fn active(&self) -> Result<Vec<JobId>, StoreError>;

    /// Opens a read view of one moment.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;
}
