//! The engine and the store as the scheduler sees them. Each call passes a failpoint before and
//! after, fails if the run says so, and breaks the rule that is switched off, if any.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tidetable::domain::admission::features::EngineFeatures;
use tidetable::domain::admission::pause::Pause;
use tidetable::domain::container::{Container, Evidence, EvidenceQuery, Owner};
use tidetable::domain::job::wait_group::{Limit, WaitGroup};
use tidetable::domain::job::{Job, Reason, State};
use tidetable::domain::names::actor::Actor;
use tidetable::domain::names::id::{
    ContainerId, ContainerName, EngineId, InstanceId, JobId, Seq, Timestamp, Version,
};
use tidetable::domain::names::image::{ImageRef, JobName};
use tidetable::domain::precondition::Precondition;
use tidetable::domain::spec::JobSpec;
use tidetable::engine::simulated::SimulatedEngine;
use tidetable::engine::{
    ContainerEvent, Description, Engine, EngineError, Launch, Listed, LogStream, PullProgress,
    SecretFile, Started,
};
use tidetable::store::outbox::{Notification, Outbox};
use tidetable::store::watch::Watch;
use tidetable::store::{Definition, RequestKey, Restored, Revision, StoredResponse};
use tidetable::store::{Entry, ObjectChange, Snapshot, Store, StoreError, Transition};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::simulation::disk::{Disk, Write};
use crate::simulation::expectations::{CommitTimes, Expectations, ours};
use crate::simulation::failpoints::Process;
use crate::simulation::rules::Rule;
use tidetable::domain::names::schedule::ScheduleName;
use tidetable::store::{
    DefinitionStore, DispatchStore, JobStore, Journal, LastEnd, MetaStore, StatsStore, StoreStats,
};

/// The simulated engine behind failpoints.
pub struct InstrumentedEngine {
    pub engine: SimulatedEngine,
    pub process: Arc<Process>,
    pub off: Option<Rule>,
    pub keeps_containers: bool,
    /// The number of creates and starts that may be in flight at once.
    pub max_starting: usize,
    pub starting: AtomicUsize,
}

impl InstrumentedEngine {
    async fn instrumented<T: std::fmt::Debug>(
        &self,
        name: impl Fn() -> String,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        self.process.point(|| format!("{} …", name())).await;
        let answer = call.await;
        self.process.point(|| format!("{} → {answer:?}", name())).await;
        answer
    }

    /// Makes a call that counts as in flight; fails the run if more than `max_starting` are.
    async fn in_flight<T>(&self, call: impl Future<Output = T>) -> T {
        struct Flight<'a>(&'a AtomicUsize);
        impl Drop for Flight<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let others = self.starting.fetch_add(1, Ordering::Relaxed);
        let _flight = Flight(&self.starting);
        if others >= self.max_starting {
            self.process
                .failpoints
                .fail(format!("{} creates and starts are in flight", others + 1));
        }
        call.await
    }

    fn is_off(&self, rule: Rule) -> bool {
        self.off == Some(rule)
    }

    fn absence(
        &self,
        seen: Result<Option<Container>, EngineError>,
    ) -> Result<Option<Container>, EngineError> {
        match seen {
            Err(EngineError::NoAnswer(_)) if self.is_off(Rule::NoAnswerIsNoAbsence) => Ok(None),
            other => other,
        }
    }
}

