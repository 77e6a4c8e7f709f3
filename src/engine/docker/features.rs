//! Reads an engine's capabilities from `/info`.
//!
//! A missing or malformed word counts as no information: the engine is then assumed to be capable.

use serde_json::{Map, Value};

use crate::domain::admission::features::{EngineFeatures, MissingFeature};

/// Returns the capabilities that the engine reports.
pub(super) fn read(info: &Map<String, Value>, is_podman: bool) -> EngineFeatures {
    let mut missing = Vec::new();
    let mut check = |feature, is_missing: bool| {
        if is_missing {
            missing.push(feature);
        }
    };
    let says_no = |word: &str| info.get(word) == Some(&Value::Bool(false));
    check(MissingFeature::Cpus, says_no("CpuCfsQuota") || says_no("CpuCfsPeriod"));
    check(MissingFeature::Memory, says_no("MemoryLimit"));
    check(MissingFeature::Swap, says_no("SwapLimit"));
    check(MissingFeature::Pids, says_no("PidsLimit"));
    let options = info.get("SecurityOptions").and_then(Value::as_array);
    let has_not = |name: &str| {
        options.is_some_and(|options| !options.iter().any(|option| is_named(option, name)))
    };
    check(MissingFeature::Seccomp, has_not("seccomp"));
    check(MissingFeature::AppArmor, has_not("apparmor"));
    check(MissingFeature::Selinux, has_not("selinux"));
    check(MissingFeature::Gpus, is_podman || !has_gpus(info));
    // Podman accepts more processors than exist and then sets no limit at all.
    let cpus = info
        .get("NCPU")
        .and_then(Value::as_u64)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n > 0);
    EngineFeatures {
        cpus: cpus.filter(|_| !is_podman),
        os: info
            .get("OSType")
            .and_then(Value::as_str)
            .filter(|os| !os.is_empty())
            .map(str::to_owned),
        missing,
        keeps_containers: info.get("LiveRestoreEnabled") == Some(&Value::Bool(true)),
    }
}

/// Checks an option such as `name=seccomp,profile=default` for this name.
fn is_named(option: &Value, name: &str) -> bool {
    let words = option.as_str().unwrap_or_default();
    words.split(',').any(|word| word.strip_prefix("name=").unwrap_or(word) == name)
}

/// Checks for GPUs: from a runtime that adds them, or as discovered devices (Docker 28).
fn has_gpus(info: &Map<String, Value>) -> bool {
    let runtime = info.get("Runtimes").is_none_or(|runtimes| runtimes.get("nvidia").is_some());
    let is_gpu = |device: &Value| device["ID"].as_str().is_some_and(|id| id.contains("/gpu"));
    runtime
        || info
            .get("DiscoveredDevices")
            .and_then(Value::as_array)
            .is_some_and(|found| found.iter().any(is_gpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(info: Value, is_podman: bool) -> EngineFeatures {
        read(info.as_object().expect("an object"), is_podman)
    }

    #[test]
    fn missing_information_counts_as_capable() {
        assert_eq!(read_json(serde_json::json!({}), false), EngineFeatures::default());
        let odd = serde_json::json!({"NCPU": "two", "SwapLimit": null, "SecurityOptions": null, "OSType": 7});
        assert_eq!(read_json(odd, false), EngineFeatures::default());
    }

    #[test]
    fn reported_capabilities_are_believed() {
        let docker = serde_json::json!({
            "NCPU": 2, "OSType": "linux", "MemoryLimit": true, "SwapLimit": false, "CpuCfsQuota": true, "PidsLimit": true,
            "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default"], "Runtimes": {"runc": {}},
        });
        let known = read_json(docker.clone(), false);
        assert_eq!((known.cpus, known.os.as_deref()), (Some(2), Some("linux")));
        assert_eq!(
            known.missing,
            [MissingFeature::Swap, MissingFeature::Selinux, MissingFeature::Gpus]
        );
        let mut with_gpus = docker.clone();
        with_gpus["Runtimes"]["nvidia"] = serde_json::json!({});
        assert!(!read_json(with_gpus, false).missing.contains(&MissingFeature::Gpus));
        let mut with_devices = docker.clone();
        with_devices["DiscoveredDevices"] =
            serde_json::json!([{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]);
        assert!(!read_json(with_devices, false).missing.contains(&MissingFeature::Gpus));
        let podman = read_json(docker, true);
        assert_eq!((podman.cpus, podman.missing.contains(&MissingFeature::Gpus)), (None, true));
    }
}
