//! Pulls images with progress and credentials. Concurrent requests for the same image share one
//! pull.
//!
//! Credentials come from the server's config, or else from the docker client's config. They are
//! read for each pull, so a changed password counts at once. They are not kept in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bollard::{BollardRequest, Docker};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use futures::{StreamExt, pin_mut};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::errors::CallError;
use crate::domain::job::Reason;
use crate::domain::names::image::ImageRef;
use crate::engine::{EngineError, PullProgress};

/// The time limit for a credential helper or for reading a password file.
const HELPER: Duration = Duration::from_secs(30);
/// The name of Docker's own registry in credential files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The settings for pulls from registries.
#[derive(Clone, Debug)]
pub struct Registries {
    /// Our logins, by the registry's host and port.
    pub logins: BTreeMap<String, Login>,
    /// The time without progress after which a pull is abandoned.
    pub stall: Duration,
}

/// A user name and password file for a registry.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
}

impl Default for Registries {
    fn default() -> Self {
        Self { logins: BTreeMap::new(), stall: Duration::from_secs(120) }
    }
}

type Pull = BoxFuture<'static, Result<(), EngineError>>;

/// The pulls in progress.
#[derive(Default)]
pub(super) struct Pulls {
    registries: Mutex<Arc<Registries>>,
    underway: Mutex<HashMap<String, Underway>>,
}

struct Underway {
    /// A weak reference, gone once no caller waits for the pull. The pull has ended then, too.
    pull: WeakShared<Pull>,
    progress: watch::Receiver<PullProgress>,
}

impl Pulls {
    pub(super) fn from(registries: Registries) -> Self {
        Self { registries: Mutex::new(Arc::new(registries)), underway: Mutex::default() }
    }

    /// Replaces the settings for pulls that begin later.
    pub(super) fn set_registries(&self, registries: Registries) {
        *self.registries.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(registries);
    }

    /// Pulls an image, or joins a pull of the same image in progress.
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
            biased;
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
        let mut underway = self.underway.lock().unwrap_or_else(PoisonError::into_inner);
        underway.retain(|_, other| other.pull.upgrade().is_some_and(|pull| pull.peek().is_none()));
        if let Some(other) = underway.get(&key)
            && let Some(pull) = other.pull.upgrade()
        {
            return (pull, other.progress.clone());
        }
        let (sender, progress) = watch::channel(PullProgress::default());
        let registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pull =
            fetch(client.clone(), registries, image.clone(), platform.map(str::to_owned), sender)
                .boxed()
                .shared();
        if let Some(weak) = pull.downgrade() {
            underway.insert(key, Underway { pull: weak, progress: progress.clone() });
        }
        (pull, progress)
    }
}

async fn fetch(
    client: Docker,
    registries: Arc<Registries>,
    image: ImageRef,
    platform: Option<String>,
    progress: watch::Sender<PullProgress>,
) -> Result<(), EngineError> {
    let registry = image.registry();
    let credentials = match registries.logins.get(&registry) {
        Some(login) => Some(login.credentials(registry).await?),
        None => credentials(registry).await,
    };
    let options = CreateImageOptionsBuilder::new()
        .from_image(&image.with_tag())
        .platform(platform.as_deref().unwrap_or_default())
        .build();
    let client = client.with_request_modifier(with_url_safe_credentials);
    let mut news = client.create_image(Some(options), None, credentials).boxed();
    let mut layers = Layers::default();
    loop {
        match tokio::time::timeout(registries.stall, news.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(info))) => {
                if let Some(error) =
                    info.error_detail.as_ref().and_then(|detail| detail.message.clone())
                {
                    return Err(refused(&image, &error));
                }
                layers.note(&info);
                progress.send_replace(layers.progress());
            }
            Ok(Some(Err(
                Error::DockerResponseServerError { message, .. }
                | Error::DockerStreamError { error: message },
            ))) => return Err(refused(&image, &message)),
            Ok(Some(Err(error))) => return Err(CallError::from(error).into_no_answer()),
            Err(_) => {
                return Err(EngineError::Refused {
                    reason: Reason::PullFailed,
                    message: format!(
                        "the pull of `{image}` made no progress for {} s",
                        registries.stall.as_secs()
                    ),
                });
            }
        }
    }
}

/// Rewrites the credentials header in base64's alphabet for URLs, which engines expect in
/// `X-Registry-Auth`. bollard 0.21.1 writes the other alphabet, and Docker treats an unreadable
/// value as no credentials at all. The defect shows only with some passwords (`a?b`).
fn with_url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth")
        && let Ok(text) = value.to_str()
        && let Ok(safe) = text.replace('+', "-").replace('/', "_").parse()
    {
        *value = safe;
        value.set_sensitive(true);
    }
    request
}

/// Classifies a registry's error message; registries word the same error in many ways.
fn refused(image: &ImageRef, message: &str) -> EngineError {
    let lower = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // Network errors are checked first, because such a message may quote words of the other kinds.
    let reason = if says(&[
        "dial tcp",
        "no such host",
        "i/o timeout",
        "client.timeout",
        "tls: ",
        "x509: ",
    ]) {
        Reason::PullFailed
    } else if says(&[
        "repository does not exist",
        "manifest unknown",
        "not found",
        "name unknown",
        "no matching manifest",
        "no image found",
        "no such image",
    ]) {
        Reason::ImageNotFound
    } else if says(&[
        "unauthorized",
        "denied",
        "no basic auth",
        "authentication required",
        "incorrect username",
    ]) {
        Reason::PullDenied
    } else {
        Reason::PullFailed
    };
    EngineError::Refused {
        reason,
        message: format!("`{image}` cannot be pulled: {}", message.trim()),
    }
}

