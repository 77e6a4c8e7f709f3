//! The capabilities of an engine, as the engine reports them. A spec that the engine cannot honour
//! is refused when it is posted.
//!
//! The check refuses only settings that the engine certainly lacks. Engines do not report
//! everything, such as whether they can run images for another processor, or whether an image has a
//! certain user. Such errors appear when the container is created or started.

use crate::domain::spec::gpus::Gpus;
use crate::domain::spec::{BadSpec, SpecFields};
use crate::domain::text::units::shown;

/// The known capabilities of an engine. The default is an engine that can do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineFeatures {
    /// The most processors for one container. `None` means unknown or unlimited.
    pub cpus: Option<u32>,
    /// The system of the engine's containers, such as `linux`. `None` means unknown.
    pub os: Option<String>,
    pub missing: Vec<MissingFeature>,
    /// Containers keep running while the engine restarts (live-restore).
    pub keeps_containers: bool,
}

/// A missing capability of an engine. Most engines accept a spec that needs the capability, and
/// ignore the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingFeature {
    Cpus,
    Memory,
    Swap,
    /// A limit on the number of processes.
    Pids,
    /// The filter for system calls.
    Seccomp,
    /// Confinement by AppArmor profiles.
    AppArmor,
    /// Confinement by SELinux labels.
    Selinux,
    Gpus,
}

impl EngineFeatures {
    /// # Errors
    /// [`BadSpec`] names the first field that this engine cannot honour.
    pub fn check(&self, fields: &SpecFields) -> Result<(), BadSpec> {
        self.check_cpus(fields)?;
        self.check_platform(fields)?;
        for missing in &self.missing {
            if let Some((field, asked, what)) = missing.met_by(fields) {
                let detail = format!("`{field}` is {asked}, and the engine cannot do that: {what}");
                return Err(BadSpec { field, detail });
            }
        }
        Ok(())
    }

    fn check_cpus(&self, fields: &SpecFields) -> Result<(), BadSpec> {
        let (Some(cpus), Some(most)) = (fields.cpus, self.cpus) else { return Ok(()) };
        if cpus <= f64::from(most) {
            return Ok(());
        }
        let detail = format!("`cpus` is {cpus}, and the engine has {most}: ask for that at most");
        Err(BadSpec { field: "cpus", detail })
    }

    fn check_platform(&self, fields: &SpecFields) -> Result<(), BadSpec> {
        let (Some(platform), Some(os)) = (&fields.platform, &self.os) else { return Ok(()) };
        match platform.split_once('/') {
            Some((wanted, _)) if !wanted.eq_ignore_ascii_case(os) => {
                let platform = shown(platform);
                let detail =
                    format!("`platform` is `{platform}`, and the engine runs containers of {os}");
                Err(BadSpec { field: "platform", detail })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl MissingFeature {
    /// Returns the field that needs this capability, its value, and the reason of the refusal.
    /// `None` means that the spec does not need it.
    fn met_by(self, f: &SpecFields) -> Option<(&'static str, String, &'static str)> {
        let option = |name: &str, weakest: &str| {
            let asks = |option: &&String| {
                option
                    .split_once(['=', ':'])
                    .is_some_and(|(given, value)| given == name && value != weakest)
            };
            f.security_opt.iter().flatten().find(asks).map(|option| format!("`{}`", shown(option)))
        };
        Some(match self {
            Self::Cpus => {
                ("cpus", f.cpus?.to_string(), "its kernel does not limit processors (CFS quota)")
            }
            Self::Memory => (
                "memory",
                f.memory?.to_string(),
                "its kernel does not limit memory (memory cgroup)",
            ),
            Self::Swap => (
                "memory_swap",
                f.memory_swap?.to_string(),
                "its kernel does not count swap (`swapaccount=1`)",
            ),
            Self::Pids => {
                ("pids", f.pids?.to_string(), "its kernel does not limit processes (pids cgroup)")
            }
            Self::Seccomp => {
                ("security_opt", option("seccomp", "unconfined")?, "it has no seccomp")
            }
            Self::AppArmor => {
                ("security_opt", option("apparmor", "unconfined")?, "it has no AppArmor")
            }
            Self::Selinux => ("security_opt", option("label", "disable")?, "it has no SELinux"),
            Self::Gpus => {
                let asked = match f.gpus.as_ref()? {
                    Gpus::All => "`all`".to_owned(),
                    Gpus::Count(count) => count.to_string(),
                    Gpus::Devices(devices) => shown(&devices.join(", ")),
                };
                (
                    "gpus",
                    asked,
                    "it is Podman, or has no runtime for them (`nvidia-ctk runtime configure` adds it to Docker)",
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(features: &EngineFeatures, json: &str) -> Option<&'static str> {
        let fields = serde_json::from_str(json).expect("a right spec");
        features.check(&fields).err().map(|bad| {
            assert!(bad.detail.contains(bad.field), "{}", bad.detail);
            bad.field
        })
    }

    #[test]
    fn spec_is_refused_only_for_missing_capability() {
        let lacking =
            |missing| EngineFeatures { missing: vec![missing], ..EngineFeatures::default() };
        for (missing, json, field) in [
            (MissingFeature::Cpus, r#"{"cpus":0.5}"#, "cpus"),
            (MissingFeature::Memory, r#"{"memory":"64MiB"}"#, "memory"),
            (MissingFeature::Swap, r#"{"memory":"64MiB","memory_swap":"64MiB"}"#, "memory_swap"),
            (MissingFeature::Pids, r#"{"pids":5}"#, "pids"),
            (
                MissingFeature::Seccomp,
                r#"{"security_opt":["no-new-privileges","seccomp={}"]}"#,
                "security_opt",
            ),
            (
                MissingFeature::AppArmor,
                r#"{"security_opt":["apparmor=docker-default"]}"#,
                "security_opt",
            ),
            (MissingFeature::Selinux, r#"{"security_opt":["label:type:t"]}"#, "security_opt"),
            (MissingFeature::Gpus, r#"{"gpus":"all"}"#, "gpus"),
        ] {
            assert_eq!(refused(&lacking(missing), json), Some(field), "{json}");
            assert_eq!(refused(&EngineFeatures::default(), json), None, "{json}");
            assert_eq!(
                refused(
                    &lacking(missing),
                    r#"{"command":"true","security_opt":["no-new-privileges:true"]}"#
                ),
                None
            );
        }
        let unconfined =
            r#"{"security_opt":["seccomp=unconfined","apparmor=unconfined","label=disable"]}"#;
        let none = EngineFeatures {
            missing: vec![
                MissingFeature::Seccomp,
                MissingFeature::AppArmor,
                MissingFeature::Selinux,
            ],
            ..EngineFeatures::default()
        };
        assert_eq!(refused(&none, unconfined), None);
    }

    #[test]
    fn too_many_cpus_and_other_os_are_refused() {
        let small = EngineFeatures {
            cpus: Some(2),
            os: Some("linux".to_owned()),
            missing: Vec::new(),
            ..EngineFeatures::default()
        };
        assert_eq!(refused(&small, r#"{"cpus":2}"#), None);
        assert_eq!(refused(&small, r#"{"cpus":2.01}"#), Some("cpus"));
        assert_eq!(refused(&small, r#"{"platform":"linux/s390x"}"#), None);
        assert_eq!(refused(&small, r#"{"platform":"windows/amd64"}"#), Some("platform"));
    }
}
