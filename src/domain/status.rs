//! The words for what a job is, why, and where it is shown: the same in JSON, on the command line and in the store.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the seed's three maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    /// Waiting.
    Scheduled,
    /// Somewhere between the claim and the result.
    Running,
    /// Over.
    History,
}

impl Map {
    /// The key of this map in `GET /jobs`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::History => "history",
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word for it in JSON, on the command line and in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The one that this word names.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// The word for a state; what the API calls `status`.
    Status {
        /// Waiting for its due time.
        Scheduled = "scheduled",
        /// Due, waiting for a slot or the engine.
        Queued = "queued",
        /// Waiting for its next attempt.
        Retrying = "retrying",
        /// The image is on its way.
        Pulling = "pulling",
        /// The container is being created or started.
        Starting = "starting",
        /// The container runs.
        Running = "running",
        /// Asked to stop.
        Stopping = "stopping",
        /// Exit code 0.
        Succeeded = "succeeded",
        /// Anything else that is certain.
        Failed = "failed",
        /// Ran past its timeout.
        TimedOut = "timed_out",
        /// Stopped by request.
        Stopped = "stopped",
        /// Taken off the schedule.
        Canceled = "canceled",
        /// Its start deadline passed.
        Missed = "missed",
        /// Cannot be established.
        Unknown = "unknown",
    }
}

words! {
    /// Why a job waits, failed, or is not known: the code beside the sentence.
    Reason {
        /// The process ended with a code other than 0.
        ExitNonzero = "exit_nonzero",
        /// The kernel's out-of-memory killer ended it.
        OomKilled = "oom_killed",
        /// A signal that we did not send ended it.
        Signaled = "signaled",
        /// The image is neither on the engine nor in its registry.
        ImageNotFound = "image_not_found",
        /// The registry refused us.
        PullDenied = "pull_denied",
        /// The pull broke off.
        PullFailed = "pull_failed",
        /// The engine refuses the spec.
        InvalidSpec = "invalid_spec",
        /// A secret or an env file cannot be had.
        SecretMissing = "secret_missing",
        /// The command is not in the image, or may not run.
        CommandNotFound = "command_not_found",
        /// The engine could not create the container.
        CreateFailed = "create_failed",
        /// The engine could not start the container.
        StartFailed = "start_failed",
        /// The engine restarted and killed the container.
        EngineRestarted = "engine_restarted",
        /// The container is gone, and with it the evidence.
        ContainerRemoved = "container_removed",
        /// Somebody else started the container again, and with that the evidence is gone.
        StartedAgain = "started_again",
        /// It cannot be told whether the container was started.
        StartAmbiguous = "start_ambiguous",
        /// It may have run while this store was a backup.
        Restored = "restored",
        /// It ran past its `timeout`.
        Timeout = "timeout",
        /// Its start deadline passed.
        DeadlinePassed = "deadline_passed",
        /// The run of its schedule before it is not over.
        Overlap = "overlap",
        /// An earlier tick of its schedule is due and has not begun.
        StillWaiting = "still_waiting",
        /// As many ticks of its schedule wait as may.
        Backlog = "backlog",
        /// Its schedule is paused.
        Paused = "paused",
        /// Its schedule has run as often as it may.
        Limit = "limit",
        /// Its schedule was changed.
        ScheduleChanged = "schedule_changed",
        /// Its schedule was deleted.
        ScheduleDeleted = "schedule_deleted",
        /// A later tick's job stands for it.
        CaughtUp = "caught_up",
        /// Its tick was missed for longer than its schedule catches up.
        OutsideWindow = "outside_window",
        /// Its tick was missed, and its schedule does not catch up.
        NotCaughtUp = "not_caught_up",
        /// The policy does not allow it.
        PolicyDenied = "policy_denied",
        /// Its name is neither a definition nor an image.
        NoSuchJob = "no_such_job",
        /// All slots are taken.
        NoSlot = "no_slot",
        /// As many jobs of its queue run as may.
        QueueFull = "queue_full",
        /// As many jobs of its name run as may.
        MaxParallel = "max_parallel",
        /// The engine does not answer.
        EngineUnreachable = "engine_unreachable",
        /// Another engine answers at the same address.
        EngineChanged = "engine_changed",
    }
}

impl Status {
    /// The map that jobs of this status are in.
    pub const fn map(self) -> Map {
        match self {
            Self::Scheduled | Self::Queued | Self::Retrying => Map::Scheduled,
            Self::Pulling | Self::Starting | Self::Running | Self::Stopping => Map::Running,
            Self::Succeeded
            | Self::Failed
            | Self::TimedOut
            | Self::Stopped
            | Self::Canceled
            | Self::Missed
            | Self::Unknown => Map::History,
        }
    }
}

/// The verdict on a job that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Exit code 0.
    Succeeded,
    /// Anything else that is certain.
    Failed,
    /// It ran past its `timeout` and was stopped.
    TimedOut,
    /// It was stopped by request.
    Stopped,
    /// It was taken off the schedule before it ran.
    Canceled,
    /// Its start deadline passed.
    Missed,
    /// Whether or how it ran cannot be established.
    Unknown,
}

impl Outcome {
    /// What `serde` fills in before `State::from_parts` sets the outcome that the status says.
    pub(super) fn placeholder() -> Self {
        Self::Unknown
    }
}

impl Outcome {
    /// The status of a job that ended so.
    pub const fn status(self) -> Status {
        match self {
            Self::Succeeded => Status::Succeeded,
            Self::Failed => Status::Failed,
            Self::TimedOut => Status::TimedOut,
            Self::Stopped => Status::Stopped,
            Self::Canceled => Status::Canceled,
            Self::Missed => Status::Missed,
            Self::Unknown => Status::Unknown,
        }
    }
}
