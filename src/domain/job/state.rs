//! A job, and the state that the job is in.
//!
//! Each state carries exactly the data that exists in it: a `Running` job has a start time, a
//! `Starting` job may have an intent, a `Scheduled` job has nothing. The map in which a job is
//! shown and its status word follow from the state. Neither is stored anywhere else.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::origin::Origin;
use super::wait_group::WaitGroup;
use crate::domain::container::{Exit, SpecHash, Usage};
use crate::domain::names::actor::Actor;
use crate::domain::names::id::{
    Attempt, ContainerId, ContainerName, Digest, JobId, Timestamp, Version,
};
use crate::domain::names::image::JobName;
use crate::domain::names::status::{Map, Outcome, Reason, Status};
use crate::domain::spec::JobSpec;

/// A request to run a definition or an image at one due time.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub id: JobId,
    /// The number of changes so far; 0 for a newly inserted job.
    pub version: Version,
    /// The name in the caller's request: a definition or an image.
    pub name: JobName,
    /// The spec to run. Lacks an image until the name is resolved.
    pub spec: JobSpec,
    /// The time at which the job was accepted.
    pub created_at: Timestamp,
    /// The due time of the next attempt, or of the only or last one.
    pub due_at: Timestamp,
    /// The attempt that runs or ran last; 0 before the first attempt.
    pub attempt: Attempt,
    pub state: State,
    pub origin: Origin,
    /// The party that submitted the job; `None` for a job of an older version.
    pub submitted_by: Option<Actor>,
}

/// The state of a job, with the data that exists in it.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Scheduled,
    /// Due, and waiting for a slot or for the engine.
    Queued(Wait),
    /// The last attempt failed; the next one is due at the job's `due_at`.
    Retrying(FailedAttempt),
    /// Claimed; the image is being pulled. No intent exists yet.
    Pulling,
    /// Claimed. If an intent is present, `start` may have been called.
    Starting(Option<Intent>),
    /// The container's process runs.
    Running(Run),
    /// A stop was requested, and the container has not ended yet.
    Stopping(Stopping),
    /// The job is over.
    Ended(End),
}

/// The reason why a due job waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// `no_slot`, `engine_unreachable` or `engine_changed`, or the reason for waiting in
    /// `wait_group`'s group.
    pub reason: Reason,
    /// The time at which the job began to wait for this reason.
    pub since: Timestamp,
    /// The wait group of the job; `None` if the job waits for something else, such as a slot or the
    /// engine.
    #[serde(rename = "hold", default, skip_serializing_if = "Option::is_none")]
    pub wait_group: Option<WaitGroup>,
}

/// The outcome of the attempt before a retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// The code of the failure.
    pub reason: Reason,
    /// The failure as a sentence.
    pub error: String,
    /// The exit code; `None` if the attempt's process never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// The record that is written before `start` is called. Once it is written, the container may have
/// run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The only container on which `start` is called for this intent.
    pub container: ContainerId,
    /// The time at which the intent was written, by our clock.
    pub at: Timestamp,
}

/// A process that runs or ran in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub container: ContainerId,
    /// The time at which the process began, by the engine's clock.
    pub started_at: Timestamp,
    /// The digest of the container's image; `None` if the engine gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<Digest>,
}

/// A container that was asked to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// The knowledge about the container: it may have been started, or it runs.
    #[serde(rename = "held")]
    pub target: StopTarget,
    /// The origin of the stop: a caller, or the job's `timeout`.
    pub why: StopCause,
    /// The time at which the stop was requested.
    pub since: Timestamp,
    /// The time at which the container is killed. `None` in older records, which lack this field:
    /// the kill then comes one grace after `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_at: Option<Timestamp>,
}

impl Stopping {
    /// Checks whether the process had ended by itself before the stop was requested. The engine's
    /// clock says when the process ended. If we saw the process run after the request and called
    /// `stop`, it counts as stopped, even if the clocks disagree.
    pub fn came_too_late(&self, exit: &Exit, stop_was_called: bool) -> bool {
        !stop_was_called && exit.at < self.since
    }
}

/// The progress of the start when the stop was requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopTarget {
    Intent(Intent),
    Run(Run),
}

