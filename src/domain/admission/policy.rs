//! The policy: the limits of a caller's requests. An engine's socket gives root on its host, so no
//! dangerous setting of a request reaches the engine unless the policy allows it by name.
//!
//! Without settings in the config a job gets no privileges, no namespace of the host, no bind mount
//! and no added capability. No config can allow the forbidden paths: the engine's own socket,
//! `/proc`, `/sys`, `/dev`, our data directory, or a folder that holds one of them. Access to any
//! of them gives control of the host or of this server.

use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::domain::names::image::ImageRef;
use crate::domain::spec::notify::NotifyPrefix;
use crate::domain::spec::{JobSpec, Mount, SpecFields};
use crate::domain::text::units::{Bytes, Span};

/// A `[policies.NAME]` table of the config file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Allowed images, by name or with `*` for any run of characters. `None` allows all.
    pub allow_images: Option<Vec<String>>,
    /// Requires that an image is written with its registry's host, such as
    /// `docker.io/library/busybox`. Images of the config file's own definitions are exempt.
    pub require_registry: bool,
    /// Folders of the host that may be bound, with everything below them. A folder that ends in
    /// `:ro` allows read-only mounts only.
    pub allow_mounts: Vec<String>,
    /// Allowed networks. `None` allows all but `host` and another container's.
    pub allow_networks: Option<Vec<String>>,
    /// Capabilities of the kernel that may be added.
    pub allow_caps: Vec<String>,
    /// Secrets of the config file that a container may get, by name or with `*` for any run of
    /// characters.
    pub allow_secrets: Vec<String>,
    /// Addresses that may be notified, by host, port and the beginning of the path. Addresses in
    /// the config file's own definitions and schedules are exempt.
    pub allow_notify: Vec<NotifyPrefix>,
    /// Users under which the process may run. `None` allows all.
    pub allow_users: Option<Vec<String>>,
    /// Allows `privileged` and security options that weaken the container.
    pub allow_privileged: bool,
    pub allow_gpus: bool,
    /// The most processors. A job that asks for none gets this limit.
    pub max_cpus: Option<f64>,
    /// The most memory. A job that asks for none gets this limit.
    pub max_memory: Option<Bytes>,
    /// The most processes. A job that asks for none gets this limit.
    pub max_pids: Option<i64>,
    /// The longest run of a job, its grace included. A job without a timeout gets a timeout from
    /// it.
    pub max_timeout: Option<Span>,
    /// The longest grace between a request to stop and the kill. `None` means 10 minutes.
    pub max_stop_grace: Option<Span>,
    /// Queues that may be named, in full or with `*` for any run of characters. `None` allows all.
    pub queues: Option<Vec<String>>,
    /// The number of jobs that may wait at once; a further job is refused. `None` means no limit.
    pub max_waiting: Option<NonZeroUsize>,
    /// The number of jobs that may run at once. `None` means no limit.
    pub max_running: Option<NonZeroUsize>,
}

/// The forbidden paths, which no policy can allow: the engine's socket, `/proc`, `/sys`, `/dev`,
/// the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForbiddenPaths(Vec<String>);

/// The error for a spec that the policy does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Denied {
    /// The name of the refused field.
    pub field: &'static str,
    /// A sentence that names the refused value and the policy setting that refuses it.
    pub detail: String,
}

impl ForbiddenPaths {
    /// Adds `paths` to `/proc`, `/sys`, `/dev` and the usual places of engine sockets.
    pub fn with(paths: impl IntoIterator<Item = String>) -> Self {
        let always = [
            "/proc",
            "/sys",
            "/dev",
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/run/podman",
            "/var/run/podman",
            "/run/containerd",
            "/var/run/containerd",
        ];
        Self(always.into_iter().map(str::to_owned).chain(paths).collect())
    }

    /// Returns the forbidden path that `path` equals, contains, or lies in.
    fn met_by(&self, path: &str) -> Option<&str> {
        self.0
            .iter()
            .map(String::as_str)
            .find(|closed| is_within(path, closed) || is_within(closed, path))
    }
}

