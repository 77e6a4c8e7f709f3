//! The written form of a spec: the fields that a caller or the config file writes.
//!
//! Every field may be missing, an unknown field is refused by name, and each value checks its own
//! syntax.

use serde::{Deserialize, Serialize};

use crate::domain::names::image::ImageRef;
use crate::domain::names::queue::QueueName;
use crate::domain::text::units::{Bytes, Span};

use super::command::{CommandLine, Env, Labels, Paths};
use super::gpus::Gpus;
use super::notify::Notify;
use super::secret::Secrets;
use super::values::{Mount, PullPolicy, Retry, Ulimit};

/// Declares each field of a spec once: its doc, its type, the way to write it in a form, and what the
/// reference (`docs/spec.md`) says of it.
macro_rules! spec_fields {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident: $type:ty {
            form: $form:ident,
            json: $json:literal,
            default: $default:literal,
            example: $example:literal,
            policy: $policy:literal,
        },
    )*) => {
        /// The fields of a spec. `None` means that the field was not written.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct SpecFields {
            $(
                $(#[doc = $doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*
        }

        impl SpecFields {
            /// The names of all fields, in the order of the documentation.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// All fields, in the order of the documentation.
            pub const REFERENCE: &'static [FieldReference] = &[$(FieldReference {
                name: stringify!($name),
                doc: concat!($($doc, "\n"),*),
                form: Form::$form,
                json: $json,
                default: $default,
                example: $example,
                policy: $policy,
            },)*];

            /// Returns these fields, with each missing field taken from `base`.
            pub(super) fn or(self, base: Self) -> Self {
                Self { $($name: self.$name.or(base.$name),)* }
            }
        }
    };
}

/// The way to write a field in a form (`multipart/form-data` or URL-encoded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A text, as in JSON without the quotes.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// One entry for each time that the field is given.
    List,
    /// One `K=V` for each time that the field is given.
    Pairs,
    /// Not at all: the field is JSON only.
    None,
}

/// The description of one field of a spec.
#[derive(Clone, Copy, Debug)]
pub struct FieldReference {
    pub name: &'static str,
    /// The meaning, in lines that begin with a space.
    pub doc: &'static str,
    pub form: Form,
    /// The type in JSON, in words.
    pub json: &'static str,
    /// The value in effect if the field is not written, in words.
    pub default: &'static str,
    /// A valid value, in JSON.
    pub example: &'static str,
    /// The settings of the policy that restrict the field; empty if none does.
    pub policy: &'static str,
}

