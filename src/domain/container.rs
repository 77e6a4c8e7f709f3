//! What an engine can have of ours: a container and the phase it is in, as an inspection saw it.
//!
//! Every engine's own words (`created`, `initialized`, `stopped`, `dead` …) are folded into four phases at the
//! engine's edge, so that the protocol is decided on these and on nothing else.

use serde::{Deserialize, Serialize};

use super::id::{Attempt, ContainerId, Digest, InstanceId, JobId, Timestamp};

/// The label that says whose container it is.
pub const LABEL_INSTANCE: &str = "tidetable.instance";
/// The label that says which job it was made for.
pub const LABEL_JOB: &str = "tidetable.job";
/// The label that says which attempt it is.
pub const LABEL_ATTEMPT: &str = "tidetable.attempt";
/// The label that says which schedule the job is of.
pub const LABEL_SCHEDULE: &str = "tidetable.schedule";
/// The label that says what it was made by.
pub const LABEL_RECIPE: &str = "tidetable.recipe";
/// The prefix that no caller's own label may have.
pub const LABEL_PREFIX: &str = "tidetable.";

/// The three labels by which a container is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The scheduler state that made it.
    pub instance: InstanceId,
    /// The job it was made for.
    pub job: JobId,
    /// The attempt it is.
    pub attempt: Attempt,
}

/// What a container is made by, as one short word: the same for two containers that only differ in their ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipe(pub String);

/// A container as one inspection saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's id for it.
    pub id: ContainerId,
    /// Whose it is, or `None` where the labels are missing or no ids.
    pub owner: Option<Owner>,
    /// What it was made by, or `None` where no label says so.
    pub recipe: Option<Recipe>,
    /// When the engine made it, by the engine's clock.
    pub created_at: Timestamp,
    /// The digest of the image it was made from: the registry's where there is one, else the image's own id.
    pub image_digest: Option<Digest>,
    /// Where it stands.
    pub phase: Phase,
}

/// Where a container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Made, and its process never ran. `refusal` holds what the engine wrote down when it tried to start it
    /// and could not; it is proof that the start has failed and is over.
    Created {
        /// The failed start, if there was one.
        refusal: Option<StartRefusal>,
    },
    /// Its process runs (or is paused).
    Running {
        /// Since when, by the engine's clock.
        started_at: Timestamp,
    },
    /// Its process ran and has ended.
    Exited {
        /// Since when it ran, by the engine's clock.
        started_at: Timestamp,
        /// How it ended.
        exit: Exit,
    },
    /// The engine is taking it away; soon it will be gone.
    Removing,
}

/// What an engine wrote on a container that it could not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRefusal {
    /// The code that the engine chose: 127 for a command that is not there, 126 for one that may not run.
    pub code: i32,
    /// The engine's sentence.
    pub message: String,
}

/// The code of an end that nobody saw. Docker gives it to containers that it finds dead when it starts.
pub const UNSEEN_END: i32 = 255;

/// How a container's process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + n where signal n ended the process.
    pub code: i32,
    /// Whether the kernel's out-of-memory killer was at work in the container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// When, by the engine's clock.
    pub at: Timestamp,
}

impl Exit {
    /// The signal that ended the process, by the shell's convention of 128 + n.
    pub fn signal(&self) -> Option<i32> {
        (129..=128 + 64).contains(&self.code).then(|| self.code - 128)
    }
}

/// What the engine's own event log says about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Testimony {
    /// The event is in the log.
    Seen,
    /// The log covers the time and the event is not in it.
    NotSeen,
    /// The log does not reach back far enough to tell.
    CannotTell,
}

/// What the engine's log can be asked about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it was started between a look at it and its removal, which was just now. The log reaches far enough if
    /// it shows the removal and something that happened before the look.
    StartedBeforeRemoval,
    /// Whether the engine that answers now is the one that started it; a log that reaches back to then and has no start
    /// in it is that of an engine that was restarted in between.
    StartedByThisEngine,
    /// Whether the engine that answers now is the one that created it. An engine that was killed over a start may have
    /// left a process of which the next one knows nothing: to that one the container was never started.
    CreatedByThisEngine,
}