#[async_trait]
impl Engine for InstrumentedEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        let answer = self.instrumented(|| "describe".to_owned(), self.engine.describe()).await?;
        let id = if self.is_off(Rule::EngineIsCompared) {
            EngineId("always".to_owned())
        } else {
            answer.id
        };
        let features =
            EngineFeatures { keeps_containers: self.keeps_containers, ..answer.features };
        Ok(Description { id, features, ..answer })
    }

    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        self.instrumented(|| format!("pull {image}"), self.engine.pull(image, platform, progress))
            .await
    }

    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError> {
        let name = || format!("create {}", launch.name.as_str());
        let made = self.instrumented(name, self.in_flight(self.engine.create(launch))).await;
        match made {
            Err(EngineError::Conflict(_)) if self.is_off(Rule::NamesAreUnique) => {
                if let Ok(Some(other)) = self.engine.named(&launch.name).await {
                    let _gone =
                        self.engine.rename(&other.id, &format!("{}-old", launch.name.as_str()));
                }
                self.engine.create(launch).await
            }
            other => other,
        }
    }

    async fn put_files(
        &self,
        container: &ContainerId,
        files: &[SecretFile],
    ) -> Result<(), EngineError> {
        self.instrumented(
            || format!("provide {container}"),
            self.engine.put_files(container, files),
        )
        .await
    }

    async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        self.instrumented(|| format!("network {name}"), self.engine.has_network(name)).await
    }

    async fn has_image(&self, image: &ImageRef) -> Result<bool, EngineError> {
        self.instrumented(|| format!("image {image}"), self.engine.has_image(image)).await
    }

    async fn start(&self, container: &ContainerId) -> Result<(), EngineError> {
        let started = self
            .instrumented(
                || format!("start {container}"),
                self.in_flight(self.engine.start(container)),
            )
            .await;
        match started {
            Err(EngineError::NoAnswer(_)) if self.is_off(Rule::StartIsCalledOnce) => {
                self.engine.start(container).await
            }
            Err(EngineError::NoAnswer(message)) if self.is_off(Rule::NoAnswerIsNoFailure) => {
                Err(EngineError::Refused { reason: Reason::StartFailed, message })
            }
            other => other,
        }
    }

    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, EngineError> {
        let seen = self
            .instrumented(|| format!("inspect {container}"), self.engine.inspect(container))
            .await;
        self.absence(seen)
    }

    async fn find(&self, owner: &Owner) -> Result<Option<Container>, EngineError> {
        let seen = self
            .instrumented(
                || format!("find {} {}", owner.job, owner.attempt),
                self.engine.find(owner),
            )
            .await;
        self.absence(seen)
    }

    async fn named(&self, name: &ContainerName) -> Result<Option<Container>, EngineError> {
        let seen =
            self.instrumented(|| format!("named {}", name.as_str()), self.engine.named(name)).await;
        match self.absence(seen) {
            Ok(Some(container)) if self.is_off(Rule::LabelsAreCompared) => {
                let owner = owner_by_name(name);
                Ok(Some(Container { owner, ..container }))
            }
            other => other,
        }
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        self.instrumented(|| format!("stop {container}"), self.engine.stop(container, grace)).await
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError> {
        match self
            .instrumented(|| format!("remove {container}"), self.engine.remove(container))
            .await
        {
            Err(EngineError::Conflict(_)) if self.is_off(Rule::RemovalIsWithoutForce) => {
                self.engine.stop(container, Duration::ZERO).await?;
                self.engine.remove(container).await
            }
            other => other,
        }
    }

    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
        self.process.point(|| format!("logs {container} …")).await;
        let lines = self.engine.logs(container, follow).await;
        let answered = lines.is_ok();
        self.process.point(|| format!("logs {container} → {answered}")).await;
        if self.is_off(Rule::OutputIsKeptFirst) {
            Ok(futures::stream::empty().boxed())
        } else {
            lines
        }
    }

    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError> {
        if !self.is_off(Rule::OthersAreLeftAlone) {
            return self.instrumented(|| "list".to_owned(), self.engine.list(instance)).await;
        }
        let mut all = self.instrumented(|| "list".to_owned(), self.engine.list(instance)).await?;
        for mut other in self.engine.list(InstanceId::new([8; 16])).await? {
            other.owner = other.owner.map(|owner| Owner { instance, ..owner });
            all.push(other);
        }
        Ok(all)
    }

    async fn events(
        &self,
        instance: InstanceId,
    ) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError> {
        self.process.point(|| "events …".to_owned()).await;
        let hints = self.engine.events(instance).await;
        let answered = hints.is_ok();
        self.process.point(|| format!("events → {answered}")).await;
        hints
    }

    async fn query_event_log(
        &self,
        container: &ContainerId,
        question: EvidenceQuery,
        since: Timestamp,
    ) -> Result<Evidence, EngineError> {
        let asked = self.engine.query_event_log(container, question, since);
        let told =
            self.instrumented(|| format!("testimony {container} {question:?}"), asked).await?;
        let ignored =
            question == EvidenceQuery::StartedBeforeRemoval && self.is_off(Rule::TheLogIsAsked);
        Ok(if ignored { Evidence::NotSeen } else { told })
    }

    async fn started(
        &self,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<Started, EngineError> {
        self.instrumented(|| "started".to_owned(), self.engine.started(instance, since)).await
    }
}

