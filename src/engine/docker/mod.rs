//! Docker, and engines that speak its API well enough: Podman's socket does.
//!
//! - `address`: finds the engine. `client`: makes calls with deadlines, and reads answers tolerantly.
//! - `errors`: tells refusals from missing answers. `body`: turns a launch into the body of
//!   `create`.
//! - `features`: reads the engine's capabilities. `secrets`: puts files into a container.
//! - `inspect`: reads inspections. `pull`: pulls images. `logs`: reads output.
//! - `events`, `event_log`: read events.
//!
//! Works from API 1.41 (Docker 20.10) on. The client connects for each call. So a daemon that
//! restarts is no special case, and a server can start before its engine does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures::stream::BoxStream;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{
    CALL_TIMEOUT, ContainerEvent, Description, Engine, EngineError, Launch, Listed, LogStream,
    PullProgress, SecretFile, Started,
};
use crate::clock::{Clock, SystemClock};
use crate::domain::container::{
    Container, Evidence, EvidenceQuery, LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, Owner, Usage,
};
use crate::domain::job::Reason;
use crate::domain::names::id::{
    ContainerId, ContainerName, Digest, EngineId, InstanceId, Timestamp,
};
use crate::domain::names::image::ImageRef;
use client::EngineClient;
use errors::CallError;

mod address;
mod body;
mod client;
mod errors;
mod event_log;
mod events;
mod features;
mod inspect;
mod logs;
mod pull;
mod secrets;
mod usage;

pub use address::{Address, AddressError};
pub use pull::{Login, Registries};

/// The largest number of image digests to remember.
const DIGESTS: usize = 1_024;

/// An engine behind Docker's API.
pub struct DockerEngine {
    client: EngineClient,
    /// `None` until the engine's version was read for the first time.
    is_podman: Mutex<Option<bool>>,
    pulls: pull::Pulls,
    digests: Mutex<HashMap<inspect::Image, Digest>>,
}

/// Returns the engine at this address. The engine need not be running yet.
pub fn connect(address: Address) -> DockerEngine {
    DockerEngine {
        client: EngineClient::new(address),
        is_podman: Mutex::default(),
        pulls: pull::Pulls::default(),
        digests: Mutex::default(),
    }
}

/// The parts of `/version` that we read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(default)]
    version: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    #[serde(default)]
    name: String,
}

/// The parts of `/info` that we read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    docker_root_dir: Option<String>,
    #[serde(default)]
    system_time: Option<String>,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

impl Info {
    /// Returns the time by the engine's own clock, or by ours if the engine gives none.
    fn now(&self) -> Timestamp {
        self.system_time
            .as_deref()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| SystemClock.now())
    }
}

impl DockerEngine {
    /// Returns the engine with these registry settings.
    #[must_use]
    pub fn with_registries(self, registries: Registries) -> Self {
        Self { pulls: pull::Pulls::from(registries), ..self }
    }

    /// Replaces the registry settings for pulls that begin later.
    pub fn set_registries(&self, registries: Registries) {
        self.pulls.set_registries(registries);
    }

    async fn version(&self) -> Result<(Version, bool), CallError> {
        let version: Version = self.client.read("/version", &[]).await?;
        let is_podman =
            version.components.iter().any(|component| component.name.contains("Podman"));
        *self.is_podman.lock().unwrap_or_else(PoisonError::into_inner) = Some(is_podman);
        Ok((version, is_podman))
    }

