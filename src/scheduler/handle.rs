//! What callers do: submit, cancel, stop, wait, and ask how things stand.
//!
//! A call that changes a job writes the change to the store and then pokes whoever drives it. When it answers, what it
//! says is on disk.

use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::catalog::Unresolved;
use super::output::{self, OutputError, OutputState, OutputStream};
use super::{Catalog, Health, Rules, Shared};
use crate::domain::id::{JobId, Timestamp, Version};
use crate::domain::image::JobName;
use crate::domain::job::{Job, State, Status, StopCause};
use crate::domain::policy::Denied;
use crate::domain::spec::{BadSpec, JobSpec};
use crate::domain::transition::Event;
use crate::domain::units::Span;
use crate::engine::PullProgress;
use crate::store::{Answer, RequestKey, Store, StoreError};

/// How long a caller waits for the engine's word on a job; after that it is accepted without one.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the answer to a request is kept, to be given again.
const ANSWERS_KEPT: chrono::Duration = chrono::Duration::hours(24);

/// How callers reach the scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

/// What a caller wants to be run, and when.
#[derive(Clone, Debug)]
pub struct Order {
    /// A definition or an image.
    pub name: JobName,
    /// Fields of its own, laid over the definition's.
    pub spec: JobSpec,
    /// When.
    pub due_at: Timestamp,
}

/// A job that is on disk.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The job.
    pub job: Job,
    /// Warnings for the caller: the name stands for nothing yet or may be mistyped, the queue has no limit.
    pub warnings: Vec<String>,
}

