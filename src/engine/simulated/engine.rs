//! The simulated engine, and the path of every call through its transport.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::faults::{Call, Fault, Faults};
use super::state::EngineState;
use super::time::{Now, instant_after};
use super::transport::*;
use crate::clock::Clock;
use crate::domain::job::Reason;
use crate::engine::EngineError;
use crate::sync::ChangeCounter;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The settings of a simulated engine.
pub struct Settings {
    /// The seed of the container ids and of the random number generator.
    pub seed: u64,
    pub costs: Costs,
    /// The chooser of faults; `None` for an engine without faults.
    pub faults: Option<Faults>,
    /// True to keep [`SimulatedEngine::recorded_events`]. The record grows with every container, so
    /// a server does not keep it.
    pub keep_record: bool,
}

/// The time that each kind of call takes. Real engines take about 10 ms for each, and 100 ms for a
/// `start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    pub create: Duration,
    pub start: Duration,
    /// The time of a `stop` before the signal is sent.
    pub stop: Duration,
    pub remove: Duration,
    /// The time of `inspect` and all other calls that only read.
    pub look: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 0, costs: Costs::default(), faults: None, keep_record: true }
    }
}

/// The simulated engine. A clone is the same engine.
#[derive(Clone)]
pub struct SimulatedEngine {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) seed: u64,
    pub(super) costs: Costs,
    pub(super) keep_record: bool,
    pub(super) inner: Arc<Mutex<Inner>>,
    /// A counter that rises with every event.
    pub(super) news: Arc<ChangeCounter>,
}

impl SimulatedEngine {
    /// Makes an engine without containers.
    pub fn new(clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let Settings { seed, costs, faults, keep_record } = settings;
        let inner = Inner {
            states: vec![EngineState::new(format!("{seed}/0"), keep_record)],
            current: 0,
            faults,
            sent: Default::default(),
            calls: 0,
            connections: 0,
            cut: false,
            down: false,
            paused: false,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
        };
        let (inner, news) = (Arc::new(Mutex::new(inner)), Arc::default());
        Self { clock, seed, costs, keep_record, inner, news }
    }
}

impl SimulatedEngine {
    /// Locks the state and brings it up to the present time.
    pub(super) fn look(&self) -> (MutexGuard<'_, Inner>, Now) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Now::read(&*self.clock);
        inner.settle(now);
        (inner, now)
    }

    /// Wakes all waiters for any event.
    pub(super) fn tell(&self) {
        self.news.tell();
    }

    /// Chooses the fault of a call. Fails when the connection is cut or the engine is down.
    pub(super) fn decision(&self, call: Call) -> Result<Fault, EngineError> {
        let (mut inner, _) = self.look();
        if inner.cut || inner.down {
            return Err(no_answer("nothing listens there"));
        }
        Ok(inner.faults.as_mut().map_or(Fault::None, |faults| faults(call)))
    }

    /// Performs a call that only reads.
    pub(super) async fn ask<T>(
        &self,
        call: Call,
        question: impl FnOnce(&mut EngineState, Now) -> T + Send,
    ) -> Result<T, EngineError> {
        let connection = self.look().0.connections;
        let takes = match self.decision(call)? {
            Fault::None => self.costs.look,
            Fault::Late(late) => self.costs.look.saturating_add(late),
            Fault::Hang(time) | Fault::DoneThenHang(time) => return Err(hang(time).await),
            Fault::NotDone
            | Fault::AnswerLost
            | Fault::LostAndLate(_)
            | Fault::Phantom(_)
            | Fault::DiskFull
            | Fault::Twice
            | Fault::Ends => return Err(lost()),
        };
        pass(takes).await;
        self.awake(connection).await?;
        let (mut inner, now) = self.look();
        Ok(question(inner.state(), now))
    }

    /// Waits while the engine is frozen. Fails when the connection has broken since.
    pub(super) async fn awake(&self, connection: u64) -> Result<(), EngineError> {
        loop {
            let seen = *self.news.look();
            {
                let (inner, _) = self.look();
                if inner.connections != connection || inner.cut || inner.down {
                    return Err(no_answer("the connection broke"));
                }
                if !inner.paused {
                    return Ok(());
                }
            }
            self.news.since(seen).await;
        }
    }

    /// Performs a call that changes something.
    pub(super) async fn act(&self, call: Call, effect: Effect) -> Answer {
        let takes = self.costs.of(call);
        let (after, hangs) = match self.decision(call)? {
            Fault::None => return self.heard(self.send(effect, takes)).await,
            Fault::Late(late) => {
                return self.heard(self.send(effect, takes.saturating_add(late))).await;
            }
            Fault::AnswerLost => (takes, Duration::ZERO),
            Fault::LostAndLate(late) => (takes.saturating_add(late), Duration::ZERO),
            Fault::DoneThenHang(time) => (takes, time),
            Fault::Hang(time) => return Err(hang(time).await),
            Fault::Phantom(time) => return Err(self.reserve_phantom_name(&effect, time)),
            Fault::DiskFull => match self.refused(&effect) {
                Some(refusal) => return Err(refusal),
                None => return self.heard(self.send(effect, takes)).await,
            },
            Fault::NotDone | Fault::Twice | Fault::Ends => return Err(lost()),
        };
        self.send(effect, after);
        pass(hangs).await;
        Err(lost())
    }

    /// Sends a call, to be performed after the time that it takes.
    fn send(&self, effect: Effect, takes: Duration) -> (Instant, oneshot::Receiver<Answer>) {
        let (caller, answer) = oneshot::channel();
        let (mut inner, now) = self.look();
        let at = instant_after(now.at, takes);
        inner.calls += 1;
        let (state, key) = (inner.current, (at, inner.calls));
        inner.sent.insert(key, Sent { state, effect, answer: Some(caller) });
        inner.settle(now);
        drop(inner);
        self.tell();
        (at, answer)
    }

    /// Waits for the answer to a call that was sent.
    async fn heard(&self, (at, mut answer): (Instant, oneshot::Receiver<Answer>)) -> Answer {
        tokio::select! {
            biased;
            heard = &mut answer => return heard.unwrap_or_else(|_| Err(lost())),
            () = tokio::time::sleep_until(at) => {}
        }
        // The call is performed by now, unless the engine is frozen; then the end of the freeze
        // performs it.
        drop(self.look());
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    fn reserve_phantom_name(&self, effect: &Effect, time: Duration) -> EngineError {
        let Effect::Create(launch) = effect else { return lost() };
        let (mut inner, now) = self.look();
        inner.state().reserve_phantom_name(&launch.name, instant_after(now.at, time));
        EngineError::Conflict(format!("the name {} is taken", launch.name))
    }

    /// Returns the refusal of a full disk; `None` for a call that a full disk does not refuse.
    fn refused(&self, effect: &Effect) -> Option<EngineError> {
        let message = "no space left on device".to_owned();
        match effect {
            Effect::Create(_) => {
                Some(EngineError::Refused { reason: Reason::CreateFailed, message })
            }
            Effect::Start(id) => Some(self.look().0.state().refuse_start(id, message)),
            Effect::Stop(..) | Effect::Remove(_) => None,
        }
    }
}

impl Costs {
    fn of(&self, call: Call) -> Duration {
        match call {
            Call::Create => self.create,
            Call::Start => self.start,
            Call::Stop => self.stop,
            Call::Remove => self.remove,
            Call::Describe
            | Call::Pull
            | Call::Layer
            | Call::Inspect
            | Call::Logs
            | Call::Line
            | Call::List
            | Call::Events
            | Call::ContainerEvent
            | Call::Evidence => self.look,
        }
    }
}
