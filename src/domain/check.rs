//! The checks that a spec's fields go through: what is wrong with one, and what would be right.
//!
//! A leaf's own syntax (a size, an image reference) is checked where it is parsed. What is checked here are
//! whole fields and what must hold between several. Whether a caller *may* ask for it is the policy's business;
//! whether an engine *can* do it is the engine's.

use super::container::LABEL_PREFIX;
use super::secret::{SECRETS_DIR, file_name};
use super::spec::{BadSpec, Mount, Retry, SpecFields, Ulimit};
use super::units::shown;

/// All checks, in the order of the documentation; the first that fails speaks.
pub(super) fn check(fields: &SpecFields) -> Result<(), BadSpec> {
    check_process(fields)?;
    check_limits(fields)?;
    check_lists(fields)?;
    check_secrets(fields)?;
    check_mounts(fields)?;
    check_labels(fields)
}

fn bad<T>(field: &'static str, detail: impl Into<String>) -> Result<T, BadSpec> {
    Err(BadSpec { field, detail: detail.into() })
}

fn check_process(f: &SpecFields) -> Result<(), BadSpec> {
    if f.workdir.as_deref().is_some_and(|dir| !is_absolute(dir)) {
        return bad("workdir", "`workdir` has to be an absolute path such as `/srv/app`");
    }
    if f.user
        .as_deref()
        .is_some_and(|user| user.is_empty() || user.chars().any(|c| c.is_control() || c.is_whitespace()))
    {
        return bad("user", "`user` has to be a name, a uid, or `uid:gid`, such as `1000:1000`");
    }
    if f.hostname.as_deref().is_some_and(|name| !is_host_name(name)) {
        return bad("hostname", "`hostname` has to be letters, digits, dashes and dots, up to 63 letters");
    }
    if f.network.as_deref().is_some_and(|name| !is_word(name.strip_prefix("container:").unwrap_or(name))) {
        return bad("network", "`network` has to be `bridge`, `none`, `host` or the name of a network");
    }
    if f.stop_signal.as_deref().is_some_and(|signal| !is_signal(signal)) {
        return bad("stop_signal", "`stop_signal` has to be a signal such as `SIGTERM` or `15`");
    }
    if f.platform.as_deref().is_some_and(|p| p.split('/').count() > 3 || !p.split('/').all(is_word)) {
        return bad("platform", "`platform` has to be written like `linux/amd64`");
    }
    Ok(())
}

fn check_limits(f: &SpecFields) -> Result<(), BadSpec> {
    const LEAST_MEMORY: u64 = 6 * 1024 * 1024;
    if f.cpus.is_some_and(|cpus| !(0.01..=4096.0).contains(&cpus)) {
        return bad("cpus", "`cpus` has to be between 0.01 and 4096, such as `1.5`");
    }
    if f.memory.is_some_and(|memory| memory.as_u64() < LEAST_MEMORY) {
        return bad("memory", "`memory` has to be at least `6MiB`, the least that an engine takes");
    }
    if let Some(swap) = f.memory_swap
        && f.memory.is_none_or(|memory| memory.as_u64() > swap.as_u64())
    {
        return bad(
            "memory_swap",
            "`memory_swap` is memory and swap together: it needs `memory` beside it and has to be at least that",
        );
    }
    if f.pids.is_some_and(|pids| pids < 1) {
        return bad("pids", "`pids` has to be 1 or more");
    }
    if f.timeout.is_some_and(|timeout| timeout.as_duration().is_zero()) {
        return bad("timeout", "`timeout` has to be longer than nothing, such as `5m`");
    }
    if f.retry.as_ref().is_some_and(|retry| retry.attempts() > Retry::MAX_ATTEMPTS) {
        return bad("retry", format!("`retry.attempts` has to be at most {}", Retry::MAX_ATTEMPTS));
    }
    let bad_limit = |u: &&Ulimit| {
        !is_word(&u.name) || u.soft < -1 || u.hard < -1 || (u.hard != -1 && (u.soft == -1 || u.soft > u.hard))
    };
    if let Some(limit) = f.ulimits.iter().flatten().find(bad_limit) {
        return bad(
            "ulimits",
            format!(
                "the ulimit `{}` has to have a name such as `nofile` and a `soft` limit up to its `hard` one (-1 for none)",
                shown(&limit.name)
            ),
        );
    }
    Ok(())
}

fn check_lists(f: &SpecFields) -> Result<(), BadSpec> {
    if f.entrypoint.as_ref().is_some_and(|words| words.0.is_empty()) {
        return bad("entrypoint", "`entrypoint` is empty: leave it out to use the image's own");
    }
    if f.extra_hosts
        .iter()
        .flatten()
        .any(|host| !host.split_once(':').is_some_and(|(name, address)| is_host_name(name) && is_address(address)))
    {
        return bad("extra_hosts", "`extra_hosts` has to hold entries such as `db:10.0.0.5`");
    }
    if f.dns.iter().flatten().any(|server| server.parse::<std::net::IpAddr>().is_err()) {
        return bad("dns", "`dns` has to hold addresses such as `10.0.0.53`");
    }
    for (field, list) in [("cap_add", &f.cap_add), ("cap_drop", &f.cap_drop)] {
        if list.iter().flatten().any(|cap| !is_word(cap)) {
            return bad(field, format!("`{field}` has to hold capabilities such as `NET_ADMIN`"));
        }
    }
    if f.security_opt.iter().flatten().any(|o| o.is_empty() || o.chars().any(char::is_control)) {
        return bad("security_opt", "`security_opt` has to hold options such as `no-new-privileges`");
    }
    Ok(())
}

