//! Docker, and whatever speaks its API well enough: Podman's socket does.
//!
//! `address` is where it is; `answers` what an answer means, and whether it is one; `body` a launch as `create` wants it;
//! `observe` what an inspection shows; `pull` fetches images; `stream` reads output and events.
//!
//! Works from API 1.41 (Docker 20.10) on. The client connects for each call, so a daemon that restarts is no special
//! case, and a server can start before its engine does.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures::stream::BoxStream;

use super::{CALL_TIMEOUT, Description, Engine, EngineError, Hint, Launch, Listed, LogStream, PullProgress};
use crate::domain::container::{Container, LABEL_INSTANCE, Question, Testimony};
use crate::domain::id::{ContainerId, ContainerName, Digest, EngineId, InstanceId, Timestamp};
use crate::domain::image::ImageRef;
use crate::domain::job::Reason;

mod address;
mod answers;
mod body;
mod observe;
mod pull;
mod stream;

pub use address::{Address, AddressError};

/// How often, and how long apart, an answer is asked for again that could not be read: Podman shows a container for a
/// moment in a state (`stopped`) that Docker does not have.
const READ_AGAIN: (u32, Duration) = (5, Duration::from_millis(200));
/// How many images' digests are remembered.
const DIGESTS: usize = 1_024;

/// An engine behind Docker's API.
pub struct DockerEngine {
    address: Address,
    client: OnceLock<Docker>,
    /// Known after the first `describe`.
    is_podman: OnceLock<bool>,
    pulls: pull::Pulls,
    digests: Mutex<HashMap<String, Digest>>,
}

/// The engine at this address. It need not be there yet.
pub fn connect(address: Address) -> DockerEngine {
    DockerEngine {
        address,
        client: OnceLock::new(),
        is_podman: OnceLock::new(),
        pulls: pull::Pulls::default(),
        digests: Mutex::default(),
    }
}

impl DockerEngine {
    /// A client with this time for an answer to begin.
    fn client(&self, timeout: Duration) -> Result<Docker, EngineError> {
        let client = match self.client.get() {
            Some(client) => client.clone(),
            None => {
                let client = self
                    .address
                    .client(CALL_TIMEOUT.as_secs())
                    .map_err(|error| answers::meaning(error, Reason::StartFailed))?;
                self.client.get_or_init(|| client).clone()
            }
        };
        Ok(client.with_timeout(timeout))
    }

    /// A call that has to be answered whole in time.
    async fn call<T>(
        &self,
        reason: Reason,
        timeout: Duration,
        call: impl AsyncFnOnce(Docker) -> Result<T, Error>,
    ) -> Result<T, EngineError> {
        let client = self.client(timeout)?;
        match tokio::time::timeout(timeout, call(client)).await {
            Ok(answer) => answer.map_err(|error| answers::meaning(error, reason)),
            Err(_) => Err(EngineError::NoAnswer(format!("no answer within {} s", timeout.as_secs()))),
        }
    }

