//! A container of ours on an engine, and its phase, as an inspection showed them.
//!
//! Every engine has its own words (`created`, `initialized`, `stopped`, `dead` …). The engine
//! module folds them into four phases, so the protocol decides on these four alone.

use serde::{Deserialize, Serialize};

use super::names::id::{Attempt, ContainerId, Digest, InstanceId, JobId, Timestamp};

/// The label with the id of the instance that made the container.
pub const LABEL_INSTANCE: &str = "tidetable.instance";
/// The label with the id of the container's job.
pub const LABEL_JOB: &str = "tidetable.job";
/// The label with the number of the attempt.
pub const LABEL_ATTEMPT: &str = "tidetable.attempt";
/// The label with the name of the job's schedule.
pub const LABEL_SCHEDULE: &str = "tidetable.schedule";
/// The label with the container's spec hash.
pub const LABEL_SPEC_HASH: &str = "tidetable.spec-hash";
/// The name of the same label in versions up to 0.1. A container that was created by one of them is
/// still recognized.
pub const LABEL_SPEC_HASH_OLD: &str = "tidetable.recipe";
/// The reserved prefix: callers may not set labels that begin with it.
pub const LABEL_PREFIX: &str = "tidetable.";

/// The three labels by which a container is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The instance (scheduler state) that made the container.
    pub instance: InstanceId,
    /// The job for which the container was made.
    pub job: JobId,
    /// The number of the job's attempt.
    pub attempt: Attempt,
}

/// The spec hash of a container, as one short word. Two containers have the same hash if they
/// differ only in their container ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpecHash(pub String);

/// A container as one inspection showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's id for the container.
    pub id: ContainerId,
    /// The owner from the labels; `None` if labels are missing or are not valid ids.
    pub owner: Option<Owner>,
    /// The spec hash from the label; `None` if the label is missing.
    pub spec_hash: Option<SpecHash>,
    /// The time at which the engine created the container, by the engine's clock.
    pub created_at: Timestamp,
    /// The digest of the container's image: the registry's if there is one, else the image's own
    /// id.
    pub image_digest: Option<Digest>,
    pub phase: Phase,
}

/// The phase of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Created, and the process never ran. `refusal` holds the engine's record of a start that
    /// failed. A refusal proves that the start has failed and is over.
    Created {
        /// The failed start, if there was one.
        refusal: Option<StartRefusal>,
    },
    /// The process runs (or is paused).
    Running {
        /// The start of the process, by the engine's clock.
        started_at: Timestamp,
    },
    /// The process ran and has ended.
    Exited {
        /// The start of the process, by the engine's clock.
        started_at: Timestamp,
        /// The way in which the process ended.
        exit: Exit,
    },
    /// The engine is removing the container, which will soon be gone.
    Removing,
}

/// An engine's record on a container that it could not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRefusal {
    /// The code that the engine chose: 127 for a command that is missing, 126 for a command that
    /// may not run.
    pub code: i32,
    /// The engine's error message.
    pub message: String,
}

/// The exit code of an end that nobody observed. Docker sets it on containers that it finds dead
/// when it starts.
pub const UNSEEN_END: i32 = 255;

/// The exit of a container's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + n if signal n ended the process.
    pub code: i32,
    /// True if the kernel's out-of-memory killer was active in the container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// The time of the exit, by the engine's clock.
    pub at: Timestamp,
}

impl Exit {
    /// Returns the signal that ended the process, by the shell's convention of 128 + n.
    pub fn signal(&self) -> Option<i32> {
        (129..=128 + 64).contains(&self.code).then(|| self.code - 128)
    }
}

/// The resources that a container has used, from samples while it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The most memory in any sample, without the page cache that the kernel can drop.
    pub memory_peak_bytes: u64,
    /// The CPU time up to the last sample, in ms.
    pub cpu_ms: u64,
    pub block_read_bytes: u64,
    pub block_write_bytes: u64,
    pub network_rx_bytes: u64,
    pub network_tx_bytes: u64,
    /// The number of samples. What happened after the last one is not in the sums.
    pub samples: u32,
}

impl Usage {
    /// Adds a later sample of the same container.
    #[must_use]
    pub fn with(self, later: Self) -> Self {
        Self {
            memory_peak_bytes: self.memory_peak_bytes.max(later.memory_peak_bytes),
            samples: self.samples.saturating_add(later.samples),
            ..later
        }
    }
}

/// The evidence in the engine's own event log about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The event is in the log.
    Seen,
    /// The log covers the time, and the event is not in it.
    NotSeen,
    /// The log does not reach back far enough to tell.
    Inconclusive,
}

/// A query to the engine's event log about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceQuery {
    /// Asks whether the container was started between an inspection and its removal, which was just
    /// now. The log reaches back far enough if it shows the removal and something that happened
    /// before the inspection.
    StartedBeforeRemoval,
    /// Asks whether the engine that answers now is the one that started the container. If the log
    /// reaches back to the start and does not show it, the engine was restarted in between.
    StartedByThisEngine,
    /// Asks whether the engine that answers now is the one that created the container. An engine
    /// that was killed during a start may leave a process behind. The next engine knows nothing of
    /// that process: to it, the container was never started.
    CreatedByThisEngine,
}
