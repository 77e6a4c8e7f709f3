//! Reloads of the config file while the server runs: a reload applies the whole file or nothing,
//! and disturbs no running job.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Server, eventually, signal};
use serde_json::{Value, json};

const SIMULATED: [&str; 2] = ["--engine", "simulated"];

fn server(config: &str) -> Server {
    Server::start(&SIMULATED, config, &[])
}

fn path(server: &Server) -> PathBuf {
    server.dir().join("config.toml")
}

/// Replaces the config file by a rename, as editors do.
fn replace(server: &Server, config: &str) {
    let beside = server.dir().join("config.toml.new");
    std::fs::write(&beside, config).unwrap();
    std::fs::rename(beside, path(server)).unwrap();
}

fn hang_up(server: &Server) {
    signal(server.pid().unwrap(), "HUP");
}

/// Counts the occurrences of `what` in the log.
fn said(server: &Server, what: &str) -> usize {
    server.log().matches(what).count()
}

fn until_said(server: &Server, what: &str) {
    eventually(&format!("the log says: {what}"), || server.log().contains(what).then_some(()));
}

fn names(server: &Server, what: &str) -> Vec<String> {
    server.get(&format!("/{what}")).json()[what].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn changed_file_is_reloaded_and_changes_are_logged() {
    let schedule = "[schedules.a]\njob_name = 'A'\ncron = '@daily'";
    let server = server("[definitions.A]\nimage = 'busybox'\n[definitions.B]\nimage = 'busybox'");
    let waits = server.submit(json!({"job_name": "B", "date": "1h"}));
    let image = "[definitions.A]\nimage = 'busybox:2'\n[definitions.C]\nimage = 'busybox'\n[limits]\nmax_running = 3\n";
    replace(&server, &format!("{image}{schedule}"));
    until_said(&server, "definitions: +C ~A -B; schedules: +a; limits.max_running 256 → 3");
    assert_eq!(names(&server, "definitions"), ["A", "C"]);
    eventually("the schedule is put", || (names(&server, "schedules") == ["a"]).then_some(()));
    assert_eq!(
        server.get(&format!("/job/{waits}")).json()["image"],
        "busybox",
        "a waiting job keeps its resolved image"
    );
    assert_eq!(server.get("/definition/A").json()["image"], "busybox:2");

    // The server also notices a file that is written in place, and one behind a symbolic link as in
    // Kubernetes.
    std::fs::write(path(&server), "[definitions.D]\nimage = 'busybox'").unwrap();
    eventually("it is read again", || (names(&server, "definitions") == ["D"]).then_some(()));
    eventually("the schedule is gone", || names(&server, "schedules").is_empty().then_some(()));
    std::fs::write(server.dir().join("linked"), "[definitions.E]\nimage = 'busybox'").unwrap();
    std::fs::remove_file(path(&server)).unwrap();
    std::os::unix::fs::symlink("linked", path(&server)).unwrap();
    eventually("it is read again", || (names(&server, "definitions") == ["E"]).then_some(()));
}

#[test]
fn invalid_file_changes_nothing_and_is_logged_once() {
    let server = server("[definitions.A]\nimage = 'busybox'");
    replace(&server, "[definitions.B]\nimage = 'busybox'\n[definitions.C]\nimage = 'UPPER'");
    until_said(&server, "nothing was changed");
    until_said(&server, "UPPER");
    assert_eq!(names(&server, "definitions"), ["A"]);
    std::fs::remove_file(path(&server)).unwrap();
    until_said(&server, "there is no config file");
    assert_eq!(names(&server, "definitions"), ["A"]);
    assert_eq!(said(&server, "nothing was changed"), 2, "{}", server.log());
    replace(&server, "[definitions.B]\nimage = 'busybox'");
    eventually("it is read again", || (names(&server, "definitions") == ["B"]).then_some(()));
}

#[test]
fn restart_only_key_is_named_and_nothing_changes() {
    let server = server("[definitions.A]\nimage = 'busybox'");
    let config =
        "[server]\nlisten = '127.0.0.1:1'\nallowed_hosts = ['x']\ntime_zone = 'Europe/Berlin'";
    replace(&server, &format!("[definitions.B]\nimage = 'busybox'\n{config}"));
    // The flags set the address and the time zone, and outrank the file.
    until_said(&server, "keys=\"server.allowed_hosts\"");
    assert_eq!(names(&server, "definitions"), ["A"]);
    replace(
        &server,
        &format!(
            "[definitions.B]\nimage = 'busybox'\n{}",
            config.replace("allowed_hosts = ['x']", "")
        ),
    );
    eventually("it is read again", || (names(&server, "definitions") == ["B"]).then_some(()));
    assert_eq!(said(&server, "wants a restart"), 1, "{}", server.log());
}

#[test]
fn flags_and_environment_outrank_a_reloaded_file() {
    let server = Server::start(&[&SIMULATED[..], &["--max-running", "1"]].concat(), "", &[]);
    let first =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 600"}));
    server.until(&first, "running");
    replace(&server, "[limits]\nmax_running = 8\nmax_starting = 2");
    until_said(&server, "limits.max_starting 12 → 2");
    let second = server.submit(json!({"job_name": "busybox", "date": "now", "command": "true"}));
    server.until(&second, "queued");
    assert_eq!(said(&server, "max_running"), 0, "{}", server.log());
}

#[test]
fn lowering_max_running_keeps_running_jobs() {
    let server = server("[limits]\nmax_running = 1");
    let long = json!({"job_name": "busybox", "date": "now", "command": "sleep 600"});
    let [first, second] = [0, 1].map(|_| server.submit(long.clone()));
    server.until(&first, "running");
    server.until(&second, "queued");
    replace(&server, "[limits]\nmax_running = 2");
    server.until(&second, "running");
    replace(&server, "[limits]\nmax_running = 1");
    until_said(&server, "limits.max_running 2 → 1");
    let third = server.submit(long);
    server.until(&third, "queued");
    assert_eq!(server.get("/jobs").json()["running"].as_object().unwrap().len(), 2);
    assert_eq!(server.post_form(&format!("/job/{first}/stop"), "").status, 200);
    server.wait(&first);
    assert_eq!(
        server.get(&format!("/job/{third}")).json()["status"],
        "queued",
        "one job too many is still running"
    );
    assert_eq!(server.post_form(&format!("/job/{second}/stop"), "").status, 200);
    server.until(&third, "running");
}

#[test]
fn changed_policy_applies_to_new_and_due_jobs() {
    let server = server("");
    let mine = json!({"job_name": "busybox", "date": "1h", "memory": "64MiB"});
    let waits = server.submit(mine.clone());
    replace(&server, "[policies.default]\nmax_memory = '32MiB'");
    until_said(&server, "policies: ~default");
    server.post_json("/job", &mine).assert_problem(403, "policy_denied");
    let headers = [("content-type", "application/json")];
    assert_eq!(
        server.call("PATCH", &format!("/job/{waits}"), &headers, br#"{"date": "now"}"#).status,
        200
    );
    assert_eq!(server.wait(&waits)["reason"], "policy_denied");
}

#[test]
fn sighup_reloads_the_file_at_once() {
    let mut server = server("");
    for _ in 0..5 {
        hang_up(&server);
    }
    until_said(&server, "nothing has changed");
    assert_eq!(server.get("/healthz").status, 200);
    assert!(server.terminate().success());
}

#[test]
fn sighup_without_a_file_does_nothing() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(crate::support::binary());
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--engine",
        "simulated",
        "--data-dir",
        "data",
    ]);
    command
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    signal(child.id(), "HUP");
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let is_said = log.any(|line| line.unwrap().contains("there is no config file to read again"));
    signal(child.id(), "TERM");
    assert!(
        child.wait().unwrap().success() && is_said && ready.starts_with("listening on "),
        "{ready}"
    );
}

