//! The table of cases: a spec, a script that looks around in the container, and the expected
//! output.

use serde_json::json;

use super::{Case, Scene};
use crate::support::IMAGE;

/// Prints the cgroup limits that the container sees, on both generations of cgroups.
const CGROUP: &str = r#"
read_first() { for file; do if [ -e "$file" ]; then cat "$file"; return; fi; done; }
cd /sys/fs/cgroup
echo memory $(read_first memory/memory.limit_in_bytes memory.max)
if [ -e memory/memory.memsw.limit_in_bytes ]; then echo with swap $(cat memory/memory.memsw.limit_in_bytes)
else echo with swap $(( $(cat memory.max) + $(cat memory.swap.max) )); fi
if [ -e cpu.max ]; then echo cpu $(cat cpu.max)
else echo cpu $(read_first cpu/cpu.cfs_quota_us cpu,cpuacct/cpu.cfs_quota_us) $(read_first cpu/cpu.cfs_period_us cpu,cpuacct/cpu.cfs_period_us); fi
echo pids $(read_first pids/pids.max pids.max)
"#;

fn process() -> Vec<Case> {
    vec![
        Case::new(
            "the process",
            json!({"env": {"K": "V W", "EMPTY": "", "Q": "a\"b'c$d"}, "workdir": "/srv/deep", "user": "1000:1001", "hostname": "harbour"}),
            r#"echo "$K|${EMPTY-unset}|$Q"; pwd; id -u; id -g; hostname"#,
            "V W||a\"b'c$d\n/srv/deep\n1000\n1001\nharbour\n",
        ),
        Case::new(
            "entrypoint and command",
            json!({"entrypoint": ["echo", "the entrypoint"], "command": "and 'its  arguments'"}),
            "",
            "the entrypoint and its  arguments\n",
        ),
        Case::new(
            "a user by name, and an environment as a list",
            json!({"user": "nobody", "env": ["A=1", "B=2=3"]}),
            "id -un; echo $A $B",
            "nobody\n1 2=3\n",
        ),
        Case::new(
            "ulimits",
            json!({"ulimits": [{"name": "nofile", "soft": 512, "hard": 1000}, {"name": "core", "soft": 0, "hard": 0}]}),
            "ulimit -n; ulimit -Hn; ulimit -c",
            "512\n1000\n0\n",
        ),
        Case::new(
            "the platform of the engine",
            json!({"platform": format!("linux/{}", architecture())}),
            "uname -s",
            "Linux\n",
        ),
    ]
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn limits() -> Vec<Case> {
    const MIB: u64 = 1024 * 1024;
    vec![
        Case::new(
            "limits",
            json!({"cpus": 0.5, "memory": "64MiB", "memory_swap": "96m", "pids": 64}),
            CGROUP,
            &format!("memory {}\nwith swap {}\ncpu 50000 100000\npids 64\n", 64 * MIB, 96 * MIB),
        ),
        Case::new(
            "the size of /dev/shm",
            json!({"shm_size": "16MiB"}),
            "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2",
            "16384\n",
        ),
    ]
}

fn privileges() -> Vec<Case> {
    const STATUS: &str = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '";
    vec![
        Case::new(
            "capabilities and new privileges",
            json!({"cap_drop": ["ALL"], "cap_add": ["NET_BIND_SERVICE"], "security_opt": ["no-new-privileges"]}),
            STATUS,
            "CapEff: 0000000000000400\nNoNewPrivs: 1\nSeccomp: 2\n",
        ),
        Case::new(
            "without seccomp",
            json!({"cap_drop": ["ALL"], "security_opt": ["seccomp=unconfined"]}),
            STATUS,
            "CapEff: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 0\n",
        ),
        Case::new(
            "not privileged",
            json!({}),
            "[ $(ls /dev | wc -l) -gt 30 ] || echo few devices; grep ' /sys sysfs ' /proc/mounts | cut -d ' ' -f 4 | cut -d , -f 1",
            "few devices\nro\n",
        ),
    ]
}

fn file_systems(scene: &Scene) -> Vec<Case> {
    let folder = scene.folder.path();
    vec![
        Case::new(
            "mounts, and a root that is read-only",
            json!({"read_only": true, "mounts": [
                {"type": "bind", "source": folder, "target": "/in", "read_only": true},
                {"type": "bind", "source": folder, "target": "/out"},
                {"type": "volume", "source": scene.name, "target": "/volume"},
                {"type": "tmpfs", "target": "/scratch", "size": "2MiB"},
            ]}),
            "cat /in/given; for path in /in /out /volume /scratch /etc; do (echo $path > $path/written) 2>/dev/null && echo $path can be written; done; \
             df -k /scratch | tail -n 1 | tr -s ' ' | cut -d ' ' -f 1,2",
            "from the host\n/out can be written\n/volume can be written\n/scratch can be written\ntmpfs 2048\n",
        ),
        Case::new(
            "a root that is not",
            json!({}),
            "echo x > /etc/written && echo written",
            "written\n",
        ),
    ]
}

/// Prints the network namespace: its name is unique and does not change.
const NETWORK: &str = "readlink /proc/self/ns/net";

fn networks() -> Vec<Case> {
    vec![
        Case::new("no network", json!({"network": "none"}), "ls /sys/class/net", "lo\n"),
        Case::new(
            "hosts and name servers",
            json!({"network": "bridge", "extra_hosts": ["db:10.1.2.3", "six:fd00::5"], "dns": ["10.9.8.7", "10.9.8.6"]}),
            "tr '\\t' ' ' < /etc/hosts | grep -E ' (db|six)$'; grep nameserver /etc/resolv.conf; ls /sys/class/net | grep -c eth",
            "10.1.2.3 db\nfd00::5 six\nnameserver 10.9.8.7\nnameserver 10.9.8.6\n1\n",
        ),
    ]
}

/// Checks for all devices, a writable `/sys`, and the capability `SYS_ADMIN`.
fn privileged() -> Case {
    Case::new(
        "privileged",
        json!({"privileged": true}),
        "[ $(ls /dev | wc -l) -gt 30 ] && echo devices; grep ' /sys sysfs ' /proc/mounts | cut -d ' ' -f 4 | cut -d , -f 1; \
         [ $(( 0x$(sed -n 's/CapEff:.//p' /proc/self/status) >> 21 & 1 )) = 1 ] && echo SYS_ADMIN",
        "devices\nrw\nSYS_ADMIN\n",
    )
}

/// Checks that root has every capability here. Without one of them, Docker cannot start a
/// privileged container.
fn root_has_it_all() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let last: u32 =
        std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    u64::from_str_radix(held, 16).unwrap().count_ones() == last + 1
}

