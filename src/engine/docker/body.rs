//! A launch as the engine's `create` wants it.
//!
//! Always: no restart policy and no auto-remove, since both would act behind our back; no terminal and no input; and on
//! Docker the `json-file` log driver, since the daemon's own default may be one that cannot be read afterwards.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount as DockerMount, MountTmpfsOptions, MountType,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::domain::container::{LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB};
use crate::domain::spec::{Mount, SpecFields};
use crate::domain::units::Bytes;
use crate::engine::Launch;

/// The body of `create`.
pub(super) fn create_body(launch: &Launch, json_file: bool) -> ContainerCreateBody {
    let fields = launch.spec.fields();
    ContainerCreateBody {
        image: Some(launch.image.with_tag()),
        cmd: fields.command.as_ref().map(|words| words.0.clone()),
        entrypoint: fields.entrypoint.as_ref().map(|words| words.0.clone()),
        env: Some(environment(launch)),
        working_dir: fields.workdir.clone(),
        user: fields.user.clone(),
        hostname: fields.hostname.clone(),
        labels: Some(labels(launch)),
        stop_signal: fields.stop_signal.clone(),
        attach_stdin: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        host_config: Some(host_config(fields, json_file)),
        ..Default::default()
    }
}

/// Ours come last: what a caller sets does not hide them.
fn environment(launch: &Launch) -> Vec<String> {
    let own = launch.spec.fields().env.clone().unwrap_or_default().0;
    own.into_iter().chain(launch.environment.iter().cloned()).map(|(name, value)| format!("{name}={value}")).collect()
}

fn labels(launch: &Launch) -> HashMap<String, String> {
    let own = launch.spec.fields().labels.clone().unwrap_or_default().0;
    let ours = [
        (LABEL_INSTANCE.to_owned(), launch.owner.instance.to_string()),
        (LABEL_JOB.to_owned(), launch.owner.job.to_string()),
        (LABEL_ATTEMPT.to_owned(), launch.owner.attempt.to_string()),
    ];
    own.into_iter().chain(ours).collect()
}

fn host_config(fields: &SpecFields, json_file: bool) -> HostConfig {
    const NANO: f64 = 1e9;
    let bytes = |size: Option<Bytes>| size.map(|size| i64::try_from(size.as_u64()).unwrap_or(i64::MAX));
    HostConfig {
        // Between 0.01 and 4096 processors: no cast here loses anything.
        nano_cpus: fields.cpus.map(|cpus| (cpus * NANO).round() as i64),
        memory: bytes(fields.memory),
        memory_swap: bytes(fields.memory_swap),
        pids_limit: fields.pids,
        shm_size: bytes(fields.shm_size),
        ulimits: fields.ulimits.as_ref().map(|limits| {
            limits
                .iter()
                .map(|limit| ResourcesUlimits {
                    name: Some(limit.name.clone()),
                    soft: Some(limit.soft),
                    hard: Some(limit.hard),
                })
                .collect()
        }),
        readonly_rootfs: fields.read_only,
        cap_add: fields.cap_add.clone(),
        cap_drop: fields.cap_drop.clone(),
        security_opt: fields.security_opt.clone(),
        privileged: fields.privileged,
        init: fields.init,
        network_mode: fields.network.clone(),
        extra_hosts: fields.extra_hosts.clone(),
        dns: fields.dns.clone(),
        mounts: fields.mounts.as_ref().map(|mounts| mounts.iter().map(mount).collect()),
        log_config: json_file.then(|| HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None }),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        ..Default::default()
    }
}

fn mount(mount: &Mount) -> DockerMount {
    match mount {
        Mount::Bind { source, target, read_only } => DockerMount {
            typ: Some(MountType::BIND),
            source: Some(source.clone()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            ..Default::default()
        },
        Mount::Volume { source, target, read_only } => DockerMount {
            typ: Some(MountType::VOLUME),
            source: Some(source.clone()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            ..Default::default()
        },
        Mount::Tmpfs { target, size } => {
            let size_bytes = size.map(|size| i64::try_from(size.as_u64()).unwrap_or(i64::MAX));
            let tmpfs_options = Some(MountTmpfsOptions { size_bytes, ..Default::default() });
            DockerMount {
                typ: Some(MountType::TMPFS),
                target: Some(target.clone()),
                tmpfs_options,
                ..Default::default()
            }
        }
    }
}
