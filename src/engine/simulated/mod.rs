//! An engine that runs nothing, and behaves like one that does. `tidetable serve --engine simulated` is for trying the
//! API, for testing a client, and for loading a million jobs; the crash tests drive it with faults.
//!
//! Containers live in memory and are gone with the process. What a command does is in `script`; images are all there,
//! but those of a repository that begins with `no-such-` (never to be had) or `pull-` (there once they were pulled).
//! Time is the clock's that it is given, waiting is tokio's: under a paused clock all of it is virtual.
//!
//! A [`Fault`] is what real engines were seen to do: not to answer, to do it and not to answer, to do it much later.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;

use super::{Description, Engine, EngineError, Hint, Launch, Listed, LogStream, PullProgress};
use crate::clock::Clock;
use crate::domain::container::{Container, Question, Testimony};
use crate::domain::id::{ContainerId, ContainerName, EngineId, InstanceId, Timestamp};
use crate::domain::image::ImageRef;
use crate::domain::job::Reason;

mod faults;
mod script;
mod streams;
mod world;

pub use faults::{Call, Fault, Faults};
pub use world::{Evidence, Happened};

/// How often a waiting stream looks at the clock, which may have been set.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a pull takes, in this many layers.
const PULL: (Duration, u32) = (Duration::from_secs(1), 4);

/// How it behaves.
#[derive(Default)]
pub struct Settings {
    /// What a `start` takes. Real ones take a tenth of a second.
    pub start_takes: Duration,
    /// What goes wrong; without, nothing.
    pub faults: Option<Faults>,
}

/// The simulated engine. A clone is the same engine.
#[derive(Clone)]
pub struct SimulatedEngine {
    clock: Arc<dyn Clock>,
    start_takes: Duration,
    inner: Arc<Mutex<Inner>>,
    /// Moved on whenever something happened.
    news: watch::Sender<u64>,
}

struct Inner {
    world: world::World,
    pulled: BTreeSet<String>,
    faults: Option<Faults>,
    generation: u32,
    restarts: u32,
    /// It does not answer.
    cut: bool,
    /// What was sent and takes effect later, in the order in which it will.
    pending: Vec<(Timestamp, Effect)>,
}

/// What a call does to the world.
#[derive(Clone)]
enum Effect {
    Create(Box<Launch>),
    Start(ContainerId),
    Stop(ContainerId, Duration),
    Remove(ContainerId),
}

impl SimulatedEngine {
    /// An engine without containers.
    pub fn new(clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let inner = Inner {
            world: world::World::default(),
            pulled: BTreeSet::new(),
            faults: settings.faults,
            generation: 1,
            restarts: 0,
            cut: false,
            pending: Vec::new(),
        };
        Self {
            clock,
            start_takes: settings.start_takes,
            inner: Arc::new(Mutex::new(inner)),
            news: watch::Sender::new(0),
        }
    }

    /// Everything that ever happened to a container here, whether or not it is still there.
    pub fn evidence(&self) -> Vec<Evidence> {
        let now = self.clock.now();
        self.inner(now).world.evidence(now)
    }

    /// The names of the containers that are there.
    pub fn containers(&self) -> Vec<String> {
        let now = self.clock.now();
        self.inner(now).world.list(now).into_iter().map(|listed| listed.name).collect()
    }

    /// Restarts: streams end and the log is forgotten; what runs is killed, or (with live-restore) goes on.
    pub fn restart(&self, kill: bool) {
        let now = self.clock.now();
        let mut inner = self.inner(now);
        inner.restarts += 1;
        inner.world.restart(kill, now);
        drop(inner);
        self.tell();
    }

    /// Does not answer any more, or does again.
    pub fn cut(&self, cut: bool) {
        self.inner(self.clock.now()).cut = cut;
        self.tell();
    }

    /// Another engine takes its place, without any container.
    pub fn swap(&self) {
        let mut inner = self.inner(self.clock.now());
        inner.generation += 1;
        inner.restarts += 1;
        inner.world.forget_all();
        drop(inner);
        self.tell();
    }

    /// Somebody else removes a container, by force.
    pub fn remove_behind_back(&self, container: &ContainerId) {
        let now = self.clock.now();
        let mut inner = self.inner(now);
        inner.world.stop(container, Duration::ZERO, now);
        let at = inner.world.ends_at(container).map_or(now, |at| at.max(now));
        let _gone_already = inner.world.remove(container, at);
        drop(inner);
        self.tell();
    }

