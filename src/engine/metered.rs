//! An engine whose calls are measured. Adds nothing else to the engine inside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::{
    ContainerEvent, Description, Engine, EngineError, Launch, Listed, LogStream, PullProgress,
    SecretFile, Started,
};
use crate::domain::container::{Container, Evidence, EvidenceQuery, Owner, Usage};
use crate::domain::names::id::{ContainerId, ContainerName, InstanceId, Timestamp};
use crate::domain::names::image::ImageRef;
use crate::metrics::Metrics;

/// An engine whose calls are measured.
pub struct MeteredEngine {
    inner: Arc<dyn Engine>,
    metrics: Metrics,
}

impl MeteredEngine {
    /// Wraps an engine.
    pub fn new(inner: Arc<dyn Engine>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }

    /// Measures a call. A call that is dropped before its answer is not counted.
    async fn measured<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let begun = Instant::now();
        let answer = work.await;
        self.metrics.engine_called(call, result_of(&answer), begun.elapsed());
        answer
    }
}

/// Returns the label value for the result of a call.
fn result_of<T>(answer: &Result<T, EngineError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(EngineError::NoAnswer(_)) => "no_answer",
        Err(EngineError::NotFound) => "not_found",
        Err(EngineError::NoSuchImage) => "no_such_image",
        Err(EngineError::Conflict(_)) => "conflict",
        Err(EngineError::Refused { .. }) => "refused",
    }
}

#[async_trait]
impl Engine for MeteredEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        self.measured("describe", self.inner.describe()).await
    }

    fn measures_usage(&self) -> bool {
        self.inner.measures_usage()
    }

    async fn usage(&self, container: &ContainerId) -> Result<Option<Usage>, EngineError> {
        self.measured("usage", self.inner.usage(container)).await
    }

    async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        self.measured("has_network", self.inner.has_network(name)).await
    }

    async fn has_image(&self, image: &ImageRef) -> Result<bool, EngineError> {
        self.measured("has_image", self.inner.has_image(image)).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        let begun = Instant::now();
        let answer = self.inner.pull(image, platform, progress).await;
        self.metrics.pulled(result_of(&answer), begun.elapsed());
        answer
    }

    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError> {
        self.measured("create", self.inner.create(launch)).await
    }

    async fn put_files(
        &self,
        container: &ContainerId,
        files: &[SecretFile],
    ) -> Result<(), EngineError> {
        self.measured("put_files", self.inner.put_files(container, files)).await
    }

    async fn start(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.measured("start", self.inner.start(container)).await
    }

    async fn inspect(&self, container: &ContainerId) -> Result<Option<Container>, EngineError> {
        self.measured("inspect", self.inner.inspect(container)).await
    }

    async fn find(&self, owner: &Owner) -> Result<Option<Container>, EngineError> {
        self.measured("find", self.inner.find(owner)).await
    }

    async fn named(&self, name: &ContainerName) -> Result<Option<Container>, EngineError> {
        self.measured("named", self.inner.named(name)).await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        self.measured("stop", self.inner.stop(container, grace)).await
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.measured("remove", self.inner.remove(container)).await
    }

    /// Measures the time until the stream begins.
    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
        self.measured("logs", self.inner.logs(container, follow)).await
    }

    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError> {
        self.measured("list", self.inner.list(instance)).await
    }

    /// Measures the time until the stream begins.
    async fn events(
        &self,
        instance: InstanceId,
    ) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError> {
        self.measured("events", self.inner.events(instance)).await
    }

    async fn query_event_log(
        &self,
        container: &ContainerId,
        question: EvidenceQuery,
        since: Timestamp,
    ) -> Result<Evidence, EngineError> {
        let work = self.inner.query_event_log(container, question, since);
        self.measured("query_event_log", work).await
    }

    async fn started(
        &self,
        instance: InstanceId,
        since: Timestamp,
    ) -> Result<Started, EngineError> {
        self.measured("started", self.inner.started(instance, since)).await
    }
}
