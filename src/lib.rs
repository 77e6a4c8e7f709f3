//! Tidetable runs container images when they are due.
//!
//! A caller posts a job name and a date over REST. At that date, a container of that image starts
//! on a real engine. The job moves through three maps: *scheduled*, *running* and *history*. Every
//! event of a job stays visible afterwards.
//!
//! An acknowledged job is on disk. Each attempt starts at most one container, at most once. A job
//! that did not run says why.
//!
//! # Architecture
//!
//! ```text
//! main → cli → app, supervise, reload, notify  the binary, where all modules meet
//!         └──→ client                         the command line is a client of the API
//! http             HTTP: requests in, domain types through, JSON out
//! config           flags, environment, TOML file → one checked config
//! scheduler        due → claim → create → start → watch → finish; the same path after a crash
//! store │ engine   the state on disk │ the container engines; neither knows the other
//! metrics          counters, histograms and the text of a scrape
//! clock, sync      time and random numbers │ a value that tasks wait on
//! domain           pure: no clock, no I/O; the rules, and with them the guarantees
//! ```
//!
//! A module uses only modules below it (`tests/architecture.rs` checks this). To check the
//! guarantees, read the four functions that [`domain`] lists. They are pure, and normal operation
//! and recovery after a crash use the same ones.
//!
//! # How a job flows
//!
//! 1. [`http`] reads `POST /job` into a [`scheduler::JobRequest`]. The [`scheduler::Handle`]
//!    resolves the job name, checks the policy, and writes the job to the [`store`]. The answer
//!    leaves when the job is on disk.
//! 2. The scheduler's stager has the engine pull images and create containers for jobs that are
//!    due soon. The dispatcher asks the store for due jobs and claims them.
//! 3. A driver takes the claimed job through its steps. Each step is one call to the [`engine`],
//!    and its result is on disk before the next step.
//! 4. When the container's process has ended, the driver records the result. A clearing then keeps
//!    the output and removes the container.
//!
//! `docs/internals/architecture.md` gives the reasons, and says where a new engine, store or
//! endpoint goes.

mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
pub mod metrics;
mod notify;
mod reload;
pub mod scheduler;
pub mod store;
mod supervise;
mod sync;
