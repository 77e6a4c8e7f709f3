//! The words for a job's status, reason and map: the same in JSON, on the command line and in the
//! store.

/// A map in which `GET /jobs` shows jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    /// Jobs that wait for their due time, a slot, the engine or a retry.
    Scheduled,
    /// Jobs between the claim and the result.
    Running,
    /// Jobs that are over.
    History,
}

impl Map {
    /// Returns the key of this map in `GET /jobs`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::History => "history",
        }
    }
}

macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the word for the value in JSON, on the command line and in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Returns the value for this word; `None` for an unknown word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(super) use string_enum;

string_enum! {
    /// The word for a job's state; the API calls it `status`.
    Status {
        Scheduled = "scheduled",
        /// Due, and waiting for a slot or the engine.
        Queued = "queued",
        Retrying = "retrying",
        /// The image is being pulled.
        Pulling = "pulling",
        /// The container is being created or started.
        Starting = "starting",
        /// The container's process runs.
        Running = "running",
        /// A stop was requested.
        Stopping = "stopping",
        /// The process ended with exit code 0.
        Succeeded = "succeeded",
        /// Any other end that is certain.
        Failed = "failed",
        /// Stopped because it ran past its timeout.
        TimedOut = "timed_out",
        /// Stopped by a caller's request.
        Stopped = "stopped",
        /// Taken off the schedule before it ran.
        Canceled = "canceled",
        /// Not started before its start deadline, or its tick was missed.
        Missed = "missed",
        /// Ended without evidence of whether or how it ran.
        Unknown = "unknown",
    }
}

string_enum! {
    /// The reason for a wait, a failure or an unknown end: the code beside the sentence.
    Reason {
        /// The process ended with a code other than 0.
        ExitNonzero = "exit_nonzero",
        /// The kernel's out-of-memory killer ended the process.
        OomKilled = "oom_killed",
        /// The process was ended by a signal that we did not send.
        Signaled = "signaled",
        /// The image is neither on the engine nor in its registry.
        ImageNotFound = "image_not_found",
        /// The registry denied access to the image.
        PullDenied = "pull_denied",
        /// The pull failed midway.
        PullFailed = "pull_failed",
        /// The engine refuses the spec.
        InvalidSpec = "invalid_spec",
        /// A secret or an env file is missing or unreadable.
        SecretMissing = "secret_missing",
        /// The command is not in the image, or is not executable.
        CommandNotFound = "command_not_found",
        /// The engine could not create the container.
        CreateFailed = "create_failed",
        /// The engine could not start the container.
        StartFailed = "start_failed",
        /// The engine restarted and killed the container.
        EngineRestarted = "engine_restarted",
        /// The container is gone, and the evidence with it.
        ContainerRemoved = "container_removed",
        /// Somebody else started the container again, which destroyed the evidence.
        StartedAgain = "started_again",
        /// No evidence shows whether the container was started.
        StartAmbiguous = "start_ambiguous",
        /// The job may have run after the restored backup was made.
        Restored = "restored",
        /// The process ran past the job's `timeout`.
        Timeout = "timeout",
        /// The job was not started before its start deadline.
        DeadlinePassed = "deadline_passed",
        /// The previous run of the same schedule is not over.
        Overlap = "overlap",
        /// An earlier tick of the same schedule is due and has not begun.
        StillWaiting = "still_waiting",
        /// The schedule has the largest allowed number of waiting ticks.
        Backlog = "backlog",
        /// The job's schedule is paused, or everything is.
        Paused = "paused",
        /// The schedule has reached its limit of runs.
        Limit = "limit",
        /// The job's schedule was changed.
        ScheduleChanged = "schedule_changed",
        /// The job's schedule was deleted.
        ScheduleDeleted = "schedule_deleted",
        /// The tick is covered by a later tick's job.
        CaughtUp = "caught_up",
        /// The tick was missed by longer than the schedule's catch-up window.
        OutsideWindow = "outside_window",
        /// The tick was missed, and the schedule does not catch up.
        NotCaughtUp = "not_caught_up",
        /// The policy forbids the job.
        PolicyDenied = "policy_denied",
        /// The job's name is neither a definition nor an image.
        NoSuchJob = "no_such_job",
        /// All slots are in use.
        NoSlot = "no_slot",
        /// The queue has its largest allowed number of running jobs.
        QueueFull = "queue_full",
        /// The name has its largest allowed number of running jobs.
        MaxParallel = "max_parallel",
        /// The engine does not answer.
        EngineUnreachable = "engine_unreachable",
        /// Another engine answers at the same address.
        EngineChanged = "engine_changed",
    }
}

impl Status {
    /// Returns the map in which jobs of this status are shown.
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

/// The outcome of a job that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The process ended with exit code 0.
    Succeeded,
    /// Any other end that is certain.
    Failed,
    /// The process ran past the job's `timeout` and was stopped.
    TimedOut,
    /// The job was stopped by a caller's request.
    Stopped,
    /// The job was taken off the schedule before it ran.
    Canceled,
    /// The job was not started before its start deadline, or its tick was missed.
    Missed,
    /// No evidence shows whether or how the job ran.
    Unknown,
}

impl Outcome {
    /// Returns the value that `serde` fills in before `State::from_parts` sets the outcome from the
    /// status.
    pub(crate) fn placeholder() -> Self {
        Self::Unknown
    }
}

impl Outcome {
    /// Returns the status of a job with this outcome.
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