    async fn is_podman(&self) -> Result<bool, CallError> {
        let known = *self.is_podman.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some(known) => Ok(known),
            None => Ok(self.version().await?.1),
        }
    }

    async fn info(&self) -> Result<Info, CallError> {
        self.client.read("/info", &[]).await
    }

    /// Returns the source of the event log: Podman, or Docker with its own time.
    async fn log(&self) -> Result<event_log::Source, CallError> {
        Ok(match self.is_podman().await? {
            true => event_log::Source::Podman,
            false => event_log::Source::Docker { now: self.info().await?.now() },
        })
    }

    /// Returns the digest of an image: that of the requested repository, else any registry's, else
    /// the image's own id.
    async fn digest(&self, image: inspect::Image) -> Digest {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Shown {
            #[serde(default)]
            repo_digests: Option<Vec<String>>,
        }
        if let Some(known) = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&image)
        {
            return known.clone();
        }
        // The image may be gone from the engine while its containers remain.
        let Ok(inspected) =
            self.client.read::<Shown>(&format!("/images/{}/json", image.id), &[]).await
        else {
            return Digest(image.id);
        };
        let all: Vec<(&str, &str)> =
            inspected.repo_digests.iter().flatten().filter_map(|d| d.split_once('@')).collect();
        let own =
            all.iter().find(|(repository, _)| pull::is_of(repository, &image.name)).or(all.first());
        let digest =
            Digest(own.map_or_else(|| image.id.clone(), |(_, digest)| (*digest).to_owned()));
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.len() >= DIGESTS {
            digests.clear();
        }
        digests.insert(image, digest.clone());
        digest
    }

    /// Returns the container that the engine has under this id or name.
    async fn inspect_any(&self, reference: &str) -> Result<Option<Container>, EngineError> {
        let inspected = match self.client.read(&format!("/containers/{reference}/json"), &[]).await
        {
            Ok(inspected) => inspected,
            Err(fault) if fault.is_no_such_container() => return Ok(None),
            // No other error proves that the container is missing.
            Err(fault) => return Err(fault.into_no_answer()),
        };
        let seen = inspect::seen(inspected);
        let image_digest = match seen.image {
            Some(image) => Some(self.digest(image).await),
            None => None,
        };
        Ok(Some(Container {
            id: seen.id,
            owner: seen.owner,
            spec_hash: seen.spec_hash,
            created_at: seen.created_at,
            image_digest,
            phase: seen.phase,
        }))
    }

    /// Lists the containers that carry all of these labels.
    async fn labelled(&self, labels: &[String]) -> Result<Vec<Listed>, EngineError> {
        let filters = serde_json::json!({ "label": labels }).to_string();
        let found: Vec<inspect::ListedLine> = self
            .client
            .read("/containers/json", &[("all", "true"), ("filters", &filters)])
            .await
            .map_err(CallError::into_no_answer)?;
        Ok(found.into_iter().map(inspect::listed).collect())
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        let (version, is_podman) = self.version().await.map_err(CallError::into_no_answer)?;
        let info = self.info().await.map_err(CallError::into_no_answer)?;
        // An engine is identified by its own id and its container folder. Podman makes up a new id
        // for every answer, so its name is used. All Dockers of one host may share one id, which
        // 20.10 keeps in /etc.
        let own = if is_podman { info.name } else { info.id };
        let id = format!("{own}:{}", info.docker_root_dir.as_deref().unwrap_or_default());
        Ok(Description {
            id: EngineId(id),
            kind: if is_podman { "podman" } else { "docker" },
            version: version.version,
            features: features::read(&info.more, is_podman),
        })
    }

    async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        // Podman's network modes need no network of that name.
        if matches!(name, "slirp4netns" | "pasta" | "private")
            && self.is_podman().await.map_err(CallError::into_no_answer)?
        {
            return Ok(true);
        }
        match self.client.read::<IgnoredAny>(&format!("/networks/{name}"), &[]).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_no_such_network() => Ok(false),
            Err(fault) => Err(fault.into_no_answer()),
        }
    }

    async fn has_image(&self, image: &ImageRef) -> Result<bool, EngineError> {
        match self
            .client
            .read::<IgnoredAny>(&format!("/images/{}/json", image.with_tag()), &[])
            .await
        {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_no_such_image() => Ok(false),
            Err(fault) => Err(fault.into_no_answer()),
        }
    }

    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        let client = self.client.client().map_err(CallError::into_no_answer)?;
        self.pulls.pull(&client, image, platform, progress).await
    }

    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError> {
        let json_file = !self.is_podman().await.map_err(CallError::into_no_answer)?;
        let options = CreateContainerOptionsBuilder::new()
            .name(launch.name.as_str())
            .platform(launch.spec.fields().platform.as_deref().unwrap_or_default())
            .build();
        let body = body::create_body(launch, json_file);
        let created = self
            .client
            .call(CALL_TIMEOUT, async |client| client.create_container(Some(options), body).await)
            .await
            .map_err(CallError::into_create_refusal)?;
        Ok(ContainerId(created.id))
    }

    async fn put_files(
        &self,
        container: &ContainerId,
        files: &[SecretFile],
    ) -> Result<(), EngineError> {
        secrets::put(&self.client, container, files).await
    }

    async fn start(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.client
            .call(CALL_TIMEOUT, async |client| client.start_container(&container.0, None).await)
            .await
            .map_err(|fault| fault.into_refusal(Reason::StartFailed))
    }

    fn measures_usage(&self) -> bool {
        true
    }

    async fn usage(&self, container: &ContainerId) -> Result<Option<Usage>, EngineError> {
        let path = format!("/containers/{container}/stats");
        // Without `one-shot` the engine waits a second for a second sample.
        let query = [("stream", "false"), ("one-shot", "true")];
        match self.client.read(&path, &query).await {
            Ok(stats) => Ok(usage::usage(stats)),
            Err(fault) if fault.is_no_such_container() => Ok(None),
            Err(fault) => Err(fault.into_no_answer()),
        }
    }

    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, EngineError> {
        // An engine that knows no such id looks for a container of that name.
        Ok(self.inspect_any(&container.0).await?.filter(|seen| seen.id == *container))
    }

    async fn find(&self, owner: &Owner) -> Result<Option<Container>, EngineError> {
        let Owner { instance, job, attempt } = owner;
        let labels = [
            format!("{LABEL_INSTANCE}={instance}"),
            format!("{LABEL_JOB}={job}"),
            format!("{LABEL_ATTEMPT}={attempt}"),
        ];
        let found =
            self.labelled(&labels).await?.into_iter().filter(|listed| listed.owner == Some(*owner));
        match found.max_by_key(Listed::progress) {
            Some(listed) => self.inspect(&listed.id).await,
            None => Ok(None),
        }
    }

    async fn named(&self, name: &ContainerName) -> Result<Option<Container>, EngineError> {
        self.inspect_any(name.as_str()).await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        // Seconds are rounded up: half a second of grace is not none.
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptionsBuilder::new()
            .t(i32::try_from(seconds).unwrap_or(i32::MAX))
            .build();
        let limit = Duration::from_secs(seconds).saturating_add(CALL_TIMEOUT);
        let stopped = self
            .client
            .call(limit, async |client| client.stop_container(&container.0, Some(options)).await)
            .await
            .map_err(|fault| fault.into_refusal(Reason::StartFailed));
        match stopped {
            Err(EngineError::NotFound | EngineError::Conflict(_)) | Ok(()) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().v(true).force(false).build();
        let removed = self
            .client
            .call(CALL_TIMEOUT, async |client| {
                client.remove_container(&container.0, Some(options)).await
            })
            .await
            .map_err(|fault| fault.into_refusal(Reason::StartFailed));
        match removed {
            Ok(()) | Err(EngineError::NotFound) => Ok(()),
            // The container still exists: its name is taken, and the log lacks its removal.
            Err(EngineError::Conflict(message)) if message.contains("already in progress") => {
                Err(EngineError::NoAnswer(message))
            }
            // The engine did not remove the container, for any reason.
            Err(EngineError::Refused { message, .. }) => Err(EngineError::Conflict(message)),
            Err(other) => Err(other),
        }
    }

    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
        logs::logs(&self.client, container, follow).await
    }

    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError> {
        self.labelled(&[format!("{LABEL_INSTANCE}={instance}")]).await
    }

    async fn events(
        &self,
        instance: InstanceId,
    ) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError> {
        let since = self.info().await.map_err(CallError::into_no_answer)?.now();
        events::events(&self.client, instance, since)
    }

    async fn query_event_log(
        &self,
        container: &ContainerId,
        question: EvidenceQuery,
        since: Timestamp,
    ) -> Result<Evidence, EngineError> {
        let answer = async {
            event_log::ask(&self.client, self.log().await?, container, question, since).await
        };
        answer.await.map_err(CallError::into_no_answer)
    }

    async fn started(
        &self,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<Started, EngineError> {
        let answer =
            async { event_log::started(&self.client, self.log().await?, instance, since).await };
        answer.await.map_err(CallError::into_no_answer)
    }
}
