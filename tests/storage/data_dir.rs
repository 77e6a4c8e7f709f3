//! A data directory that is deleted or replaced under a running server: the server notices, accepts
//! no more work, and continues when the directory is back.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Server, binary, eventually};
use serde_json::json;

fn database(server: &Server) -> PathBuf {
    server.data_dir().join("tidetable.db")
}

/// Checks that writes are refused, that readiness fails, and that the log has one line with the
/// remedy.
fn assert_gone(server: &Server) {
    let job = json!({"job_name": "busybox", "date": "1h"});
    let problem = server.post_json("/job", &job).assert_problem(500, "store_gone");
    assert!(problem["detail"].as_str().unwrap().contains("data directory"), "{problem}");
    server.post_json("/job", &job).assert_problem(500, "store_gone");
    let schedule =
        server.call("PUT", "/schedule/s", &[], br#"{"job_name": "busybox", "cron": "@daily"}"#);
    schedule.assert_problem(500, "store_gone");
    let ready = server.get("/readyz");
    assert_eq!((ready.status, &ready.json()["store"]), (503, &json!("store_gone")));
    assert!(ready.json()["detail"].as_str().unwrap().contains("data directory"));
    let log = server.log();
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("ERROR") && line.contains("tidetable")).collect();
    assert!(told.len() == 1 && told[0].contains("Put back what was there"), "{told:?}");
}

fn assert_there(server: &Server) -> String {
    eventually("it is ready", || (server.get("/readyz").status == 200).then_some(()));
    server.submit(json!({"job_name": "busybox", "date": "1h"}))
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn deleted_data_directory_is_noticed() {
    let server = Server::simulated();
    assert_there(&server);
    fs::remove_dir_all(server.data_dir()).unwrap();
    assert_gone(&server);
    assert!(!server.data_dir().exists(), "nothing is made in its place");
}

#[test]
fn idle_server_notices_deleted_data_directory() {
    let server = Server::simulated();
    fs::remove_dir_all(server.data_dir()).unwrap();
    eventually("the log says so", || {
        server.log().contains("Put back what was there").then_some(())
    });
}

#[test]
fn replaced_data_directory_is_noticed_and_can_return() {
    let mut server = Server::simulated();
    let kept = assert_there(&server);
    let aside = server.dir().join("aside");
    fs::rename(server.data_dir(), &aside).unwrap();
    fs::create_dir(server.data_dir()).unwrap();
    assert_gone(&server);
    assert_eq!(
        fs::read_dir(server.data_dir()).unwrap().count(),
        0,
        "nothing is written into the other one"
    );
    fs::remove_dir(server.data_dir()).unwrap();
    fs::rename(&aside, server.data_dir()).unwrap();
    let later = assert_there(&server);
    server.kill();
    server.up();
    let jobs = server.get("/jobs").json()["scheduled"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect::<Vec<_>>();
    assert_eq!(jobs, [kept, later]);
}

#[test]
fn deleted_file_is_noticed() {
    for file in ["tidetable.db", "tidetable.db-wal", "tidetable.db-shm", "lock"] {
        let server = Server::simulated();
        assert_there(&server);
        fs::remove_file(server.data_dir().join(file)).unwrap();
        assert_gone(&server);
    }
}

#[test]
fn replaced_database_file_is_noticed() {
    let server = Server::simulated();
    assert_there(&server);
    let other = server.dir().join("other.db");
    copy(&database(&server), &other);
    fs::rename(other, database(&server)).unwrap();
    assert_gone(&server);
}

#[test]
fn database_overwritten_by_a_backup_is_noticed() {
    let server = Server::simulated();
    assert_there(&server);
    let backup = server.dir().join("backup");
    let made = Command::new(binary())
        .args(["backup", "--data-dir"])
        .arg(server.data_dir())
        .arg(&backup)
        .output();
    assert!(made.unwrap().status.success());
    fs::write(database(&server), fs::read(backup.join("tidetable.db")).unwrap()).unwrap();
    assert_gone(&server);
}

#[test]
fn database_overwritten_by_an_old_copy_is_noticed() {
    let mut server = Server::simulated();
    assert_there(&server);
    server.terminate();
    let before = fs::read(database(&server)).unwrap();
    server.up();
    fs::write(database(&server), before).unwrap();
    assert_gone(&server);
}

#[test]
fn stopping_server_leaves_replacement_files_alone() {
    let mut server = Server::simulated();
    assert_there(&server);
    for suffix in ["", "-wal", "-shm"] {
        let path = server.data_dir().join(format!("tidetable.db{suffix}"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("another's{suffix}")).unwrap();
    }
    server.terminate();
    for suffix in ["", "-wal", "-shm"] {
        let path = server.data_dir().join(format!("tidetable.db{suffix}"));
        assert_eq!(fs::read_to_string(path).unwrap(), format!("another's{suffix}"));
    }
}

/// A file system mounted over the folder. Unmounted when the test is over, however it ends.
struct Mount(PathBuf);

impl Mount {
    fn over(dir: &Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "tidetable-test"])
            .arg(dir)
            .status()
            .unwrap();
        assert!(mounted.success(), "this test mounts a tmpfs, as root");
        Self(dir.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn mount_over_the_data_directory_is_noticed() {
    let server = Server::simulated();
    assert_there(&server);
    let mount = Mount::over(&server.data_dir());
    assert_gone(&server);
    drop(mount);
    assert_there(&server);
}

#[test]
fn deleted_output_folder_is_created_again() {
    let server = Server::simulated();
    let run = || {
        let id =
            server.submit(json!({"job_name": "busybox", "date": "now", "command": "echo hello"}));
        assert_eq!(server.wait(&id)["status"], "succeeded");
        server.get(&format!("/job/{id}/logs")).text()
    };
    let before = run();
    assert!(before.contains("hello"), "{before}");
    // Removes all folders of output, because the next job may use any of them.
    fs::remove_dir_all(server.data_dir().join("logs")).unwrap();
    assert_eq!(run(), before);
    assert!(server.log().contains("the folder of kept output is gone"), "{}", server.log());
    assert_eq!(server.get("/readyz").status, 200);
}