/// Why a job was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The policy does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// As many jobs wait as the policy allows.
    #[error(
        "{0} jobs wait already, and the policy's `max_waiting` is {0}: try again when some of them have run"
    )]
    TooMany(NonZeroUsize),
    /// It could never be run.
    #[error(transparent)]
    Unfit(#[from] BadSpec),
    /// It could not be written down.
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

/// Why a job was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ActError {
    /// There is no such job.
    #[error("there is no such job")]
    NotFound,
    /// It is in a state in which that makes no sense.
    #[error("the job is {0}")]
    Refused(Status),
    /// The store is a restored backup, and what ran since is still being looked for.
    #[error("what ran since the backup is still being looked for")]
    Restoring,
    /// The policy does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Goes by these rules from now on. Jobs that were accepted keep what they were resolved to; `accept_new_engine` counts
    /// when an engine is asked who it is.
    pub fn follow(&self, rules: Rules) {
        self.shared.starting.resize(rules.settings.max_starting);
        *self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        // A queue may have another limit.
        self.shared.holds().read_again();
        self.shared.wake.notify_one();
    }

    /// The store, to read.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The time by the scheduler's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// What whoever runs the server should know of its config, a sentence each.
    pub fn notices(&self) -> Vec<String> {
        self.shared.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the config says now.
    pub(super) fn rules(&self) -> Arc<Rules> {
        self.shared.rules()
    }

    /// How the connection to the engine stands.
    pub fn health(&self) -> Health {
        self.shared.health.look().clone()
    }

    /// How far the pull for this job has come, while it is `pulling`.
    pub fn pull_progress(&self, id: JobId) -> Option<PullProgress> {
        self.shared.seat(id)?.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Accepts a job. It is on disk when this answers.
    ///
    /// # Errors
    /// [`SubmitError`]; then there is no job.
    pub async fn submit(&self, order: Order) -> Result<Accepted, SubmitError> {
        let accepted = self.prepare(order).await?;
        let _place = self.shared.place()?;
        self.shared.store.insert(&accepted.job).await?;
        self.shared.is_new(&accepted.job);
        Ok(accepted)
    }

    /// Accepts a job that was [prepared](Handle::prepare), unless this request was answered in the last day: then there is
    /// no job, and that answer is given.
    ///
    /// # Errors
    /// [`SubmitError`]; then there is no job.
    pub async fn submit_once(
        &self,
        job: &Job,
        answer: &Answer,
    ) -> Result<Option<Answer>, SubmitError> {
        let _place = self.shared.place()?;
        let earlier =
            self.shared.store.insert_once(job, answer, job.created_at - ANSWERS_KEPT).await?;
        self.shared.is_new(job);
        Ok(earlier)
    }

    /// What this request was answered in the last day.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn answer(&self, request: RequestKey) -> Result<Option<Answer>, StoreError> {
        self.shared.store.answer(request, self.now() - ANSWERS_KEPT).await
    }

    /// The job that would be accepted. It is nowhere yet.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn prepare(&self, order: Order) -> Result<Accepted, SubmitError> {
        let now = self.now();
        let (spec, warnings) = self.admit(&order.name, order.spec).await?;
        let job = Job {
            id: JobId::new(now, self.shared.dice.bytes()),
            version: Version(0),
            name: order.name,
            spec,
            created_at: now,
            due_at: order.due_at,
            attempt: Default::default(),
            state: State::Scheduled,
            origin: None,
        };
        Ok(Accepted { job, warnings })
    }

    /// Whether a caller may write these fields: whom they notify, and how long a stop may take.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn may_write(&self, own: &JobSpec) -> Result<(), Denied> {
        let rules = self.shared.rules();
        rules.catalog.policy.admit_stop_grace(own)?;
        rules.catalog.policy.admit_notify(own)
    }

    /// What a job of this name and these fields runs, if that is allowed and can be; and what the caller had better know.
    pub(super) async fn admit(
        &self,
        name: &JobName,
        own: JobSpec,
    ) -> Result<(JobSpec, Vec<String>), SubmitError> {
        let rules = self.shared.rules();
        let spec = self.shared.resolve(&rules.catalog, name, own).await?;
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
            .shared
            .doubt(&spec)
            .await
            .inspect(|why| warn!(job_name = %name, %why, "a name may be mistyped"));
        let warnings = undefined.into_iter().chain(doubtful).chain(unlimited).collect();
        Ok((spec, warnings))
    }

    /// What can never be run is refused now, and not when it is due. An engine that is away says nothing, and a job for it
    /// is accepted.
    async fn check(&self, catalog: &Catalog, spec: &JobSpec) -> Result<(), BadSpec> {
        catalog.secrets.check(spec)?;
        let Health::Up(engine) = self.health() else { return Ok(()) };
        engine.abilities.check(spec.fields())?;
        let its_own = |name: &&str| {
            !matches!(*name, "bridge" | "default" | "none" | "host") && !name.contains(':')
        };
        let Some(network) = spec.fields().network.as_deref().filter(its_own) else { return Ok(()) };
        match tokio::time::timeout(ASK_TIMEOUT, self.shared.engine.has_network(network)).await {
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
    pub async fn cancel(&self, id: JobId) -> Result<Job, ActError> {
        self.act(id, &Event::Cancel).await
    }

    /// Gives a waiting job another due time.
    ///
    /// # Errors
    /// [`ActError::Refused`] when it runs or is over, [`ActError::Restoring`] while the store is a backup that is not yet
    /// seen to: what may have run elsewhere meanwhile is found by its due time.
    pub async fn reschedule(&self, id: JobId, due_at: Timestamp) -> Result<Job, ActError> {
        if self.shared.store.restored(self.now()).await?.is_some() {
            return Err(ActError::Restoring);
        }
        let job = self.act(id, &Event::Reschedule(due_at)).await?;
        self.shared.wake.notify_one();
        Ok(job)
    }

    /// Asks a job that was started to stop within `grace`, else within its own. One that was asked before is killed, or, with
    /// a `grace`, no later than that. It is `stopping`, or over already, when this answers.
    ///
    /// # Errors
    /// [`ActError::Refused`] when it waits or is over, [`ActError::Denied`] when the policy does not allow that grace.
    pub async fn stop(&self, id: JobId, grace: Option<Span>) -> Result<Job, ActError> {
        self.shared.rules().catalog.policy.admit_grace("grace", grace)?;
        let grace = grace.map(Span::as_duration);
        let event = |job: &Job, now| {
            self.shared.rules().catalog.policy.stop(job, StopCause::Request, grace, now)
        };
        match self.act_with(id, event).await {
            // It is to be killed before that anyway.
            Err(ActError::Refused(Status::Stopping)) => {
                self.shared.store.get(id).await?.ok_or(ActError::NotFound)
            }
            other => other,
        }
    }

    async fn act(&self, id: JobId, event: &Event) -> Result<Job, ActError> {
        self.act_with(id, |_, _| event.clone()).await
    }

    async fn act_with(
        &self,
        id: JobId,
        event: impl Fn(&Job, Timestamp) -> Event,
    ) -> Result<Job, ActError> {
        loop {
            let job = self.shared.store.get(id).await?.ok_or(ActError::NotFound)?;
            let now = self.now();
            let next = job
                .on(event(&job, now), now)
                .map_err(|refused| ActError::Refused(refused.status))?;
            match self.shared.advance(&job, &next, now).await {
                Ok(()) => {
                    self.shared.poke(id);
                    return Ok(next);
                }
                Err(StoreError::Outdated) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// The job when it is over, or as it is when the time is up.
    ///
    /// # Errors
    /// [`ActError::NotFound`], or a store that fails.
    pub async fn wait(&self, id: JobId, timeout: Duration) -> Result<Job, ActError> {
        let deadline = Instant::now() + timeout;
        // Watched from before the first look, so that no end falls between the two.
        let mut watch = self.shared.store.watch(id);
        loop {
            let job = self.shared.store.get(id).await?.ok_or(ActError::NotFound)?;
            if job.is_over() {
                return Ok(job);
            }
            if tokio::time::timeout_at(deadline, watch.changed()).await.is_err() {
                return Ok(job);
            }
        }
    }

    /// Tells how the output of the job's last attempt stands.
    pub async fn output_state(&self, job: &Job) -> OutputState {
        output::state(&self.shared, job).await
    }

    /// The output of the job's present or last attempt, live or kept; with `follow` until the job is over.
    ///
    /// # Errors
    /// [`OutputError::NotFound`], or a store that fails.
    pub async fn output(&self, id: JobId, follow: bool) -> Result<OutputStream, OutputError> {
        output::open(self.shared.clone(), id, follow).await
    }
}
