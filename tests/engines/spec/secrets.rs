//! Secrets and env files: they reach the container, and their values are found nowhere else.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Case, Scene};
use crate::support::daemon::Daemon;
use crate::support::{IMAGE, Server};

/// The secret values: no file, answer or log line may contain them.
const VALUES: [&str; 3] =
    ["hunter2-of-the-file", "hunter2-of-the-variable", "hunter2-of-the-env-file"];

/// Returns the cases of a container with these secrets, for several users and root file systems.
fn cases() -> Vec<Case> {
    // The stored output must not contain the values, nor may the command: the container prints
    // their hashes.
    let look = "sha256sum < /run/secrets/pw; printf %s \"$PW\" | sha256sum; printf %s \"$FROM_FILE\" | sha256sum; echo $SHADOWED; \
                stat -c '%a %u' /run/secrets/pw; cmp /run/secrets/pw /run/secrets/other && ls /run/secrets";
    let hash = |text: &str| {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "  -\n"
    };
    let hashes = [hash(&format!("{}\n", VALUES[0])), hash(VALUES[1]), hash(VALUES[2])].concat();
    let says = format!("{hashes}mine\n444 0\nother\npw\n");
    let secrets = json!({"/run/secrets/pw": "pw", "/run/secrets/other": "pw", "PW": "from-env"});
    [
        ("secrets", json!({})),
        ("secrets of anybody", json!({"user": "1000:1000"})),
        (
            "secrets in a root that is read-only",
            json!({"read_only": true, "mounts": [{"type": "tmpfs", "target": "/run"}]}),
        ),
    ]
    .map(|(what, mut spec)| {
        spec["secrets"] = secrets.clone();
        spec["env"] = json!({"SHADOWED": "mine"});
        spec["command"] = json!(["sh", "-c", look]);
        Case::new(what, spec, "", &says)
    })
    .into()
}

/// Starts a server with secrets, all of which callers may use.
fn scene(host: String) -> Scene {
    let scene = Scene::with(
        host,
        "allow_secrets = ['*']\n[secrets.pw]\nfile = 'FOLDER/pw'\n[secrets.from-env]\nenv = 'TEST_SECRET'\n[secrets.gone]\nfile = '/nowhere/at/all'\n\
         [definitions.QUIET]\nimage = 'busybox:latest'\nenv_file = 'FOLDER/env'",
        &[
            ("pw", &format!("{}\n", VALUES[0])),
            ("env", &format!("# ours\nFROM_FILE={}\nSHADOWED=file\n", VALUES[2])),
        ],
        &[
            ("TEST_SECRET", VALUES[1]),
            ("TIDETABLE_LOG", "trace,bollard=trace,bollard::docker=trace"),
        ],
    );
    scene.assert_nothing_in_the_clear();
    scene
}

impl Scene {
    /// Checks that no value is in the data directory, the log or an answer.
    fn assert_nothing_in_the_clear(&self) {
        let mut texts = vec![("the log".to_owned(), self.server.log().into_bytes())];
        files(&self.server.data_dir(), &mut texts);
        for path in ["/jobs", "/version", "/readyz"] {
            texts.push((path.to_owned(), self.server.get(path).body));
        }
        let jobs = self.server.get("/jobs").json();
        let jobs =
            jobs.as_object().unwrap().values().flat_map(|map| map.as_object().unwrap().keys());
        for id in jobs {
            for path in [format!("/job/{id}"), format!("/job/{id}/logs")] {
                texts.push((path.clone(), self.server.get(&path).body));
            }
            let inspect = std::process::Command::new(crate::support::binary())
                .args(["inspect", id, "--server", self.server.url()])
                .output()
                .unwrap();
            assert!(inspect.status.success());
            texts.push((format!("inspect {id}"), [inspect.stdout, inspect.stderr].concat()));
        }
        for (place, text) in texts {
            for value in VALUES {
                assert!(
                    !text.windows(value.len()).any(|part| part == value.as_bytes()),
                    "{value} is in {place}"
                );
            }
        }
    }
}

