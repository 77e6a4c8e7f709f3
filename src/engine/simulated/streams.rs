//! The simulated engine's streams: output as it is written, hints as things happen.
//!
//! They own no task: each looks at the world, gives out what is new, and waits for news.

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;

use super::SimulatedEngine;
use crate::domain::id::{ContainerId, InstanceId};
use crate::engine::{EngineError, Hint, LogStream};

/// A stream's place: how much of what there is was given out already.
struct Place {
    engine: SimulatedEngine,
    news: watch::Receiver<u64>,
    seen: usize,
}

impl SimulatedEngine {
    fn place(&self, seen: usize) -> Place {
        Place { engine: self.clone(), news: self.news.subscribe(), seen }
    }

    /// Lines as they are written, until the process ends.
    pub(super) fn followed(&self, container: ContainerId) -> LogStream {
        let chunks = futures::stream::unfold(self.place(0), move |mut place| {
            let container = container.clone();
            async move {
                loop {
                    let now = place.engine.clock.now();
                    let (lines, goes_on) = place.engine.inner(now).world.output(&container, now)?;
                    if lines.len() > place.seen {
                        let new: Vec<_> = lines[place.seen..].iter().cloned().map(Ok).collect();
                        place.seen = lines.len();
                        return Some((new, place));
                    }
                    if !goes_on {
                        return None;
                    }
                    let engine = place.engine.clone();
                    engine.wait_for_news(&mut place.news).await;
                }
            }
        });
        chunks.flat_map(futures::stream::iter).boxed()
    }

    /// Hints as things happen, until the connection is cut or the engine restarts.
    pub(super) fn hints(&self, instance: InstanceId, seen: usize) -> BoxStream<'static, Result<Hint, EngineError>> {
        let restarts = self.inner(self.clock.now()).restarts;
        let chunks = futures::stream::unfold(self.place(seen), move |mut place| async move {
            loop {
                let now = place.engine.clock.now();
                {
                    let mut inner = place.engine.inner(now);
                    if inner.cut || inner.restarts != restarts {
                        return None;
                    }
                    let new: Vec<_> = inner.world.since(place.seen, now).iter().map(|e| e.owner).collect();
                    drop(inner);
                    if !new.is_empty() {
                        place.seen += new.len();
                        let hints: Vec<_> = new
                            .into_iter()
                            .filter(|o| o.instance == instance)
                            .map(|o| Ok(Hint { job: o.job }))
                            .collect();
                        return Some((hints, place));
                    }
                }
                let engine = place.engine.clone();
                engine.wait_for_news(&mut place.news).await;
            }
        });
        chunks.flat_map(futures::stream::iter).boxed()
    }
}
