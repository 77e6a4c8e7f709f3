//! What an engine can do, as far as it says so: a spec that it cannot honour is refused when it is posted.
//!
//! Only what is certain is refused here. What an engine does not say (whether it can run another processor's images, whether
//! an image has a user of some name) shows when the container is made or started.

use super::gpus::Gpus;
use super::spec::{BadSpec, SpecFields};
use super::units::shown;

/// What is known of an engine. The default is one that can do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The most processors that it gives to one container.
    pub cpus: Option<u32>,
    /// The system that its containers run on, `linux`.
    pub os: Option<String>,
    /// What it cannot do.
    pub lacks: Vec<Lack>,
    /// Whether containers run on while it restarts (live-restore).
    pub keeps_containers: bool,
}

/// Something that an engine cannot do. Most would take the spec all the same, and not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Limit processors.
    Cpus,
    /// Limit memory.
    Memory,
    /// Limit swap.
    Swap,
    /// Limit the number of processes.
    Pids,
    /// Filter system calls.
    Seccomp,
    /// Confine by AppArmor.
    AppArmor,
    /// Confine by SELinux labels.
    Selinux,
    /// Hand out GPUs.
    Gpus,
}

impl Abilities {
    /// # Errors
    /// [`BadSpec`] names the first field that this engine cannot honour.
    pub fn check(&self, fields: &SpecFields) -> Result<(), BadSpec> {
        self.check_cpus(fields)?;
        self.check_platform(fields)?;
        for lack in &self.lacks {
            if let Some((field, asked, what)) = lack.met_by(fields) {
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

impl Lack {
    /// The field that asks for it, what it asks for, and why that cannot be.
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

    fn refused(abilities: &Abilities, json: &str) -> Option<&'static str> {
        let fields = serde_json::from_str(json).expect("a right spec");
        abilities.check(&fields).err().map(|bad| {
            assert!(bad.detail.contains(bad.field), "{}", bad.detail);
            bad.field
        })
    }

    #[test]
    fn what_an_engine_lacks_is_refused_and_nothing_else() {
        let lacking = |lack| Abilities { lacks: vec![lack], ..Abilities::default() };
        for (lack, json, field) in [
            (Lack::Cpus, r#"{"cpus":0.5}"#, "cpus"),
            (Lack::Memory, r#"{"memory":"64MiB"}"#, "memory"),
            (Lack::Swap, r#"{"memory":"64MiB","memory_swap":"64MiB"}"#, "memory_swap"),
            (Lack::Pids, r#"{"pids":5}"#, "pids"),
            (
                Lack::Seccomp,
                r#"{"security_opt":["no-new-privileges","seccomp={}"]}"#,
                "security_opt",
            ),
            (Lack::AppArmor, r#"{"security_opt":["apparmor=docker-default"]}"#, "security_opt"),
            (Lack::Selinux, r#"{"security_opt":["label:type:t"]}"#, "security_opt"),
            (Lack::Gpus, r#"{"gpus":"all"}"#, "gpus"),
        ] {
            assert_eq!(refused(&lacking(lack), json), Some(field), "{json}");
            assert_eq!(refused(&Abilities::default(), json), None, "{json}");
            assert_eq!(
                refused(
                    &lacking(lack),
                    r#"{"command":"true","security_opt":["no-new-privileges:true"]}"#
                ),
                None
            );
        }
        let unconfined =
            r#"{"security_opt":["seccomp=unconfined","apparmor=unconfined","label=disable"]}"#;
        let none = Abilities {
            lacks: vec![Lack::Seccomp, Lack::AppArmor, Lack::Selinux],
            ..Abilities::default()
        };
        assert_eq!(refused(&none, unconfined), None);
    }

    #[test]
    fn no_more_processors_than_there_are_and_no_other_system() {
        let small = Abilities {
            cpus: Some(2),
            os: Some("linux".to_owned()),
            lacks: Vec::new(),
            ..Abilities::default()
        };
        assert_eq!(refused(&small, r#"{"cpus":2}"#), None);
        assert_eq!(refused(&small, r#"{"cpus":2.01}"#), Some("cpus"));
        assert_eq!(refused(&small, r#"{"platform":"linux/s390x"}"#), None);
        assert_eq!(refused(&small, r#"{"platform":"windows/amd64"}"#), Some("platform"));
    }
}
