//! The API for callers: submit, cancel, stop, wait, and query the state.
//!
//! A call that changes a job writes the change to the store, then wakes the job's driver. When the
//! call returns, the result it reports is on disk.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::open_output;
use super::output::{self, Attempts, Output, OutputError, OutputState, Until};
use crate::domain::admission::caller::Caller;
use crate::domain::admission::policy::Denied;
use crate::domain::job::origin::Origin;
use crate::domain::job::transition::Event;
use crate::domain::job::{Job, State, Status, StopCause};
use crate::domain::names::id::{JobId, Timestamp, Version};
use crate::domain::names::image::JobName;
use crate::domain::spec::{BadSpec, JobSpec};
use crate::domain::text::units::Span;
use crate::engine::PullProgress;
use crate::scheduler::resolve::Unresolved;
use crate::scheduler::{
    context::{Context, Health},
    rules::{Catalog, Rules},
};
use crate::store::{RequestKey, Store, StoreError, StoredResponse};

/// The longest wait for the engine's answer about a job's network. After that the job is accepted
/// without it.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// The time for which a stored response is replayed to a repeated request.
const RESPONSES_KEPT: chrono::Duration = chrono::Duration::hours(24);

/// The callers' access to the scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) context: Arc<Context>,
}

/// A request to run a job at a given time.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// The name of a definition, or an image.
    pub name: JobName,
    /// Fields of the job itself, which override the definition's.
    pub spec: JobSpec,
    pub due_at: Timestamp,
    pub origin: Origin,
}

/// A job that is on disk, or that [`Handle::prepare`] made.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub job: Job,
    /// Warnings for the caller: the name stands for nothing yet or may be mistyped, the queue has
    /// no limit.
    pub warnings: Vec<String>,
}

/// The reason a job was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The policy forbids the job.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The policy's `max_waiting` is reached.
    #[error(
        "{0} jobs wait already, and the policy's `max_waiting` is {0}: try again when some of them have run"
    )]
    TooMany(NonZeroUsize),
    /// The job could never run.
    #[error(transparent)]
    Unfit(#[from] BadSpec),
    /// The store could not write the job.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Unresolved> for SubmitError {
    fn from(error: Unresolved) -> Self {
        match error {
            Unresolved::Denied(denied) => denied.into(),
            Unresolved::Store(failure) => failure.into(),
        }
    }
}

