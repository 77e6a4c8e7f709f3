//! The points at which a scheduler can be killed, and the trace of all that passes them.
//!
//! A point is the moment before or after a call to the engine or a commit of the store. They are numbered from the
//! beginning of a story, so the same seed has the same points; a killed life passes no point any more, so nothing that it
//! still has in hand comes to anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tidetable::clock::Clock;
use tidetable::domain::id::Timestamp;
use tokio::sync::Notify;

use crate::books::Books;
use crate::clock::VirtualClock;

pub struct Tap {
    clock: Arc<VirtualClock>,
    books: Arc<Books>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    passed: u64,
    kill_at: Option<u64>,
    text: Option<String>,
    broken: Option<String>,
}

impl Tap {
    pub fn new(clock: Arc<VirtualClock>, books: Arc<Books>, keep_text: bool) -> Self {
        let state = State { text: keep_text.then(String::new), ..State::default() };
        Self { clock, books, state: Mutex::new(state) }
    }

    /// What the wall clock shows.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How many points were passed.
    pub fn passed(&self) -> u64 {
        self.state.lock().unwrap().passed
    }

    /// The life that passes this point ends there.
    pub fn kill_at(&self, point: Option<u64>) {
        self.state.lock().unwrap().kill_at = point;
    }

    /// What did not hold, if anything.
    pub fn broken(&self) -> Option<String> {
        self.state.lock().unwrap().broken.clone()
    }

    /// Something that is promised does not hold: the story ends at this point or the next.
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

    /// The whole trace, where it is kept.
    pub fn trace(&self) -> String {
        self.state.lock().unwrap().text.clone().unwrap_or_default()
    }

    /// True when a life ends at the point that is passed now.
    fn pass(&self, line: impl FnOnce() -> String) -> bool {
        let number = {
            let mut state = self.state.lock().unwrap();
            state.passed += 1;
            state.passed
        };
        self.note(|| format!("{number:>5} {}", line()));
        if let Err(what) = self.books.hold_so_far(self.clock.now()) {
            self.fail(what);
        }
        let state = self.state.lock().unwrap();
        state.kill_at == Some(number) || state.broken.is_some()
    }
}

/// One life of the scheduler.
pub struct Life {
    pub tap: Arc<Tap>,
    dead: AtomicBool,
    /// Told when it has ended at a point.
    pub killed: Notify,
}

impl Life {
    pub fn new(tap: Arc<Tap>) -> Self {
        Self { tap, dead: AtomicBool::new(false), killed: Notify::new() }
    }

    pub fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Passes a point, or never comes back.
    pub async fn point(&self, line: impl FnOnce() -> String) {
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.tap.pass(line) {
            self.end();
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }
}
