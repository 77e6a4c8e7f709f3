//! The written form of a spec: the fields that a caller or the config file writes.
//!
//! Every field may be missing, an unknown field is refused by name, and each value checks its own
//! syntax.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::names::image::ImageRef;
use crate::domain::names::queue::QueueName;
use crate::domain::names::status::{Outcome, Reason};
use crate::domain::text::units::{Bytes, Span};

use super::command::{CommandLine, Env, Labels, Paths};
use super::gpus::Gpus;
use super::notify::Notify;
use super::secret::Secrets;

macro_rules! spec_fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// The fields of a spec. `None` means that the field was not written.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct SpecFields {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }

        impl SpecFields {
            /// The names of all fields, in the order of the documentation.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// Returns these fields, with each missing field taken from `base`.
            pub(super) fn or(self, base: Self) -> Self {
                Self { $($name: self.$name.or(base.$name),)* }
            }
        }
    };
}

spec_fields! {
    /// The image, in a definition. Elsewhere `job_name` names the image.
    image: ImageRef,
    /// Arguments of the entrypoint, or the command to run: a list, or one text that is split like a
    /// shell does.
    command: CommandLine,
    /// The replacement for the image's entrypoint. Never an empty list.
    entrypoint: CommandLine,
    /// Environment variables, `{"K": "V"}` or `["K=V"]`.
    env: Env,
    /// Files of variables; `env` overrides them. Allowed only in a definition of the config file.
    env_file: Paths,
    /// Secrets of the config file, by name: `["NAME"]` is the file `/run/secrets/NAME`,
    /// `["VARIABLE=NAME"]` a variable.
    secrets: Secrets,
    /// The working directory, an absolute path without `..`.
    workdir: String,
    /// The user of the process: `user`, `uid` or `uid:gid`.
    user: String,
    /// The host name inside the container: up to 63 letters, digits, dashes and dots.
    hostname: String,
    /// Bind mounts, volumes and tmpfs; each needs its own target.
    mounts: Vec<Mount>,
    /// `bridge`, `none`, `host`, a network's name, or `container:NAME`.
    network: String,
    /// Lines for `/etc/hosts`, each `name:address`.
    extra_hosts: Vec<String>,
    /// Name servers, each an IP address.
    dns: Vec<String>,
    /// Processors, 0.01 to 4096.
    cpus: f64,
    /// The memory limit, at least 6 MiB.
    memory: Bytes,
    /// The limit of memory and swap together; at least `memory`, and only beside it.
    memory_swap: Bytes,
    /// The limit of processes and threads, at least 1.
    pids: i64,
    /// The size of `/dev/shm`; more than 0.
    shm_size: Bytes,
    /// GPUs: `all`, a number, or a list of devices.
    gpus: Gpus,
    /// Resource limits of the process, as `ulimit` sets them.
    ulimits: Vec<Ulimit>,
    /// Mounts the root file system read-only.
    read_only: bool,
    /// Capabilities of the kernel to add.
    cap_add: Vec<String>,
    /// Capabilities of the kernel to drop.
    cap_drop: Vec<String>,
    /// Security options such as `no-new-privileges`.
    security_opt: Vec<String>,
    /// Gives the container all capabilities and devices.
    privileged: bool,
    /// Runs an init as process 1, which reaps processes and forwards signals.
    init: bool,
    /// The system and processor of the image, such as `linux/amd64`.
    platform: String,
    /// Labels on the job and on its containers.
    labels: Labels,
    pull: PullPolicy,
    /// The signal that asks the process to stop, by name or number.
    stop_signal: String,
    /// The time between the request to stop and the kill. `None` means
    /// [`DEFAULT_STOP_GRACE`](super::DEFAULT_STOP_GRACE).
    stop_grace: Span,
    /// The longest run, more than 0. `None` means the policy's limit, or no limit.
    timeout: Span,
    /// The number of further attempts, the wait between them, and the failures to retry.
    retry: Retry,
    /// The longest delay of the start; a job that is later than that ends as `missed`.
    start_deadline: Span,
    /// Starts the container early enough that the process is running at the due time. The lead is
    /// the shortest time that starts take here.
    aim: bool,
    /// The time before the due time at which the process of a job with `aim` may begin, at most
    /// 1 s. `None` means 0.
    aim_tolerance: Span,
    /// The named queue of the job.
    queue: QueueName,
    /// The rank when slots are short: a higher number goes first.
    priority: i32,
    /// The limit of jobs with the same `job_name` that run at once, at least 1. `None` means no
    /// limit.
    max_parallel: u32,
    /// Leaves the container on the engine when the job has ended.
    keep_container: bool,
    /// The log that is kept, in bytes of text. `None` means
    /// [`DEFAULT_LOG_LIMIT_BYTES`](super::DEFAULT_LOG_LIMIT_BYTES).
    log_limit: Bytes,
    /// The receivers that are notified when the job has ended.
    notify: Notify,
}