impl Policy {
    /// Returns the spec with this policy's limits filled in, if the policy allows everything in the
    /// spec. `real_path` resolves the symbolic links of a path on this machine; `None` means that
    /// the path is unknown here and counts as it is written.
    ///
    /// # Errors
    /// [`Denied`] names the field and the setting that refuses it.
    pub fn admit(
        &self,
        spec: JobSpec,
        closed: &ForbiddenPaths,
        real_path: &dyn Fn(&str) -> Option<String>,
    ) -> Result<JobSpec, Denied> {
        let fields = spec.fields();
        self.admit_image(fields.image.as_ref())?;
        self.admit_privileges(fields)?;
        self.admit_secrets(fields)?;
        self.admit_network(fields)?;
        self.admit_queue(fields)?;
        for mount in fields.mounts.iter().flatten() {
            self.admit_mount(mount, closed, real_path)?;
        }
        self.admit_limits(fields)?;
        Ok(spec.modified(|fields| self.fill_limits(fields)))
    }

    /// Checks whether the policy could admit a job with this definition. A user or a network that
    /// the definition leaves to its jobs counts as allowed.
    ///
    /// # Errors
    /// [`Denied`], as from [`Policy::admit`].
    pub fn admit_definition(
        &self,
        spec: &JobSpec,
        closed: &ForbiddenPaths,
        real_path: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), Denied> {
        let first =
            |allowed: &Option<Vec<String>>| allowed.as_ref().and_then(|list| list.first().cloned());
        let filled = spec.clone().modified(|fields| {
            fields.user = fields.user.take().or_else(|| first(&self.allow_users));
            fields.network = fields.network.take().or_else(|| first(&self.allow_networks));
        });
        self.admit_notify(spec)?;
        self.admit_stop_grace(spec)?;
        self.admit(filled, closed, real_path).map(|_| ())
    }

    /// Checks whether a caller may name the receivers in `notify`. The check runs when a caller
    /// writes them, and not again.
    ///
    /// # Errors
    /// [`Denied`] names the first address that is not allowed.
    pub fn admit_notify(&self, spec: &JobSpec) -> Result<(), Denied> {
        let mut urls =
            spec.fields().notify.iter().flat_map(|notify| &notify.0).map(|notice| &notice.url);
        match urls.find(|url| !self.allow_notify.iter().any(|prefix| prefix.covers(url))) {
            None => Ok(()),
            Some(url) => denied(
                "notify",
                format!(
                    "`{}` cannot be notified: it is not below one of the policy's `allow_notify`",
                    url.as_str()
                ),
            ),
        }
    }

    /// Checks whether this image, which no definition of the config file names, has the registry
    /// that the policy requires.
    ///
    /// # Errors
    /// [`Denied`] shows the image with its registry.
    pub fn admit_registry(&self, image: Option<&ImageRef>) -> Result<(), Denied> {
        match image.filter(|image| self.require_registry && !image.names_registry()) {
            None => Ok(()),
            Some(image) => denied(
                "image",
                format!(
                    "the image `{image}` lacks its registry, and the policy has `require_registry = true`: write `{}`, or the name of a definition",
                    image.repository()
                ),
            ),
        }
    }

    fn admit_image(&self, image: Option<&ImageRef>) -> Result<(), Denied> {
        let (Some(allowed), Some(image)) = (&self.allow_images, image) else { return Ok(()) };
        let names = [image.as_str().to_owned(), image.with_tag()];
        match allowed.iter().any(|pattern| names.iter().any(|name| matches(pattern, name))) {
            true => Ok(()),
            false => denied(
                "image",
                format!("the image `{image}` is not among the policy's `allow_images`"),
            ),
        }
    }

