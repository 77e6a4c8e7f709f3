//! The seam between the scheduler and the engines that run containers: Docker, Podman, or the
//! simulated engine.
//!
//! The seam offers one irreversible step per call (create, start, remove), because the intent has
//! to be on disk between two steps. Every call may be repeated except [`Engine::start`]. Starting
//! an exited container runs it again, so `start` is called once for each intent on disk.
//!
//! The start guarantee rests on the difference between three answers: the step was done; it was
//! refused ([`EngineError::Refused`], [`EngineError::Conflict`], [`EngineError::NotFound`],
//! [`EngineError::NoSuchImage`]); or *there was no answer* ([`EngineError::NoAnswer`]), which says
//! nothing about the container. A time-out and a broken connection are the third kind, never the
//! second.
//!
//! A new engine needs a folder here, an arm in the app's `connect_engine` and in `EngineChoice` of
//! the config, and a line in the contract suite (`tests/engines/contract.rs`).

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::domain::admission::features::EngineFeatures;
use crate::domain::container::{Container, Evidence, EvidenceQuery, Owner, SpecHash, Usage};
use crate::domain::job::Reason;
use crate::domain::names::id::{
    Attempt, ContainerId, ContainerName, EngineId, InstanceId, JobId, Timestamp,
};
use crate::domain::names::image::ImageRef;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::output::Lines;
use crate::domain::spec::JobSpec;
use crate::domain::spec::secret::Secret;

pub mod docker;
pub mod metered;
pub mod simulated;

/// The time after which an engine call counts as unanswered. `start` and `create` take seconds when
/// many run at once. A daemon that needs longer than this is better called again. Pull, stop and
/// log streams have their own limits.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// An engine that runs containers.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Returns the identity, version and capabilities of the engine. Called at first, and after
    /// every gap in the connection.
    async fn describe(&self) -> Result<Description, EngineError>;

    /// Returns whether [`usage`](Engine::usage) can give anything.
    fn measures_usage(&self) -> bool {
        false
    }

    /// Returns what a running container has used so far, as one sample. `None` if the engine does
    /// not measure it, or the container does not run.
    async fn usage(&self, _container: &ContainerId) -> Result<Option<Usage>, EngineError> {
        Ok(None)
    }

    /// Checks whether a network of this name exists.
    async fn has_network(&self, name: &str) -> Result<bool, EngineError>;

    /// Checks whether this image is on the engine, without pulling it.
    async fn has_image(&self, image: &ImageRef) -> Result<bool, EngineError>;

    /// Pulls an image and reports the progress. Returns when the image is on the engine.
    ///
    /// # Errors
    /// `Refused` with `image_not_found`, `pull_denied` or `pull_failed`.
    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError>;

    /// Creates a container without starting it.
    ///
    /// # Errors
    /// `Conflict` if the name is taken, `NoSuchImage`, `Refused` with `invalid_spec` or
    /// `create_failed`.
    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError>;

    /// Puts files into a created container, before it is started.
    ///
    /// # Errors
    /// `NotFound`, or `Refused` with `create_failed`.
    async fn put_files(
        &self,
        container: &ContainerId,
        files: &[SecretFile],
    ) -> Result<(), EngineError>;

    /// Starts a created container. **Not to be repeated.**
    ///
    /// # Errors
    /// `Refused` with `command_not_found` or `start_failed`; the container then carries the
    /// refusal.
    async fn start(&self, container: &ContainerId) -> Result<(), EngineError>;

    /// Returns the container with this id, under any name. `None` means that the engine
    /// itself says that the container is gone.
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, EngineError>;

    /// Returns the container with these labels, under any name. If several match, returns the
    /// one that made most progress. Costs a listing: meant for containers with unknown ids.
    async fn find(&self, owner: &Owner) -> Result<Option<Container>, EngineError>;

    /// Returns the container with this name. Meant for a `create` that finds the name taken.
    async fn named(&self, name: &ContainerName) -> Result<Option<Container>, EngineError>;

    /// Sends the container's stop signal, and kills the container after `grace`. Returns when the
    /// container has ended. A container that does not run, or is gone, is no error.
    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError>;

    /// Removes a container that does not run, without force, together with its anonymous volumes.
    ///
    /// # Errors
    /// `Conflict` if the container runs. A container that is already gone is no error.
    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError>;

    /// Returns the output of a container, oldest first. With `follow`, the stream continues until
    /// the container ends. A followed stream may lack a last line without a newline: fetch again
    /// without `follow`.
    ///
    /// # Errors
    /// `NotFound`; `Refused` if the engine cannot give the output of this container at all.
    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError>;

    /// Lists all containers with this instance's label, in any phase.
    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError>;

    /// Streams hints about events of this instance's containers, from now on. The stream ends with
    /// the connection. Hints may be lost, doubled or late.
    async fn events(
        &self,
        instance: InstanceId,
    ) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError>;

    /// Queries the engine's own event log about a container since an instant. Answers `NotSeen`
    /// only if the log demonstrably reaches back to that instant.
    async fn query_event_log(
        &self,
        container: &ContainerId,
        question: EvidenceQuery,
        since: Timestamp,
    ) -> Result<Evidence, EngineError>;

    /// Returns the starts of this instance's containers in the engine's own event log, and whether
    /// the log is complete since then.
    async fn started(&self, instance: InstanceId, since: Timestamp)
    -> Result<Started, EngineError>;
}

