//! The HTTP API: its routes, its middleware, and the state that handlers share.
//!
//! Handlers read a request into domain types, call the scheduler's
//! [`Handle`](crate::scheduler::Handle) (or read the store), and shape the answer ([`views`]).
//! Every error is a [`Problem`](problem::Problem), even if no handler made it: an unknown path, a
//! method that is not allowed, a body that is too large, a panic. [`auth`] decides which callers
//! are admitted, before any handler runs.
//!
//! The classic calls, such as `POST /job` and `GET /jobs`, keep the fields and sentences of the
//! original API word for word.

mod answers;
pub(in crate::http) mod api;
pub mod auth;
mod body;
mod compression;
mod etag;
mod faults;
mod json;
mod metered;
mod openapi;
pub mod problem;
mod query;
mod router;
mod similar;
mod state;
mod streamed;
mod text;
mod unique;
pub mod views;
pub mod web;

pub use body::MAX_BODY_BYTES;
pub use router::BODY_TIMEOUT;
pub use state::Api;
pub use web::BasePath;