    fn admit_privileges(&self, fields: &SpecFields) -> Result<(), Denied> {
        if fields.privileged == Some(true) && !self.allow_privileged {
            return denied(
                "privileged",
                "`privileged` is not allowed: the policy would need `allow_privileged = true`",
            );
        }
        if fields.gpus.is_some() && !self.allow_gpus {
            return denied(
                "gpus",
                "`gpus` is not allowed: the policy would need `allow_gpus = true`",
            );
        }
        let weakens = |option: &&String| {
            !matches!(
                option.as_str(),
                "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true"
            )
        };
        if let Some(option) =
            fields.security_opt.iter().flatten().find(weakens).filter(|_| !self.allow_privileged)
        {
            return denied(
                "security_opt",
                format!(
                    "the security option `{option}` is not allowed: only `no-new-privileges` is, unless the policy has `allow_privileged = true`"
                ),
            );
        }
        let same = |a: &str, b: &str| {
            a.trim_start_matches("CAP_").eq_ignore_ascii_case(b.trim_start_matches("CAP_"))
        };
        if let Some(cap) = fields
            .cap_add
            .iter()
            .flatten()
            .find(|cap| !self.allow_caps.iter().any(|allowed| same(allowed, cap)))
        {
            return denied(
                "cap_add",
                format!("the capability `{cap}` is not among the policy's `allow_caps`"),
            );
        }
        match (&self.allow_users, fields.user.as_deref()) {
            (Some(allowed), None) if !allowed.is_empty() => {
                denied("user", "a `user` has to be given: the policy has a list of `allow_users`")
            }
            (Some(allowed), Some(user)) if !allowed.iter().any(|a| a == user) => {
                denied("user", format!("the user `{user}` is not among the policy's `allow_users`"))
            }
            _ => Ok(()),
        }
    }

    fn admit_secrets(&self, fields: &SpecFields) -> Result<(), Denied> {
        let denies = |name: &&str| !self.allow_secrets.iter().any(|pattern| matches(pattern, name));
        match fields.secrets.iter().flat_map(|secrets| secrets.names()).find(denies) {
            Some(name) => denied(
                "secrets",
                format!("the secret `{name}` is not among the policy's `allow_secrets`"),
            ),
            None => Ok(()),
        }
    }

    fn admit_network(&self, fields: &SpecFields) -> Result<(), Denied> {
        let Some(network) = fields.network.as_deref() else {
            let bridge_too = self
                .allow_networks
                .as_ref()
                .is_none_or(|allowed| allowed.iter().any(|a| a == "bridge" || a == "default"));
            return if bridge_too {
                Ok(())
            } else {
                denied(
                    "network",
                    "a `network` has to be given: the policy's `allow_networks` does not hold `bridge`",
                )
            };
        };
        let shares_a_namespace = network == "host" || network.starts_with("container:");
        let allowed = match &self.allow_networks {
            Some(list) => list.iter().any(|allowed| allowed == network),
            None => !shares_a_namespace,
        };
        if allowed {
            Ok(())
        } else {
            denied(
                "network",
                format!("the network `{network}` is not among the policy's `allow_networks`"),
            )
        }
    }

    fn admit_queue(&self, fields: &SpecFields) -> Result<(), Denied> {
        let (Some(allowed), Some(queue)) = (&self.queues, &fields.queue) else { return Ok(()) };
        match allowed.iter().any(|pattern| matches(pattern, queue.as_str())) {
            true => Ok(()),
            false => {
                denied("queue", format!("the queue `{queue}` is not among the policy's `queues`"))
            }
        }
    }

    fn admit_mount(
        &self,
        mount: &Mount,
        closed: &ForbiddenPaths,
        real_path: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), Denied> {
        let Mount::Bind { source, read_only, .. } = mount else { return Ok(()) };
        let written = tidy(source);
        let real = real_path(&written).unwrap_or_else(|| written.clone());
        for path in [&written, &real] {
            if let Some(met) = closed.met_by(path) {
                return denied(
                    "mounts",
                    format!(
                        "`{source}` cannot be mounted: it would give the container `{met}`, and no policy can allow that"
                    ),
                );
            }
            let allowed = self.allow_mounts.iter().any(|entry| {
                let (folder, must_be_read_only) = entry
                    .strip_suffix(":ro")
                    .map_or((entry.as_str(), false), |folder| (folder, true));
                is_within(path, &tidy(folder)) && (*read_only || !must_be_read_only)
            });
            if !allowed {
                return denied(
                    "mounts",
                    format!(
                        "`{source}` cannot be mounted: it is not below one of the policy's `allow_mounts` (those that end in `:ro` want `read_only`)"
                    ),
                );
            }
        }
        Ok(())
    }

