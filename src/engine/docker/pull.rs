//! Pulling: with progress, with credentials, and once however many ask for the same image at the same time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use docker_credential::DockerCredential;
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use futures::{StreamExt, pin_mut};
use tokio::sync::watch;

use super::answers;
use crate::domain::image::ImageRef;
use crate::domain::job::Reason;
use crate::engine::{EngineError, PullProgress};

/// How long a pull may show no progress before it is given up.
const STALL: Duration = Duration::from_secs(120);
/// How Docker's own registry is named in credential files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

type Pull = BoxFuture<'static, Result<(), EngineError>>;

/// The pulls that are under way.
#[derive(Default)]
pub(super) struct Pulls(Mutex<HashMap<String, Underway>>);

struct Underway {
    /// Nobody waits for it any more when this is gone: then it has ended, too.
    pull: WeakShared<Pull>,
    progress: watch::Receiver<PullProgress>,
}

impl Pulls {
    /// Pulls, or waits for the pull of the same image that is under way.
    pub(super) async fn pull(
        &self,
        client: &Docker,
        image: &ImageRef,
        platform: Option<&str>,
        report: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        let (pull, mut progress) = self.join(client, image, platform);
        let watch = async {
            while progress.changed().await.is_ok() {
                report(progress.borrow_and_update().clone());
            }
            std::future::pending::<()>().await;
        };
        pin_mut!(watch);
        tokio::select! {
            pulled = pull => pulled,
            () = watch => Ok(()),
        }
    }

    fn join(
        &self,
        client: &Docker,
        image: &ImageRef,
        platform: Option<&str>,
    ) -> (Shared<Pull>, watch::Receiver<PullProgress>) {
        let key = format!("{} {}", image.with_tag(), platform.unwrap_or_default());
        let mut underway = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        underway.retain(|_, other| other.pull.upgrade().is_some_and(|pull| pull.peek().is_none()));
        if let Some(other) = underway.get(&key)
            && let Some(pull) = other.pull.upgrade()
        {
            return (pull, other.progress.clone());
        }
        let (sender, progress) = watch::channel(PullProgress::default());
        let pull = fetch(client.clone(), image.clone(), platform.map(str::to_owned), sender).boxed().shared();
        if let Some(weak) = pull.downgrade() {
            underway.insert(key, Underway { pull: weak, progress: progress.clone() });
        }
        (pull, progress)
    }
}

async fn fetch(
    client: Docker,
    image: ImageRef,
    platform: Option<String>,
    progress: watch::Sender<PullProgress>,
) -> Result<(), EngineError> {
    let credentials = credentials(image.registry()).await;
    let options = CreateImageOptionsBuilder::new()
        .from_image(&image.with_tag())
        .platform(platform.as_deref().unwrap_or_default())
        .build();
    let mut news = client.create_image(Some(options), None, credentials).boxed();
    let mut layers = Layers::default();
    loop {
        match tokio::time::timeout(STALL, news.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(info))) => {
                if let Some(error) = info.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
                    return Err(refused(&image, &error));
                }
                layers.note(&info);
                progress.send_replace(layers.progress());
            }
            Ok(Some(Err(
                Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message },
            ))) => return Err(refused(&image, &message)),
            Ok(Some(Err(error))) => return Err(answers::meaning(error, Reason::PullFailed)),
            Err(_) => {
                return Err(EngineError::Refused {
                    reason: Reason::PullFailed,
                    message: format!("the pull of `{image}` made no progress for {} s", STALL.as_secs()),
                });
            }
        }
    }
}

/// Registries say the same in many words.
fn refused(image: &ImageRef, message: &str) -> EngineError {
    let lower = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let reason = if says(&[
        "repository does not exist",
        "manifest unknown",
        "not found",
        "name unknown",
        "no matching manifest",
        "no such image",
    ]) && !says(&["no such host"])
    {
        Reason::ImageNotFound
    } else if says(&["unauthorized", "denied", "no basic auth", "authentication required", "incorrect username"]) {
        Reason::PullDenied
    } else {
        Reason::PullFailed
    };
    EngineError::Refused { reason, message: format!("`{image}` cannot be pulled: {}", message.trim()) }
}

/// How far each layer has come.
#[derive(Default)]
struct Layers(HashMap<String, Layer>);

#[derive(Default)]
struct Layer {
    done: bool,
    bytes_done: u64,
    bytes: u64,
}

impl Layers {
    fn note(&mut self, info: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&info.id, &info.status) else { return };
        // The first line has the tag in the place of a layer's id.
        if status.starts_with("Pulling from") {
            return;
        }
        let layer = self.0.entry(id.clone()).or_default();
        layer.done = matches!(status.as_str(), "Pull complete" | "Already exists");
        if let (Some(detail), "Downloading") = (&info.progress_detail, status.as_str()) {
            let count = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            (layer.bytes_done, layer.bytes) = (count(detail.current), count(detail.total));
        }
        if layer.done {
            layer.bytes_done = layer.bytes;
        }
    }

    fn progress(&self) -> PullProgress {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        PullProgress {
            layers_done: count(self.0.values().filter(|layer| layer.done).count()),
            layers: count(self.0.len()),
            bytes_done: self.0.values().map(|layer| layer.bytes_done).sum(),
            bytes: self.0.values().map(|layer| layer.bytes).sum(),
        }
    }
}

/// What the Docker config file (or a credential helper that it names) has for this registry. No file is no credentials,
/// and so is one that cannot be read: the registry then says what it wants.
async fn credentials(registry: String) -> Option<DockerCredentials> {
    let found = tokio::task::spawn_blocking(move || {
        let names = if registry == "docker.io" { vec![DOCKER_HUB.to_owned(), registry] } else { vec![registry] };
        names
            .into_iter()
            .find_map(|name| docker_credential::get_credential(&name).ok().map(|credential| (name, credential)))
    });
    let (server, credential) = found.await.ok().flatten()?;
    Some(match credential {
        DockerCredential::UsernamePassword(username, password) => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: Some(server),
            ..Default::default()
        },
        DockerCredential::IdentityToken(token) => {
            DockerCredentials { identitytoken: Some(token), serveraddress: Some(server), ..Default::default() }
        }
    })
}