fn check_secrets(f: &SpecFields) -> Result<(), BadSpec> {
    let Some(secrets) = &f.secrets else { return Ok(()) };
    for (target, secret) in &secrets.0 {
        if !is_word(secret) {
            return bad(
                "secrets",
                format!("the secret `{}` has to have a name of letters, digits, `_`, `.` and `-`", shown(secret)),
            );
        }
        let is_file = target.starts_with('/');
        if (is_file && !file_name(target).is_some_and(is_word)) || target.chars().any(char::is_control) {
            return bad(
                "secrets",
                format!(
                    "`{}` is no place for a secret: write `NAME` or `{SECRETS_DIR}/FILE=NAME` for a file, or `VARIABLE=NAME`",
                    shown(target)
                ),
            );
        }
    }
    if secrets.files().next().is_some() && f.mounts.iter().flatten().any(|mount| mount.target() == SECRETS_DIR) {
        return bad("mounts", format!("`{SECRETS_DIR}` is where the secrets are: mount something else elsewhere"));
    }
    Ok(())
}

fn check_mounts(f: &SpecFields) -> Result<(), BadSpec> {
    for mount in f.mounts.iter().flatten() {
        let target = match mount {
            Mount::Bind { source, target, .. } => {
                if !is_absolute(source) {
                    return bad(
                        "mounts",
                        "the `source` of a bind mount has to be an absolute path without `..`, such as `/srv/in`",
                    );
                }
                target
            }
            Mount::Volume { source, target, .. } => {
                if !is_word(source) {
                    return bad(
                        "mounts",
                        "the `source` of a volume has to be its name: letters, digits, `_`, `.` and `-`",
                    );
                }
                target
            }
            Mount::Tmpfs { target, .. } => target,
        };
        if !is_absolute(target) || target == "/" {
            return bad("mounts", "the `target` of a mount has to be an absolute path without `..`, such as `/in`");
        }
    }
    Ok(())
}

fn check_labels(f: &SpecFields) -> Result<(), BadSpec> {
    let Some(labels) = &f.labels else { return Ok(()) };
    match labels.0.keys().find(|key| key.is_empty() || key.starts_with(LABEL_PREFIX)) {
        Some(key) => bad(
            "labels",
            format!("the label `{}` has to have a name that does not begin with `{LABEL_PREFIX}`", shown(key)),
        ),
        None => Ok(()),
    }
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.chars().any(char::is_control) && path.split('/').all(|part| part != "..")
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_host_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 63 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

fn is_address(text: &str) -> bool {
    text == "host-gateway" || text.parse::<std::net::IpAddr>().is_ok()
}

fn is_signal(text: &str) -> bool {
    let is_name = text.len() <= 12
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "+-".contains(c));
    is_name || text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::super::spec::JobSpec;
    use super::*;

    fn refused_field(json: &str) -> Option<&'static str> {
        let fields: SpecFields = serde_json::from_str(json).expect("the syntax is right");
        JobSpec::try_from(fields).err().map(|bad| {
            assert!(bad.detail.len() > 20, "a sentence: {}", bad.detail);
            bad.field
        })
    }

    #[test]
    fn each_bad_field_is_refused_by_its_name() {
        for (json, field) in [
            (r#"{"workdir":"srv"}"#, "workdir"),
            (r#"{"user":"a b"}"#, "user"),
            (r#"{"user":""}"#, "user"),
            (r#"{"hostname":"a/b"}"#, "hostname"),
            (r#"{"network":"a b"}"#, "network"),
            (r#"{"stop_signal":"please"}"#, "stop_signal"),
            (r#"{"stop_signal":"65"}"#, "stop_signal"),
            (r#"{"platform":"a/b/c/d"}"#, "platform"),
            (r#"{"cpus":0}"#, "cpus"),
            (r#"{"cpus":-1}"#, "cpus"),
            (r#"{"memory":"1MiB"}"#, "memory"),
            (r#"{"memory_swap":"64MiB"}"#, "memory_swap"),
            (r#"{"memory":"64MiB","memory_swap":"32MiB"}"#, "memory_swap"),
            (r#"{"pids":0}"#, "pids"),
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
    fn a_spec_of_every_kind_of_field_is_taken_and_comes_back_from_its_json() {
        let json = r#"{"image":"busybox:latest","command":["sh","-c","echo hi"],"env":{"K":"V"},"workdir":"/srv","user":"1000:1000",
            "mounts":[{"type":"bind","source":"/srv/in","target":"/in","read_only":true},{"type":"volume","source":"cache","target":"/cache"},{"type":"tmpfs","target":"/tmp","size":"64MiB"}],
            "network":"none","cpus":1.5,"memory":"64MiB","memory_swap":"128MiB","pids":64,"ulimits":[{"name":"nofile","soft":1024,"hard":-1}],
            "labels":{"team":"a"},"pull":"never","stop_signal":"SIGINT","stop_grace":"3s","timeout":"5m","retry":{"attempts":2,"delay":"10s","on":[1,"oom_killed","unknown"]}}"#;
        let spec: JobSpec = serde_json::from_str(json).expect("every field is right");
        let again: JobSpec =
            serde_json::from_str(&serde_json::to_string(&spec).expect("serializes")).expect("reads back");
        assert_eq!(spec, again);
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_name() {
        let error = serde_json::from_str::<SpecFields>(r#"{"comand":"true"}"#).expect_err("no such field");
        assert!(error.to_string().contains("comand"), "{error}");
    }
}
