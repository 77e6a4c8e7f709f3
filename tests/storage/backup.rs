//! `tidetable backup` of a server that accepts jobs as fast as it can: the backup is complete or
//! does not exist, and shows one moment. `tests/engines/restore.rs` tests a restored backup.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Server, eventually};
use serde_json::{Value, json};

fn run(command: &str, data_dir: &Path, arguments: &[&Path]) -> Output {
    Command::new(crate::support::binary())
        .arg(command)
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .output()
        .unwrap()
}

fn back_up(server: &Server, to: &Path) -> Output {
    run("backup", &server.data_dir(), &[to])
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn assert_whole(data_dir: &Path) {
    let checked = run("check", data_dir, &[]);
    assert!(checked.status.success(), "{}", said(&checked));
}

fn submit(server: &Server, date: &str, script: &str) -> String {
    server.submit(json!({"job_name": "busybox", "date": date, "command": ["sh", "-c", script]}))
}

/// Lists unfinished backups in a folder.
fn left_over(above: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(above).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("unfinished")).collect()
}

#[test]
fn backup_under_load_has_all_acknowledged_jobs() {
    let server = Arc::new(Server::simulated());
    let acknowledged: Arc<Mutex<Vec<String>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let lanes: Vec<_> = (0..4)
        .map(|lane| {
            let (server, acknowledged, stop) = (server.clone(), acknowledged.clone(), stop.clone());
            std::thread::spawn(move || {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let date = if n % 3 == 0 { "now" } else { "1h" };
                    let id = submit(&server, date, &format!("echo {lane} {n}"));
                    acknowledged.lock().unwrap().push(id);
                }
            })
        })
        .collect();
    let mut backups = Vec::new();
    for n in 0..5 {
        // Waits for more load, however fast the machine is.
        let before = eventually("there is a load", || {
            let acknowledged = acknowledged.lock().unwrap();
            (acknowledged.len() > 20 * (n + 1)).then(|| acknowledged.clone())
        });
        let is_kept =
            |id: &&String| server.get(&format!("/job/{id}")).json()["log"]["complete"] == true;
        let kept: Vec<String> = before.iter().rev().filter(is_kept).take(40).cloned().collect();
        let to = server.dir().join(format!("backup {n}"));
        let done = back_up(&server, &to);
        assert!(done.status.success(), "{}", said(&done));
        backups.push((to, before, kept));
    }
    stop.store(true, Ordering::Relaxed);
    lanes.into_iter().for_each(|lane| lane.join().unwrap());
    for (to, before, kept) in backups {
        assert_holds(&to, &before, &kept);
    }
    assert_eq!(left_over(server.dir()), Vec::<PathBuf>::new());
}

/// Checks that a backup is intact, works as a data directory, has the jobs in `ids`, and has the
/// output of the jobs in `kept`.
fn assert_holds(backup: &Path, ids: &[String], kept: &[String]) {
    assert_eq!(fs::metadata(backup).unwrap().permissions().mode() & 0o777, 0o700);
    let files = fs::read_dir(backup).unwrap().count();
    assert_eq!(files, 2, "a backup is one file and one folder, ready to serve");
    assert_whole(backup);
    let served = Server::simulated_on(backup.to_owned());
    let jobs = served.get("/jobs").json();
    for id in ids {
        let is_there =
            ["scheduled", "running", "history"].iter().any(|map| jobs[map].get(id).is_some());
        assert!(is_there, "{id} was acknowledged before the backup, and is not in it");
    }
    for id in kept {
        assert!(!served.get(&format!("/job/{id}/logs")).text().is_empty(), "the output of {id}");
    }
}

#[test]
fn backup_reports_its_content() {
    let server = Server::simulated();
    let done = submit(&server, "now", "echo hello");
    server.kept(&done);
    submit(&server, "1h", "true");
    let to = server.dir().join("backup");
    let output = run("backup", &server.data_dir(), &[&to, Path::new("--json")]);
    let backup: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&backup["jobs"], &backup["logs"]), (&json!(2), &json!(1)), "{backup}");
    assert_eq!(backup["destination"], to.to_str().unwrap());
}