spec_fields! {
    /// The image, in a definition. Elsewhere `job_name` names the image.
    image: ImageRef {
        form: Text,
        json: "text",
        default: "—",
        example: r#""busybox:1.36""#,
        policy: "allow_images, require_registry",
    },
    /// Arguments of the entrypoint, or the command to run: a list, or one text that is split like a
    /// shell does.
    command: CommandLine {
        form: Text,
        json: "list of texts, or text",
        default: "the image's own",
        example: r#"["sh", "-c", "echo hello"]"#,
        policy: "",
    },
    /// The replacement for the image's entrypoint. Never an empty list.
    entrypoint: CommandLine {
        form: Text,
        json: "list of texts, or text",
        default: "the image's own",
        example: r#"["/entry"]"#,
        policy: "",
    },
    /// Environment variables, `{"K": "V"}` or `["K=V"]`.
    env: Env {
        form: Pairs,
        json: "object, or list of `K=V`",
        default: "—",
        example: r#"{"MODE": "full"}"#,
        policy: "",
    },
    /// Files of variables; `env` overrides them. Allowed only in a definition of the config file.
    env_file: Paths {
        form: Text,
        json: "list of texts, or text",
        default: "—",
        example: r#"["/etc/jobs/common.env"]"#,
        policy: "config file only",
    },
    /// Secrets of the config file, by name: `["NAME"]` is the file `/run/secrets/NAME`,
    /// `["VARIABLE=NAME"]` a variable.
    secrets: Secrets {
        form: List,
        json: "list of texts, or object",
        default: "—",
        example: r#"["db_password", "TOKEN=api_token"]"#,
        policy: "allow_secrets",
    },
    /// The working directory, an absolute path without `..`.
    workdir: String {
        form: Text,
        json: "text",
        default: "the image's own",
        example: r#""/srv""#,
        policy: "",
    },
    /// The user of the process: `user`, `uid` or `uid:gid`.
    user: String {
        form: Text,
        json: "text",
        default: "the image's own",
        example: r#""1000:1000""#,
        policy: "allow_users",
    },
    /// The host name inside the container: up to 63 letters, digits, dashes and dots.
    hostname: String {
        form: Text,
        json: "text",
        default: "chosen by the engine",
        example: r#""etl-1""#,
        policy: "",
    },
    /// Bind mounts, volumes and tmpfs; each needs its own target.
    mounts: Vec<Mount> {
        form: None,
        json: "list of objects",
        default: "—",
        example: r#"[{"type": "bind", "source": "/srv/in", "target": "/in", "read_only": true}]"#,
        policy: "allow_mounts",
    },
    /// `bridge`, `none`, `host`, a network's name, or `container:NAME`.
    network: String {
        form: Text,
        json: "text",
        default: "`bridge`",
        example: r#""none""#,
        policy: "allow_networks",
    },
    /// Lines for `/etc/hosts`, each `name:address`.
    extra_hosts: Vec<String> {
        form: List,
        json: "list of texts",
        default: "—",
        example: r#"["db:10.0.0.5"]"#,
        policy: "",
    },
    /// Name servers, each an IP address.
    dns: Vec<String> {
        form: List,
        json: "list of texts",
        default: "the engine's",
        example: r#"["10.0.0.53"]"#,
        policy: "",
    },
    /// Processors, 0.01 to 4096.
    cpus: f64 {
        form: Number,
        json: "number",
        default: "no limit",
        example: "1.5",
        policy: "max_cpus",
    },
    /// The memory limit, at least 6 MiB.
    memory: Bytes {
        form: Text,
        json: "size",
        default: "no limit",
        example: r#""512MiB""#,
        policy: "max_memory",
    },
    /// The limit of memory and swap together; at least `memory`, and only beside it.
    memory_swap: Bytes {
        form: Text,
        json: "size",
        default: "the engine's",
        example: r#""1GiB""#,
        policy: "max_memory",
    },
    /// The limit of processes and threads, at least 1.
    pids: i64 {
        form: Number,
        json: "number",
        default: "no limit",
        example: "256",
        policy: "max_pids",
    },
    /// The size of `/dev/shm`; more than 0.
    shm_size: Bytes {
        form: Text,
        json: "size",
        default: "the engine's, 64 MiB",
        example: r#""128MiB""#,
        policy: "max_memory",
    },
    /// GPUs: `all`, a number, or a list of devices.
    gpus: Gpus {
        form: Text,
        json: "text, number or list of texts",
        default: "none",
        example: r#""all""#,
        policy: "allow_gpus",
    },
    /// Resource limits of the process, as `ulimit` sets them.
    ulimits: Vec<Ulimit> {
        form: None,
        json: "list of objects",
        default: "the engine's",
        example: r#"[{"name": "nofile", "soft": 1024, "hard": 4096}]"#,
        policy: "",
    },
    /// Mounts the root file system read-only.
    read_only: bool {
        form: Flag,
        json: "true or false",
        default: "false",
        example: "true",
        policy: "",
    },
    /// Capabilities of the kernel to add.
    cap_add: Vec<String> {
        form: List,
        json: "list of texts",
        default: "—",
        example: r#"["NET_ADMIN"]"#,
        policy: "allow_caps",
    },
    /// Capabilities of the kernel to drop.
    cap_drop: Vec<String> {
        form: List,
        json: "list of texts",
        default: "—",
        example: r#"["ALL"]"#,
        policy: "",
    },
    /// Security options such as `no-new-privileges`.
    security_opt: Vec<String> {
        form: List,
        json: "list of texts",
        default: "—",
        example: r#"["no-new-privileges"]"#,
        policy: "allow_privileged",
    },
    /// Gives the container all capabilities and devices.
    privileged: bool {
        form: Flag,
        json: "true or false",
        default: "false",
        example: "false",
        policy: "allow_privileged",
    },
    /// Runs an init as process 1, which reaps processes and forwards signals.
    init: bool {
        form: Flag,
        json: "true or false",
        default: "false",
        example: "true",
        policy: "",
    },
    /// The system and processor of the image, such as `linux/amd64`.
    platform: String {
        form: Text,
        json: "text",
        default: "the engine's",
        example: r#""linux/amd64""#,
        policy: "",
    },
    /// Labels on the job and on its containers.
    labels: Labels {
        form: Pairs,
        json: "object, or list of `K=V`",
        default: "—",
        example: r#"{"team": "data"}"#,
        policy: "",
    },
    /// The time at which the image is pulled: only if it is missing, always, or never.
    pull: PullPolicy {
        form: Text,
        json: "`missing`, `always` or `never`",
        default: "`missing`",
        example: r#""always""#,
        policy: "",
    },
    /// The signal that asks the process to stop, by name or number.
    stop_signal: String {
        form: Text,
        json: "text or number",
        default: "the image's own, else SIGTERM",
        example: r#""SIGINT""#,
        policy: "",
    },
    /// The time between the request to stop and the kill.
    stop_grace: Span {
        form: Text,
        json: "duration",
        default: "10 s",
        example: r#""30s""#,
        policy: "max_stop_grace",
    },
    /// The longest run, more than 0. The policy may set a lower limit.
    timeout: Span {
        form: Text,
        json: "duration",
        default: "no limit",
        example: r#""5m""#,
        policy: "max_timeout",
    },
    /// The number of further attempts, the wait between them, and the failures to retry.
    retry: Retry {
        form: None,
        json: "object",
        default: "no retry",
        example: r#"{"attempts": 2, "delay": "10s", "on": [1, "oom_killed"]}"#,
        policy: "",
    },
    /// The longest delay of the start; a job that is later than that ends as `missed`.
    start_deadline: Span {
        form: Text,
        json: "duration",
        default: "none",
        example: r#""1h""#,
        policy: "",
    },
    /// Starts the container early enough that the process is running at the due time. The lead is
    /// the shortest time that starts take here.
    aim: bool {
        form: Flag,
        json: "true or false",
        default: "false",
        example: "true",
        policy: "",
    },
    /// The time before the due time at which the process of a job with `aim` may begin, at most
    /// 1 s.
    aim_tolerance: Span {
        form: Text,
        json: "duration",
        default: "0 s",
        example: r#""2ms""#,
        policy: "",
    },
    /// The named queue of the job.
    queue: QueueName {
        form: Text,
        json: "text",
        default: "none",
        example: r#""etl""#,
        policy: "queues",
    },
    /// The rank when slots are short: a higher number goes first.
    priority: i32 {
        form: Number,
        json: "number",
        default: "0",
        example: "10",
        policy: "",
    },
    /// The limit of jobs with the same `job_name` that run at once, at least 1.
    max_parallel: u32 {
        form: Number,
        json: "number",
        default: "no limit",
        example: "1",
        policy: "",
    },
    /// Leaves the container on the engine when the job has ended.
    keep_container: bool {
        form: Flag,
        json: "true or false",
        default: "false",
        example: "true",
        policy: "",
    },
    /// The log that is kept, in bytes of text.
    log_limit: Bytes {
        form: Text,
        json: "size",
        default: "64 MiB",
        example: r#""1MiB""#,
        policy: "",
    },
    /// The receivers that are notified when the job has ended.
    notify: Notify {
        form: None,
        json: "object, or list of objects",
        default: "—",
        example: r#"[{"url": "https://example.com/hook", "on": ["failed"]}]"#,
        policy: "allow_notify",
    },
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