/// Returns the owner that a container's name suggests, ignoring labels.
fn owner_by_name(name: &ContainerName) -> Option<Owner> {
    let (job, attempt) = name.as_str().strip_prefix("tidetable-")?.rsplit_once('-')?;
    let attempt = serde_json::from_str(attempt).ok()?;
    Some(Owner { instance: ours(), job: job.parse().ok()?, attempt })
}

/// The store behind failpoints.
pub struct InstrumentedStore {
    pub store: Arc<dyn Store>,
    pub process: Arc<Process>,
    pub expectations: Arc<Expectations>,
    pub disk: Arc<Disk>,
    pub off: Option<Rule>,
    /// Commits that were answered before they reached the disk; only used while a rule is switched
    /// off.
    pub held: Mutex<BTreeMap<JobId, Held>>,
}

pub struct Held {
    since: Instant,
    before: Option<Job>,
    after: Job,
    at: Timestamp,
}

/// The delay of a commit that was answered too early.
const HELD: Duration = Duration::from_millis(300);

impl InstrumentedStore {
    async fn commit(
        &self,
        before: Option<&Job>,
        after: &Job,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let name = || {
            format!(
                "commit {} v{} {:?} attempt {}",
                after.id,
                after.version.0,
                after.state.status(),
                after.attempt
            )
        };
        self.process.point(|| format!("{} …", name())).await;
        let delay = self.disk.next_delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let times = CommitTimes { decided: at, written: self.process.failpoints.now() };
        self.expectations.writes(after, times);
        let (written, unheard) = match self.disk.next_write() {
            Write::Done => (self.write(before, after, at).await, None),
            Write::Refused(error) => (Err(error), None),
            Write::DoneUnheard(error) => {
                self.expectations.was_not_heard();
                (self.write(before, after, at).await, Some(error))
            }
        };
        self.expectations.wrote(after, written.as_ref().ok(), times);
        let answer = unheard.map_or(written.map(drop), Err);
        self.process.point(|| format!("{} → {answer:?}", name())).await;
        answer
    }

    /// Writes the job and returns it as it is on disk now.
    async fn write(
        &self,
        before: Option<&Job>,
        after: &Job,
        at: Timestamp,
    ) -> Result<Job, StoreError> {
        self.flush(|job, _| job == after.id).await?;
        if self.is_held_back(after) {
            let held =
                Held { since: Instant::now(), before: before.cloned(), after: after.clone(), at };
            self.held.lock().unwrap().insert(after.id, held);
            return Ok(after.clone());
        }
        match before {
            None => self.store.insert(after).await?,
            Some(_) if self.off == Some(Rule::VersionsAreCompared) => {
                return self.overwrite(after, at).await;
            }
            Some(before) => self.store.advance(before, after, at, &Actor::Scheduler).await?,
        }
        Ok(after.clone())
    }

    fn is_held_back(&self, after: &Job) -> bool {
        match self.off {
            Some(Rule::AcceptedIsOnDisk) => after.version == Version(0),
            Some(Rule::IntentIsOnDisk) => matches!(after.state, State::Starting(Some(_))),
            Some(Rule::ResultIsOnDisk) => {
                matches!(&after.state, State::Ended(end) if end.exit.is_some())
            }
            _ => false,
        }
    }

