//! A full disk, for real: the data directory is on a small file system that the test fills.
//!
//! New work is refused with a sentence, no acknowledged job is lost, and reads still work. The
//! server continues once there is room. Mounting the file system needs root, as `make test` has it.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Server, eventually};
use serde_json::{Value, json};

/// The size of the disk: enough for the store and for the output of a few jobs.
const DISK: &str = "size=6m";
/// The number of lines of output. They do not compress, and need more space than is left when the
/// store refuses.
const WORDS: usize = 3_000;

/// A small file system. Unmounted when the test is over, however it ends.
struct Disk {
    place: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "tidetable-test"])
            .arg(place.path())
            .output()
            .expect("`mount` can be run");
        assert!(mounted.status.success(), "this test mounts a tmpfs, as root: {mounted:?}");
        Self { place }
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills the disk to the last byte.
    fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        for size in [64 * 1024, 4 * 1024, 1] {
            while ballast.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// A server on a disk of its own. The server is killed before the disk is unmounted.
struct Scene {
    server: Server,
    disk: Disk,
}

impl Scene {
    fn new() -> Self {
        let disk = Disk::new();
        Self { server: Server::simulated_on(disk.path().join("data")), disk }
    }

    fn submit(&self, date: &str, script: &str) -> String {
        self.server
            .submit(json!({"job_name": "busybox", "date": date, "command": ["sh", "-c", script]}))
    }

    /// Fills the disk, and submits jobs until one is refused. The store's own files may have room
    /// left, so returns the jobs that were accepted before.
    fn fill_until_refused(&self) -> Vec<String> {
        self.disk.fill();
        let order = json!({"job_name": "busybox", "date": "1h", "env": {"PAD": "x".repeat(3_000)}});
        let mut accepted = Vec::new();
        for _ in 0..5_000 {
            let answer = self.server.post_json("/job", &order);
            if answer.status == 201 {
                accepted.push(answer.json()["id"].as_str().unwrap().to_owned());
                continue;
            }
            let problem = answer.assert_problem(507, "disk_full");
            assert!(problem["detail"].as_str().unwrap().contains("make room"), "{problem}");
            return accepted;
        }
        panic!("the disk is full, and jobs are accepted still");
    }

    fn status(&self, id: &str) -> Value {
        let answer = self.server.get(&format!("/job/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["status"].clone()
    }

    fn assert_there_and_scheduled(&self, ids: &[String]) {
        let jobs = self.server.get("/jobs").json();
        for id in ids {
            assert_eq!(jobs["scheduled"][id]["status"], "scheduled", "{id}");
        }
    }

    /// Lists unfinished files below the folder of output.
    fn unfinished(&self) -> Vec<PathBuf> {
        let shelves = fs::read_dir(self.server.data_dir().join("logs")).unwrap();
        let files = shelves.flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap());
        files
            .map(|file| file.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("unfinished"))
            .collect()
    }
}

/// Returns a script that takes this many seconds and writes output that no compression makes small,
/// and that output.
fn long_output(seconds: u64) -> (String, String) {
    let word = |n: usize| {
        uuid::Uuid::from_u128(
            (n as u128 + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
        )
    };
    let lines: Vec<String> = (0..WORDS).map(|n| word(n).simple().to_string()).collect();
    (format!("sleep {seconds}; printf '{}\\n'; exit 3", lines.join("\\n")), lines.join("\n") + "\n")
}

#[test]
fn full_disk_refuses_new_work_and_loses_nothing() {
    // The disk has to be full before the job ends. If it was not, the test tries again with more
    // time.
    assert!([3, 20, 120].into_iter().any(full_disk_holds), "the disk was not full in two minutes");
}

/// Runs the test with this many seconds until the job ends; another job is due a second later.
/// Returns false if the disk was not full in time.
fn full_disk_holds(seconds: u64) -> bool {
    let scene = Scene::new();
    let (script, output) = long_output(seconds);
    let done = scene.submit("now", "echo before");
    assert_eq!(scene.server.wait(&done)["status"], "succeeded");
    let waiting: Vec<String> = (0..20).map(|_| scene.submit("1h", "true")).collect();
    let begun = Instant::now();
    let running = scene.submit("now", &script);
    let due_meanwhile = scene.submit(&format!("{}s", seconds + 1), "echo late");
    eventually("it has begun", || {
        (!["scheduled", "starting"].contains(&scene.status(&running).as_str().unwrap()))
            .then_some(())
    });
    let accepted = scene.fill_until_refused();
    if begun.elapsed() >= Duration::from_secs(seconds) {
        return false;
    }

    // Reads still work, and a state that cannot be written stays unchanged.
    std::thread::sleep(Duration::from_secs(seconds + 3));
    scene.assert_there_and_scheduled(&waiting);
    scene.assert_there_and_scheduled(&accepted);
    assert_eq!(scene.status(&running), "running", "its end cannot be written down yet");
    assert_eq!(scene.status(&due_meanwhile), "scheduled", "its claim cannot be written down yet");
    assert_eq!(scene.server.get(&format!("/job/{done}/logs")).text(), "before\n");
    for path in ["/healthz", "/readyz", "/version"] {
        assert_eq!(scene.server.get(path).status, 200, "{path}");
    }
    assert_eq!(
        scene.server.delete(&format!("/job/{}", waiting[0])).assert_problem(507, "disk_full")["status"],
        507
    );
    let lines = scene.server.log().lines().count();
    assert!(
        lines < 200 * (1 + begun.elapsed().as_secs() as usize / 10),
        "it says so now and then: {lines} lines"
    );

    // The server continues by itself once there is room.
    scene.disk.make_room();
    let job = scene.server.wait(&running);
    assert_eq!((&job["status"], &job["exit_code"]), (&json!("failed"), &json!(3)), "{job}");
    assert_eq!(scene.server.get(&format!("/job/{running}/logs")).text(), output);
    let job = scene.server.wait(&due_meanwhile);
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(1)), "{job}");
    assert!(job["lateness_ms"].as_i64().unwrap() > 1_000, "the job shows its lateness: {job}");
    for id in [&running, &due_meanwhile] {
        scene.server.kept(id);
    }
    assert_eq!(scene.unfinished(), Vec::<PathBuf>::new());
    scene.assert_there_and_scheduled(&waiting);
    assert_eq!(scene.server.wait(&scene.submit("now", "true"))["status"], "succeeded");
    true
}

#[test]
fn server_killed_on_full_disk_restarts_and_continues() {
    let mut scene = Scene::new();
    let done = scene.submit("now", "echo before");
    assert_eq!(scene.server.wait(&done)["status"], "succeeded");
    let waiting: Vec<String> = (0..20).map(|_| scene.submit("1h", "true")).collect();
    let due_meanwhile = scene.submit("4s", "echo late");
    let accepted = scene.fill_until_refused();
    scene.server.kill();
    scene.disk.fill();
    std::thread::sleep(Duration::from_secs(3));
    scene.server.up();
    scene.assert_there_and_scheduled(&waiting);
    scene.assert_there_and_scheduled(&accepted);
    assert_eq!(scene.status(&done), "succeeded");
    assert_eq!(scene.server.get(&format!("/job/{done}/logs")).text(), "before\n");
    scene.fill_until_refused();
    scene.disk.make_room();
    let job = scene.server.wait(&due_meanwhile);
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(1)), "{job}");
    scene.assert_there_and_scheduled(&waiting);
    scene.assert_there_and_scheduled(&accepted);
}

