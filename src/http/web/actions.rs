//! The actions of the pages: forms whose answer redirects to the page that shows the effect. Each
//! calls the same function as the API's call of the same name.

use axum::extract::{Path, Request, State};
use axum::response::Redirect;

use crate::domain::job::Job;
use crate::domain::job::origin::Origin;
use crate::domain::names::id::JobId;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::precondition::Precondition;
use crate::http::api::schedules;
use crate::http::auth::guard::Admitted;
use crate::http::body::read_fields;
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::scheduler::JobRequest;

/// The answer to an action: a redirect that a browser follows with `GET`. The base path is added
/// to every redirect where the answer leaves.
type Done = Result<Redirect, Problem>;

fn to_job(id: JobId) -> Redirect {
    Redirect::to(&format!("/job/{id}"))
}

fn to_schedule(name: &ScheduleName) -> Redirect {
    Redirect::to(&format!("/schedule/{name}"))
}

/// Stops a job.
pub(super) async fn stop(State(api): State<Api>, Path(id): Path<String>, by: Admitted) -> Done {
    let id = api.find(&id).await?;
    api.scheduler
        .stop(&by.caller, id, None)
        .await
        .map_err(|error| Problem::from_stop(id, error))?;
    Ok(to_job(id))
}

/// Takes a waiting job off the schedule.
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>, by: Admitted) -> Done {
    let id = api.find(&id).await?;
    api.scheduler.cancel(&by.caller, id).await.map_err(|error| Problem::from_cancel(id, error))?;
    Ok(to_job(id))
}

/// Makes a waiting job due now.
pub(super) async fn run_now(State(api): State<Api>, Path(id): Path<String>, by: Admitted) -> Done {
    let id = api.find(&id).await?;
    let now = api.scheduler.now();
    let moved = api.scheduler.reschedule(&by.caller, id, now).await;
    moved.map_err(|error| Problem::from_reschedule(id, error))?;
    Ok(to_job(id))
}

/// Submits a new job with the spec of this one, due now, and shows the new job.
pub(super) async fn rerun(State(api): State<Api>, Path(id): Path<String>, by: Admitted) -> Done {
    let Job { id, name, spec, .. } = api.job(&id).await?;
    let origin = Origin::Rerun(id);
    let request = JobRequest { name, spec, due_at: api.scheduler.now(), origin };
    Ok(to_job(api.scheduler.submit(&by.caller, request).await?.job.id))
}

/// Pauses all starts. A form sends every field, so an empty one counts as absent.
pub(super) async fn pause_all(State(api): State<Api>, by: Admitted, request: Request) -> Done {
    let fields = read_fields(request, ["until", "why"]).await?;
    let [until, why] = fields.map(|text| text.filter(|text| !text.trim().is_empty()));
    let (until, why) = api.pause_of(until, why)?;
    api.scheduler.pause(&by.caller, until, why).await?;
    Ok(Redirect::to("/jobs"))
}

/// Ends the pause of all starts.
pub(super) async fn resume_all(State(api): State<Api>, by: Admitted) -> Done {
    api.scheduler.resume(&by.caller).await?;
    Ok(Redirect::to("/jobs"))
}

/// Pauses a schedule.
pub(super) async fn pause(State(api): State<Api>, Path(name): Path<String>, by: Admitted) -> Done {
    set_paused(&api, &by, &name, true).await
}

/// Resumes a schedule.
pub(super) async fn resume(State(api): State<Api>, Path(name): Path<String>, by: Admitted) -> Done {
    set_paused(&api, &by, &name, false).await
}

async fn set_paused(api: &Api, by: &Admitted, name: &str, paused: bool) -> Done {
    let name = schedules::name_of(name)?;
    let scheduler = &api.scheduler;
    let changed = scheduler.pause_schedule(&by.caller, &name, paused, Precondition::Anything);
    changed.await.map_err(|error| schedules::problem(&name, error))?;
    Ok(to_schedule(&name))
}

/// Submits a job of a schedule that is due now, and shows the job.
pub(super) async fn trigger(
    State(api): State<Api>,
    Path(name): Path<String>,
    by: Admitted,
) -> Done {
    let name = schedules::name_of(&name)?;
    let accepted = api.scheduler.trigger_schedule(&by.caller, &name).await;
    Ok(to_job(accepted.map_err(|error| schedules::problem(&name, error))?.job.id))
}

/// Deletes a schedule, and shows the others.
pub(super) async fn delete(State(api): State<Api>, Path(name): Path<String>, by: Admitted) -> Done {
    let name = schedules::name_of(&name)?;
    let deleted = api.scheduler.delete_schedule(&by.caller, &name, Precondition::Anything).await;
    deleted.map_err(|error| schedules::problem(&name, error))?;
    Ok(Redirect::to("/schedules"))
}