    /// Writes without comparing versions: the last writer wins.
    async fn overwrite(&self, after: &Job, at: Timestamp) -> Result<Job, StoreError> {
        let Some(before) = self.store.get(after.id).await? else {
            return Err(StoreError::Outdated);
        };
        let after = Job { version: before.version.next(), ..after.clone() };
        self.store.advance(&before, &after, at, &Actor::Scheduler).await?;
        Ok(after)
    }

    async fn flush(&self, which: impl Fn(JobId, Instant) -> bool) -> Result<(), StoreError> {
        let due: Vec<Held> = {
            let mut held = self.held.lock().unwrap();
            let ids: Vec<JobId> = held
                .iter()
                .filter(|(id, held)| which(**id, held.since))
                .map(|(id, _)| *id)
                .collect();
            ids.iter().filter_map(|id| held.remove(id)).collect()
        };
        for Held { before, after, at, .. } in due {
            match before {
                None => self.store.insert(&after).await?,
                Some(before) => self.store.advance(&before, &after, at, &Actor::Scheduler).await?,
            }
        }
        Ok(())
    }

    /// Writes commits that were held back long enough, then lets the disk refuse the read.
    async fn read(&self) -> Result<(), StoreError> {
        self.flush(|_, since| since.elapsed() >= HELD).await?;
        self.disk.next_read()
    }
}

#[async_trait]
impl JobStore for InstrumentedStore {
    async fn insert(&self, job: &Job) -> Result<(), StoreError> {
        self.commit(None, job, job.created_at).await
    }

    async fn insert_idempotent(
        &self,
        job: &Job,
        answer: &StoredResponse,
        since: Timestamp,
    ) -> Result<Option<StoredResponse>, StoreError> {
        let name = || format!("commit {} once", job.id);
        self.commit_all(name, vec![job.clone()], self.store.insert_idempotent(job, answer, since))
            .await
    }

    async fn stored_response(
        &self,
        request: RequestKey,
        since: Timestamp,
    ) -> Result<Option<StoredResponse>, StoreError> {
        self.store.stored_response(request, since).await
    }

    async fn advance(
        &self,
        before: &Job,
        after: &Job,
        at: Timestamp,
        _by: &Actor,
    ) -> Result<(), StoreError> {
        self.commit(Some(before), after, at).await
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.read().await?;
        if let Some(held) = self.held.lock().unwrap().get(&id) {
            return Ok(Some(held.after.clone()));
        }
        self.store.get(id).await
    }

    async fn ids_with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<JobId>, StoreError> {
        self.store.ids_with_prefix(prefix, limit).await
    }
    async fn ids_with_suffix(&self, suffix: &str, limit: usize) -> Result<Vec<JobId>, StoreError> {
        self.store.ids_with_suffix(suffix, limit).await
    }

    async fn active(&self) -> Result<Vec<JobId>, StoreError> {
        self.read().await?;
        self.store.active().await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.read().await?;
        self.store.snapshot().await
    }
}