    /// A call whose answer may be unreadable for a moment.
    async fn look<T, F: Future<Output = Result<T, Error>> + Send>(
        &self,
        call: impl Fn(Docker) -> F,
    ) -> Result<T, EngineError> {
        let client = self.client(CALL_TIMEOUT)?;
        let patiently = async {
            for _ in 0..READ_AGAIN.0 {
                match call(client.clone()).await {
                    Err(error) if answers::is_unreadable(&error) => tokio::time::sleep(READ_AGAIN.1).await,
                    answer => return answer,
                }
            }
            call(client.clone()).await
        };
        match tokio::time::timeout(CALL_TIMEOUT, patiently).await {
            Ok(answer) => answer.map_err(|error| answers::meaning(error, Reason::StartFailed)),
            Err(_) => Err(EngineError::NoAnswer(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))),
        }
    }

    /// The digest of an image: the registry's where it came from one, else its own id.
    async fn digest(&self, image: &str) -> Option<Digest> {
        if let Some(known) = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(image) {
            return Some(known.clone());
        }
        let inspected = self.look(|client| async move { client.inspect_image(image).await }).await.ok()?;
        let from_registry = inspected
            .repo_digests
            .unwrap_or_default()
            .into_iter()
            .find_map(|name| name.split_once('@').map(|(_, digest)| digest.to_owned()));
        let digest = Digest(from_registry.or(inspected.id)?);
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.len() >= DIGESTS {
            digests.clear();
        }
        digests.insert(image.to_owned(), digest.clone());
        Some(digest)
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        let version = self.look(|client| async move { client.version().await }).await?;
        let info = self.look(|client| async move { client.info().await }).await?;
        let is_podman = version.components.iter().flatten().any(|component| component.name.contains("Podman"));
        let is_podman = *self.is_podman.get_or_init(|| is_podman);
        let root_dir = info.docker_root_dir;
        // An engine is what it says it is, and where it keeps its containers: Podman makes up a new id for every answer,
        // and all the Dockers of one host may share theirs, which 20.10 keeps in /etc.
        let own = if is_podman { info.name } else { info.id };
        let id = format!("{}:{}", own.unwrap_or_default(), root_dir.as_deref().unwrap_or_default());
        Ok(Description {
            id: EngineId(id),
            kind: if is_podman { "podman" } else { "docker" },
            version: version.version.unwrap_or_default(),
            root_dir,
        })
    }

    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        self.pulls.pull(&self.client(CALL_TIMEOUT)?, image, platform, progress).await
    }

    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError> {
        let json_file = !self.is_podman.get().copied().unwrap_or(false);
        let options = CreateContainerOptionsBuilder::new()
            .name(launch.name.as_str())
            .platform(launch.spec.fields().platform.as_deref().unwrap_or_default())
            .build();
        let body = body::create_body(launch, json_file);
        let created = self
            .call(Reason::CreateFailed, CALL_TIMEOUT, async |client| client.create_container(Some(options), body).await)
            .await?;
        Ok(ContainerId(created.id))
    }

    async fn start(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.call(Reason::StartFailed, CALL_TIMEOUT, async |client| client.start_container(&container.0, None).await)
            .await
    }

    async fn inspect(&self, name: &ContainerName) -> Result<Option<Container>, EngineError> {
        let response =
            match self.look(|client| async move { client.inspect_container(name.as_str(), None).await }).await {
                Ok(response) => response,
                Err(EngineError::NotFound) => return Ok(None),
                // Whatever else it may say, it is not that there is nothing.
                Err(other) => return Err(EngineError::NoAnswer(other.to_string())),
            };
        let seen =
            observe::seen(response).ok_or_else(|| EngineError::NoAnswer("an inspection is not whole".to_owned()))?;
        let image_digest = self.digest(&seen.image).await;
        Ok(Some(Container {
            id: seen.id,
            owner: seen.owner,
            created_at: seen.created_at,
            image_digest,
            phase: seen.phase,
        }))
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        let options = StopContainerOptionsBuilder::new().t(i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)).build();
        let stopped = self
            .call(Reason::StartFailed, grace + CALL_TIMEOUT, async |client| {
                client.stop_container(&container.0, Some(options)).await
            })
            .await;
        match stopped {
            Err(EngineError::NotFound | EngineError::Conflict(_)) | Ok(()) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().v(true).force(false).build();
        let removed = self
            .call(Reason::StartFailed, CALL_TIMEOUT, async |client| {
                client.remove_container(&container.0, Some(options)).await
            })
            .await;
        match removed {
            Ok(()) | Err(EngineError::NotFound) => Ok(()),
            // It is not gone until it is: its name is still taken, and the log does not have it yet.
            Err(EngineError::Conflict(message)) if message.contains("already in progress") => {
                Err(EngineError::NoAnswer(message))
            }
            Err(other) => Err(other),
        }
    }

    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
        stream::logs(&self.client(CALL_TIMEOUT)?, container, follow).await
    }

    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError> {
        let filters = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={instance}")])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self
            .look(|client| {
                let options = options.clone();
                async move { client.list_containers(Some(options)).await }
            })
            .await?;
        Ok(found.into_iter().filter_map(observe::listed).collect())
    }

    async fn events(&self, instance: InstanceId) -> Result<BoxStream<'static, Result<Hint, EngineError>>, EngineError> {
        Ok(stream::hints(&self.client(CALL_TIMEOUT)?, instance))
    }

    async fn testimony(
        &self,
        container: &ContainerId,
        question: Question,
        since: Timestamp,
    ) -> Result<Testimony, EngineError> {
        stream::testimony(&self.client(CALL_TIMEOUT)?, container, question, since).await
    }
}
