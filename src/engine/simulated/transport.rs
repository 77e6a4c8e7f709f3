//! The transport between callers and the engine: arriving calls, their effects, and their answers.
//!
//! The effect and the time of a call are decided when the call is made. From then on the call is
//! performed even when its caller has gone: dropping a call undoes nothing. Due calls are performed
//! at the next access to the engine, in order.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::faults::Faults;
use super::record::Cause;
use super::state::EngineState;
use super::time::Now;
use crate::domain::names::id::ContainerId;
use crate::engine::{EngineError, Launch};

/// The answer to a call that changes something.
pub(super) type Answer = Result<Option<ContainerId>, EngineError>;

/// The effect of a call on the engine's state.
pub(super) enum Effect {
    Create(Box<Launch>),
    Start(ContainerId),
    Stop(ContainerId, Duration),
    Remove(ContainerId),
}

/// A call that was sent: its effect, the number of its engine, and the channel for the answer.
pub(super) struct Sent {
    pub(super) state: usize,
    pub(super) effect: Effect,
    pub(super) answer: Option<oneshot::Sender<Answer>>,
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
    pub(super) fn settle(&mut self, now: Now) {
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
