//! The outbox of job-end notifications: the SQL.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::queries::prepared;
use super::rows::{instant, number, unsigned};
use super::{SqliteStore, failed};
use crate::domain::job::{Job, State};
use crate::domain::names::id::{JobId, Seq, Timestamp};
use crate::domain::spec::notify::NotifyUrl;
use crate::domain::text::date::rfc3339;
use crate::store::outbox::{Notification, Outbox};
use crate::store::{StoreError, Transition};

const ADD: &str = "INSERT INTO outbox (receiver, url, job, seq, body, made_at, tries, due_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?6)";
/// Steps from one receiver to the next in the index, so the number of notifications per receiver
/// costs nothing.
const RECEIVERS: &str = "WITH RECURSIVE receivers (name) AS (
         SELECT min(receiver) FROM outbox
         UNION ALL SELECT (SELECT min(receiver) FROM outbox WHERE receiver > name) FROM receivers WHERE name IS NOT NULL)
     SELECT name, (SELECT min(due_at) FROM outbox WHERE receiver = name) FROM receivers WHERE name IS NOT NULL";
const FIRST: &str =
    "SELECT id, url, job, seq, body, made_at, tries FROM outbox INDEXED BY outbox_by_receiver
     WHERE receiver = ?1 AND due_at <= ?2 ORDER BY due_at, id LIMIT 1";
const DROP: &str = "DELETE FROM outbox WHERE id = ?1";
const PUT_OFF: &str = "UPDATE outbox SET tries = tries + 1, due_at = ?2 WHERE id = ?1";
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
        let told = notices.filter(|notice| notice.wants(status));
        Self { urls: told.map(|notice| notice.url.clone()).collect(), error: end.error.clone() }
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

#[async_trait]
impl Outbox for SqliteStore {
    async fn receivers(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.read(|connection| {
            let mut statement = prepared(connection, RECEIVERS)?;
            let found =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
            found
                .map(|row| row.map_err(failed).and_then(|(name, at)| Ok((name, time(at)?))))
                .collect()
        })
        .await
    }

    async fn next_notification(
        &self,
        receiver: &str,
        now: Timestamp,
    ) -> Result<Option<Notification>, StoreError> {
        let receiver = receiver.to_owned();
        self.read(move |connection| {
            let mut statement = prepared(connection, FIRST)?;
            let found = statement
                .query_row(params![receiver, now.timestamp_millis()], |row| {
                    let (made_at, seq): (i64, i64) = (row.get(5)?, row.get(3)?);
                    let notification = Notification {
                        id: row.get(0)?,
                        url: row.get(1)?,
                        job: JobId::from_bytes(row.get(2)?),
                        seq: Seq(unsigned(seq)),
                        body: row.get(4)?,
                        made_at: now,
                        tries: row.get(6)?,
                    };
                    Ok((notification, made_at))
                })
                .optional()
                .map_err(failed)?;
            found
                .map(|(notification, at)| Ok(Notification { made_at: time(at)?, ..notification }))
                .transpose()
        })
        .await
    }

    async fn remove_notification(&self, id: i64) -> Result<(), StoreError> {
        self.write(move |connection| {
            prepared(connection, DROP)?.execute([id]).map_err(failed)?;
            Ok(None)
        })
        .await
    }

    async fn postpone_notification(&self, id: i64, until: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| {
            prepared(connection, PUT_OFF)?
                .execute([id, until.timestamp_millis()])
                .map_err(failed)?;
            Ok(None)
        })
        .await
    }
}

fn time(millis: i64) -> Result<Timestamp, StoreError> {
    instant(millis)
        .ok_or_else(|| StoreError::Damaged("a time of the outbox cannot be read".to_owned()))
}
