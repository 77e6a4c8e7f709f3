//! The monitor: keeps the connection to the engine and tracks its health.
//!
//! A container event of the engine only says that one container is worth an inspect. Events may be
//! lost, doubled and late, and their stream may end at any time. So after every (re)connection, and
//! now and then, everything is compared ([`sweep`]). A quiet stream may also be a
//! broken one, so the engine is pinged as well.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::sweep;
use crate::domain::names::actor::Actor;
use crate::domain::names::change::{Change, Kind};
use crate::domain::names::id::Seq;
use crate::engine::{Description, EngineError};
use crate::scheduler::{
    context::{Context, Health},
    timing::{Backoff, PING_EVERY, SWEEP_EVERY},
};
use crate::store::ObjectChange;

/// Stays connected until `stop` is cancelled.
pub(in crate::scheduler) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let stay = async {
        let mut backoff = Backoff::new();
        loop {
            let Err(failure) = connection(&context, &mut backoff).await;
            if let Some(kind) = context.engine_is_down(&failure) {
                context.note_engine(kind, Change::Down).await;
            }
            backoff.pause().await;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = stay => {}
    }
}

/// Runs one connection, from the first answer to the last.
async fn connection(context: &Context, backoff: &mut Backoff) -> Result<Infallible, EngineError> {
    // Subscribed before the identity check, so that nothing is missed between the two. Later events
    // arrive in the stream. An engine that is replaced after the check breaks the stream.
    let mut hints = context.engine.events(context.store.instance()).await?;
    check_identity(context).await?;
    // Polled concurrently: a slow comparison must not hide that the connection is gone.
    let mut upkeep = pin!(keep_up(context, backoff));
    loop {
        tokio::select! {
            biased;
            failed = &mut upkeep => return failed,
            event = hints.next() => match event {
                Some(Ok(event)) => context.wake_driver(event.job),
                Some(Err(failure)) => return Err(failure),
                None => return Err(EngineError::NoAnswer("its stream of events ended".to_owned())),
            },
        }
    }
}

/// Sweeps at once and at intervals, and pings the engine in between.
async fn keep_up(context: &Context, backoff: &mut Backoff) -> Result<Infallible, EngineError> {
    sweep::run(context).await?;
    *backoff = Backoff::new();
    let mut ping = ticks(PING_EVERY);
    let mut sweeps = ticks(SWEEP_EVERY);
    loop {
        tokio::select! {
            biased;
            _ = ping.tick() => check_identity(context).await?,
            _ = sweeps.tick() => sweep::run(context).await?,
        }
    }
}

fn ticks(every: std::time::Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Checks the identity of the engine that answers. The store remembers the engine that holds our
/// containers. Another engine at the same address is refused: none of our containers would be found
/// there, and all of them would count as lost.
async fn check_identity(context: &Context) -> Result<(), EngineError> {
    let found = context.engine.describe().await?;
    let broken = |failure: crate::store::StoreError| EngineError::NoAnswer(failure.to_string());
    let known = context.store.engine().await.map_err(broken)?;
    match known {
        Some(known) if known != found.id && !context.rules().settings.accept_new_engine => {
            let kind = found.kind;
            if context.engine_is_another(known, found) {
                context.note_engine(kind, Change::Replaced).await;
            }
            Err(EngineError::NoAnswer("another engine answers at this address".to_owned()))
        }
        Some(known) if known == found.id => {
            context.engine_answers(found).await;
            Ok(())
        }
        Some(_) | None => {
            context.store.remember_engine(&found.id).await.map_err(broken)?;
            context.engine_answers(found).await;
            Ok(())
        }
    }
}

impl Context {
    async fn engine_answers(&self, found: Description) {
        let kind = found.kind;
        if self.engine_is_up(found) {
            self.note_engine(kind, Change::Up).await;
        }
    }

    /// Writes down what became of the engine. The journal is for people here: a store that fails
    /// is only logged.
    async fn note_engine(&self, name: &str, change: Change) {
        let (at, by, kind) = (self.clock.now(), Some(Actor::Scheduler), Kind::Engine);
        let change = ObjectChange { seq: Seq(0), at, by, kind, name: name.to_owned(), change };
        if let Err(error) = self.store.note(change).await {
            warn!(%error, "a change of the engine could not be written to the journal");
        }
    }

    /// Returns whether this is news.
    fn engine_is_up(&self, found: Description) -> bool {
        let news = Health::Up(found.clone());
        let changed = self.health.change(|health| {
            *health != news && {
                *health = news;
                true
            }
        });
        if changed {
            info!(engine = found.kind, version = %found.version, id = %found.id, "connected to the engine");
            self.wake.notify_one();
        }
        changed
    }

    /// Returns the kind of an engine that answered until now.
    fn engine_is_down(&self, failure: &EngineError) -> Option<&'static str> {
        let since = self.clock.now();
        let error = failure.to_string();
        let mut was_up = None;
        self.health.change(|health| match health {
            Health::Up(engine) => {
                warn!(%error, "the connection to the engine is gone; due jobs wait, containers keep running");
                was_up = Some(engine.kind);
                *health = Health::Down { error, since };
                true
            }
            Health::Down { error: last, .. } => {
                if *last != error {
                    warn!(%error, "the engine does not answer; due jobs wait");
                    *last = error;
                }
                false
            }
            Health::Changed { .. } => false,
        });
        was_up
    }

    /// Returns whether this is news.
    fn engine_is_another(
        &self,
        known: crate::domain::names::id::EngineId,
        found: Description,
    ) -> bool {
        let since = self.clock.now();
        self.health.change(|health| {
            if matches!(health, Health::Changed { .. }) {
                return false;
            }
            error!(known = %known, found = %found.id, "another engine answers at this address: nothing is started. If that is meant, start once with --accept-new-engine");
            *health = Health::Changed { known, found: found.id, since };
            true
        })
    }
}