/// Checks whether an image name belongs to a repository. Either may leave out any part of Docker's
/// own registry.
pub(super) fn is_of(repository: &str, name: &str) -> bool {
    let in_full = |text: &str| Some(text.parse::<ImageRef>().ok()?.repository());
    in_full(repository).is_some_and(|repository| in_full(name) == Some(repository))
}

/// The progress of each layer of a pull.
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
        // The first line has the tag instead of a layer's id.
        if status.starts_with("Pulling from") {
            return;
        }
        let layer = self.0.entry(id.clone()).or_default();
        layer.done = matches!(status.as_str(), "Pull complete" | "Already exists");
        if let (Some(detail), "Downloading") = (&info.progress_detail, status.as_str()) {
            let count =
                |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
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

impl Login {
    async fn credentials(&self, registry: String) -> Result<DockerCredentials, EngineError> {
        let password =
            tokio::time::timeout(HELPER, tokio::fs::read_to_string(&self.password_file)).await;
        let why = match password {
            Ok(Ok(password)) => {
                return Ok(DockerCredentials {
                    username: Some(self.username.clone()),
                    password: Some(password.trim_end_matches(['\n', '\r']).to_owned()),
                    serveraddress: Some(registry),
                    ..Default::default()
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it could not be read in time".to_owned(),
        };
        warn!(%registry, file = %self.password_file.display(), %why, "no password for a registry");
        let message = format!(
            "the password for the registry `{registry}` cannot be read; the server's log says why"
        );
        Err(EngineError::Refused { reason: Reason::PullDenied, message })
    }
}

/// Returns the credentials in the Docker config file (or from a credential helper that it names)
/// for this registry. A missing or unreadable file counts as no credentials: the registry then
/// reports an error.
async fn credentials(registry: String) -> Option<DockerCredentials> {
    let found = tokio::task::spawn_blocking(move || {
        let names = if registry == "docker.io" {
            vec![DOCKER_HUB.to_owned(), registry]
        } else {
            vec![registry]
        };
        names.into_iter().find_map(|name| match docker_credential::get_credential(&name) {
            Ok(credential) => Some((name, credential)),
            Err(error) => {
                debug!(registry = %name, why = unusable(&error), "no credentials");
                None
            }
        })
    });
    let (server, credential) = tokio::time::timeout(HELPER, found).await.ok()?.ok()??;
    Some(match credential {
        DockerCredential::UsernamePassword(username, password) => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: Some(server),
            ..Default::default()
        },
        DockerCredential::IdentityToken(token) => DockerCredentials {
            identitytoken: Some(token),
            serveraddress: Some(server),
            ..Default::default()
        },
    })
}

/// Describes missing credentials without the output of a helper, which may be a secret.
fn unusable(error: &CredentialRetrievalError) -> &'static str {
    match error {
        CredentialRetrievalError::NoCredentialConfigured => "none is configured",
        CredentialRetrievalError::ConfigNotFound | CredentialRetrievalError::ConfigReadError => {
            "there is no config file, or it cannot be read"
        }
        CredentialRetrievalError::HelperFailure { .. }
        | CredentialRetrievalError::HelperCommunicationError
        | CredentialRetrievalError::MalformedHelperResponse => "the credential helper failed",
        CredentialRetrievalError::CredentialDecodingError
        | CredentialRetrievalError::CredentialMismatchError => {
            "what is configured cannot be understood"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_errors_are_classified() {
        let image: ImageRef = "x:1".parse().expect("an image");
        for (message, expected) in [
            (
                "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                Reason::PullFailed,
            ),
            (
                "Get \"http://localhost:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Reason::PullFailed,
            ),
            (
                "manifest for x:1 not found: manifest unknown: manifest unknown",
                Reason::ImageNotFound,
            ),
            (
                "no matching manifest for linux/s390x in the manifest list entries",
                Reason::ImageNotFound,
            ),
            (
                "Get \"http://localhost:5000/v2/x/manifests/1\": no basic auth credentials",
                Reason::PullDenied,
            ),
            ("unauthorized: authentication required", Reason::PullDenied),
            ("toomanyrequests: You have reached your pull rate limit", Reason::PullFailed),
        ] {
            let EngineError::Refused { reason, message: sentence } = refused(&image, message)
            else {
                panic!("{message}")
            };
            assert_eq!(reason, expected, "{message}");
            assert!(sentence.starts_with("`x:1` cannot be pulled: "), "{sentence}");
        }
    }

    #[test]
    fn image_name_forms_match_the_same_repository() {
        for (repository, name, same) in [
            ("busybox", "busybox:latest", true),
            ("docker.io/library/busybox", "busybox", true),
            ("127.0.0.1:5000/team/app", "127.0.0.1:5000/team/app:1", true),
            ("127.0.0.1:5000/team/app", "127.0.0.1:5001/team/app:1", false),
            ("team/app", "app:1", false),
            ("busybox", "sha256:0123", false),
        ] {
            assert_eq!(is_of(repository, name), same, "{repository} {name}");
        }
    }

    #[test]
    fn progress_counts_layers_and_bytes() {
        let mut layers = Layers::default();
        for line in [
            r#"{"status":"Pulling from library/x","id":"1"}"#,
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"a"}"#,
            r#"{"status":"Already exists","progressDetail":{},"id":"b"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"a"}"#,
        ] {
            layers.note(&serde_json::from_str(line).expect("a line"));
        }
        assert_eq!(
            layers.progress(),
            PullProgress { layers_done: 1, layers: 2, bytes_done: 5, bytes: 10 }
        );
        layers
            .note(&serde_json::from_str(r#"{"status":"Pull complete","id":"a"}"#).expect("a line"));
        assert_eq!(
            layers.progress(),
            PullProgress { layers_done: 2, layers: 2, bytes_done: 10, bytes: 10 }
        );
    }
}
