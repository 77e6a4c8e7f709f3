//! Tidetable runs container images when they are due.
//!
//! You post a job name and a date over REST; at that date a container of that image starts on a real engine; its status
//! moves through three maps, *scheduled*, *running* and *history*; and everything that happened is there to see
//! afterwards. A job that was acknowledged is on disk, each attempt starts at most one container at most once, and a
//! job that did not run says why.
//!
//! # The house
//!
//! ```text
//! main → cli → app, supervise, reload, notify  the binary; where everything meets
//!         └──→ client                         the command line is a client of the API
//! api                                         HTTP: requests in, domain types through, JSON out
//! scheduler                                   due → claim → create → start → watch → finish; and the same after a crash
//! store │ engine                              what is on disk │ what runs containers; they do not know each other
//! domain                                      pure: no clock, no I/O; the promise as two tables
//! ```
//!
//! A room knows only rooms below it (`tests/house.rs` holds that). To read the promise, read two files:
//! [`domain::transition`], the one function that moves a job, and [`domain::protocol`], the one function that says what
//! to do next, given what is on disk and what the engine has. Normal life and recovery both go through them.
//!
//! # How a job flows
//!
//! 1. [`api`] reads `POST /job` into a [`scheduler::Order`]; the [`scheduler::Handle`] resolves its name, asks the
//!    policy, and writes it to the [`store`]. The answer leaves when it is on disk.
//! 2. The scheduler's stager has the engine pull and create what is due soon; its dispatcher asks the store what is due, and
//!    claims it.
//! 3. A driver takes the claimed job step by step: each step is one call to the [`engine`], and what it showed is on
//!    disk before the next.
//! 4. When the process has ended, its output is kept, its result is written down, and then the container is removed.
//!
//! `docs/architecture.md` says why it is built so, and where a new engine, store or endpoint goes.

pub mod api;
mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
mod notify;
mod reload;
pub mod scheduler;
pub mod store;
mod supervise;
mod watched;
