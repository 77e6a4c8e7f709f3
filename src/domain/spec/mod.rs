//! The spec of a job: the container to run.
//!
//! [`SpecFields`] (`fields`) is the written form, [`JobSpec`] (`job_spec`) the checked one; `check`
//! is between them. Definitions, jobs and schedules share the form. A job's fields override the
//! fields of its definition. The other modules are types of single fields.

mod check;
pub mod command;
mod fields;
pub mod gpus;
mod job_spec;
pub(crate) mod linux;
pub mod notify;
pub mod secret;
mod values;

pub use command::{CommandLine, Env, Labels, Paths};
pub use fields::{BadSpec, FieldReference, Form, SpecFields};
pub use gpus::Gpus;
pub use job_spec::{DEFAULT_LOG_LIMIT_BYTES, DEFAULT_STOP_GRACE, JobSpec};
pub use notify::Notify;
pub use secret::Secrets;
pub use values::{Mount, PullPolicy, Retry, RetryOn, Ulimit, UnknownWord};