#[test]
fn backup_has_the_output_of_each_attempt() {
    let server = Server::simulated();
    let id = server.submit(json!({
        "job_name": "busybox", "date": "now",
        "command": ["sh", "-c", "echo $TIDETABLE_ATTEMPT; exit 3"],
        "retry": {"attempts": 1, "delay": "100ms"},
    }));
    server.kept(&id);
    let output = |server: &Server, attempt: u32| {
        server.get(&format!("/job/{id}/logs?attempt={attempt}")).text()
    };
    // The first attempt may be cleared away after the second.
    eventually("the first attempt's output is kept", || {
        let answer = server.get(&format!("/job/{id}/logs?attempt=1"));
        (answer.header("x-log-state") == Some("complete")).then_some(())
    });
    let to = server.dir().join("backup");
    let done = back_up(&server, &to);
    assert!(done.status.success(), "{}", said(&done));
    assert_whole(&to);
    let served = Server::simulated_on(to);
    assert_eq!((output(&served, 1), output(&served, 2)), ("1\n".to_owned(), "2\n".to_owned()));
}

#[test]
fn killed_server_and_backup_can_be_backed_up() {
    let mut server = Server::simulated();
    let done = submit(&server, "now", "echo hello");
    server.kept(&done);
    server.kill();
    let (first, second) = (server.dir().join("first"), server.dir().join("second"));
    assert!(back_up(&server, &first).status.success());
    assert!(run("backup", &first, &[&second]).status.success());
    let done = [done];
    assert_holds(&second, &done, &done);
}

#[test]
fn backup_refuses_an_existing_destination() {
    let server = Server::simulated();
    let (folder, file) = (server.dir().join("folder"), server.dir().join("file"));
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "mine").unwrap();
    for to in [&folder, &file, &server.data_dir()] {
        let refused = back_up(&server, to);
        assert!(
            !refused.status.success() && said(&refused).contains("is there already"),
            "{}",
            said(&refused)
        );
    }
    assert_eq!(
        (fs::read_dir(&folder).unwrap().count(), fs::read(&file).unwrap()),
        (0, b"mine".to_vec())
    );
    let nowhere = back_up(&server, &server.dir().join("no").join("such").join("folder"));
    assert!(
        !nowhere.status.success() && said(&nowhere).contains("cannot be written"),
        "{}",
        said(&nowhere)
    );
    let nothing = run("backup", &folder, &[&server.dir().join("new")]);
    assert!(
        !nothing.status.success() && said(&nothing).contains("there is no store in"),
        "{}",
        said(&nothing)
    );
    assert_eq!(left_over(server.dir()), Vec::<PathBuf>::new());
}

#[test]
fn backup_of_a_damaged_store_is_refused() {
    let mut server = Server::simulated();
    (0..50).for_each(|_| drop(submit(&server, "1h", "true")));
    let to = server.dir().join("backup");
    server.kill();
    let log = server.data_dir().join("tidetable.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&log, bytes).unwrap();
    let refused = back_up(&server, &to);
    assert!(
        !refused.status.success() && said(&refused).contains("is damaged"),
        "{}",
        said(&refused)
    );
    assert!(!to.exists());
}

#[test]
fn killed_backup_is_complete_or_does_not_exist() {
    let server = Server::simulated();
    for n in 0..300 {
        let pad = "x".repeat(3_000);
        server.submit(
            json!({"job_name": "busybox", "date": "1h", "env": {"PAD": pad, "N": n.to_string()}}),
        );
    }
    let mut unfinished = 0;
    for n in 0..30 {
        let to = server.dir().join(format!("backup {n}"));
        let mut child = Command::new(crate::support::binary())
            .args(["backup", "--data-dir"])
            .args([&server.data_dir(), &to])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(n));
        child.kill().unwrap();
        child.wait().unwrap();
        if to.exists() {
            assert_whole(&to);
        } else {
            unfinished += 1;
        }
    }
    assert!(unfinished > 0, "none was killed early enough");
    assert!(back_up(&server, &server.dir().join("after")).status.success());
}