#[test]
fn backup_without_room_leaves_nothing_behind() {
    let scene = Scene::new();
    (0..50).for_each(|_| drop(scene.submit("1h", "true")));
    scene.disk.fill();
    // Makes room for a folder, but not for the database.
    let ballast = File::options().write(true).open(scene.disk.ballast()).unwrap();
    ballast.set_len(ballast.metadata().unwrap().len() - 50_000).unwrap();
    let mut command = Command::new(crate::support::binary());
    command
        .args(["backup", "--data-dir"])
        .args([scene.server.data_dir(), scene.disk.path().join("backup")]);
    let refused = command.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("no room for the backup"), "{said}");
    let names = fs::read_dir(scene.disk.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["ballast", "data"]);
}

#[test]
fn new_store_on_a_full_disk_is_refused() {
    let disk = Disk::new();
    disk.fill();
    let mut command = Command::new(crate::support::binary());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--engine", "simulated", "--data-dir"])
        .arg(disk.path().join("data"));
    let refused = command.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("is full: nothing was changed; make room"),
        "{said}"
    );
    disk.make_room();
    let scene = Scene { server: Server::simulated_on(disk.path().join("data")), disk };
    let id = scene.submit("now", "true");
    eventually("it runs", || (scene.status(&id) == "succeeded").then_some(()));
}
