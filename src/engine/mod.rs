//! What runs containers: the seam between the scheduler and Docker, Podman, or the simulated engine.
//!
//! The seam's grain is one step that cannot be taken back at a time (create, start, remove), because what is
//! intended has to be on disk between them. Every call may be repeated, except [`Engine::start`]: starting a
//! container that has exited runs it again, so it is called once for each intent that was written down.
//!
//! An answer is one of three things, and the difference is what the promise rests on: it was done; it was refused
//! ([`EngineError::Refused`], [`EngineError::Conflict`], [`EngineError::NotFound`], [`EngineError::NoSuchImage`]); or
//! *there was no answer* ([`EngineError::NoAnswer`]), which says nothing about the container. A time-out and a cut
//! connection are the third kind, never the second.
//!
//! A new engine is one file here, one arm in the app's `connect_engine`, and one line in the contract suite
//! (`tests/engine_contract.rs`).

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::domain::abilities::Abilities;
use crate::domain::container::{Container, Owner, Question, Recipe, Testimony};
use crate::domain::id::{
    Attempt, ContainerId, ContainerName, EngineId, InstanceId, JobId, Timestamp,
};
use crate::domain::image::ImageRef;
use crate::domain::job::Reason;
use crate::domain::output::Lines;
use crate::domain::schedule::ScheduleName;
use crate::domain::secret::Secret;
use crate::domain::spec::JobSpec;

pub mod docker;
pub mod simulated;

/// The longest that one engine call may take before it counts as unanswered (`start` and `create` under a herd take
/// seconds; a daemon that needs longer than this is better asked again). Pull, stop and log streams have their own.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Something that runs containers.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Which engine this is. Called at first, and after every gap.
    async fn describe(&self) -> Result<Description, EngineError>;

    /// Whether there is a network of this name.
    async fn has_network(&self, name: &str) -> Result<bool, EngineError>;

    /// Whether this image is on the engine. Nothing is pulled to find out.
    async fn has_image(&self, image: &ImageRef) -> Result<bool, EngineError>;

    /// Fetches an image, reporting how far it has come. Answers when the image is there.
    ///
    /// # Errors
    /// `Refused` with `image_not_found`, `pull_denied` or `pull_failed`.
    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError>;

    /// Creates a container, and does not start it.
    ///
    /// # Errors
    /// `Conflict` when the name is taken, `NoSuchImage`, `Refused` with `invalid_spec` or `create_failed`.
    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError>;

    /// Puts files into a created container, before it is started.
    ///
    /// # Errors
    /// `NotFound`, or `Refused` with `create_failed`.
    async fn provide(
        &self,
        container: &ContainerId,
        files: &[SecretFile],
    ) -> Result<(), EngineError>;

    /// Starts a created container. **Not to be repeated.**
    ///
    /// # Errors
    /// `Refused` with `command_not_found` or `start_failed`; the container then carries the refusal.
    async fn start(&self, container: &ContainerId) -> Result<(), EngineError>;

    /// The container of this id, whatever its name is by now; `None` is the engine's own word that it is gone.
    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, EngineError>;

    /// The container that carries these labels, whatever its name is. Of several, the one that came furthest. Costs a
    /// listing: for when the id is not known.
    async fn find(&self, owner: &Owner) -> Result<Option<Container>, EngineError>;

    /// The container that has this name: for when `create` says that the name is taken.
    async fn named(&self, name: &ContainerName) -> Result<Option<Container>, EngineError>;

    /// Sends the container's stop signal, and kills it after `grace`. Answers when it has ended. One that does not
    /// run, or is gone, is no error.
    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError>;

    /// Removes a container that does not run, without force, together with its anonymous volumes.
    ///
    /// # Errors
    /// `Conflict` when it runs. That it is gone already is no error.
    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError>;

    /// The output of a container, oldest first. With `follow` the stream goes on until the container ends (and may
    /// then lack a last line that is not terminated: fetch again without `follow`).
    ///
    /// # Errors
    /// `NotFound`; `Refused` where the engine cannot give the output of this container at all.
    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError>;

    /// All containers that carry this instance's label, in whatever phase.
    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError>;

    /// Hints that something happened to a container of this instance, from now on. The stream ends when the
    /// connection does. Hints may be lost, doubled or late.
    async fn events(
        &self,
        instance: InstanceId,
    ) -> Result<BoxStream<'static, Result<Hint, EngineError>>, EngineError>;

    /// What the engine's own event log says of a container since an instant. `NotSeen` only where the log demonstrably
    /// reaches back to it.
    async fn testimony(
        &self,
        container: &ContainerId,
        question: Question,
        since: Timestamp,
    ) -> Result<Testimony, EngineError>;

    /// What the engine's own event log has of starts of this instance's containers, and whether it is all since then.
    async fn started(&self, instance: InstanceId, since: Timestamp)
    -> Result<Started, EngineError>;
}

