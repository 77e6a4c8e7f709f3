//! A probe of the engine under measurement. It records the engine's events for the benchmark's
//! containers.
//!
//! Each container carries a key in a label. A peer that cannot set labels gets an image name of its
//! own for each container, and that name carries the key. For each key, the probe keeps the first
//! start, the end and the removal, by the engine's clock in nanoseconds. All subjects are thus
//! measured by the same clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, EventMessage, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder,
};
use futures::StreamExt;
use tokio::sync::watch;

use crate::support::IMAGE;

/// The label that holds a container's key.
pub const LABEL: &str = "bench.key";
/// The prefix of a key in an image name.
const ALIAS: &str = "bench/";
/// The longest time without an event while events are expected.
const PATIENCE: Duration = Duration::from_secs(120);

/// The engine's events for one container, in nanoseconds since 1970. `None`: no such event yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life {
    pub started: Option<i64>,
    pub ended: Option<i64>,
    pub removed: Option<i64>,
}

/// An engine, with a listener to its events.
pub struct EngineProbe {
    pub docker: Docker,
    pub network: String,
    /// The prefix of this run's keys, which separates them from other runs.
    run: String,
    lives: Arc<Mutex<HashMap<String, Life>>>,
    heard: watch::Receiver<u64>,
}

/// Returns the wall-clock time in nanoseconds since 1970.
pub fn now_ns() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Waits for an instant of the wall clock with the precision of the kernel. The runtime's own
/// timers count in milliseconds.
pub async fn until(instant_ns: i64) {
    let wait = move || {
        std::thread::sleep(Duration::from_nanos(u64::try_from(instant_ns - now_ns()).unwrap_or(0)))
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
}

impl EngineProbe {
    pub async fn new(network: &str) -> Self {
        let docker = Docker::connect_with_defaults().unwrap();
        docker.ping().await.expect("an engine answers at DOCKER_HOST");
        let lives = Arc::new(Mutex::new(HashMap::new()));
        let (tell, heard) = watch::channel(0);
        tokio::spawn(listen(docker.clone(), lives.clone(), tell));
        let run = format!("{}-{}", std::process::id(), now_ns());
        let probe = Self { docker, network: network.to_owned(), run, lives, heard };
        // The listener is connected once it has reported a container. The engine is also warm then.
        let first = probe.key("probe", 0);
        while probe.life(&first).removed.is_none() {
            let id = probe.create(&first).await;
            probe.docker.start_container(&id, None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            probe.remove(&id).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        probe
    }

    /// Returns a key that is unique across runs.
    pub fn key(&self, whose: &str, number: usize) -> String {
        format!("{}/{whose}/{number}", self.run)
    }

    /// Creates a container that is ready to start, and returns its id.
    pub async fn create(&self, key: &str) -> String {
        let body = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            cmd: Some(vec!["true".to_owned()]),
            labels: Some(HashMap::from([(LABEL.to_owned(), key.to_owned())])),
            host_config: Some(HostConfig {
                network_mode: Some(self.network.clone()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().build();
        self.docker.create_container(Some(options), body).await.unwrap().id
    }

    /// Adds a name for the image, which carries the key.
    pub async fn name_image(&self, key: &str) {
        let options = TagImageOptionsBuilder::default().repo(&alias(key)).tag("latest").build();
        self.docker.tag_image(IMAGE, Some(options)).await.unwrap();
    }

    pub async fn forget_image(&self, key: &str) {
        self.docker.remove_image(&alias(key), None::<RemoveImageOptions>, None).await.unwrap();
    }

    pub async fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        self.docker.remove_container(id, Some(options)).await.unwrap();
    }

    /// Creates a container for each key, and returns their ids.
    pub async fn create_all(&self, keys: &[String]) -> Vec<String> {
        let one = |key: String| async move { self.create(&key).await };
        futures::stream::iter(keys.to_vec()).map(one).buffered(2).collect().await
    }

    /// Removes the containers of these keys that still exist.
    pub async fn clear(&self, keys: &[String]) {
        let filters = HashMap::from([("label".to_owned(), vec![LABEL.to_owned()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        for container in self.docker.list_containers(Some(options)).await.unwrap() {
            if container
                .labels
                .and_then(|mut labels| labels.remove(LABEL))
                .is_some_and(|key| keys.contains(&key))
            {
                let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                // The engine may be removing the container itself.
                let _gone =
                    self.docker.remove_container(&container.id.unwrap(), Some(options)).await;
            }
        }
    }

    pub fn life(&self, key: &str) -> Life {
        self.lives.lock().unwrap().get(key).copied().unwrap_or_default()
    }

    /// Waits until the event has happened for each key, and returns its times.
    pub async fn wait(
        &self,
        keys: &[String],
        what: &str,
        happened: impl Fn(&Life) -> Option<i64>,
    ) -> Vec<i64> {
        let seen: Vec<i64> =
            self.wait_until_silence(keys, PATIENCE, happened).await.into_iter().flatten().collect();
        assert!(
            seen.len() == keys.len(),
            "only {} of {} containers have {what}",
            seen.len(),
            keys.len()
        );
        seen
    }

    /// Waits until the event has happened for each key, or no event of any container came for
    /// `silence`. Returns the times; `None` for a key without the event.
    pub async fn wait_until_silence(
        &self,
        keys: &[String],
        silence: Duration,
        happened: impl Fn(&Life) -> Option<i64>,
    ) -> Vec<Option<i64>> {
        let mut heard = self.heard.clone();
        loop {
            heard.mark_unchanged();
            let seen: Vec<Option<i64>> = keys.iter().map(|key| happened(&self.life(key))).collect();
            if seen.iter().all(Option::is_some)
                || tokio::time::timeout(silence, heard.changed()).await.is_err()
            {
                return seen;
            }
        }
    }
}

/// Returns the image name that only the container of this key uses.
pub fn alias(key: &str) -> String {
    format!("{ALIAS}{key}")
}

async fn listen(
    docker: Docker,
    lives: Arc<Mutex<HashMap<String, Life>>>,
    tell: watch::Sender<u64>,
) {
    let filters = HashMap::from([("type", vec!["container"])]);
    let mut events = std::pin::pin!(
        docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build()))
    );
    while let Some(event) = events.next().await {
        note(&lives, event.expect("the engine's events are heard to the end"));
        tell.send_modify(|count| *count += 1);
    }
}

fn note(lives: &Mutex<HashMap<String, Life>>, event: EventMessage) {
    let mut attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
    let aliased =
        attributes.get("image").and_then(|image| image.strip_prefix(ALIAS)).map(str::to_owned);
    let (Some(key), Some(action), Some(at)) =
        (attributes.remove(LABEL).or(aliased), event.action, event.time_nano)
    else {
        return;
    };
    let mut lives = lives.lock().unwrap();
    let life = lives.entry(key).or_default();
    match action.as_str() {
        "start" => assert!(life.started.replace(at).is_none(), "a container was started twice"),
        "die" => life.ended = Some(at),
        "destroy" => life.removed = Some(at),
        _ => {}
    }
}
