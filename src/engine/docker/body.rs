//! Turns a launch into the body of the engine's `create`.
//!
//! Some settings are fixed. There is no restart policy and no auto-remove, because both would act
//! behind our back. There is no terminal and no input. On Docker the log driver is `json-file`,
//! because the daemon's default may be a driver that cannot be read afterwards.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig, Mount as DockerMount,
    MountTmpfsOptions, MountType, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use super::secrets;
use crate::domain::container::{
    LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, LABEL_SCHEDULE, LABEL_SPEC_HASH,
};
use crate::domain::spec::secret::Secret;
use crate::domain::spec::{Gpus, Mount, SpecFields};
use crate::domain::text::units::Bytes;
use crate::engine::Launch;

/// Returns the body of `create`; `json_file` sets Docker's log driver.
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

/// Merges all variables, each name once. A caller's own variable does not override one of ours.
/// Duplicate names are avoided because runtimes differ in the one that a process sees.
fn environment(launch: &Launch) -> Vec<String> {
    let mut all = launch.spec.fields().env.clone().unwrap_or_default().0;
    let secret =
        |(name, value): &(String, Secret)| Some((name.clone(), value.as_variable()?.to_owned()));
    all.extend(launch.secrets.iter().filter_map(secret));
    all.extend(launch.environment.iter().cloned());
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn labels(launch: &Launch) -> HashMap<String, String> {
    let own = launch.spec.fields().labels.clone().unwrap_or_default().0;
    let ours = [
        (LABEL_INSTANCE.to_owned(), launch.owner.instance.to_string()),
        (LABEL_JOB.to_owned(), launch.owner.job.to_string()),
        (LABEL_ATTEMPT.to_owned(), launch.owner.attempt.to_string()),
        (LABEL_SPEC_HASH.to_owned(), launch.spec_hash.0.clone()),
    ];
    let schedule = launch.schedule.iter().map(|name| (LABEL_SCHEDULE.to_owned(), name.to_string()));
    own.into_iter().chain(ours).chain(schedule).collect()
}

fn host_config(fields: &SpecFields, json_file: bool) -> HostConfig {
    const NANO: f64 = 1e9;
    let bytes =
        |size: Option<Bytes>| size.map(|size| i64::try_from(size.as_u64()).unwrap_or(i64::MAX));
    HostConfig {
        // Values are between 0.01 and 4096 processors, so no cast here loses anything.
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
        device_requests: fields.gpus.as_ref().map(|gpus| vec![device_request(gpus)]),
        readonly_rootfs: fields.read_only,
        cap_add: fields.cap_add.clone(),
        cap_drop: fields.cap_drop.clone(),
        security_opt: fields.security_opt.clone(),
        privileged: fields.privileged,
        init: fields.init,
        network_mode: fields.network.clone(),
        extra_hosts: fields.extra_hosts.clone(),
        dns: fields.dns.clone(),
        mounts: Some(mounts(fields)),
        log_config: json_file
            .then(|| HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        ..Default::default()
    }
}

/// Builds the request as the docker client does for `--gpus`.
fn device_request(gpus: &Gpus) -> DeviceRequest {
    let (count, device_ids) = match gpus {
        Gpus::All => (Some(-1), None),
        Gpus::Count(count) => (Some(i64::from(*count)), None),
        Gpus::Devices(devices) => (None, Some(devices.clone())),
    };
    DeviceRequest {
        count,
        device_ids,
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..Default::default()
    }
}

fn mounts(fields: &SpecFields) -> Vec<DockerMount> {
    let has_files = fields.secrets.as_ref().is_some_and(|secrets| secrets.files().next().is_some());
    fields.mounts.iter().flatten().map(mount).chain(has_files.then(secrets::volume)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::container::{Owner, SpecHash};
    use crate::domain::names::id::{Attempt, ContainerName, InstanceId, JobId};

    fn body(spec: &str) -> ContainerCreateBody {
        let job = JobId::from_bytes([1; 16]);
        let launch = Launch {
            name: ContainerName::of(job, Attempt(1)),
            owner: Owner { instance: InstanceId::new([2; 16]), job, attempt: Attempt(1) },
            spec_hash: SpecHash("r".to_owned()),
            schedule: "nightly".parse().ok(),
            image: "busybox".parse().expect("an image"),
            spec: serde_json::from_str(spec).expect("a spec"),
            environment: vec![("TIDETABLE_ATTEMPT".to_owned(), "1".to_owned())],
            secrets: vec![("A".to_owned(), Secret::new(b"hidden".to_vec()))],
        };
        create_body(&launch, true)
    }

    #[test]
    fn every_spec_field_reaches_the_engine() {
        let spec = r#"{"command":["a"],"entrypoint":["b"],"env":{"K":"V"},"workdir":"/w","user":"1:2","hostname":"h","network":"none",
            "mounts":[{"type":"bind","source":"/in","target":"/in","read_only":true},{"type":"volume","source":"v","target":"/v"},{"type":"tmpfs","target":"/t","size":"1MiB"}],
            "extra_hosts":["db:10.0.0.5"],"dns":["10.0.0.53"],"cpus":1.5,"memory":"64MiB","memory_swap":"128MiB","pids":10,"shm_size":"1MiB",
            "ulimits":[{"name":"nofile","soft":10,"hard":20}],"read_only":true,"cap_add":["NET_ADMIN"],"cap_drop":["ALL"],
            "security_opt":["no-new-privileges"],"secrets":["pw","A=pw"],"gpus":2,"privileged":true,"init":true,"labels":{"team":"a"},"stop_signal":"SIGINT"}"#;
        let sent = serde_json::to_value(body(spec)).expect("JSON");
        let process = serde_json::json!({
            "Image": "busybox:latest", "Cmd": ["a"], "Entrypoint": ["b"], "Env": ["A=hidden", "K=V", "TIDETABLE_ATTEMPT=1"], "WorkingDir": "/w",
            "User": "1:2", "Hostname": "h", "StopSignal": "SIGINT", "AttachStdin": false, "OpenStdin": false, "Tty": false,
        });
        for (name, value) in process.as_object().expect("an object") {
            assert_eq!(&sent[name], value, "{name}");
        }
        assert_eq!(
            (&sent["Labels"]["team"], &sent["Labels"][LABEL_ATTEMPT]),
            (&"a".into(), &"1".into())
        );
        assert_eq!(sent["Labels"][LABEL_SCHEDULE], "nightly");
        const MIB: u64 = 1024 * 1024;
        let host = serde_json::json!({
            "NetworkMode": "none", "ExtraHosts": ["db:10.0.0.5"], "Dns": ["10.0.0.53"], "NanoCpus": 1_500_000_000, "Memory": 64 * MIB,
            "MemorySwap": 128 * MIB, "PidsLimit": 10, "ShmSize": MIB, "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
            "DeviceRequests": [{"Count": 2, "Capabilities": [["gpu"]]}], "ReadonlyRootfs": true, "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "Privileged": true,
            "Init": true, "AutoRemove": false, "RestartPolicy": {"Name": "no"}, "LogConfig": {"Type": "json-file"},
            "Mounts": [
                {"Type": "bind", "Source": "/in", "Target": "/in", "ReadOnly": true},
                {"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": false},
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": MIB}},
                {"Type": "volume", "Target": "/run/secrets", "VolumeOptions": {"NoCopy": true}},
            ],
        });
        assert_eq!(sent["HostConfig"], host);
    }

    #[test]
    fn gpus_are_requested_as_docker_client_does() {
        let sent = |spec| {
            serde_json::to_value(body(spec).host_config.expect("has one")).expect("JSON")["DeviceRequests"].clone()
        };
        let gpu = serde_json::json!([["gpu"]]);
        assert_eq!(
            sent(r#"{"gpus":"all"}"#),
            serde_json::json!([{"Count": -1, "Capabilities": gpu}])
        );
        assert_eq!(
            sent(r#"{"gpus":["0","1"]}"#),
            serde_json::json!([{"DeviceIDs": ["0", "1"], "Capabilities": gpu}])
        );
    }

    #[test]
    fn callers_variable_does_not_override_ours() {
        let env = body(r#"{"env":{"TIDETABLE_ATTEMPT":"9","A":"1"}}"#).env;
        assert_eq!(env, Some(vec!["A=hidden".to_owned(), "TIDETABLE_ATTEMPT=1".to_owned()]));
    }
}