/// Alternates between two contradicting files: each request meets one of them, and never a mix of
/// both.
#[test]
fn jobs_during_reloads_meet_one_file_state() {
    let config = |tag: u32, most: u32| {
        format!(
            "[definitions.A]\nimage = 'busybox:{tag}'\ncommand = 'true'\n[policies.default]\nallow_images = ['busybox:{tag}', 'other:*']\n[limits]\nmax_running = {most}\nmax_starting = {most}"
        )
    };
    let server = server(&config(1, 1));
    let is_over = AtomicBool::new(false);
    let (waiting, running) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                replace(&server, &config(1 + round % 2, 1 + round % 5));
                hang_up(&server);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let post = |name: &str, date: &str| {
            let job = json!({"job_name": name, "date": date, "command": "true"});
            let answer = server.post_json("/job", &job);
            // The main thread asserts: a panic here would leave the other thread running.
            (answer.status, answer.json()["id"].as_str().map(str::to_owned))
        };
        let end = std::time::Instant::now() + crate::support::PATIENCE;
        let changes = || said(&server, "definitions: ~A; policies: ~default");
        let go_on = |n: &i32| *n < 150 || changes() <= 10 && std::time::Instant::now() < end;
        let jobs: Vec<_> =
            (0..).take_while(go_on).map(|_| (post("A", "1h"), post("other:1", "now"))).collect();
        is_over.store(true, Ordering::Relaxed);
        jobs.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()
    });
    assert!(said(&server, "definitions: ~A; policies: ~default") > 10, "{}", server.log());
    let job = |(status, id): (u16, Option<String>)| -> Value {
        assert_eq!(status, 201);
        server.get(&format!("/job/{}", id.unwrap())).json()
    };
    let images: std::collections::BTreeSet<String> = waiting
        .into_iter()
        .map(|posted| job(posted)["image"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(images.into_iter().collect::<Vec<_>>(), ["busybox:1", "busybox:2"]);
    for posted in running {
        let id = job(posted)["id"].as_str().unwrap().to_owned();
        let over = server.wait(&id);
        assert_eq!((&over["status"], &over["attempt"]), (&json!("succeeded"), &json!(1)), "{over}");
    }
}