    fn admit_limits(&self, fields: &SpecFields) -> Result<(), Denied> {
        if let (Some(cpus), Some(max)) = (fields.cpus, self.max_cpus)
            && cpus > max
        {
            return denied(
                "cpus",
                format!("`cpus` is {cpus}, and the policy's `max_cpus` is {max}"),
            );
        }
        for memory in [fields.memory, fields.memory_swap, fields.shm_size].into_iter().flatten() {
            if let Some(max) = self.max_memory.filter(|max| memory.as_u64() > max.as_u64()) {
                return denied(
                    "memory",
                    format!(
                        "the memory asked for is {memory}, and the policy's `max_memory` is {max}"
                    ),
                );
            }
        }
        if let (Some(pids), Some(max)) = (fields.pids, self.max_pids)
            && pids > max
        {
            return denied(
                "pids",
                format!("`pids` is {pids}, and the policy's `max_pids` is {max}"),
            );
        }
        match (fields.timeout, self.max_timeout) {
            (Some(timeout), Some(max)) if timeout.as_duration() > max.as_duration() => denied(
                "timeout",
                format!("`timeout` is {timeout}, and the policy's `max_timeout` is {max}"),
            ),
            _ => Ok(()),
        }
    }

    /// Gives the policy's limits to a spec that does not set its own.
    fn fill_limits(&self, fields: &mut SpecFields) {
        fields.cpus = fields.cpus.or(self.max_cpus);
        fields.memory = fields.memory.or(self.max_memory);
        fields.pids = fields.pids.or(self.max_pids);
        fields.timeout = fields.timeout.or_else(|| self.longest_timeout(fields.stop_grace));
    }
}

fn denied<T>(field: &'static str, detail: impl Into<String>) -> Result<T, Denied> {
    Err(Denied { field, detail: detail.into() })
}

/// Checks whether `path` is `folder` or lies below it.
fn is_within(path: &str, folder: &str) -> bool {
    Path::new(path).starts_with(folder)
}

/// Removes doubled slashes, `.` and a trailing slash. The spec's checks have already refused `..`.
fn tidy(path: &str) -> String {
    Path::new(path).components().collect::<std::path::PathBuf>().to_string_lossy().into_owned()
}

