//! The stager's work for one job: creates its container, keeps it, or removes it.

use tracing::{debug, warn};

use crate::domain::container::{Container, Phase};
use crate::domain::job::transition::Event;
use crate::domain::job::{Job, Map};
use crate::domain::names::id::ContainerId;
use crate::domain::names::image::ImageRef;
use crate::domain::spec::PullPolicy;
use crate::engine::{EngineError, Launch};
use crate::scheduler::context::staged::Staged;
use crate::scheduler::context::staged::Work;
use crate::scheduler::context::{Context, TransientError};
use crate::scheduler::resolve::Unresolved;
use crate::store::StoreError;

/// Checks a job whose place is busy, and creates or removes its container. Then pulls the image if
/// it is missing.
pub(in crate::scheduler) async fn attend(context: &Context, mut work: Work) {
    let id = work.job;
    match see_to(context, &mut work).await {
        // The start time of a job that aims may come before the dispatcher's next round.
        Ok(None) if work.staged.as_ref().is_some_and(|staged| staged.aimed.is_some()) => {
            drop(work);
            context.wake.notify_one();
        }
        Ok(None) => {}
        Ok(Some(job)) => {
            // A pull may take minutes. The place is freed first, so that a driver need not wait for
            // it.
            drop(work);
            if let Err(failure) = pull(context, &job).await {
                debug!(job = %id, error = %failure, "its image cannot be pulled ahead");
            }
        }
        Err(failure) => debug!(job = %id, error = %failure, "the job is not staged"),
    }
}

/// Returns the job if its image has to be pulled first.
async fn see_to(context: &Context, work: &mut Work) -> Result<Option<Job>, TransientError> {
    // The place is busy, so a driver that claims the job from here on waits.
    let Some(job) = context.store.get(work.job).await? else { return Ok(None) };
    if job.map() == Map::Running {
        // The driver claimed the job before the place was busy, and owns the container.
        work.staged = None;
        return Ok(None);
    }
    if !context.health.look().is_up() {
        return Ok(None);
    }
    let claimed = wanted(context, &job).await?;
    if let Some(staged) = &work.staged {
        let spec_hash = claimed.as_ref().map(Job::spec_hash);
        let is_found = spec_hash.is_some() && staged.spec_hash.is_none();
        if spec_hash.is_some() && staged.spec_hash == spec_hash {
            return Ok(None);
        }
        if !is_found {
            let container = staged.container.clone();
            take_back(context, work, &container).await?;
        }
    }
    match claimed {
        Some(claimed) if job.due_at > context.clock.now() => make(context, work, claimed).await,
        Some(_) | None => Ok(None),
    }
}

/// Returns the job as it will be when claimed, or `None` if it should have no container now.
async fn wanted(context: &Context, job: &Job) -> Result<Option<Job>, StoreError> {
    let (rules, now) = (context.rules(), context.clock.now());
    let is_far = (job.due_at - now).to_std().is_ok_and(|left| left > rules.settings.stage_ahead);
    if job.is_over() || is_far {
        return Ok(None);
    }
    let spec = match context.resolve(&rules.catalog, &job.name, job.spec.clone()).await {
        Ok(spec) => spec,
        Err(Unresolved::Denied(_)) => return Ok(None),
        Err(Unresolved::Store(failure)) => return Err(failure),
    };
    let fields = spec.fields();
    // Secrets are read when the job is due and not before. The same holds for an image that may
    // have changed.
    let is_late = fields.secrets.is_some() || fields.pull == Some(PullPolicy::Always);
    if fields.image.is_none() || is_late {
        return Ok(None);
    }
    Ok(job.on(Event::Claim(Some(Box::new(spec))), now).ok())
}

async fn take_back(
    context: &Context,
    work: &mut Work,
    container: &ContainerId,
) -> Result<(), TransientError> {
    match context.engine.remove(container).await {
        Ok(()) | Err(EngineError::NotFound) => {}
        Err(failure @ EngineError::NoAnswer(_)) => return Err(failure.into()),
        Err(failure) => {
            warn!(job = %work.job, error = %failure, "its staged container is outdated and cannot be removed");
        }
    }
    work.staged = None;
    Ok(())
}

async fn make(
    context: &Context,
    work: &mut Work,
    claimed: Job,
) -> Result<Option<Job>, TransientError> {
    let Some(image) = image(&claimed) else { return Ok(None) };
    let is_full = work.staged.is_none() && context.stage.slots.look().len() > context.stage_size();
    if is_full {
        return Ok(None);
    }
    let launch = context.launch(&claimed, image, Vec::new());
    // An earlier process may have created the container. If the container was renamed since, its
    // name does not prevent a second one.
    if work.staged.is_some() || !context.is_swept() {
        if let Some(found) = context.engine.find(&launch.owner).await? {
            return settle(context, work, found, &launch, claimed).await;
        }
        work.staged = None;
    }
    let made = {
        context.start_limit.wait_until_idle().await;
        let _turn = context.start_limit.take().await;
        if !context.health.look().is_up() {
            // Another engine may answer now.
            return Ok(None);
        }
        context.engine.create(&launch).await
    };
    match made {
        Ok(container) => {
            work.staged = Some(Staged {
                container,
                spec_hash: Some(launch.spec_hash),
                aimed: aimed(claimed),
            });
            Ok(None)
        }
        Err(EngineError::Conflict(_)) => match context.engine.find(&launch.owner).await? {
            Some(found) => settle(context, work, found, &launch, claimed).await,
            None => {
                work.staged = None;
                Ok(None)
            }
        },
        Err(EngineError::NoSuchImage) if claimed.spec.fields().pull != Some(PullPolicy::Never) => {
            Ok(Some(claimed))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Keeps a container that exists already if its spec hash matches; else removes it.
async fn settle(
    context: &Context,
    work: &mut Work,
    found: Container,
    launch: &Launch,
    claimed: Job,
) -> Result<Option<Job>, TransientError> {
    work.staged = None;
    let Container { id, spec_hash, phase, .. } = found;
    match phase {
        Phase::Created { .. } if spec_hash.as_ref() == Some(&launch.spec_hash) => {
            work.staged = Some(Staged { container: id, spec_hash, aimed: aimed(claimed) });
        }
        Phase::Created { .. } => take_back(context, work, &id).await?,
        // The container was started elsewhere: its driver adopts it.
        Phase::Running { .. } | Phase::Exited { .. } | Phase::Removing => {}
    }
    Ok(None)
}

fn aimed(job: Job) -> Option<Box<Job>> {
    (job.spec.fields().aim == Some(true)).then(|| Box::new(job))
}

fn image(job: &Job) -> Option<ImageRef> {
    job.spec.fields().image.clone()
}

async fn pull(context: &Context, job: &Job) -> Result<(), EngineError> {
    let Some(image) = image(job) else { return Ok(()) };
    context.engine.pull(&image, job.spec.fields().platform.as_deref(), &|_| ()).await?;
    context.stage_again(job);
    Ok(())
}
