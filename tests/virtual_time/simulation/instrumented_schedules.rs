//! Failpoints of the schedule store: a schedule update is one commit of many jobs.

use async_trait::async_trait;
use tidetable::domain::job::Job;
use tidetable::domain::names::actor::Actor;
use tidetable::domain::names::id::Timestamp;
use tidetable::domain::names::schedule::ScheduleName;
use tidetable::domain::schedule::record::{ScheduleRecord, ScheduleRevision, ScheduleUpdate};
use tidetable::domain::{job::origin::Generation, schedule::ledger::LedgerRow};
use tidetable::store::StoreError;
use tidetable::store::schedules::ScheduleStore;

use crate::simulation::disk::Write;
use crate::simulation::expectations::CommitTimes;
use crate::simulation::instrumented::InstrumentedStore;

impl InstrumentedStore {
    /// Commits all of these jobs or none, with a failpoint before and after.
    pub async fn commit_all<T>(
        &self,
        name: impl Fn() -> String,
        jobs: Vec<Job>,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.process.point(|| format!("{} …", name())).await;
        let delay = self.disk.next_delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let now = self.process.failpoints.now();
        let times = CommitTimes { decided: now, written: now };
        jobs.iter().for_each(|job| self.expectations.writes(job, times));
        let (written, unheard) = match self.disk.next_write() {
            Write::Done => (write.await, None),
            Write::Refused(error) => (Err(error), None),
            Write::DoneUnheard(error) => {
                self.expectations.was_not_heard();
                (write.await, Some(error))
            }
        };
        jobs.iter()
            .for_each(|job| self.expectations.wrote(job, written.is_ok().then_some(job), times));
        let answer = unheard.map_or(written, Err);
        self.process.point(|| format!("{} → {:?}", name(), answer.as_ref().err())).await;
        answer
    }
}

#[async_trait]
impl ScheduleStore for InstrumentedStore {
    async fn schedule(&self, name: &ScheduleName) -> Result<Option<ScheduleRecord>, StoreError> {
        self.store.schedule(name).await
    }

    async fn assign_config_file(&self, file: &str, all: bool) -> Result<(), StoreError> {
        self.store.assign_config_file(file, all).await
    }

    async fn declared(
        &self,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<Vec<ScheduleName>, StoreError> {
        self.store.declared(after, limit).await
    }

    async fn schedules_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.store.schedules_due(now, limit).await
    }

    async fn next_schedule_check(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_schedule_check().await
    }

    async fn schedule_revision(
        &self,
        name: &ScheduleName,
        generation: Generation,
    ) -> Result<Option<ScheduleRevision>, StoreError> {
        self.store.schedule_revision(name, generation).await
    }

    async fn last_generation(&self, name: &ScheduleName) -> Result<Generation, StoreError> {
        self.store.last_generation(name).await
    }

    async fn apply_schedule_update(
        &self,
        update: ScheduleUpdate,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        let jobs: Vec<Job> =
            update.ended.iter().map(|(_, after)| after).chain(&update.jobs).cloned().collect();
        let name = format!("turn of {}", update.name);
        self.commit_all(|| name.clone(), jobs, self.store.apply_schedule_update(update, at, by))
            .await
    }

    async fn jobs_of(&self, name: &ScheduleName) -> Result<Vec<Job>, StoreError> {
        self.store.jobs_of(name).await
    }

    async fn ledger(
        &self,
        name: &ScheduleName,
        before: Option<(Timestamp, Generation)>,
        limit: usize,
    ) -> Result<Vec<LedgerRow>, StoreError> {
        self.store.ledger(name, before, limit).await
    }
}
