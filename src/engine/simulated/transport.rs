//! The transport between callers and the engine: arriving calls, their effects, and their answers.
//!
//! The effect and the time of a call are decided when the call is made. From then on the call is
//! performed even when its caller has gone: dropping a call undoes nothing. Due calls are performed
//! at the next access to the engine, in order.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::faults::{Call, Fault, Faults};
use super::record::Cause;
use super::state::EngineState;
use super::time::{Now, instant_after};
use super::{Costs, SimulatedEngine};
use crate::domain::job::Reason;
use crate::domain::names::id::ContainerId;
use crate::engine::{EngineError, Launch};

/// The answer to a call that changes something.
type Answer = Result<Option<ContainerId>, EngineError>;

/// The effect of a call on the engine's state.
pub(super) enum Effect {
    Create(Box<Launch>),
    Start(ContainerId),
    Stop(ContainerId, Duration),
    Remove(ContainerId),
}

/// A call that was sent: its effect, the number of its engine, and the channel for the answer.
pub(super) struct Sent {
    state: usize,
    effect: Effect,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Sent {
    pub(super) fn is_to(&self, state: usize) -> bool {
        self.state == state
    }
}

/// The state of the simulation: engines, connection, calls and faults.
pub(super) struct Inner {
    /// The engines that ever answered at this address.
    pub(super) states: Vec<EngineState>,
    /// The index of the engine that answers now.
    pub(super) current: usize,
    pub(super) faults: Option<Faults>,
    /// The calls that were sent and not yet performed, ordered by their time.
    pub(super) sent: BTreeMap<(Instant, u64), Sent>,
    pub(super) calls: u64,
    /// A counter that rises whenever all connections break.
    pub(super) connections: u64,
    pub(super) cut: bool,
    pub(super) down: bool,
    pub(super) paused: bool,
    pub(super) rng: Xoshiro256PlusPlus,
}

impl Inner {
    pub(super) fn state(&mut self) -> &mut EngineState {
        &mut self.states[self.current]
    }

    /// Performs the calls that are due and ends the processes that are due to end.
    fn settle(&mut self, now: Now) {
        while let Some(due) =
            self.sent.first_entry().filter(|due| !self.paused && due.key().0 <= now.at)
        {
            let ((at, _), sent) = due.remove_entry();
            self.perform(sent, now.back_to(at));
        }
        for state in &mut self.states {
            state.settle(now);
        }
    }

    pub(super) fn perform(&mut self, sent: Sent, now: Now) {
        let state = &mut self.states[sent.state];
        state.settle(now);
        let answer = match sent.effect {
            Effect::Create(launch) => {
                state.create(&launch, Some(launch.owner), now, Cause::Caller).map(Some)
            }
            Effect::Start(id) => state.start(&id, now, Cause::Caller).map(|()| None),
            Effect::Remove(id) => state.remove(&id, now, Cause::Caller).map(|()| None),
            Effect::Stop(id, grace) => {
                state.stop(&id, grace, now);
                Ok(None)
            }
        };
        if let Some(caller) = sent.answer {
            let _gone = caller.send(answer);
        }
    }

    /// Breaks all connections: no pending call gets an answer.
    pub(super) fn hang_up(&mut self) {
        self.connections += 1;
        self.sent.values_mut().for_each(|sent| sent.answer = None);
    }

    /// Returns the time of the next call to perform or process to end; `None` when nothing is
    /// pending.
    pub(super) fn next(&self) -> Option<Instant> {
        let sent = self.sent.first_key_value().filter(|_| !self.paused).map(|((at, _), _)| *at);
        let ends = self.states.get(self.current).and_then(EngineState::next_end);
        sent.into_iter().chain(ends).min()
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

/// Waits for `something`, at most until `until`. `None` sets no limit.
pub(super) async fn wait_until<T>(until: Option<Instant>, something: impl Future<Output = T>) {
    match until {
        // Ending early or late makes no difference: callers check again.
        Some(at) => drop(tokio::time::timeout_at(at, something).await),
        None => drop(something.await),
    }
}

/// Lets time pass. Does not yield to other tasks when the time is zero.
pub(super) async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

pub(super) async fn hang(time: Duration) -> EngineError {
    pass(time).await;
    lost()
}

pub(super) fn lost() -> EngineError {
    no_answer("the answer is lost")
}

pub(super) fn no_answer(why: &str) -> EngineError {
    EngineError::NoAnswer(format!("simulated: {why}"))
}