/// The time at which an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Pulls an image that the engine does not have.
    #[default]
    Missing,
    /// Pulls the image before every attempt.
    Always,
    /// Never pulls; a missing image is a failure.
    Never,
}

/// A mount of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mount {
    /// A path of the engine's host.
    Bind {
        /// The absolute path on the host.
        source: String,
        /// The absolute path inside the container.
        target: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
    },
    /// A named volume of the engine, created when it is missing.
    Volume {
        source: String,
        /// The absolute path inside the container.
        target: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// The absolute path inside the container.
        target: String,
        /// The largest size, more than 0. `None` means the engine's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<Bytes>,
    },
}

impl Mount {
    /// Returns the path inside the container.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. }
            | Self::Volume { target, .. }
            | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// A resource limit, as `ulimit` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// The name: `nofile`, `nproc` …
    pub name: String,
    /// The limit in force; -1 means none.
    pub soft: i64,
    /// The highest value to which the process may raise `soft`; -1 means none.
    pub hard: i64,
}

/// The retry settings of a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts after the first, up to [`Retry::MAX_ATTEMPTS`]. `None` means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// The wait before the second attempt; `None` means 10 s. The wait doubles with each attempt,
    /// up to six minutes or the first wait if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay: Option<Span>,
    /// Exit codes and reasons that are retried. `None` means every failure, except the
    /// outcome `unknown` and the few reasons listed in [`Retry::covers`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<Vec<RetryOn>>,
}

/// A kind of failure that is retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryOn {
    /// A process that exits with the given code.
    ExitCode(i32),
    /// A failure with the given reason.
    Reason(Reason),
    /// The outcome `unknown`, for any reason. The job accepts that it may run twice.
    Unknown(UnknownWord),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnknownWord {
    #[serde(rename = "unknown")]
    Unknown,
}

impl Retry {
    /// The settings for no retry.
    pub(super) const NONE: Self = Self { attempts: None, delay: None, on: None };

    /// The highest number of further attempts.
    pub const MAX_ATTEMPTS: u32 = 1_000;
    const DEFAULT_DELAY: Duration = Duration::from_secs(10);

    /// Returns the number of attempts after the first.
    pub fn attempts(&self) -> u32 {
        self.attempts.unwrap_or(0)
    }

    /// Returns the wait before the second attempt.
    pub fn delay(&self) -> Duration {
        self.delay.map_or(Self::DEFAULT_DELAY, |delay| delay.as_duration())
    }

    /// Checks whether such a failure is to be retried. The number of attempts is not considered
    /// here.
    pub fn covers(&self, outcome: Outcome, reason: Reason, exit_code: Option<i32>) -> bool {
        let unknown = outcome == Outcome::Unknown;
        match &self.on {
            None => {
                !unknown
                    && !matches!(
                        reason,
                        Reason::InvalidSpec
                            | Reason::PolicyDenied
                            | Reason::ImageNotFound
                            | Reason::NoSuchJob
                    )
            }
            Some(list) => list.iter().any(|on| match on {
                RetryOn::ExitCode(code) => exit_code == Some(*code),
                RetryOn::Reason(wanted) => !unknown && *wanted == reason,
                RetryOn::Unknown(_) => unknown,
            }),
        }
    }
}

/// The error for an invalid field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadSpec {
    /// The name of the invalid field.
    pub field: &'static str,
    /// A sentence that shows the value and names a valid one.
    pub detail: String,
}
