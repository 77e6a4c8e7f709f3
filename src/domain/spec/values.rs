//! Types of single fields: when to pull, mounts, resource limits, retries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::names::status::{Outcome, Reason};
use crate::domain::text::units::{Bytes, Span};

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
