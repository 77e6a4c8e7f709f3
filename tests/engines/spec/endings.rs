//! The fields of a spec that decide how a container ends: signals, grace, timeouts, retries,
//! output.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::Scene;
use crate::support::IMAGE;

#[test]
fn spec_decides_how_a_container_is_stopped() {
    let scene = Scene::docker();
    let job = |command: &str, more: Value| {
        let mut job = json!({"job_name": IMAGE, "date": "now", "network": "none", "command": ["sh", "-c", command]});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        scene.server.submit(job)
    };
    let loops = "echo ready; while true; do sleep 0.1; done";
    let interrupted = job(
        &format!("trap 'echo INT; exit 3' INT; trap 'exit 4' TERM; {loops}"),
        json!({"stop_signal": "SIGINT"}),
    );
    let by_number = job(&format!("trap 'exit 5' USR1; {loops}"), json!({"stop_signal": "10"}));
    let patient =
        job(&format!("trap 'sleep 2; exit 6' TERM; {loops}"), json!({"stop_grace": "3m"}));
    let impatient =
        job(&format!("trap 'sleep 600; exit 7' TERM; {loops}"), json!({"stop_grace": "1s"}));
    for id in [&interrupted, &by_number, &patient, &impatient] {
        crate::support::eventually("it is ready", || {
            scene.output(id).contains("ready").then_some(())
        });
        assert_eq!(scene.server.post_form(&format!("/job/{id}/stop"), "").status, 200);
    }
    for (id, code) in [(&interrupted, 3), (&by_number, 5), (&patient, 6), (&impatient, 137)] {
        let over = scene.server.wait(id);
        assert_eq!(
            (&over["status"], &over["exit_code"]),
            (&json!("stopped"), &json!(code)),
            "{over}"
        );
    }
    assert_eq!(scene.output(&interrupted), "ready\nINT\n");
}

/// A listener for the engine's OOM events, which reports each of them to the container by a file.
struct Ears(std::process::Child);

impl Ears {
    fn new(scene: &Scene) -> Self {
        let heard = r#"docker events --filter event=oom --filter "label=hungry=$0" --format '{{index .Actor.Attributes "tidetable.attempt"}}' |
                       while read -r attempt; do : > "$1/heard-$attempt"; done"#;
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", heard, &scene.name])
            .arg(scene.folder.path())
            .env("DOCKER_HOST", &scene.host);
        Self(command.stdout(Stdio::null()).spawn().expect("util-linux has `setsid`"))
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        // Kills the whole process group: the shell waits for the `docker` client.
        let _ = Command::new("kill").args(["-9", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn attempt_end_is_reported_and_decides_about_retry() {
    let scene = Scene::docker();
    // Docker learns of an OOM kill by an event. It listens only once the process runs, and the
    // event may come after the exit. So the container causes OOM kills, none of them of process 1,
    // until the engine has reported one.
    let hungry = "echo $TIDETABLE_ATTEMPT; until [ -e /in/heard-$TIDETABLE_ATTEMPT ]; do tail /dev/zero; code=$?; sleep 0.2; done; exit $code";
    let hungry = json!({"command": ["sh", "-c", hungry], "memory": "32MiB", "memory_swap": "32MiB", "labels": {"hungry": scene.name},
        "mounts": [{"type": "bind", "source": scene.folder.path(), "target": "/in", "read_only": true}], "retry": {"attempts": 2, "delay": "100ms", "on": ["oom_killed"]}});
    let _ears = Ears::new(&scene);
    let exits = |code: i32| json!(["sh", "-c", format!("echo $TIDETABLE_ATTEMPT; exit {code}")]);
    let retry = |on: Value| json!({"attempts": 2, "delay": "100ms", "on": on});
    let mut cases: Vec<(Value, &str, &str, u32)> = vec![
        (
            json!({"command": exits(3), "retry": retry(json!([3, "oom_killed"]))}),
            "failed",
            "exit_nonzero",
            3,
        ),
        (
            json!({"command": exits(4), "retry": retry(json!([3, "oom_killed"]))}),
            "failed",
            "exit_nonzero",
            1,
        ),
        (hungry, "failed", "oom_killed", 3),
        (
            json!({"command": "sleep 3600", "timeout": "1s", "stop_grace": "1s", "retry": retry(json!(["timeout"]))}),
            "timed_out",
            "timeout",
            1,
        ),
        (
            json!({"command": "frobnicate", "retry": retry(json!(["command_not_found"]))}),
            "failed",
            "command_not_found",
            3,
        ),
        (
            json!({"image": "not-here:1", "pull": "never", "retry": {"attempts": 2}}),
            "failed",
            "image_not_found",
            1,
        ),
        (
            json!({"command": "true", "platform": "linux/s390x", "pull": "never"}),
            "failed",
            "image_not_found",
            1,
        ),
        (json!({"command": "true", "user": "nobody-of-that-name"}), "failed", "start_failed", 1),
    ];
    let ids: Vec<String> = cases
        .iter_mut()
        .map(|(job, ..)| {
            job["job_name"] = json!(IMAGE);
            job["date"] = json!("now");
            job["network"] = json!("none");
            scene.server.submit(job.clone())
        })
        .collect();
    for ((job, status, reason, attempt), id) in cases.iter().zip(&ids) {
        let over = scene.server.wait(id);
        assert_eq!(
            (&over["status"], &over["reason"], &over["attempt"]),
            (&json!(status), &json!(reason), &json!(attempt)),
            "{job}: {over}"
        );
    }
    assert_eq!(scene.output(&ids[0]), "3\n", "the output is the last attempt's");
}

#[test]
fn log_limit_truncates_stored_output() {
    let scene = Scene::docker();
    let job = json!({"job_name": IMAGE, "date": "now", "network": "none", "log_limit": "1KiB", "command": ["sh", "-c", "yes 0123456789 | head -n 1000"]});
    let id = scene.server.submit(job);
    scene.server.wait(&id);
    let kept = scene.output(&id);
    assert!(
        kept.starts_with("0123456789\n") && kept.contains("`log_limit` is 1024 bytes"),
        "{kept}"
    );
    assert!(kept.len() < 1200, "{}", kept.len());
}