impl Listed {
    /// Returns a rank of progress: running above exited, and exited above never started.
    fn progress(&self) -> (bool, bool) {
        (self.running, self.exited)
    }
}

/// The starts of one instance's containers in an engine's event log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// The last attempt of each job whose start or end is in the log.
    pub attempts: HashMap<JobId, Attempt>,
    /// True if the log demonstrably reaches back to the requested instant.
    pub reaches_back: bool,
}

/// The identity and capabilities of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The engine's own id; unchanged by a restart.
    pub id: EngineId,
    /// `docker`, `podman` or `simulated`.
    pub kind: &'static str,
    pub version: String,
    pub features: EngineFeatures,
}

/// The data for creating a container.
#[derive(Clone, Debug)]
pub struct Launch {
    pub name: ContainerName,
    pub owner: Owner,
    /// The spec hash, written to a label.
    pub spec_hash: SpecHash,
    /// The schedule of the job, written to a label; `None` if the job has no schedule.
    pub schedule: Option<ScheduleName>,
    pub image: ImageRef,
    /// The spec of the job.
    pub spec: JobSpec,
    /// The variables that every container gets: `TIDETABLE_…`.
    pub environment: Vec<(String, String)>,
    /// Further variables with confidential values.
    pub secrets: Vec<(String, Secret)>,
}

/// A secret as a file in [`SECRETS_DIR`](crate::domain::spec::secret::SECRETS_DIR), readable by the
/// process as any user.
#[derive(Clone, Debug)]
pub struct SecretFile {
    /// The file's name in that folder.
    pub name: String,
    pub content: Secret,
}

/// A container as a listing shows it: enough to find its job, not enough to judge its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The engine's id for the container.
    pub id: ContainerId,
    /// The container's name, without a leading slash.
    pub name: String,
    /// The owner from the labels; `None` if labels are missing or invalid.
    pub owner: Option<Owner>,
    /// The creation time, to the second.
    pub created_at: Timestamp,
    /// True if the process runs (or is paused, or restarts).
    pub running: bool,
    /// True if the process ran and has ended.
    pub exited: bool,
}

/// A hint that a job's container is worth an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The job in the container's label.
    pub job: JobId,
}

/// The progress of a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Layers that are complete.
    pub layers_done: u32,
    /// Layers in all, as far as known.
    pub layers: u32,
    /// Bytes fetched so far.
    pub bytes_done: u64,
    /// Bytes in all, as far as known.
    pub bytes: u64,
}

/// A stream of output, oldest first. Each item has all lines available at that moment.
pub type LogStream = BoxStream<'static, Result<Lines, EngineError>>;

/// The reason why a call was not done, or is not known to be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// No connection, a broken one, or no answer in time. Says nothing about the container.
    #[error("the engine does not answer: {0}")]
    NoAnswer(String),
    /// The engine has no container of this id.
    #[error("the engine has no such container")]
    NotFound,
    #[error("the engine does not have the image")]
    NoSuchImage,
    /// The name is taken, or the container is in the wrong phase for the call.
    #[error("the engine refuses: {0}")]
    Conflict(String),
    /// The engine answered that it will not do the call.
    #[error("{message}")]
    Refused {
        reason: Reason,
        /// The engine's error message.
        message: String,
    },
}

impl fmt::Display for PullProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        write!(
            f,
            "{} of {} layers, {} of {} MiB",
            self.layers_done,
            self.layers,
            self.bytes_done / MIB,
            self.bytes / MIB
        )
    }
}