#[test]
fn docker_container_sees_every_field() {
    let scene = Scene::docker();
    let mut cases = [process(), limits(), privileges(), file_systems(&scene), networks()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    cases.extend([
        Case::new("an init", json!({"init": true}), "cat /proc/1/comm", "docker-init\n"),
        Case::new("no init", json!({"init": false}), "cat /proc/1/comm; true", "sh\n"),
        Case::new(
            "a network by its name",
            json!({"network": scene.name}),
            "ip route | grep default | cut -d ' ' -f 3",
            &scene.docker_cli(&[
                "network",
                "inspect",
                "-f",
                "{{(index .IPAM.Config 0).Gateway}}",
                &scene.name,
            ]),
        ),
        Case::new(
            "the host's network",
            json!({"network": "host"}),
            NETWORK,
            &scene.docker_cli(&["run", "--rm", "--network", "host", IMAGE, "sh", "-c", NETWORK]),
        ),
    ]);
    if root_has_it_all() {
        cases.push(privileged());
    } else {
        let over = scene.server.wait(&scene.server.submit(privileged().job()));
        assert!(
            over["error"].as_str().unwrap().contains("unable to apply caps"),
            "privileged: {over}"
        );
    }
    scene.hold(cases);
    let written = |name: &str| std::fs::read_to_string(scene.folder.path().join(name)).unwrap();
    assert_eq!(written("written"), "/out\n");
    scene.hold(vec![Case::new(
        "a volume outlives its container",
        json!({"mounts": [{"type": "volume", "source": scene.name, "target": "/v", "read_only": true}]}),
        "cat /v/written; (touch /v/more) 2>/dev/null || echo read-only",
        "/volume\nread-only\n",
    )]);
}

#[test]
fn podman_container_sees_every_field() {
    let scene = Scene::podman();
    let mut cases = [process(), limits(), privileges(), file_systems(&scene), networks()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    cases.push(privileged());
    scene.hold(cases);
}
