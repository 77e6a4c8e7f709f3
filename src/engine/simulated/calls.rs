//! The calls of the [`Engine`] trait, answered from the simulated state.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::engine::SimulatedEngine;
use super::faults::{Call, Fault};
use super::record::EventKind;
use super::script::begins;
use super::transport::{Effect, hang, lost, pass, wait_until};
use crate::domain::admission::features::EngineFeatures;
use crate::domain::container::{Container, Evidence, EvidenceQuery, Owner};
use crate::domain::job::Reason;
use crate::domain::names::id::{ContainerId, ContainerName, InstanceId, Timestamp};
use crate::domain::names::image::ImageRef;
use crate::domain::output::LogLine;
use crate::engine::{
    ContainerEvent, Description, Engine, EngineError, Launch, Listed, LogStream, PullProgress,
    SecretFile, Started,
};

/// The time to pull a layer, and the number of layers.
const LAYER: (Duration, u32) = (Duration::from_millis(250), 4);
impl SimulatedEngine {
    /// Pulls one layer after another.
    async fn fetch(
        &self,
        connection: u64,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        let (takes, layers) = LAYER;
        let failed = |message: &str| EngineError::Refused {
            reason: Reason::PullFailed,
            message: message.to_owned(),
        };
        for layer in 1..=layers {
            match self.decision(Call::Layer)? {
                Fault::Late(late) => pass(late).await,
                Fault::Hang(time) | Fault::DoneThenHang(time) => return Err(hang(time).await),
                Fault::DiskFull => return Err(failed("no space left on device")),
                Fault::Ends => return Err(failed("unexpected end of a layer")),
                Fault::NotDone | Fault::AnswerLost | Fault::LostAndLate(_) | Fault::Phantom(_) => {
                    return Err(lost());
                }
                Fault::None | Fault::Twice => {}
            }
            tokio::time::sleep(takes).await;
            self.awake(connection).await?;
            progress(PullProgress {
                layers_done: layer,
                layers,
                bytes_done: u64::from(layer) << 20,
                bytes: u64::from(layers) << 20,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Engine for SimulatedEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        self.ask(Call::Describe, |_, _| ()).await?;
        Ok(Description {
            id: Self::id_of(self.look().0.current),
            kind: "simulated",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: EngineFeatures::default(),
        })
    }

    async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        self.ask(Call::Describe, |_, _| !name.starts_with("no-such-")).await
    }

    async fn has_image(&self, image: &ImageRef) -> Result<bool, EngineError> {
        let image = image.clone();
        self.ask(Call::Describe, move |state, _| state.has(&image)).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        _platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        let connection = self.look().0.connections;
        let (late, unheard) = match self.decision(Call::Pull)? {
            Fault::Late(late) => (late, false),
            Fault::AnswerLost | Fault::DoneThenHang(_) => (Duration::ZERO, true),
            Fault::Hang(time) => return Err(hang(time).await),
            Fault::None => (Duration::ZERO, false),
            Fault::NotDone
            | Fault::LostAndLate(_)
            | Fault::Phantom(_)
            | Fault::DiskFull
            | Fault::Twice
            | Fault::Ends => return Err(lost()),
        };
        pass(late).await;
        self.awake(connection).await?;
        if begins(image, "no-such-") {
            let message = format!("there is no image `{image}`");
            return Err(EngineError::Refused { reason: Reason::ImageNotFound, message });
        }
        self.fetch(connection, progress).await?;
        self.look().0.state().pulled.insert(image.with_tag());
        if unheard { Err(lost()) } else { Ok(()) }
    }

    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError> {
        self.act(Call::Create, Effect::Create(Box::new(launch.clone()))).await?.ok_or_else(lost)
    }

    /// Checks only that the container exists: nothing that runs here could read a file.
    async fn put_files(
        &self,
        container: &ContainerId,
        _files: &[SecretFile],
    ) -> Result<(), EngineError> {
        let is_there =
            self.ask(Call::Inspect, |state, _| state.news_of(container).is_some()).await?;
        if is_there { Ok(()) } else { Err(EngineError::NotFound) }
    }

    async fn start(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.act(Call::Start, Effect::Start(container.clone())).await.map(|_| ())
    }

    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, EngineError> {
        self.ask(Call::Inspect, |state, _| state.inspect(container)).await
    }

    async fn find(&self, owner: &Owner) -> Result<Option<Container>, EngineError> {
        self.ask(Call::Inspect, |state, _| state.find(owner)).await
    }

    async fn named(&self, name: &ContainerName) -> Result<Option<Container>, EngineError> {
        self.ask(Call::Inspect, |state, _| state.named(name)).await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        let connection = self.look().0.connections;
        self.act(Call::Stop, Effect::Stop(container.clone(), grace)).await?;
        loop {
            self.awake(connection).await?;
            let Some((seen, news, Some(ends))) = self.look().0.state().news_of(container) else {
                return Ok(());
            };
            wait_until(Some(ends), news.since(seen)).await;
        }
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.act(Call::Remove, Effect::Remove(container.clone())).await.map(|_| ())
    }

    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
        let output = self.ask(Call::Logs, |state, now| state.output(container, now)).await?;
        let lines = output.ok_or(EngineError::NotFound)?.lines;
        let all =
            || futures::stream::iter([Ok(lines.iter().map(LogLine::as_line).collect())]).boxed();
        Ok(if follow { self.followed(container.clone()) } else { all() })
    }

    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError> {
        let all = self.ask(Call::List, |state, _| state.list()).await?;
        Ok(all
            .into_iter()
            .filter(|listed| listed.owner.is_some_and(|owner| owner.instance == instance))
            .collect())
    }

    async fn events(
        &self,
        instance: InstanceId,
    ) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError> {
        let connection = self.look().0.connections;
        let seen = self.ask(Call::Events, |state, _| state.record.events()).await?;
        Ok(self.hints(instance, (connection, seen)))
    }

    async fn query_event_log(
        &self,
        container: &ContainerId,
        question: EvidenceQuery,
        since: Timestamp,
    ) -> Result<Evidence, EngineError> {
        let (log, whole, reaches_back) =
            self.ask(Call::Evidence, |state, _| state.record.of(container, since)).await?;
        let (happened, covers) = match question {
            EvidenceQuery::StartedBeforeRemoval => {
                (EventKind::Start, log.contains(&EventKind::Destroy) && reaches_back)
            }
            EvidenceQuery::StartedByThisEngine => (EventKind::Start, whole),
            EvidenceQuery::CreatedByThisEngine => (EventKind::Create, whole),
        };
        Ok(match (log.contains(&happened), covers) {
            (true, _) => Evidence::Seen,
            (false, true) => Evidence::NotSeen,
            (false, false) => Evidence::Inconclusive,
        })
    }

    async fn started(
        &self,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<Started, EngineError> {
        self.ask(Call::Evidence, |state, _| state.record.started(instance, since)).await
    }
}
