//! What to run: the fields of a spec as people write them, and the checked spec that a job carries.
//!
//! [`SpecFields`] is the form: every field may be missing, an unknown one is refused by name, and each leaf
//! checks its own syntax. [`JobSpec`] is the form after the checks that concern a whole field or several, and
//! can only be had through them. Definitions, jobs and (later) schedules share the form; a job's fields are
//! laid over its definition's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::image::ImageRef;
use super::queue::QueueName;
use super::status::{Outcome, Reason};
use super::units::{Bytes, Span};

pub use super::gpus::Gpus;
pub use super::notify::Notify;
pub use super::secret::Secrets;
pub use super::words::{Env, Labels, Paths, Words};

/// How long a container may take to stop before it is killed, unless the spec says otherwise.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);
/// How much log a job keeps, unless the spec says otherwise.
pub const DEFAULT_LOG_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

macro_rules! spec_fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// The fields of a spec, each optional.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct SpecFields {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }

        impl SpecFields {
            /// The names of all fields, in the order in which they are documented.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// These fields, and where one is missing that of `base`.
            fn or(self, base: Self) -> Self {
                Self { $($name: self.$name.or(base.$name),)* }
            }
        }
    };
}

spec_fields! {
    /// The image. In a definition; a job's `job_name` says it otherwise.
    image: ImageRef,
    /// Arguments, or what to run: a list, or one text that is split like a shell does.
    command: Words,
    /// Replaces the image's entrypoint.
    entrypoint: Words,
    /// Environment, `{"K": "V"}` or `["K=V"]`.
    env: Env,
    /// Files of variables; `env` outranks them. In a definition of the config file, and nowhere else.
    env_file: Paths,
    /// Secrets of the config file, by name: `["NAME"]` is the file `/run/secrets/NAME`, `["VARIABLE=NAME"]` a variable.
    secrets: Secrets,
    /// Working directory, absolute.
    workdir: String,
    /// `user`, `uid` or `uid:gid`.
    user: String,
    /// Host name inside.
    hostname: String,
    /// What is mounted.
    mounts: Vec<Mount>,
    /// `bridge`, `none`, `host` or a network's name.
    network: String,
    /// Lines for `/etc/hosts`, `name:address`.
    extra_hosts: Vec<String>,
    /// Name servers.
    dns: Vec<String>,
    /// Processors, 0.01 and up.
    cpus: f64,
    /// Memory limit.
    memory: Bytes,
    /// Memory and swap together; at least `memory`.
    memory_swap: Bytes,
    /// How many processes and threads.
    pids: i64,
    /// Size of `/dev/shm`.
    shm_size: Bytes,
    /// GPUs: `all`, how many, or which.
    gpus: Gpus,
    /// Resource limits of the process.
    ulimits: Vec<Ulimit>,
    /// Root file system read-only.
    read_only: bool,
    /// Capabilities to add.
    cap_add: Vec<String>,
    /// Capabilities to drop.
    cap_drop: Vec<String>,
    /// Security options, `no-new-privileges` for one.
    security_opt: Vec<String>,
    /// All capabilities and devices.
    privileged: bool,
    /// An init as process 1, that reaps and forwards signals.
    init: bool,
    /// `linux/amd64` and the like.
    platform: String,
    /// Labels on the job and its containers.
    labels: Labels,
    /// When to pull the image.
    pull: PullPolicy,
    /// The signal that asks the process to stop.
    stop_signal: String,
    /// How long it may take to stop before it is killed.
    stop_grace: Span,
    /// How long it may run.
    timeout: Span,
    /// Whether and how often to try again.
    retry: Retry,
    /// How late it may start; after that it is `missed`.
    start_deadline: Span,
    /// Call `start` as much ahead as starts take here at the least, so that the process begins when the job is due.
    aim: bool,
    /// How much before it is due the process of a job with `aim` may begin; without, not at all.
    aim_tolerance: Span,
    /// The named queue that it is in.
    queue: QueueName,
    /// Who goes first when slots are short: the higher.
    priority: i32,
    /// How many jobs of its `job_name` may run at once.
    max_parallel: u32,
    /// Leave the container on the engine when it has ended.
    keep_container: bool,
    /// How much log is kept.
    log_limit: Bytes,
    /// Who is told when it has ended.
    notify: Notify,
}

/// When to pull an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// When the engine does not have it.
    #[default]
    Missing,
    /// Before every attempt.
    Always,
    /// Never: an image that is not there is a failure.
    Never,
}

/// Something mounted into the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mount {
    /// A path of the engine's host.
    Bind {
        /// The path there, absolute.
        source: String,
        /// The path inside, absolute.
        target: String,
        /// Not writable inside.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
    },
    /// A named volume of the engine, made when it is not there.
    Volume {
        /// The volume's name.
        source: String,
        /// The path inside, absolute.
        target: String,
        /// Not writable inside.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// The path inside, absolute.
        target: String,
        /// How large it may grow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<Bytes>,
    },
}