/// Checks whether `text` matches `pattern`, where `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices()
                .map(|(i, _)| i)
                .chain([tail.len()])
                .any(|i| matches(rest, &tail[i..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> JobSpec {
        serde_json::from_str(json).expect("a right spec")
    }

    fn policy(toml: &str) -> Policy {
        toml::from_str(toml).expect("a right policy")
    }

    fn verdict(policy: &Policy, json: &str) -> Option<&'static str> {
        let closed = ForbiddenPaths::with(["/var/lib/tidetable".to_owned()]);
        let links = |path: &str| (path == "/srv/in/link").then(|| "/run/docker.sock".to_owned());
        policy.admit(spec(json), &closed, &links).err().map(|denied| denied.field)
    }

    #[test]
    fn default_policy_allows_nothing_dangerous() {
        let none = Policy::default();
        for (json, field) in [
            (r#"{"privileged":true}"#, "privileged"),
            (r#"{"network":"host"}"#, "network"),
            (r#"{"network":"container:abc"}"#, "network"),
            (r#"{"cap_add":["NET_ADMIN"]}"#, "cap_add"),
            (r#"{"security_opt":["seccomp=unconfined"]}"#, "security_opt"),
            (r#"{"mounts":[{"type":"bind","source":"/srv/in","target":"/in"}]}"#, "mounts"),
            (r#"{"secrets":["pw"]}"#, "secrets"),
            (r#"{"gpus":1}"#, "gpus"),
        ] {
            assert_eq!(verdict(&none, json), Some(field), "{json}");
        }
        for json in [
            r#"{"network":"none"}"#,
            r#"{"network":"backend"}"#,
            r#"{"privileged":false}"#,
            r#"{"mounts":[{"type":"tmpfs","target":"/tmp"}]}"#,
            r#"{"security_opt":["no-new-privileges"]}"#,
        ] {
            assert_eq!(verdict(&none, json), None, "{json}");
        }
    }

    #[test]
    fn policy_allows_only_listed_values() {
        let some = policy(
            "allow_mounts = ['/srv/in', '/srv/data:ro']\nallow_caps = ['NET_ADMIN']\nallow_networks = ['host']\nallow_images = ['busybox:*', 'registry.example/*/app:1']",
        );
        let mount = |source: &str, read_only: bool| {
            format!(
                r#"{{"network":"host","mounts":[{{"type":"bind","source":"{source}","target":"/in","read_only":{read_only}}}]}}"#
            )
        };
        assert_eq!(verdict(&some, &mount("/srv/in/a", false)), None);
        assert_eq!(verdict(&some, &mount("/srv//in/./a/", false)), None);
        assert_eq!(
            verdict(&some, &mount("/srv/inner", false)),
            Some("mounts"),
            "a name that only begins alike is another folder"
        );
        assert_eq!(verdict(&some, &mount("/srv/data", false)), Some("mounts"));
        assert_eq!(verdict(&some, &mount("/srv/data", true)), None);
        assert_eq!(
            verdict(&some, &mount("/srv/in/link", true)),
            Some("mounts"),
            "a link out of the folder is followed"
        );
        assert_eq!(
            verdict(&some, r#"{"network":"host","cap_add":["cap_net_admin"]}"#),
            Some("cap_add"),
            "names are upper case"
        );
        assert_eq!(verdict(&some, r#"{"network":"host","cap_add":["CAP_NET_ADMIN"]}"#), None);
        assert_eq!(verdict(&some, r#"{"network":"bridge"}"#), Some("network"));
        assert_eq!(verdict(&some, r#"{}"#), Some("network"));
        assert_eq!(verdict(&some, r#"{"network":"host","image":"busybox"}"#), None);
        assert_eq!(
            verdict(&some, r#"{"network":"host","image":"registry.example/team/app:1"}"#),
            None
        );
        assert_eq!(verdict(&some, r#"{"network":"host","image":"evil:1"}"#), Some("image"));
    }

    #[test]
    fn forbidden_paths_stay_forbidden_under_any_policy() {
        let everything = policy("allow_mounts = ['/']\nallow_privileged = true");
        for source in [
            "/",
            "/var/run/docker.sock",
            "/run",
            "/var",
            "/proc/1",
            "/sys",
            "/dev",
            "/var/lib/tidetable/logs",
            "/var/lib",
        ] {
            let json =
                format!(r#"{{"mounts":[{{"type":"bind","source":"{source}","target":"/in"}}]}}"#);
            assert_eq!(verdict(&everything, &json), Some("mounts"), "{source}");
        }
        assert_eq!(
            verdict(
                &everything,
                r#"{"mounts":[{"type":"bind","source":"/home/a","target":"/in"}]}"#
            ),
            None
        );
    }

    #[test]
    fn secrets_are_allowed_by_name() {
        let some = policy("allow_secrets = ['db-*']");
        assert_eq!(verdict(&some, r#"{"secrets":["db-password", "DB_USER=db-user"]}"#), None);
        assert_eq!(verdict(&some, r#"{"secrets":["DB=tls-key"]}"#), Some("secrets"));
    }

    #[test]
    fn queues_are_allowed_by_name_or_all() {
        let some = policy("queues = ['etl', 'report-*']");
        for (json, field) in [
            (r#"{"queue":"etl"}"#, None),
            (r#"{"queue":"report-1"}"#, None),
            ("{}", None),
            (r#"{"queue":"other"}"#, Some("queue")),
        ] {
            assert_eq!(verdict(&some, json), field, "{json}");
        }
        assert_eq!(verdict(&Policy::default(), r#"{"queue":"other"}"#), None);
    }

    #[test]
    fn limits_apply_to_specs_without_limits() {
        let limits =
            policy("max_memory = '64MiB'\nmax_cpus = 1.0\nmax_pids = 32\nmax_timeout = '5m'");
        assert_eq!(verdict(&limits, r#"{"memory":"65MiB"}"#), Some("memory"));
        assert_eq!(verdict(&limits, r#"{"cpus":1.5}"#), Some("cpus"));
        assert_eq!(verdict(&limits, r#"{"pids":33}"#), Some("pids"));
        assert_eq!(verdict(&limits, r#"{"timeout":"6m"}"#), Some("timeout"));
        let admitted = limits
            .admit(spec("{}"), &ForbiddenPaths::default(), &|_| None)
            .expect("nothing was asked for");
        assert_eq!(admitted.fields().memory.map(|m| m.as_u64()), Some(64 << 20));
        assert_eq!(admitted.fields().pids, Some(32));
    }
}
