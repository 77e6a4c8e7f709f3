//! The failpoints at which a scheduler can be killed, and the trace of everything that passes them.
//!
//! A failpoint is the moment before or after a call to the engine or a commit of the store.
//! Failpoints are numbered from the beginning of a run, so the same seed has the same failpoints. A
//! killed process passes no further failpoint, so its pending work has no effect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tidetable::clock::Clock;
use tidetable::domain::names::id::Timestamp;
use tokio::sync::Notify;

use crate::simulation::expectations::Expectations;
use crate::support::clock::VirtualClock;

pub struct Failpoints {
    clock: Arc<VirtualClock>,
    expectations: Arc<Expectations>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    passed: u64,
    kill_at: Option<u64>,
    text: Option<String>,
    broken: Option<String>,
}

impl Failpoints {
    pub fn new(clock: Arc<VirtualClock>, expectations: Arc<Expectations>, keep_text: bool) -> Self {
        let state = State { text: keep_text.then(String::new), ..State::default() };
        Self { clock, expectations, state: Mutex::new(state) }
    }

    /// Returns the time that the wall clock shows.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the number of failpoints passed so far.
    pub fn passed(&self) -> u64 {
        self.state.lock().unwrap().passed
    }

    /// Kills the process that passes this failpoint; `None` kills none.
    pub fn kill_at(&self, point: Option<u64>) {
        self.state.lock().unwrap().kill_at = point;
    }

    /// Returns the first guarantee that did not hold, if any.
    pub fn broken(&self) -> Option<String> {
        self.state.lock().unwrap().broken.clone()
    }

    /// Records that a guarantee does not hold. The run ends at this failpoint or the next.
    pub fn fail(&self, what: String) {
        let mut state = self.state.lock().unwrap();
        let at = state.passed;
        state.broken.get_or_insert(format!("at point {at}: {what}"));
    }

    /// Writes a line of the trace.
    pub fn note(&self, line: impl FnOnce() -> String) {
        let mut state = self.state.lock().unwrap();
        if let Some(text) = &mut state.text {
            let elapsed = self.clock.elapsed().as_micros();
            *text += &format!("{elapsed:>12} {}\n", line());
        }
    }

    /// Returns the whole trace; empty unless text is kept.
    pub fn trace(&self) -> String {
        self.state.lock().unwrap().text.clone().unwrap_or_default()
    }

    /// Returns true if the process ends at the failpoint that is passed now.
    fn pass(&self, line: impl FnOnce() -> String) -> bool {
        let number = {
            let mut state = self.state.lock().unwrap();
            state.passed += 1;
            state.passed
        };
        self.note(|| format!("{number:>5} {}", line()));
        if let Err(what) = self.expectations.hold_so_far(self.clock.now()) {
            self.fail(what);
        }
        let state = self.state.lock().unwrap();
        state.kill_at == Some(number) || state.broken.is_some()
    }
}

/// A process of the scheduler, which a failpoint can kill.
pub struct Process {
    pub failpoints: Arc<Failpoints>,
    dead: AtomicBool,
    /// Notified when the process ended at a failpoint.
    pub killed: Notify,
}

impl Process {
    pub fn new(failpoints: Arc<Failpoints>) -> Self {
        Self { failpoints, dead: AtomicBool::new(false), killed: Notify::new() }
    }

    pub fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Passes a failpoint, or never returns if the process ends there.
    pub async fn point(&self, line: impl FnOnce() -> String) {
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.failpoints.pass(line) {
            self.end();
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }
}
