//! An engine that runs nothing and behaves like one that does. `tidetable serve --engine simulated`
//! serves for trying the API, for testing a client, and for loading a million jobs. The crash tests
//! drive the engine with faults.
//!
//! Containers live in memory and end with the process. The module `script` lists the commands. All
//! images exist, except in repositories that begin with `no-such-` (never available) or `pull-`
//! (available after a pull). All networks exist, except names that begin with `no-such-`. Time is
//! tokio's, virtual under a paused clock; the given clock only dates events.
//!
//! Calls arrive and fail in `transport` ([`Fault`]). `state` holds the present state and `record`
//! the past; `outages` holds the interference of tests. No task runs here, so one seed gives one
//! run on a runtime of one thread. Callers must avoid random choices of their own: `select!`
//! without `biased` makes one.

mod calls;
mod engine;
mod faults;
mod outages;
mod record;
mod script;
mod state;
mod streams;
#[cfg(test)]
mod tests;
mod time;
mod transport;

pub use engine::{Costs, Settings, SimulatedEngine};
pub use faults::{Call, Fault, Faults, Odds, nth, seeded};
pub use outages::RestartEffect;
pub use record::{EventKind, RecordedEvent, Run};