fn files(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

fn hold(host: String) {
    let scene = scene(host);
    let jobs = cases().into_iter().map(|case| Case { name: "QUIET", ..case }).collect();
    scene.hold(jobs);
    // A container that cannot be created appears in an error; a container that is kept can be
    // inspected.
    let job = |more: Value| {
        let mut job = json!({"job_name": "QUIET", "date": "now", "network": "none", "command": "true", "secrets": ["pw", "PW=from-env"]});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        scene.server.wait(&scene.server.submit(job))
    };
    assert_eq!(job(json!({"command": "frobnicate"}))["reason"], "command_not_found");
    let kept = job(json!({"keep_container": true, "secrets": ["pw"]}));
    let shown =
        scene.docker_cli(&["inspect", &format!("tidetable-{}-1", kept["id"].as_str().unwrap())]);
    assert!(!shown.contains(VALUES[0]), "a file is not in what the engine shows");
    let missing = job(json!({"secrets": ["pw", "gone"]}));
    assert_eq!(
        (&missing["status"], &missing["reason"]),
        (&json!("failed"), &json!("secret_missing")),
        "{missing}"
    );
    let error = missing["error"].as_str().unwrap();
    assert!(error.contains("`gone`") && !error.contains("/nowhere"), "{error}");
    scene.assert_nothing_in_the_clear();
    let running = json!({"job_name": "QUIET", "date": "now", "network": "none", "command": "sleep 3600", "secrets": ["pw"], "stop_grace": "1s"});
    let id = scene.server.submit(running);
    scene.server.until(&id, "running");
    let volume = scene.docker_cli(&[
        "inspect",
        "-f",
        "{{range .Mounts}}{{.Name}}{{end}}",
        &format!("tidetable-{id}-1"),
    ]);
    let is_there = || scene.docker_cli(&["volume", "ls", "-q"]).contains(volume.trim());
    assert!(is_there());
    assert_eq!(scene.server.post_form(&format!("/job/{id}/stop"), "").status, 200);
    crate::support::eventually("the secrets are gone with the container", || {
        (!is_there()).then_some(())
    });
}

#[test]
fn docker_secret_reaches_only_its_container() {
    hold(crate::support::docker_host());
}

#[test]
fn podman_secret_reaches_only_its_container() {
    hold(std::env::var("TIDETABLE_TEST_PODMAN").unwrap());
}

#[test]
fn secret_needs_permission_and_has_to_exist() {
    let config = "[policies.default]\nallow_secrets = ['team-*']\n[secrets.team-key]\nenv = 'HOME'\n[secrets.other]\nenv = 'HOME'";
    let server = Server::start(&["--engine", "simulated"], config, &[]);
    let post = |name: &str| {
        server.post_json("/job", &json!({"job_name": IMAGE, "date": "1h", "secrets": [name]}))
    };
    assert_eq!(post("team-key").status, 201);
    assert_eq!(post("other").assert_problem(403, "policy_denied")["field"], "secrets");
    assert_eq!(post("team-typo").assert_problem(422, "cannot_be_run")["field"], "secrets");
}

/// Forwards calls to the engine at this socket. While `halts` is set, lets the upload of secrets
/// hang.
fn proxy(socket: String, halts: Arc<AtomicBool>, hung: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (socket, halts, hung) = (socket.clone(), halts.clone(), hung.clone());
            std::thread::spawn(move || {
                let Ok(mut engine) = UnixStream::connect(&socket) else { return };
                let (mut answers, mut back) =
                    (engine.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
                let mut buffer = [0; 16 * 1024];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    if buffer.starts_with(b"PUT ") && halts.load(Ordering::Relaxed) {
                        hung.store(true, Ordering::Relaxed);
                        continue;
                    }
                    if engine.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
                let _closed = engine.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    port
}

#[test]
fn restarted_server_completes_the_upload_of_secrets() {
    let (halts, hung) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    // The event log decides about a container without a start, so no other test may fill it.
    let daemon = Daemon::start();
    let port = proxy(
        daemon.host().strip_prefix("unix://").unwrap().to_owned(),
        halts.clone(),
        hung.clone(),
    );
    let config = "allow_secrets = ['*']\n[secrets.pw]\nfile = 'FOLDER/pw'";
    let mut scene =
        Scene::with(format!("tcp://127.0.0.1:{port}"), config, &[("pw", VALUES[0])], &[]);
    let job = json!({"job_name": IMAGE, "date": "now", "network": "none", "secrets": ["pw"], "command": "wc -c /run/secrets/pw"});
    let id = scene.server.submit(job);
    crate::support::eventually("its container is there, and the secret on its way", || {
        hung.load(Ordering::Relaxed).then_some(())
    });
    scene.server.kill();
    halts.store(false, Ordering::Relaxed);
    scene.server.up();
    let over = scene.server.wait(&id);
    assert_eq!((&over["status"], &over["attempt"]), (&json!("succeeded"), &json!(1)), "{over}");
    assert_eq!(scene.output(&id), format!("{} /run/secrets/pw\n", VALUES[0].len()));
}
