//! The state that all handlers share.

use std::time::Duration;

use chrono_tz::Tz;
use tokio_util::task::TaskTracker;

use super::streams::Streams;
use super::web::links::BasePath;
use crate::scheduler::Handle;

/// The longest time that a reader may take for one chunk before it is dropped. The reader holds a
/// snapshot meanwhile.
const STALL: Duration = Duration::from_secs(30);

/// The state that all handlers share.
#[derive(Clone)]
pub struct Api {
    pub(super) scheduler: Handle,
    /// The time zone of dates without an offset, and of dates in the classic format.
    pub(super) zone: Tz,
    /// The owner of the tasks that write long answers.
    pub(super) writers: TaskTracker,
    /// The longest time that the reader of a long answer may take nothing of it.
    pub(super) stall: Duration,
    /// The event streams that are open.
    pub(super) streams: Streams,
    /// The name of the engine in the config.
    pub(super) engine: &'static str,
    /// The path below which a reverse proxy serves the pages.
    pub(super) base: BasePath,
}

impl Api {
    /// Creates the API over this scheduler. `writers` owns the tasks that write long answers, so
    /// the server can wait for them when it stops.
    pub fn new(scheduler: Handle, zone: Tz, writers: TaskTracker) -> Self {
        Self {
            scheduler,
            zone,
            writers,
            stall: STALL,
            streams: Streams::default(),
            engine: "docker",
            base: BasePath::default(),
        }
    }

    /// Sets the name of the engine. The default is `docker`.
    #[must_use]
    pub fn with_engine(self, engine: &'static str) -> Self {
        Self { engine, ..self }
    }

    /// Sets the time after which a reader that takes nothing of a long answer is dropped. The
    /// default is 30 s.
    #[must_use]
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// Sets the path below which a reverse proxy serves this server. The default is the root.
    #[must_use]
    pub fn with_base_path(self, base: BasePath) -> Self {
        Self { base, ..self }
    }
}
