//! A job, and the state it is in.
//!
//! Each state carries exactly the data that exists in it: a `Running` job has a start time, a `Starting` one
//! has perhaps an intent, a `Scheduled` one has nothing. Which map a job is shown in, and the word of its
//! status, follow from the state and are stored nowhere else.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::container::{Exit, Recipe};
use super::hold::Hold;
use super::id::{Attempt, ContainerId, ContainerName, Digest, JobId, Timestamp, Version};
use super::image::JobName;
use super::ledger::Origin;
use super::spec::JobSpec;
pub use super::status::{Map, Outcome, Reason, Status};

/// One request to run a definition or an image at one due time.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// How often it has changed; 0 as inserted.
    pub version: Version,
    /// What the caller named: a definition or an image.
    pub name: JobName,
    /// What to run. Without an image until the name is resolved.
    pub spec: JobSpec,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its next (or only, or last) attempt is or was due.
    pub due_at: Timestamp,
    /// The attempt that runs or ran last; 0 before the first.
    pub attempt: Attempt,
    /// Where it stands.
    pub state: State,
    /// The schedule that it comes from, if it does.
    pub origin: Option<Origin>,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Waiting for its due time.
    Scheduled,
    /// Due, and waiting for a slot or for the engine.
    Queued(Wait),
    /// An attempt failed; the next one is due at the job's `due_at`.
    Retrying(Setback),
    /// Claimed; the image is on its way. There is no intent yet.
    Pulling,
    /// Claimed. With an intent, `start` may have been called.
    Starting(Option<Intent>),
    /// The container runs.
    Running(Run),
    /// Asked to stop.
    Stopping(Stopping),
    /// Over.
    Ended(End),
}

/// Why a due job waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// `no_slot`, `engine_unreachable`, `engine_changed`; or why it is held back.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
    /// What it is held back by, if it is not only a slot that it wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// What became of the attempt before a retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// Why it failed.
    pub reason: Reason,
    /// The same as a sentence.
    pub error: String,
    /// The exit code, if its process ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// What is written down before `start` is called: from here on the container may have run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The container that `start` is called on, and no other.
    pub container: ContainerId,
    /// When the intent was written, by our clock.
    pub at: Timestamp,
}

/// A process that runs or ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its container.
    pub container: ContainerId,
    /// When it began, by the engine's clock.
    pub started_at: Timestamp,
    /// The digest of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<Digest>,
}

/// A container that is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// What is known of it: that it may have been started, or that it runs.
    pub held: Held,
    /// Who asked.
    pub why: StopCause,
    /// Since when.
    pub since: Timestamp,
    /// When it is killed. `None` in what was written before this was kept: its grace, counted from `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_at: Option<Timestamp>,
}

impl Stopping {
    /// Whether the process had ended by itself when the stop was asked for. The engine's clock says when it ended, so a
    /// process that was seen to run after that, and was stopped by `stop`, counts as stopped whatever the clocks say.
    pub fn came_too_late(&self, exit: &Exit, stop_was_called: bool) -> bool {
        !stop_was_called && exit.at < self.since
    }
}

/// How far the start had come when the stop was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// `start` may have been called.
    Intent(Intent),
    /// It runs.
    Run(Run),
}

/// Who asked a container to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// A caller.
    Request,
    /// The job's own `timeout`.
    Timeout,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The verdict.
    #[serde(skip, default = "Outcome::placeholder")]
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// Why, unless it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The run, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// How its process ended, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
}

impl State {
    /// The word for this state.
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

    /// What a store keeps beside the status: the state's own data as JSON, or nothing.
    ///
    /// # Errors
    /// None in practice: the types hold only strings, numbers and times.
    pub fn detail(&self) -> Result<Option<String>, serde_json::Error> {
        match self {
            Self::Scheduled | Self::Pulling | Self::Starting(None) => Ok(None),
            Self::Queued(wait) => serde_json::to_string(wait).map(Some),
            Self::Retrying(setback) => serde_json::to_string(setback).map(Some),
            Self::Starting(Some(intent)) => serde_json::to_string(intent).map(Some),
            Self::Running(run) => serde_json::to_string(run).map(Some),
            Self::Stopping(stopping) => serde_json::to_string(stopping).map(Some),
            Self::Ended(end) => serde_json::to_string(end).map(Some),
        }
    }

    /// The state of this status and detail: the inverse of [`State::status`] and [`State::detail`].
    ///
    /// # Errors
    /// When the detail is not what the status calls for, which means that the store is damaged.
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

    /// The run that goes on or went before, if there is one.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Stopping(Stopping { held: Held::Run(run), .. }) => Some(run),
            Self::Ended(end) => end.run.as_ref(),
            Self::Scheduled
            | Self::Queued(_)
            | Self::Retrying(_)
            | Self::Pulling
            | Self::Starting(_)
            | Self::Stopping(_) => None,
        }
    }

    /// The container that is on disk: the one that was meant to be started, runs, or ran.
    pub fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Starting(Some(intent))
            | Self::Stopping(Stopping { held: Held::Intent(intent), .. }) => {
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

    /// How it ended, if it has.
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

    /// What it is held back by.
    pub fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Queued(wait) => wait.hold.as_ref(),
            Self::Scheduled
            | Self::Retrying(_)
            | Self::Pulling
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Stopping(_)
            | Self::Ended(_) => None,
        }
    }

    /// The code that says why: of the wait, of the setback, or of the end.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Queued(wait) => Some(wait.reason),
            Self::Retrying(setback) => Some(setback.reason),
            Self::Ended(end) => end.reason,
            Self::Scheduled
            | Self::Pulling
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Stopping(_) => None,
        }
    }

    /// The exit code of the attempt that ended last, if its process ran.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Retrying(setback) => setback.exit_code,
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
    /// The map it is shown in.
    pub fn map(&self) -> Map {
        self.state.status().map()
    }

    /// The nominal time of the tick that the job was made for; `None` for any other job.
    pub fn nominal(&self) -> Option<Timestamp> {
        self.origin.as_ref().and_then(|origin| origin.nominal)
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.map() == Map::History
    }

    /// The name of the container of its present attempt.
    pub fn container_name(&self) -> ContainerName {
        ContainerName::of(self.id, self.attempt)
    }

    /// What the container of its present attempt is made by: whatever the process in it could tell apart.
    pub fn recipe(&self) -> Recipe {
        let schedule = self.origin.as_ref().map(|origin| &origin.schedule);
        // None of these types fails to be written.
        let told =
            serde_json::to_vec(&(self.spec.fields(), self.id, self.attempt, self.due_at, schedule))
                .unwrap_or_default();
        Recipe(Sha256::digest(told).iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The instant after which it is no longer started, if it has a start deadline.
    pub fn start_deadline(&self) -> Option<Timestamp> {
        let allowed =
            chrono::Duration::from_std(self.spec.fields().start_deadline?.as_duration()).ok()?;
        self.due_at.checked_add_signed(allowed)
    }
}