    /// Somebody else starts a container.
    ///
    /// # Errors
    /// As of [`Engine::start`].
    pub fn start_behind_back(&self, container: &ContainerId) -> Result<(), EngineError> {
        let now = self.clock.now();
        let started = self.inner(now).world.start(container, now);
        self.tell();
        started
    }

    /// The world as it is now: what was sent before and has not taken effect yet does first.
    fn inner(&self, now: Timestamp) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.pending.first().is_some_and(|(at, _)| *at <= now) {
            let (at, effect) = inner.pending.remove(0);
            // Whoever sent it has long stopped listening.
            let _unheard = apply(&mut inner.world, &effect, at);
        }
        inner
    }

    fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// What becomes of this call.
    fn fate(&self, call: Call) -> Result<Fault, EngineError> {
        let mut inner = self.inner(self.clock.now());
        if inner.cut {
            return Err(EngineError::NoAnswer("the connection is cut".to_owned()));
        }
        Ok(inner.faults.as_mut().map_or(Fault::None, |faults| faults(call)))
    }

    /// A call that only looks.
    async fn ask<T>(&self, call: Call, look: impl FnOnce(&mut Inner, Timestamp) -> T) -> Result<T, EngineError> {
        match self.fate(call)? {
            Fault::None => {}
            Fault::Late(after) => tokio::time::sleep(after).await,
            Fault::NotDone | Fault::AnswerLost | Fault::LostAndLate(_) => return Err(no_answer()),
        }
        let now = self.clock.now();
        Ok(look(&mut self.inner(now), now))
    }

    /// A call that does something. Once it is sent it is done, whether or not the caller is still there.
    async fn act(&self, call: Call, effect: Effect, takes: Duration) -> Result<Option<ContainerId>, EngineError> {
        let (after, lost) = match self.fate(call)? {
            Fault::None => (takes, false),
            Fault::NotDone => return Err(no_answer()),
            Fault::AnswerLost => (Duration::ZERO, true),
            Fault::Late(after) => (takes + after, false),
            Fault::LostAndLate(after) => (after, true),
        };
        if after.is_zero() {
            let now = self.clock.now();
            let done = apply(&mut self.inner(now).world, &effect, now);
            self.tell();
            return if lost { Err(no_answer()) } else { done };
        }
        self.send(effect.clone(), after);
        if lost {
            return Err(no_answer());
        }
        tokio::time::sleep(after).await;
        self.tell();
        self.answer(&effect)
    }

    fn send(&self, effect: Effect, after: Duration) {
        let now = self.clock.now();
        let at = chrono::Duration::from_std(after)
            .ok()
            .and_then(|after| now.checked_add_signed(after))
            .unwrap_or(Timestamp::MAX_UTC);
        let mut inner = self.inner(now);
        let place = inner.pending.partition_point(|(other, _)| *other <= at);
        inner.pending.insert(place, (at, effect));
    }

    /// What is to be said of an effect that took place a moment ago.
    fn answer(&self, effect: &Effect) -> Result<Option<ContainerId>, EngineError> {
        let now = self.clock.now();
        let mut inner = self.inner(now);
        match effect {
            Effect::Create(launch) => match inner.world.inspect(&launch.name, now) {
                Some(container) => Ok(Some(container.id)),
                None => Err(EngineError::Conflict("it was made and is gone".to_owned())),
            },
            Effect::Start(id) if inner.world.ends_at(id).is_none() => {
                Err(EngineError::Refused { reason: Reason::StartFailed, message: "it did not start".to_owned() })
            }
            Effect::Start(_) | Effect::Stop(..) | Effect::Remove(_) => Ok(None),
        }
    }

    /// Waits for news, but not past the instant at which some will come, nor long.
    async fn wait_for_news(&self, news: &mut watch::Receiver<u64>) {
        let now = self.clock.now();
        let next = self.inner(now).world.next_end();
        let nap = next
            .and_then(|at| (at - now).to_std().ok())
            .unwrap_or(LOOK_EVERY)
            .clamp(Duration::from_millis(1), LOOK_EVERY);
        let _sooner_or_later = tokio::time::timeout(nap, news.changed()).await;
    }
}

fn no_answer() -> EngineError {
    EngineError::NoAnswer("simulated: the answer is lost".to_owned())
}

