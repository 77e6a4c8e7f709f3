//! Long proofs on real engines, each with a short form that runs with all other tests: servers,
//! engines and networks that are killed (`make torture`), and mixed load over time (`make soak`).
//!
//! A binary of its own: these tests load the machine, and others would run beside them.

#[path = "../support/mod.rs"]
mod support;

mod soak;
mod torture;