#[async_trait]
impl DispatchStore for InstrumentedStore {
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.read().await?;
        self.store.due(now, limit).await
    }

    async fn upcoming(
        &self,
        after: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, StoreError> {
        self.read().await?;
        self.store.upcoming(after, until, limit).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read().await?;
        self.store.next_due().await
    }

    async fn queued(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.store.queued(limit).await
    }

    async fn wait_groups(
        &self,
        after: Option<&WaitGroup>,
        limit: usize,
    ) -> Result<Vec<WaitGroup>, StoreError> {
        self.read().await?;
        self.store.wait_groups(after, limit).await
    }

    async fn waiting_in_groups(
        &self,
        wanted: &[(WaitGroup, usize)],
        limit: usize,
    ) -> Result<Vec<Job>, StoreError> {
        self.read().await?;
        self.store.waiting_in_groups(wanted, limit).await
    }

    async fn taken(&self, limits: &[Limit]) -> Result<Vec<usize>, StoreError> {
        self.store.taken(limits).await
    }

    async fn backlog(&self, most: usize) -> Result<usize, StoreError> {
        self.read().await?;
        self.store.backlog(most).await
    }

    fn waiting(&self) -> usize {
        self.store.waiting()
    }

    async fn queued_past_deadline(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError> {
        self.store.queued_past_deadline(now, limit).await
    }
}

#[async_trait]
impl Journal for InstrumentedStore {
    async fn last_seq(&self) -> Result<Seq, StoreError> {
        self.store.last_seq().await
    }

    async fn changes(&self) -> Result<u64, StoreError> {
        self.store.changes().await
    }

    async fn first_seq(&self) -> Result<Option<Seq>, StoreError> {
        self.store.first_seq().await
    }

    async fn journal(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.store.journal(after, limit).await
    }

    async fn journal_of(
        &self,
        job: JobId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Transition>, StoreError> {
        self.store.journal_of(job, after, limit).await
    }

    async fn note(&self, change: ObjectChange) -> Result<(), StoreError> {
        self.store.note(change).await
    }

    fn watch(&self, job: JobId) -> Watch {
        self.store.watch(job)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.store.subscribe()
    }
}

#[async_trait]
impl MetaStore for InstrumentedStore {
    async fn pause(&self) -> Result<Option<Pause>, StoreError> {
        self.store.pause().await
    }

    async fn set_pause(
        &self,
        pause: Option<&Pause>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<(), StoreError> {
        self.store.set_pause(pause, at, by).await
    }

    fn instance(&self) -> InstanceId {
        self.store.instance()
    }

    async fn is_there(&self) -> Result<(), StoreError> {
        self.store.is_there().await
    }

    async fn restored(&self, now: Timestamp) -> Result<Option<Restored>, StoreError> {
        self.store.restored(now).await
    }

    async fn overtaken(&self, by: Timestamp) -> Result<Vec<JobId>, StoreError> {
        self.store.overtaken(by).await
    }

    async fn forget_restored(&self) -> Result<(), StoreError> {
        self.store.forget_restored().await
    }

    async fn engine(&self) -> Result<Option<EngineId>, StoreError> {
        self.read().await?;
        self.store.engine().await
    }

    async fn remember_engine(&self, engine: &EngineId) -> Result<(), StoreError> {
        self.process.point(|| format!("remember {engine} …")).await;
        let answer = self.store.remember_engine(engine).await;
        self.expectations.remembers_the_engine();
        self.process.point(|| format!("remember {engine} → {answer:?}")).await;
        answer
    }
}

#[async_trait]
impl DefinitionStore for InstrumentedStore {
    async fn definition(&self, name: &JobName) -> Result<Option<Definition>, StoreError> {
        self.store.definition(name).await
    }

    async fn definitions(
        &self,
        after: Option<&JobName>,
        limit: usize,
    ) -> Result<Vec<Definition>, StoreError> {
        self.store.definitions(after, limit).await
    }

    async fn define(
        &self,
        name: &JobName,
        spec: &JobSpec,
        precondition: Precondition<Revision>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<Revision, StoreError> {
        self.store.define(name, spec, precondition, at, by).await
    }

    async fn undefine(
        &self,
        name: &JobName,
        precondition: Precondition<Revision>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<bool, StoreError> {
        self.store.undefine(name, precondition, at, by).await
    }
}

#[async_trait]
impl Outbox for InstrumentedStore {
    async fn receivers(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.store.receivers().await
    }

    async fn next_notification(
        &self,
        receiver: &str,
        now: Timestamp,
    ) -> Result<Option<Notification>, StoreError> {
        self.store.next_notification(receiver, now).await
    }

    async fn remove_notification(&self, id: i64) -> Result<(), StoreError> {
        self.store.remove_notification(id).await
    }

    async fn postpone_notification(&self, id: i64, until: Timestamp) -> Result<(), StoreError> {
        self.store.postpone_notification(id, until).await
    }
}

#[async_trait]
impl StatsStore for InstrumentedStore {
    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        self.store.stats(now).await
    }

    async fn last_ends(&self, schedules: &[ScheduleName]) -> Result<Vec<Vec<LastEnd>>, StoreError> {
        self.store.last_ends(schedules).await
    }
}