fn apply(world: &mut world::World, effect: &Effect, now: Timestamp) -> Result<Option<ContainerId>, EngineError> {
    match effect {
        Effect::Create(launch) => world.create(launch, now).map(Some),
        Effect::Start(id) => world.start(id, now).map(|()| None),
        Effect::Stop(id, grace) => {
            world.stop(id, *grace, now);
            Ok(None)
        }
        Effect::Remove(id) => world.remove(id, now).map(|()| None),
    }
}

/// The first part of a repository says what becomes of its images.
fn begins(image: &ImageRef, prefix: &str) -> bool {
    image.as_str().rsplit('/').next().unwrap_or_default().starts_with(prefix)
}

#[async_trait]
impl Engine for SimulatedEngine {
    async fn describe(&self) -> Result<Description, EngineError> {
        self.ask(Call::Describe, |inner, _| Description {
            id: EngineId(format!("simulated-{}", inner.generation)),
            kind: "simulated",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            root_dir: None,
        })
        .await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        _platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        self.ask(Call::Pull, |_, _| ()).await?;
        if begins(image, "no-such-") {
            return Err(EngineError::Refused {
                reason: Reason::ImageNotFound,
                message: format!("there is no image `{image}`"),
            });
        }
        for layer in 1..=PULL.1 {
            tokio::time::sleep(PULL.0 / PULL.1).await;
            progress(PullProgress {
                layers_done: layer,
                layers: PULL.1,
                bytes_done: u64::from(layer) << 20,
                bytes: u64::from(PULL.1) << 20,
            });
        }
        self.inner(self.clock.now()).pulled.insert(image.with_tag());
        Ok(())
    }

    async fn create(&self, launch: &Launch) -> Result<ContainerId, EngineError> {
        let image = &launch.image;
        let pulled = self.inner(self.clock.now()).pulled.contains(&image.with_tag());
        if begins(image, "no-such-") || (begins(image, "pull-") && !pulled) {
            return Err(EngineError::NoSuchImage);
        }
        let made = self.act(Call::Create, Effect::Create(Box::new(launch.clone())), Duration::ZERO).await?;
        made.ok_or_else(no_answer)
    }

    async fn start(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.act(Call::Start, Effect::Start(container.clone()), self.start_takes).await.map(|_| ())
    }

    async fn inspect(&self, name: &ContainerName) -> Result<Option<Container>, EngineError> {
        self.ask(Call::Inspect, |inner, now| inner.world.inspect(name, now)).await
    }

    async fn stop(&self, container: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        self.act(Call::Stop, Effect::Stop(container.clone(), grace), Duration::ZERO).await?;
        let mut news = self.news.subscribe();
        loop {
            let now = self.clock.now();
            if self.inner(now).world.ends_at(container).is_none_or(|at| at <= now) {
                return Ok(());
            }
            self.wait_for_news(&mut news).await;
        }
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), EngineError> {
        self.act(Call::Remove, Effect::Remove(container.clone()), Duration::ZERO).await.map(|_| ())
    }

    async fn logs(&self, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
        let (lines, _) = self
            .ask(Call::Logs, |inner, now| inner.world.output(container, now))
            .await?
            .ok_or(EngineError::NotFound)?;
        Ok(if follow {
            self.followed(container.clone())
        } else {
            futures::stream::iter(lines.into_iter().map(Ok)).boxed()
        })
    }

    async fn list(&self, instance: InstanceId) -> Result<Vec<Listed>, EngineError> {
        let all = self.ask(Call::List, |inner, now| inner.world.list(now)).await?;
        Ok(all.into_iter().filter(|listed| listed.owner.is_some_and(|owner| owner.instance == instance)).collect())
    }

    async fn events(&self, instance: InstanceId) -> Result<BoxStream<'static, Result<Hint, EngineError>>, EngineError> {
        let seen = self.ask(Call::Events, |inner, now| inner.world.since(0, now).len()).await?;
        Ok(self.hints(instance, seen))
    }

    async fn testimony(
        &self,
        container: &ContainerId,
        question: Question,
        since: Timestamp,
    ) -> Result<Testimony, EngineError> {
        let (log, whole, reaches_back) =
            self.ask(Call::Testimony, |inner, now| inner.world.log(container, since, now)).await?;
        let covers = match question {
            Question::StartedBeforeRemoval => log.contains(&Happened::Destroy) && reaches_back,
            Question::StartedByThisEngine => whole,
        };
        Ok(match (log.contains(&Happened::Start), covers) {
            (true, _) => Testimony::Seen,
            (false, true) => Testimony::NotSeen,
            (false, false) => Testimony::CannotTell,
        })
    }
}