impl Mount {
    /// The path inside.
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
    /// `nofile`, `nproc` …
    pub name: String,
    /// The limit that holds; -1 for none.
    pub soft: i64,
    /// How far the process may raise it; -1 for no bound.
    pub hard: i64,
}

/// Whether and how often to try again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Extra attempts after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// The first wait; doubled with each attempt, up to six minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay: Option<Span>,
    /// Exit codes and reasons that are worth another attempt; without it, every failure but a few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<Vec<RetryOn>>,
}

/// One thing that is worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryOn {
    /// This exit code.
    ExitCode(i32),
    /// This reason.
    Reason(Reason),
    /// The outcome `unknown`, whatever its reason: the job may then run twice, and says that it does not mind.
    Unknown(UnknownWord),
}

/// The word `unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnknownWord {
    /// `unknown`.
    #[serde(rename = "unknown")]
    Unknown,
}

impl Retry {
    /// The most extra attempts that can be asked for.
    pub const MAX_ATTEMPTS: u32 = 1_000;
    const DEFAULT_DELAY: Duration = Duration::from_secs(10);

    /// Extra attempts after the first.
    pub fn attempts(&self) -> u32 {
        self.attempts.unwrap_or(0)
    }

    /// The first wait.
    pub fn delay(&self) -> Duration {
        self.delay.map_or(Self::DEFAULT_DELAY, |delay| delay.as_duration())
    }

    /// Whether this failure is worth another attempt.
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

/// A checked spec. Its fields can be read and not written. They are a kilobyte, so a job that is handed on has them in one place.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "SpecFields")]
pub struct JobSpec(Box<SpecFields>);

/// Said when a field is not as it should be; `field` names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadSpec {
    /// The field at fault.
    pub field: &'static str,
    /// A sentence that shows the value and says what would be right.
    pub detail: String,
}

impl JobSpec {
    /// A spec that was checked when it was accepted. It is not checked again: rules that became stricter since must not
    /// make a stored job unreadable.
    pub fn accepted_before(fields: SpecFields) -> Self {
        Self(Box::new(fields))
    }

    /// The fields, to read.
    pub fn fields(&self) -> &SpecFields {
        &self.0
    }

    /// The retry settings, given or not.
    pub fn retry(&self) -> &Retry {
        static NONE: Retry = Retry { attempts: None, delay: None, on: None };
        self.0.retry.as_ref().unwrap_or(&NONE)
    }

    /// How long it may take to stop.
    pub fn stop_grace(&self) -> Duration {
        self.0.stop_grace.map_or(DEFAULT_STOP_GRACE, |grace| grace.as_duration())
    }

    /// How much log is kept, in bytes of text.
    pub fn log_limit(&self) -> u64 {
        self.0.log_limit.map_or(DEFAULT_LOG_LIMIT_BYTES, |limit| limit.as_u64())
    }

    /// This spec's fields laid over those of a definition; environment, secrets and labels are merged key by key.
    #[must_use]
    pub fn over(self, definition: &Self) -> Self {
        let base = definition.fields();
        let env =
            merged(self.0.env.as_ref().map(|e| &e.0), base.env.as_ref().map(|e| &e.0)).map(Env);
        let labels =
            merged(self.0.labels.as_ref().map(|l| &l.0), base.labels.as_ref().map(|l| &l.0))
                .map(Labels);
        let secrets =
            merged(self.0.secrets.as_ref().map(|s| &s.0), base.secrets.as_ref().map(|s| &s.0))
                .map(Secrets);
        Self(Box::new(SpecFields { env, labels, secrets, ..self.0.or(base.clone()) }))
    }

    /// This spec with the image set.
    #[must_use]
    pub fn with_image(self, image: ImageRef) -> Self {
        self.narrowed(|fields| fields.image = Some(image))
    }

    /// This spec with the paths of its env files written in full.
    #[must_use]
    pub fn with_env_files(self, in_full: impl Fn(&str) -> String) -> Self {
        let written = |files: Paths| Paths(files.0.iter().map(|path| in_full(path)).collect());
        self.narrowed(|fields| fields.env_file = fields.env_file.take().map(written))
    }

    /// This spec with its limits replaced by narrower ones; the policy's way to write.
    #[must_use]
    pub(super) fn narrowed(self, narrow: impl FnOnce(&mut SpecFields)) -> Self {
        let mut fields = self.0;
        narrow(&mut fields);
        Self(fields)
    }
}

/// As its fields; a derived `into` would copy all of them.
impl Serialize for JobSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}

fn merged(
    over: Option<&BTreeMap<String, String>>,
    base: Option<&BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    let mut all = base.cloned().unwrap_or_default();
    all.extend(over.cloned().unwrap_or_default());
    (!all.is_empty()).then_some(all)
}

impl From<JobSpec> for SpecFields {
    fn from(spec: JobSpec) -> Self {
        *spec.0
    }
}

impl TryFrom<SpecFields> for JobSpec {
    type Error = BadSpec;
    fn try_from(fields: SpecFields) -> Result<Self, BadSpec> {
        super::check::check(&fields)?;
        Ok(Self(Box::new(fields)))
    }
}