/// The origin of a stop: a caller or the job's own `timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    Request,
    Timeout,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    #[serde(skip, default = "Outcome::placeholder")]
    pub outcome: Outcome,
    /// The time of the end: the engine's, if the process ran, else ours.
    pub at: Timestamp,
    /// The reason for the end; `None` if a process ended in success or a caller asked for the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The reason as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The run that ended; `None` if no process is known to have run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The exit of the process; `None` if unknown or if no process ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The resources that the run used; `None` if nobody measured them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl State {
    /// Returns the status word of this state.
    pub fn status(&self) -> Status {
        match self {
            Self::Scheduled => Status::Scheduled,
            Self::Queued(_) => Status::Queued,
            Self::Retrying(_) => Status::Retrying,
            Self::Pulling => Status::Pulling,
            Self::Starting(_) => Status::Starting,
            Self::Running(_) => Status::Running,
            Self::Stopping(_) => Status::Stopping,
            Self::Ended(end) => end.outcome.status(),
        }
    }

    /// Returns the text that a store keeps beside the status: the state's own data as JSON, or
    /// `None` if the state has no data.
    ///
    /// # Errors
    /// None in practice: the types hold only strings, numbers and times.
    pub fn detail(&self) -> Result<Option<String>, serde_json::Error> {
        match self {
            Self::Scheduled | Self::Pulling | Self::Starting(None) => Ok(None),
            Self::Queued(wait) => serde_json::to_string(wait).map(Some),
            Self::Retrying(failed) => serde_json::to_string(failed).map(Some),
            Self::Starting(Some(intent)) => serde_json::to_string(intent).map(Some),
            Self::Running(run) => serde_json::to_string(run).map(Some),
            Self::Stopping(stopping) => serde_json::to_string(stopping).map(Some),
            Self::Ended(end) => serde_json::to_string(end).map(Some),
        }
    }

    /// Builds the state from a status and a detail: the inverse of [`State::status`] and
    /// [`State::detail`].
    ///
    /// # Errors
    /// Fails if the detail does not match the status, which means that the store is damaged.
    pub fn from_parts(status: Status, detail: Option<&str>) -> Result<Self, serde_json::Error> {
        let text = detail.unwrap_or("null");
        Ok(match status {
            Status::Scheduled => Self::Scheduled,
            Status::Queued => Self::Queued(serde_json::from_str(text)?),
            Status::Retrying => Self::Retrying(serde_json::from_str(text)?),
            Status::Pulling => Self::Pulling,
            Status::Starting => Self::Starting(serde_json::from_str(text)?),
            Status::Running => Self::Running(serde_json::from_str(text)?),
            Status::Stopping => Self::Stopping(serde_json::from_str(text)?),
            Status::Succeeded => Self::ended(Outcome::Succeeded, text)?,
            Status::Failed => Self::ended(Outcome::Failed, text)?,
            Status::TimedOut => Self::ended(Outcome::TimedOut, text)?,
            Status::Stopped => Self::ended(Outcome::Stopped, text)?,
            Status::Canceled => Self::ended(Outcome::Canceled, text)?,
            Status::Missed => Self::ended(Outcome::Missed, text)?,
            Status::Unknown => Self::ended(Outcome::Unknown, text)?,
        })
    }

    fn ended(outcome: Outcome, detail: &str) -> Result<Self, serde_json::Error> {
        let end: End = serde_json::from_str(detail)?;
        Ok(Self::Ended(End { outcome, ..end }))
    }

    /// Returns the present or past run, if one is known.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Stopping(Stopping { target: StopTarget::Run(run), .. }) => {
                Some(run)
            }
            Self::Ended(end) => end.run.as_ref(),
            Self::Scheduled
            | Self::Queued(_)
            | Self::Retrying(_)
            | Self::Pulling
            | Self::Starting(_)
            | Self::Stopping(_) => None,
        }
    }

    /// Returns the container recorded in the state: the one that was about to be started, runs, or
    /// ran.
    pub fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Starting(Some(intent))
            | Self::Stopping(Stopping { target: StopTarget::Intent(intent), .. }) => {
                Some(&intent.container)
            }
            Self::Scheduled
            | Self::Queued(_)
            | Self::Retrying(_)
            | Self::Pulling
            | Self::Starting(None)
            | Self::Running(_)
            | Self::Stopping(_)
            | Self::Ended(_) => self.run().map(|run| &run.container),
        }
    }

    /// Returns the end of the job; `None` before it is over.
    pub fn end(&self) -> Option<&End> {
        match self {
            Self::Ended(end) => Some(end),
            Self::Scheduled
            | Self::Queued(_)
            | Self::Retrying(_)
            | Self::Pulling
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Stopping(_) => None,
        }
    }

    /// Returns the wait group of a queued job.
    pub fn wait_group(&self) -> Option<&WaitGroup> {
        match self {
            Self::Queued(wait) => wait.wait_group.as_ref(),
            Self::Scheduled
            | Self::Retrying(_)
            | Self::Pulling
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Stopping(_)
            | Self::Ended(_) => None,
        }
    }

    /// Returns the reason of the wait, of the failed attempt, or of the end.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Queued(wait) => Some(wait.reason),
            Self::Retrying(failed) => Some(failed.reason),
            Self::Ended(end) => end.reason,
            Self::Scheduled
            | Self::Pulling
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Stopping(_) => None,
        }
    }

    /// Returns the reason of the failed attempt, or of the end, as a sentence.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Retrying(failed) => Some(&failed.error),
            Self::Ended(end) => end.error.as_deref(),
            Self::Scheduled
            | Self::Queued(_)
            | Self::Pulling
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Stopping(_) => None,
        }
    }

    /// Returns the exit code of the attempt that ended last; `None` if its process never ran.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Retrying(failed) => failed.exit_code,
            Self::Ended(end) => end.exit.as_ref().map(|exit| exit.code),
            Self::Scheduled
            | Self::Queued(_)
            | Self::Pulling
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Stopping(_) => None,
        }
    }
}

impl Job {
    /// Returns the map in which the job is shown.
    pub fn map(&self) -> Map {
        self.state.status().map()
    }

    /// Returns the nominal time of the job's tick; `None` if the job was not made for a tick.
    pub fn nominal(&self) -> Option<Timestamp> {
        self.origin.schedule().and_then(|origin| origin.nominal)
    }

    pub fn is_over(&self) -> bool {
        self.map() == Map::History
    }

    /// Returns the container name of the present attempt.
    pub fn container_name(&self) -> ContainerName {
        ContainerName::of(self.id, self.attempt)
    }

    /// Returns the spec hash of the present attempt's container. The hash covers everything that
    /// the process in the container could tell apart.
    pub fn spec_hash(&self) -> SpecHash {
        let schedule = self.origin.schedule().map(|origin| &origin.schedule);
        // Serialization of these types never fails.
        let told =
            serde_json::to_vec(&(self.spec.fields(), self.id, self.attempt, self.due_at, schedule))
                .unwrap_or_default();
        SpecHash(Sha256::digest(told).iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the last instant at which the job may be started; `None` without a start deadline.
    pub fn start_deadline(&self) -> Option<Timestamp> {
        let allowed =
            chrono::Duration::from_std(self.spec.fields().start_deadline?.as_duration()).ok()?;
        self.due_at.checked_add_signed(allowed)
    }
}
