//! The outbox of job-end notifications: the SQL.

use rusqlite::{Connection, params};
use serde_json::json;

use super::errors::failed;
use super::queries::prepared;
use super::rows::{instant, number};
use crate::domain::job::{Job, State};
use crate::domain::names::id::Timestamp;
use crate::domain::spec::notify::NotifyUrl;
use crate::domain::text::date::rfc3339;
use crate::store::error::StoreError;
use crate::store::journal::Transition;

pub(super) const ADD: &str =
    "INSERT INTO outbox (receiver, url, job, seq, body, made_at, tries, due_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?6)";
/// Steps from one receiver to the next in the index, so the number of notifications per receiver
/// costs nothing.
pub(super) const RECEIVERS: &str = "WITH RECURSIVE receivers (name) AS (
         SELECT min(receiver) FROM outbox
         UNION ALL SELECT (SELECT min(receiver) FROM outbox WHERE receiver > name) FROM receivers WHERE name IS NOT NULL)
     SELECT name, (SELECT min(due_at) FROM outbox WHERE receiver = name) FROM receivers WHERE name IS NOT NULL";
pub(super) const FIRST: &str =
    "SELECT id, url, job, seq, body, made_at, tries FROM outbox INDEXED BY outbox_by_receiver
     WHERE receiver = ?1 AND due_at <= ?2 ORDER BY due_at, id LIMIT 1";
pub(super) const DROP: &str = "DELETE FROM outbox WHERE id = ?1";
pub(super) const PUT_OFF: &str = "UPDATE outbox SET tries = tries + 1, due_at = ?2 WHERE id = ?1";
/// All statements, for the test that reads their plans.
#[cfg(test)]
pub(super) const FIXED: [&str; 5] = [ADD, RECEIVERS, FIRST, DROP, PUT_OFF];

/// The notifications of one transition and their receivers.
pub(super) struct NotificationRow {
    urls: Vec<NotifyUrl>,
    error: Option<String>,
}

impl NotificationRow {
    /// Returns the notifications of a transition to the state `after`: none, unless the job has
    /// ended and its spec names receivers for that status.
    pub(super) fn of(after: &Job) -> Self {
        let State::Ended(end) = &after.state else { return Self { urls: Vec::new(), error: None } };
        let status = after.state.status();
        let notices = after.spec.fields().notify.iter().flat_map(|notify| &notify.0);
        let wanted = notices.filter(|notice| notice.wants(status));
        Self { urls: wanted.map(|notice| notice.url.clone()).collect(), error: end.error.clone() }
    }

    /// Writes the notifications. The transition is in the journal and has its number.
    pub(super) fn put(
        &self,
        connection: &Connection,
        transition: &Transition,
    ) -> Result<(), StoreError> {
        if self.urls.is_empty() {
            return Ok(());
        }
        let (body, at) = (self.body(transition), transition.at.timestamp_millis());
        let (job, seq) = (*transition.job.as_bytes(), number(transition.seq.0));
        let mut statement = prepared(connection, ADD)?;
        for url in &self.urls {
            statement
                .execute(params![url.receiver(), url.as_str(), job, seq, body, at])
                .map_err(failed)?;
        }
        Ok(())
    }

    fn body(&self, transition: &Transition) -> String {
        let job = transition.job.to_string();
        json!({
            "seq": transition.seq.0,
            "at": rfc3339(transition.at),
            "job": job,
            "job_name": transition.job_name,
            "from": transition.from.map(|from| from.as_str()),
            "to": transition.to.as_str(),
            "reason": transition.reason.map(|reason| reason.as_str()),
            "exit_code": transition.exit_code,
            "id": job,
            "status": transition.to.as_str(),
            "error": self.error,
            "attempt": transition.attempt,
        })
        .to_string()
    }
}

pub(super) fn time(millis: i64) -> Result<Timestamp, StoreError> {
    instant(millis)
        .ok_or_else(|| StoreError::Damaged("a time of the outbox cannot be read".to_owned()))
}
