//! What an inspection or a listing shows, in our words.
//!
//! Docker and Podman name the same phases differently, and Podman has some of its own; four are enough.

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, ContainerSummary,
    ContainerSummaryStateEnum as ListedStatus,
};

use crate::domain::container::{Exit, LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, Owner, Phase, StartRefusal};
use crate::domain::id::{Attempt, ContainerId, Timestamp};
use crate::engine::Listed;

/// The part of an inspection that the image has no part in.
pub(super) struct Seen {
    pub(super) id: ContainerId,
    pub(super) owner: Option<Owner>,
    pub(super) created_at: Timestamp,
    pub(super) image: String,
    pub(super) phase: Phase,
}

/// What an inspection shows; `None` where it is not whole.
pub(super) fn seen(response: ContainerInspectResponse) -> Option<Seen> {
    let labels = response.config.and_then(|config| config.labels).unwrap_or_default();
    Some(Seen {
        id: ContainerId(response.id?),
        owner: owner(|name| labels.get(name).map(String::as_str)),
        created_at: response.created.unwrap_or_default(),
        image: response.image.unwrap_or_default(),
        phase: phase(&response.state?)?,
    })
}

fn owner<'l>(label: impl Fn(&str) -> Option<&'l str>) -> Option<Owner> {
    Some(Owner {
        instance: label(LABEL_INSTANCE)?.parse().ok()?,
        job: label(LABEL_JOB)?.parse().ok()?,
        attempt: Attempt(label(LABEL_ATTEMPT)?.parse().ok()?),
    })
}

fn phase(state: &ContainerState) -> Option<Phase> {
    let started_at = state.started_at.as_deref().and_then(instant);
    match state.status? {
        Status::CREATED | Status::EMPTY => Some(Phase::Created { refusal: refusal(state) }),
        Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING => {
            Some(Phase::Running { started_at: started_at? })
        }
        Status::REMOVING => Some(Phase::Removing),
        // One that was never started is "exited" to some engines when its start has failed.
        Status::EXITED | Status::DEAD => Some(match started_at {
            None => Phase::Created { refusal: refusal(state) },
            Some(started_at) => Phase::Exited { started_at, exit: exit(state, started_at) },
        }),
    }
}

/// A start that failed leaves a code and a sentence on a container that never ran.
fn refusal(state: &ContainerState) -> Option<StartRefusal> {
    let message = state.error.clone().filter(|message| !message.is_empty())?;
    Some(StartRefusal { code: code(state), message })
}

fn exit(state: &ContainerState, started_at: Timestamp) -> Exit {
    let at = state.finished_at.as_deref().and_then(instant).unwrap_or(started_at);
    Exit { code: code(state), oom_killed: state.oom_killed.unwrap_or(false), at }
}

fn code(state: &ContainerState) -> i32 {
    state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1)
}

/// An engine's time; the year 1 is how it says "never".
fn instant(text: &str) -> Option<Timestamp> {
    use chrono::Datelike;
    text.parse::<Timestamp>().ok().filter(|at| at.year() > 1)
}

/// A line of a listing.
pub(super) fn listed(summary: ContainerSummary) -> Option<Listed> {
    let labels = summary.labels.unwrap_or_default();
    let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    let (running, exited) = match summary.state? {
        ListedStatus::RUNNING | ListedStatus::PAUSED | ListedStatus::RESTARTING | ListedStatus::STOPPING => {
            (true, false)
        }
        ListedStatus::EXITED | ListedStatus::DEAD => (false, true),
        ListedStatus::EMPTY | ListedStatus::CREATED | ListedStatus::REMOVING => (false, false),
    };
    Some(Listed {
        id: ContainerId(summary.id?),
        name: name.trim_start_matches('/').to_owned(),
        owner: owner(|name| labels.get(name).map(String::as_str)),
        created_at: summary.created.and_then(|seconds| Timestamp::from_timestamp(seconds, 0)).unwrap_or_default(),
        running,
        exited,
    })
}
