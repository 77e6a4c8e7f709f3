//! The operations on stored schedules.

use async_trait::async_trait;
use rusqlite::params;

use super::errors::failed;
use super::queries::{self, limit_of, prepared};
use super::rows::{instant, number, unsigned};
use super::store::SqliteStore;
use crate::domain::job::Job;
use crate::domain::job::origin::Generation;
use crate::domain::names::actor::Actor;
use crate::domain::names::id::Timestamp;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::ledger::LedgerRow;
use crate::domain::schedule::record::{ScheduleRecord, ScheduleRevision, ScheduleUpdate};
use crate::store::error::StoreError;
use crate::store::schedules::ScheduleStore;

use super::schedules::*;

#[async_trait]
impl ScheduleStore for SqliteStore {
    async fn schedule(&self, name: &ScheduleName) -> Result<Option<ScheduleRecord>, StoreError> {
        let name = name.clone();
        self.read(move |connection| Ok(records(connection, &one_sql(), [name.as_str()])?.pop()))
            .await
    }

    async fn schedules_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.read(move |connection| {
            records(connection, &look_sql(), params![now.timestamp_millis(), limit_of(limit)])
        })
        .await
    }

    async fn declared(
        &self,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<Vec<ScheduleName>, StoreError> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        self.read(move |connection| {
            let mut statement = prepared(connection, DECLARED)?;
            let names =
                statement.query_map(params![after, limit_of(limit)], |row| row.get::<_, String>(0));
            let damaged =
                |name: &str| StoreError::Damaged(format!("`{name}` cannot be a schedule's name"));
            let read = |name: rusqlite::Result<String>| {
                let name = name.map_err(failed)?;
                name.parse().map_err(|_| damaged(&name))
            };
            names.map_err(failed)?.map(read).collect()
        })
        .await
    }

    async fn assign_config_file(&self, file: &str, all: bool) -> Result<(), StoreError> {
        let file = file.to_owned();
        self.write(move |connection| execute(connection, OWN, params![file, all]).map(|_| None))
            .await
    }

    async fn next_schedule_check(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let millis: Option<i64> =
                prepared(connection, NEXT_LOOK)?.query_row([], |row| row.get(0)).map_err(failed)?;
            Ok(millis.and_then(instant))
        })
        .await
    }

    async fn schedule_revision(
        &self,
        name: &ScheduleName,
        generation: Generation,
    ) -> Result<Option<ScheduleRevision>, StoreError> {
        let name = name.clone();
        self.read(move |connection| {
            let mut statement = prepared(connection, REVISION)?;
            let mut found =
                statement.query(params![name.as_str(), number(generation.0)]).map_err(failed)?;
            let Some(row) = found.next().map_err(failed)? else { return Ok(None) };
            let damaged = || {
                StoreError::Damaged(format!(
                    "schedule {name}: what it said in generation {} cannot be read",
                    generation.0
                ))
            };
            let fields: String = row.get(0).map_err(failed)?;
            let schedule = serde_json::from_str(&fields).map_err(|_| damaged())?;
            let accepted_at = instant(row.get(1).map_err(failed)?).ok_or_else(damaged)?;
            Ok(Some(ScheduleRevision { schedule, accepted_at }))
        })
        .await
    }

    async fn last_generation(&self, name: &ScheduleName) -> Result<Generation, StoreError> {
        let name = name.clone();
        self.read(move |connection| {
            let mut statement = prepared(connection, LAST_GENERATION)?;
            let last: Option<i64> =
                statement.query_row([name.as_str()], |row| row.get(0)).map_err(failed)?;
            Ok(Generation(last.map_or(0, unsigned)))
        })
        .await
    }

    async fn apply_schedule_update(
        &self,
        update: ScheduleUpdate,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let (rows, by) = (JobRows::of(&update)?, by.clone());
        self.write_many(move |connection| write(connection, &update, rows, at, &by)).await
    }

    async fn jobs_of(&self, name: &ScheduleName) -> Result<Vec<Job>, StoreError> {
        let name = name.clone();
        self.read(move |connection| queries::jobs(connection, &jobs_sql(), [name.as_str()])).await
    }

    async fn ledger(
        &self,
        name: &ScheduleName,
        before: Option<(Timestamp, Generation)>,
        limit: usize,
    ) -> Result<Vec<LedgerRow>, StoreError> {
        let name = name.clone();
        self.read(move |connection| {
            let (first, generation) = before
                .map_or((i64::MAX, i64::MAX), |(first, g)| (first.timestamp_millis(), number(g.0)));
            let mut statement = prepared(connection, &ledger_sql())?;
            let params = params![name.as_str(), first, generation, limit_of(limit)];
            let found = statement.query_map(params, |row| Ok(ledger_row(row))).map_err(failed)?;
            found.map(|row| row.map_err(failed)?).collect()
        })
        .await
    }
}
