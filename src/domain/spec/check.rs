//! The checks of a spec's fields. Each error names the field, shows its value, and describes a
//! valid one.
//!
//! A value's own syntax (a size, an image reference) is checked where it is parsed. This module
//! checks whole fields and combinations of fields. The policy decides whether a caller may ask for
//! a value; the engine decides whether it can provide it.

use std::time::Duration;

use super::fields::{BadSpec, SpecFields};
use super::gpus::Gpus;
use super::linux::{is_capability, is_signal, is_ulimit};
use super::secret::{SECRETS_DIR, file_name};
use super::values::{Mount, Retry, Ulimit};
use crate::domain::container::LABEL_PREFIX;
use crate::domain::text::units::shown;

/// Runs all checks in the order of the documentation, and returns the first error.
pub(crate) fn check(fields: &SpecFields) -> Result<(), BadSpec> {
    check_process(fields)?;
    check_network(fields)?;
    check_limits(fields)?;
    check_privileges(fields)?;
    check_secrets(fields)?;
    check_mounts(fields)?;
    check_labels(fields)
}

fn bad<T>(field: &'static str, detail: impl Into<String>) -> Result<T, BadSpec> {
    Err(BadSpec { field, detail: detail.into() })
}

/// Refuses a value that fails `holds`, and shows it.
fn hold(
    field: &'static str,
    value: Option<&str>,
    holds: impl Fn(&str) -> bool,
    right: &str,
) -> Result<(), BadSpec> {
    match value {
        Some(value) if !holds(value) => {
            bad(field, format!("`{field}` is `{}`: it has to be {right}", shown(value)))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses the first entry of a list that fails `holds`, and shows it.
fn all_hold(
    field: &'static str,
    list: &Option<Vec<String>>,
    holds: impl Fn(&str) -> bool,
    right: &str,
) -> Result<(), BadSpec> {
    match list.iter().flatten().find(|entry| !holds(entry)) {
        Some(entry) => {
            bad(field, format!("`{field}` holds `{}`: each has to be {right}", shown(entry)))
        }
        None => Ok(()),
    }
}

fn check_process(f: &SpecFields) -> Result<(), BadSpec> {
    let is_user =
        |user: &str| !user.is_empty() && !user.chars().any(|c| c.is_control() || c.is_whitespace());
    let is_platform = |text: &str| text.split('/').count() <= 3 && text.split('/').all(is_word);
    hold(
        "workdir",
        f.workdir.as_deref(),
        is_absolute,
        "an absolute path without `..`, such as `/srv/app`",
    )?;
    hold("user", f.user.as_deref(), is_user, "a name, a uid, or `uid:gid`, such as `1000:1000`")?;
    hold("platform", f.platform.as_deref(), is_platform, "written like `linux/amd64`")?;
    hold("stop_signal", f.stop_signal.as_deref(), is_signal, "a signal such as `SIGTERM` or `15`")?;
    if f.entrypoint.as_ref().is_some_and(|words| words.0.is_empty()) {
        return bad("entrypoint", "`entrypoint` is empty: leave it out to use the image's own");
    }
    Ok(())
}

fn check_network(f: &SpecFields) -> Result<(), BadSpec> {
    let is_network = |name: &str| is_word(name.strip_prefix("container:").unwrap_or(name));
    let is_host = |entry: &str| {
        entry
            .split_once(':')
            .is_some_and(|(name, address)| is_host_name(name) && is_address(address))
    };
    let is_server = |entry: &str| entry.parse::<std::net::IpAddr>().is_ok();
    hold(
        "hostname",
        f.hostname.as_deref(),
        is_host_name,
        "letters, digits, dashes and dots, up to 63 of them",
    )?;
    hold(
        "network",
        f.network.as_deref(),
        is_network,
        "`bridge`, `none`, `host` or the name of a network",
    )?;
    all_hold(
        "extra_hosts",
        &f.extra_hosts,
        is_host,
        "a name and an address, such as `db:10.0.0.5`",
    )?;
    all_hold("dns", &f.dns, is_server, "an address such as `10.0.0.53`")?;
    if f.network.as_deref().is_some_and(|network| network.starts_with("container:")) {
        let of_its_own = [
            ("hostname", f.hostname.is_some()),
            ("extra_hosts", f.extra_hosts.is_some()),
            ("dns", f.dns.is_some()),
        ];
        if let Some((field, _)) = of_its_own.into_iter().find(|(_, given)| *given) {
            return bad(
                field,
                format!(
                    "`{field}` is the other container's where `network` is `container:…`: leave it out"
                ),
            );
        }
    }
    Ok(())
}

fn check_limits(f: &SpecFields) -> Result<(), BadSpec> {
    const LONGEST_TOLERANCE: Duration = Duration::from_secs(1);
    const LEAST_MEMORY: u64 = 6 * 1024 * 1024;
    if let Some(cpus) = f.cpus.filter(|cpus| !(0.01..=4096.0).contains(cpus)) {
        return bad(
            "cpus",
            format!("`cpus` is {cpus}: it has to be between 0.01 and 4096, such as `1.5`"),
        );
    }
    if let Some(memory) = f.memory.filter(|memory| memory.as_u64() < LEAST_MEMORY) {
        return bad(
            "memory",
            format!(
                "`memory` is {memory}: it has to be at least `6MiB`, the least that an engine takes"
            ),
        );
    }
    if let Some(swap) = f.memory_swap
        && f.memory.is_none_or(|memory| memory.as_u64() > swap.as_u64())
    {
        return bad(
            "memory_swap",
            format!(
                "`memory_swap` is {swap}: it is memory and swap together, so it needs `memory` beside it and has to be at least that"
            ),
        );
    }
    if let Some(pids) = f.pids.filter(|pids| *pids < 1) {
        return bad("pids", format!("`pids` is {pids}: it has to be 1 or more"));
    }
    // To an engine, 0 means its own default size.
    if f.shm_size.is_some_and(|size| size.as_u64() == 0) {
        return bad(
            "shm_size",
            "`shm_size` is 0B: it has to be more than nothing, such as `64MiB`",
        );
    }
    if f.timeout.is_some_and(|timeout| timeout.as_duration().is_zero()) {
        return bad("timeout", "`timeout` is 0s: it has to be longer than nothing, such as `5m`");
    }
    if let Some(attempts) =
        f.retry.as_ref().map(Retry::attempts).filter(|attempts| *attempts > Retry::MAX_ATTEMPTS)
    {
        return bad(
            "retry",
            format!("`retry.attempts` is {attempts}: it has to be at most {}", Retry::MAX_ATTEMPTS),
        );
    }
    if f.aim_tolerance.is_some() && f.aim != Some(true) {
        return bad(
            "aim_tolerance",
            "`aim_tolerance` says how exactly a job with `\"aim\": true` is to begin: give that, too",
        );
    }
    if let Some(most) =
        f.aim_tolerance.filter(|tolerance| tolerance.as_duration() > LONGEST_TOLERANCE)
    {
        return bad(
            "aim_tolerance",
            format!("`aim_tolerance` is {most}: it has to be at most `1s`"),
        );
    }
    if f.max_parallel == Some(0) {
        return bad(
            "max_parallel",
            "`max_parallel` is 0: it has to be 1 or more; leave it out for no limit",
        );
    }
    match &f.gpus {
        Some(Gpus::Count(0)) => return bad("gpus", "`gpus` is 0: leave it out for none"),
        Some(Gpus::Devices(devices))
            if devices.is_empty() || !devices.iter().all(|device| is_word(device)) =>
        {
            return bad(
                "gpus",
                "`gpus` has to hold devices, by their number or id, such as `[\"0\", \"1\"]`",
            );
        }
        Some(Gpus::All | Gpus::Count(_) | Gpus::Devices(_)) | None => {}
    }
    f.ulimits.iter().flatten().try_for_each(check_ulimit)
}

fn check_ulimit(limit: &Ulimit) -> Result<(), BadSpec> {
    let name = shown(&limit.name);
    if !is_ulimit(&limit.name) {
        return bad(
            "ulimits",
            format!(
                "`{name}` is no limit of a process: there are `nofile`, `nproc`, `core` and others"
            ),
        );
    }
    let (soft, hard) = (limit.soft, limit.hard);
    if soft < -1 || hard < -1 || (hard != -1 && (soft == -1 || soft > hard)) {
        return bad(
            "ulimits",
            format!(
                "the limit `{name}` has a `soft` of {soft} and a `hard` of {hard}: soft goes up to hard (-1 for none)"
            ),
        );
    }
    Ok(())
}

fn check_privileges(f: &SpecFields) -> Result<(), BadSpec> {
    all_hold("cap_add", &f.cap_add, is_capability, "a capability such as `NET_ADMIN`, or `ALL`")?;
    all_hold("cap_drop", &f.cap_drop, is_capability, "a capability such as `NET_ADMIN`, or `ALL`")?;
    all_hold(
        "security_opt",
        &f.security_opt,
        is_security_option,
        "`no-new-privileges`, or `seccomp=`, `apparmor=` or `label=` and what is wanted; for seccomp that is `unconfined` or a profile itself (JSON), not its file",
    )
}

fn is_security_option(option: &str) -> bool {
    match option.split_once(['=', ':']) {
        _ if option.chars().any(char::is_control) => false,
        None => option == "no-new-privileges",
        Some(("no-new-privileges", value)) => matches!(value, "true" | "false"),
        Some(("seccomp", profile)) => {
            matches!(profile, "unconfined" | "builtin")
                || serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(profile)
                    .is_ok()
        }
        Some(("apparmor" | "label", value)) => !value.is_empty(),
        Some(_) => false,
    }
}

fn check_secrets(f: &SpecFields) -> Result<(), BadSpec> {
    let Some(secrets) = &f.secrets else { return Ok(()) };
    for (target, secret) in &secrets.0 {
        if !is_word(secret) {
            return bad(
                "secrets",
                format!(
                    "the secret `{}` has to have a name of letters, digits, `_`, `.` and `-`",
                    shown(secret)
                ),
            );
        }
        let is_file = target.starts_with('/');
        if (is_file && !file_name(target).is_some_and(is_word))
            || target.chars().any(char::is_control)
        {
            return bad(
                "secrets",
                format!(
                    "`{}` is no place for a secret: write `NAME` or `{SECRETS_DIR}/FILE=NAME` for a file, or `VARIABLE=NAME`",
                    shown(target)
                ),
            );
        }
    }
    if secrets.files().next().is_some()
        && f.mounts.iter().flatten().any(|mount| mount.target() == SECRETS_DIR)
    {
        return bad(
            "mounts",
            format!("`{SECRETS_DIR}` is where the secrets are: mount something else elsewhere"),
        );
    }
    Ok(())
}

fn check_mounts(f: &SpecFields) -> Result<(), BadSpec> {
    let mut targets = Vec::new();
    for mount in f.mounts.iter().flatten() {
        match mount {
            Mount::Bind { source, .. } if !is_absolute(source) => {
                return bad(
                    "mounts",
                    format!(
                        "`{}` is the `source` of a bind mount: it has to be an absolute path without `..`, such as `/srv/in`",
                        shown(source)
                    ),
                );
            }
            Mount::Volume { source, .. } if !is_word(source) => {
                return bad(
                    "mounts",
                    format!(
                        "`{}` is the `source` of a volume: it has to be its name, of letters, digits, `_`, `.` and `-`",
                        shown(source)
                    ),
                );
            }
            Mount::Tmpfs { size: Some(size), .. } if size.as_u64() == 0 => {
                return bad(
                    "mounts",
                    "the `size` of a tmpfs is 0B: it has to be more than nothing, such as `64MiB`",
                );
            }
            Mount::Bind { .. } | Mount::Volume { .. } | Mount::Tmpfs { .. } => {}
        }
        check_target(mount.target(), &mut targets)?;
    }
    Ok(())
}

/// Refuses a target that is not absolute, is `/`, or is taken: an engine makes only one mount at a
/// path.
fn check_target<'a>(target: &'a str, others: &mut Vec<Vec<&'a str>>) -> Result<(), BadSpec> {
    let parts: Vec<&str> =
        target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if !is_absolute(target) || parts.is_empty() {
        return bad(
            "mounts",
            format!(
                "`{}` is the `target` of a mount: it has to be an absolute path without `..`, such as `/in`",
                shown(target)
            ),
        );
    }
    if others.contains(&parts) {
        return bad(
            "mounts",
            format!("`{}` is the `target` of two mounts: each has to have its own", shown(target)),
        );
    }
    others.push(parts);
    Ok(())
}

fn check_labels(f: &SpecFields) -> Result<(), BadSpec> {
    let Some(labels) = &f.labels else { return Ok(()) };
    match labels.0.keys().find(|key| key.is_empty() || key.starts_with(LABEL_PREFIX)) {
        Some(key) => bad(
            "labels",
            format!(
                "the label `{}` has to have a name that does not begin with `{LABEL_PREFIX}`",
                shown(key)
            ),
        ),
        None => Ok(()),
    }
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/')
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| part != "..")
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

fn is_address(text: &str) -> bool {
    text == "host-gateway" || text.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::JobSpec;

    fn refused_field(json: &str) -> Option<&'static str> {
        let fields: SpecFields = serde_json::from_str(json).expect("the syntax is right");
        JobSpec::try_from(fields).err().map(|bad| {
            assert!(bad.detail.len() > 20, "a sentence: {}", bad.detail);
            bad.field
        })
    }

    #[test]
    fn error_names_the_invalid_field() {
        for (json, field) in [
            (r#"{"workdir":"srv"}"#, "workdir"),
            (r#"{"user":"a b"}"#, "user"),
            (r#"{"user":""}"#, "user"),
            (r#"{"hostname":"a/b"}"#, "hostname"),
            (r#"{"network":"a b"}"#, "network"),
            (r#"{"stop_signal":"please"}"#, "stop_signal"),
            (r#"{"stop_signal":"65"}"#, "stop_signal"),
            (r#"{"stop_signal":"SIGFOO"}"#, "stop_signal"),
            (r#"{"network":"container:x","hostname":"a"}"#, "hostname"),
            (r#"{"network":"container:x","dns":["10.0.0.1"]}"#, "dns"),
            (r#"{"shm_size":"0"}"#, "shm_size"),
            (r#"{"gpus":0}"#, "gpus"),
            (r#"{"gpus":["a b"]}"#, "gpus"),
            (r#"{"ulimits":[{"name":"files","soft":1,"hard":1}]}"#, "ulimits"),
            (r#"{"cap_drop":["NET"]}"#, "cap_drop"),
            (r#"{"security_opt":["seccomp=/etc/profile.json"]}"#, "security_opt"),
            (r#"{"security_opt":["systempaths=unconfined"]}"#, "security_opt"),
            (
                r#"{"mounts":[{"type":"tmpfs","target":"/a"},{"type":"volume","source":"v","target":"/a/"}]}"#,
                "mounts",
            ),
            (r#"{"mounts":[{"type":"tmpfs","target":"/a","size":0}]}"#, "mounts"),
            (r#"{"platform":"a/b/c/d"}"#, "platform"),
            (r#"{"cpus":0}"#, "cpus"),
            (r#"{"cpus":-1}"#, "cpus"),
            (r#"{"memory":"1MiB"}"#, "memory"),
            (r#"{"memory_swap":"64MiB"}"#, "memory_swap"),
            (r#"{"memory":"64MiB","memory_swap":"32MiB"}"#, "memory_swap"),
            (r#"{"pids":0}"#, "pids"),
            (r#"{"max_parallel":0}"#, "max_parallel"),
            (r#"{"timeout":"0s"}"#, "timeout"),
            (r#"{"retry":{"attempts":5000}}"#, "retry"),
            (r#"{"ulimits":[{"name":"nofile","soft":10,"hard":5}]}"#, "ulimits"),
            (r#"{"entrypoint":[]}"#, "entrypoint"),
            (r#"{"extra_hosts":["db"]}"#, "extra_hosts"),
            (r#"{"dns":["example"]}"#, "dns"),
            (r#"{"cap_add":["NET ADMIN"]}"#, "cap_add"),
            (r#"{"security_opt":[""]}"#, "security_opt"),
            (r#"{"mounts":[{"type":"bind","source":"in","target":"/in"}]}"#, "mounts"),
            (r#"{"mounts":[{"type":"bind","source":"/srv/../etc","target":"/in"}]}"#, "mounts"),
            (r#"{"mounts":[{"type":"volume","source":"/etc","target":"/in"}]}"#, "mounts"),
            (r#"{"mounts":[{"type":"tmpfs","target":"/"}]}"#, "mounts"),
            (r#"{"labels":{"tidetable.job":"x"}}"#, "labels"),
            (r#"{"secrets":["../etc"]}"#, "secrets"),
            (r#"{"secrets":["/etc/passwd=pw"]}"#, "secrets"),
            (r#"{"secrets":["/run/secrets/a/b=pw"]}"#, "secrets"),
            (r#"{"secrets":["A=not a name"]}"#, "secrets"),
            (r#"{"secrets":["pw"],"mounts":[{"type":"tmpfs","target":"/run/secrets"}]}"#, "mounts"),
        ] {
            assert_eq!(refused_field(json), Some(field), "{json}");
        }
    }

    #[test]
    fn error_shows_the_value_and_a_valid_one() {
        for (json, parts) in [
            (r#"{"workdir":"srv"}"#, ["`srv`", "/srv/app"]),
            (r#"{"cpus":-1}"#, ["-1", "1.5"]),
            (r#"{"memory":"1MiB"}"#, ["1MiB", "6MiB"]),
            (r#"{"cap_add":["KILL","FLY"]}"#, ["`FLY`", "NET_ADMIN"]),
            (r#"{"dns":["example"]}"#, ["`example`", "10.0.0.53"]),
            (r#"{"mounts":[{"type":"bind","source":"in","target":"/in"}]}"#, ["`in`", "/srv/in"]),
            (r#"{"user":"a\u001b[2Jb"}"#, ["`a\\u{1b}[2Jb`", "1000:1000"]),
        ] {
            let fields: SpecFields = serde_json::from_str(json).expect("the syntax is right");
            let detail = JobSpec::try_from(fields).expect_err("is refused").detail;
            assert!(parts.iter().all(|part| detail.contains(part)), "{json}: {detail}");
        }
    }

    #[test]
    fn full_spec_survives_a_json_round_trip() {
        let json = r#"{"image":"busybox:latest","command":["sh","-c","echo hi"],"env":{"K":"V"},"workdir":"/srv","user":"1000:1000",
            "mounts":[{"type":"bind","source":"/srv/in","target":"/in","read_only":true},{"type":"volume","source":"cache","target":"/cache"},{"type":"tmpfs","target":"/tmp","size":"64MiB"}],
            "network":"none","cpus":1.5,"memory":"64MiB","memory_swap":"128MiB","pids":64,"ulimits":[{"name":"nofile","soft":1024,"hard":-1}],
            "labels":{"team":"a"},"pull":"never","stop_signal":"SIGINT","stop_grace":"3s","timeout":"5m","retry":{"attempts":2,"delay":"10s","on":[1,"oom_killed","unknown"]}}"#;
        let spec: JobSpec = serde_json::from_str(json).expect("every field is right");
        let again: JobSpec =
            serde_json::from_str(&serde_json::to_string(&spec).expect("serializes"))
                .expect("reads back");
        assert_eq!(spec, again);
    }

    #[test]
    fn unknown_field_is_refused_by_name() {
        let error =
            serde_json::from_str::<SpecFields>(r#"{"comand":"true"}"#).expect_err("no such field");
        assert!(error.to_string().contains("comand"), "{error}");
    }
}