/// The reason a job was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ActError {
    /// No job has this id.
    #[error("there is no such job")]
    NotFound,
    /// The change makes no sense in the job's state.
    #[error("the job is {0}")]
    Refused(Status),
    /// The store is a restored backup, and the scheduler still looks for jobs that ran since.
    #[error("what ran since the backup is still being looked for")]
    Restoring,
    /// The policy forbids the change.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The store could not write the change.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Handle {
    pub(in crate::scheduler) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Applies these rules from now on. Accepted jobs keep the spec that they were resolved to.
    /// `accept_new_engine` takes effect when the engine's identity is checked next.
    pub fn set_rules(&self, rules: Rules) {
        self.context.start_limit.resize(rules.settings.max_starting);
        *self.context.rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.context.rules_set_at.store(self.now().timestamp_millis(), Ordering::Relaxed);
        // A queue may have another limit now.
        self.context.wait_groups().read_again();
        self.context.wake.notify_one();
    }

    /// Returns the store, for reading.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.context.store
    }

    pub fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Returns the time at which the config was read last.
    pub fn config_loaded_at(&self) -> Timestamp {
        let ms = self.context.rules_set_at.load(Ordering::Relaxed);
        Timestamp::from_timestamp_millis(ms).unwrap_or_default()
    }

    /// Returns the number of jobs that may run at once.
    pub fn max_running(&self) -> usize {
        self.rules().max_running()
    }

    /// Returns notices for the operator about the config, one sentence each.
    pub fn notices(&self) -> Vec<String> {
        self.context.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::scheduler) fn rules(&self) -> Arc<Rules> {
        self.context.rules()
    }

    pub fn health(&self) -> Health {
        self.context.health.look().clone()
    }

    /// Returns the progress of the job's image pull while the job is `pulling`.
    pub fn pull_progress(&self, id: JobId) -> Option<PullProgress> {
        self.context
            .driver_handle(id)?
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Accepts a job. The job is on disk when this returns.
    ///
    /// # Errors
    /// [`SubmitError`]; then there is no job.
    pub async fn submit(
        &self,
        caller: &Caller,
        request: JobRequest,
    ) -> Result<Accepted, SubmitError> {
        let accepted = self.prepare(caller, request).await?;
        let _place = self.context.reserve_waiting_slot()?;
        self.context.store.insert(&accepted.job).await?;
        self.context.on_accepted(&accepted.job);
        Ok(accepted)
    }

    /// Accepts a job made by [`prepare`](Handle::prepare). If this request was answered in the last
    /// day, writes no job and returns the stored response.
    ///
    /// # Errors
    /// [`SubmitError`]; then there is no job.
    pub async fn submit_idempotent(
        &self,
        job: &Job,
        answer: &StoredResponse,
    ) -> Result<Option<StoredResponse>, SubmitError> {
        let _place = self.context.reserve_waiting_slot()?;
        let earlier = self
            .context
            .store
            .insert_idempotent(job, answer, job.created_at - RESPONSES_KEPT)
            .await?;
        self.context.on_accepted(job);
        Ok(earlier)
    }

    /// Returns the stored response to this request, if it was answered in the last day.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn stored_response(
        &self,
        request: RequestKey,
    ) -> Result<Option<StoredResponse>, StoreError> {
        self.context.store.stored_response(request, self.now() - RESPONSES_KEPT).await
    }

    /// Returns the job that would be accepted, without storing it.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn prepare(
        &self,
        caller: &Caller,
        request: JobRequest,
    ) -> Result<Accepted, SubmitError> {
        let now = self.now();
        let (spec, warnings) = self.admit(&request.name, request.spec).await?;
        let job = Job {
            id: JobId::new(now, self.context.rng.bytes()),
            version: Version(0),
            name: request.name,
            spec,
            created_at: now,
            due_at: request.due_at,
            attempt: Default::default(),
            state: State::Scheduled,
            origin: request.origin,
            submitted_by: Some(caller.actor()),
        };
        Ok(Accepted { job, warnings })
    }

    /// Checks that the policy lets a caller set these fields: the notification URLs and the stop
    /// grace period.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn may_write(&self, own: &JobSpec) -> Result<(), Denied> {
        let rules = self.context.rules();
        rules.catalog.policy.admit_stop_grace(own)?;
        rules.catalog.policy.admit_notify(own)
    }

    /// Returns the spec that a job of this name and these fields would run, with warnings for the
    /// caller. Fails if the policy forbids the job or it could never run.
    pub(in crate::scheduler) async fn admit(
        &self,
        name: &JobName,
        own: JobSpec,
    ) -> Result<(JobSpec, Vec<String>), SubmitError> {
        let rules = self.context.rules();
        let spec = self.context.resolve(&rules.catalog, name, own).await?;
        self.check(&rules.catalog, &spec).await?;
        let undefined = spec.fields().image.is_none().then(|| {
            format!("`{name}` is neither a definition nor an image reference; unless it is defined before it is due, the job will fail with no_such_job")
        });
        let queue =
            spec.fields().queue.as_ref().filter(|queue| !rules.catalog.queues.contains_key(queue));
        let unlimited = queue.map(|queue| {
            format!("the queue `{queue}` is not in the server's config file (`[queues.{queue}]`), so it has no limit")
        });
        let doubtful = self
            .context
            .doubt(&spec)
            .await
            .inspect(|why| warn!(job_name = %name, %why, "a name may be mistyped"));
        let warnings = undefined.into_iter().chain(doubtful).chain(unlimited).collect();
        Ok((spec, warnings))
    }

    /// Refuses a job that could never run now rather than when it is due. While the engine is away,
    /// jobs are accepted unchecked.
    async fn check(&self, catalog: &Catalog, spec: &JobSpec) -> Result<(), BadSpec> {
        catalog.secrets.check(spec)?;
        let Health::Up(engine) = self.health() else { return Ok(()) };
        engine.features.check(spec.fields())?;
        let its_own = |name: &&str| {
            !matches!(*name, "bridge" | "default" | "none" | "host") && !name.contains(':')
        };
        let Some(network) = spec.fields().network.as_deref().filter(its_own) else { return Ok(()) };
        match tokio::time::timeout(ASK_TIMEOUT, self.context.engine.has_network(network)).await {
            Ok(Ok(false)) => Err(BadSpec {
                field: "network",
                detail: format!(
                    "`network` is `{network}`, and the engine has none of that name: make it first"
                ),
            }),
            Ok(Ok(true) | Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Takes a waiting job off the schedule.
    ///
    /// # Errors
    /// [`ActError::Refused`] when it runs or is over.
    pub async fn cancel(&self, caller: &Caller, id: JobId) -> Result<Job, ActError> {
        self.act(caller, id, &Event::Cancel).await
    }

    /// Gives a waiting job another due time.
    ///
    /// # Errors
    /// [`ActError::Refused`] when it runs or is over. [`ActError::Restoring`] while a restored
    /// backup is not reconciled yet: jobs that may have run elsewhere are found by their due times.
    pub async fn reschedule(
        &self,
        caller: &Caller,
        id: JobId,
        due_at: Timestamp,
    ) -> Result<Job, ActError> {
        if self.context.store.restored(self.now()).await?.is_some() {
            return Err(ActError::Restoring);
        }
        let job = self.act(caller, id, &Event::Reschedule(due_at)).await?;
        self.context.wake.notify_one();
        Ok(job)
    }

    /// Asks a started job to stop within `grace`, else within the job's own grace period. A job
    /// that was asked before is killed at once or, with a `grace`, no later than `grace` from now.
    /// The job is `stopping` or over when this returns.
    ///
    /// # Errors
    /// [`ActError::Refused`] when it waits or is over, [`ActError::Denied`] when the policy does
    /// not allow that grace.
    pub async fn stop(
        &self,
        caller: &Caller,
        id: JobId,
        grace: Option<Span>,
    ) -> Result<Job, ActError> {
        self.context.rules().catalog.policy.admit_grace("grace", grace)?;
        let grace = grace.map(Span::as_duration);
        let event = |job: &Job, now| {
            self.context.rules().catalog.policy.stop(job, StopCause::Request, grace, now)
        };
        match self.act_with(caller, id, event).await {
            // The kill that was requested before comes even sooner.
            Err(ActError::Refused(Status::Stopping)) => {
                self.context.store.get(id).await?.ok_or(ActError::NotFound)
            }
            other => other,
        }
    }

    async fn act(&self, caller: &Caller, id: JobId, event: &Event) -> Result<Job, ActError> {
        self.act_with(caller, id, |_, _| event.clone()).await
    }

    async fn act_with(
        &self,
        caller: &Caller,
        id: JobId,
        event: impl Fn(&Job, Timestamp) -> Event,
    ) -> Result<Job, ActError> {
        loop {
            let job = self.context.store.get(id).await?.ok_or(ActError::NotFound)?;
            let now = self.now();
            let next = job
                .on(event(&job, now), now)
                .map_err(|refused| ActError::Refused(refused.status))?;
            match self.context.advance_by(&job, &next, now, &caller.actor()).await {
                Ok(()) => {
                    self.context.wake_driver(id);
                    return Ok(next);
                }
                Err(StoreError::Outdated) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Waits until the job is over. Returns the job, which is still going on if the timeout passed
    /// first.
    ///
    /// # Errors
    /// [`ActError::NotFound`], or a store that fails.
    pub async fn wait(&self, id: JobId, timeout: Duration) -> Result<Job, ActError> {
        let deadline = Instant::now() + timeout;
        // Subscribed before the first read, so that no end is missed between the two.
        let mut watch = self.context.store.watch(id);
        loop {
            let job = self.context.store.get(id).await?.ok_or(ActError::NotFound)?;
            if job.is_over() {
                return Ok(job);
            }
            if tokio::time::timeout_at(deadline, watch.changed()).await.is_err() {
                return Ok(job);
            }
        }
    }

    /// Returns the state of the output of the job's last attempt.
    pub async fn output_state(&self, job: &Job) -> OutputState {
        output::state(&self.context, job).await
    }

    /// Opens the output of a job, live or kept.
    ///
    /// # Errors
    /// [`OutputError`]: there is no such job, attempt or output, or the output is on an engine that
    /// does not answer, or the store fails.
    pub async fn output(
        &self,
        id: JobId,
        attempts: Attempts,
        until: Until,
    ) -> Result<Output, OutputError> {
        open_output::open(self.context.clone(), id, attempts, until).await
    }
}