impl Listed {
    /// How far it came: one that runs is before one that ran, and that before one that never did.
    fn progress(&self) -> (bool, bool) {
        (self.running, self.exited)
    }
}

/// What an engine's log has of one instance's containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// The last attempt of each job that was started, or whose end it has.
    pub attempts: HashMap<JobId, Attempt>,
    /// Whether the log demonstrably reaches back as far as was asked.
    pub reaches_back: bool,
}

/// Which engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its own id, the same after a restart.
    pub id: EngineId,
    /// `docker`, `podman` or `simulated`.
    pub kind: &'static str,
    /// Its version.
    pub version: String,
    /// What it can do.
    pub abilities: Abilities,
}

/// All that is needed to create a container.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name.
    pub name: ContainerName,
    /// Whose it is.
    pub owner: Owner,
    /// What it is made by, for a label.
    pub recipe: Recipe,
    /// The schedule that its job is of, for a label.
    pub schedule: Option<ScheduleName>,
    /// Its image.
    pub image: ImageRef,
    /// What it runs.
    pub spec: JobSpec,
    /// Environment that every container is given, `TIDETABLE_…`.
    pub environment: Vec<(String, String)>,
    /// Further variables, whose values are nobody's business.
    pub secrets: Vec<(String, Secret)>,
}

/// A secret as a file in [`SECRETS_DIR`](crate::domain::secret::SECRETS_DIR), readable by whoever the process is.
#[derive(Clone, Debug)]
pub struct SecretFile {
    /// Its name in that folder.
    pub name: String,
    /// What is in it.
    pub content: Secret,
}

/// A container as a listing shows it: enough to find its job, not enough to judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The engine's id for it.
    pub id: ContainerId,
    /// Its name, without a leading slash.
    pub name: String,
    /// Whose it is, if its labels say so.
    pub owner: Option<Owner>,
    /// When it was created, to the second.
    pub created_at: Timestamp,
    /// Whether its process runs (or is paused, or restarts).
    pub running: bool,
    /// Whether its process ran and has ended.
    pub exited: bool,
}

/// A hint that a job's container is worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The job on its label.
    pub job: JobId,
}

/// How far a pull has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Layers that are there.
    pub layers_done: u32,
    /// Layers in all, as far as is known.
    pub layers: u32,
    /// Bytes that were fetched.
    pub bytes_done: u64,
    /// Bytes in all, as far as is known.
    pub bytes: u64,
}

/// A stream of output, oldest first, as many lines at once as there are.
pub type LogStream = BoxStream<'static, Result<Lines, EngineError>>;

/// Why a call was not done, or not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// No connection, a cut one, or no answer in time. Says nothing about the container.
    #[error("the engine does not answer: {0}")]
    NoAnswer(String),
    /// There is no such container.
    #[error("the engine has no such container")]
    NotFound,
    /// The engine does not have the image.
    #[error("the engine does not have the image")]
    NoSuchImage,
    /// The name is taken, or the container is in the wrong phase for this.
    #[error("the engine refuses: {0}")]
    Conflict(String),
    /// The engine answered, and it will not.
    #[error("{message}")]
    Refused {
        /// The code.
        reason: Reason,
        /// The engine's sentence.
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
