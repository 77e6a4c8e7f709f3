//! Damaged stores: `tidetable check` has to report the damage. The server refuses the store with a
//! sentence, or continues where that is safe. The engine is simulated; the files, the server and
//! the command are real.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Server;
use crate::support::large_store::Vast;
use rusqlite::Connection;
use serde_json::{Value, json};
use tidetable::clock::{Clock as _, SystemClock};
use tidetable::store::check;

const FILE: &str = "tidetable.db";

/// A server with finished jobs and waiting jobs.
struct Scene {
    server: Server,
    done: Vec<String>,
    waiting: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let server = Server::simulated();
        let submit = |date: &str, script: &str| {
            let command = json!(["sh", "-c", script]);
            server.submit(
                json!({"job_name": "busybox", "date": date, "command": command, "priority": 3}),
            )
        };
        let done: Vec<String> =
            (0..12).map(|n| submit("now", &format!("echo said {n}; exit {}", n % 2))).collect();
        let waiting = (0..30).map(|_| submit("1h", "true")).collect();
        done.iter().for_each(|id| drop(server.kept(id)));
        Self { server, done, waiting }
    }

    /// Creates a scene and stops its server gracefully: all data is in the database file.
    fn stopped() -> Self {
        let mut scene = Self::new();
        assert!(scene.server.terminate().success());
        assert!(!scene.path("tidetable.db-wal").exists());
        scene
    }

    /// Creates a scene and kills its server: most data is in the write-ahead log.
    fn killed() -> Self {
        let mut scene = Self::new();
        scene.server.kill();
        assert!(fs::metadata(scene.path("tidetable.db-wal")).unwrap().len() > 100_000);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.server.data_dir().join(name)
    }

    /// Changes the bytes of a file.
    fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn sql(&self, sql: &str) {
        let changed = Connection::open(self.path(FILE)).unwrap().execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
    }

    /// Returns the path of a job's stored output.
    fn kept(&self, id: &str) -> String {
        format!("logs/{}/{id}-1.log.zst", &id[30..])
    }

    /// Runs `tidetable check`. Returns whether it found the store intact, and its output.
    fn check(&self, flags: &[&str]) -> (bool, String) {
        let mut command = Command::new(crate::support::binary());
        command.arg("check").arg("--data-dir").arg(self.server.data_dir()).args(flags);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        (output.status.success(), said)
    }

    fn assert_found(&self, expected: &str) {
        let (whole, said) = self.check(&[]);
        assert!(
            !whole && said.contains("is damaged") && said.contains(expected),
            "{expected}: {said}"
        );
    }

    /// Checks that the server refuses to start, gives the reason and the remedy, and changes no
    /// file.
    fn assert_refused(&mut self, expected: &str) {
        let before = contents(&self.server.data_dir());
        let said = self.server.try_up().expect_err("it is refused");
        assert!(said.contains("is damaged") && said.contains(expected), "{expected}: {said}");
        assert!(said.contains("tidetable check") && said.contains("restore a backup"), "{said}");
        assert_eq!(contents(&self.server.data_dir()), before, "the refused store was changed");
    }

    /// Checks that the server starts, and that the waiting jobs are still there.
    fn assert_served(&mut self) {
        self.server.up();
        for id in &self.waiting {
            assert_eq!(self.server.get(&format!("/job/{id}")).json()["status"], "scheduled");
        }
        let id =
            self.server.submit(json!({"job_name": "busybox", "date": "now", "command": "true"}));
        assert_eq!(self.server.wait(&id)["status"], "succeeded");
    }
}

/// Reads the database and its write-ahead log. SQLite rebuilds the files beside them.
fn contents(dir: &Path) -> Vec<Option<Vec<u8>>> {
    [FILE, "tidetable.db-wal"]
        .map(|name| fs::read(dir.join(name)).ok().filter(|bytes| !bytes.is_empty()))
        .to_vec()
}

/// Returns the offset of the root page of a table or index in the file.
fn root_of(dir: &Path, name: &str) -> usize {
    let connection = Connection::open(dir.join(FILE)).unwrap();
    let root: i64 = connection
        .query_row("SELECT rootpage FROM sqlite_master WHERE name = ?1", [name], |row| row.get(0))
        .unwrap();
    usize::try_from(root - 1).unwrap() * 4_096
}

#[test]
fn check_finds_intact_store_running_killed_and_stopped() {
    let mut scene = Scene::new();
    let expected = "is whole: 42 jobs, ";
    let (whole, said) = scene.check(&[]);
    assert!(whole && said.contains(expected) && said.contains("12 kept logs"), "{said}");
    let (_, said) = scene.check(&["--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&report["whole"], &report["in_use"], &report["jobs"]),
        (&json!(true), &json!(true), &json!(42)),
        "{report}"
    );
    scene.server.kill();
    let before = contents(&scene.server.data_dir());
    let (whole, said) = scene.check(&[]);
    assert!(whole && said.contains(expected), "{said}");
    assert_eq!(contents(&scene.server.data_dir()), before, "it only reads");
    scene.server.up();
    assert!(scene.server.terminate().success());
    assert!(scene.check(&[]).0);
}

#[test]
fn check_without_a_store_fails() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(crate::support::binary())
        .arg("check")
        .arg("--data-dir")
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no store in"), "{output:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "and none is made");
}

#[test]
fn overwritten_database_header_is_refused() {
    let mut scene = Scene::stopped();
    scene.damage(FILE, |bytes| bytes[..100].fill(0xa5));
    scene.assert_found("not a database");
    scene.assert_refused("not a database");
}

#[test]
fn truncated_database_is_refused() {
    let mut scene = Scene::stopped();
    scene.damage(FILE, |bytes| bytes.truncate(bytes.len() / 2 / 4_096 * 4_096));
    scene.assert_found("the database cannot be read on");
    scene.assert_refused("malformed");
}

#[test]
fn damaged_jobs_table_or_index_is_refused() {
    for name in ["jobs", "jobs_by_status", "jobs_due"] {
        let mut scene = Scene::stopped();
        let root = root_of(&scene.server.data_dir(), name);
        scene
            .damage(FILE, |bytes| bytes[root..root + 64].iter_mut().for_each(|byte| *byte ^= 0x55));
        scene.assert_found("SQLite finds");
        scene.assert_refused("");
    }
}

#[test]
fn damaged_wal_is_refused_though_sqlite_accepts_it() {
    for at in [20, 60_000] {
        let mut scene = Scene::killed();
        scene.damage("tidetable.db-wal", |bytes| bytes[at] ^= 0x01);
        scene.assert_found("of the write-ahead log");
        scene.assert_refused("of the write-ahead log");
        // SQLite alone would silently drop every commit after the damaged frame.
        let jobs = Connection::open(scene.path(FILE)).and_then(|database| {
            database.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0))
        });
        assert!(!matches!(jobs, Ok(42)), "{jobs:?}");
    }
}

#[test]
fn unreadable_waiting_job_is_named_and_refused() {
    let mut scene = Scene::stopped();
    let id = scene.waiting[4].clone();
    scene.sql(&format!("UPDATE jobs SET spec = '{{' WHERE id = x'{id}'"));
    scene.assert_found(&format!("job {id}: its spec cannot be read"));
    scene.assert_refused(&format!("job {id}: its spec cannot be read"));
}

#[test]
fn large_damaged_store_is_detected_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    crate::support::large_store::build(
        &data_dir,
        Vast { jobs: 100_000, history: 0, schedules: 10 },
        SystemClock.now(),
    );
    let mut server = Server::simulated_on(data_dir.clone());
    let id = server.submit(json!({"job_name": "busybox", "date": "now", "command": "true"}));
    assert_eq!(server.wait(&id)["status"], "succeeded");
    assert!(server.terminate().success());
    let database = Connection::open(data_dir.join(FILE)).unwrap();
    let last =
        "UPDATE jobs SET spec = '{' WHERE id = (SELECT max(id) FROM jobs WHERE name = 'name-007')";
    assert_eq!(database.execute(last, []).unwrap(), 1);
    drop(database);
    // The server may find the damage before or after it reports that it is ready.
    let _may_be_up = server.try_up();
    let said = crate::support::eventually("the server has stopped and said why", || {
        let said = server.log();
        said.contains("tidetable check").then_some(said)
    });
    assert!(
        said.contains("its spec cannot be read") && said.contains("restore a backup"),
        "{said}"
    );
    let address = server.url().strip_prefix("http://").unwrap();
    crate::support::eventually("nobody answers", || {
        crate::support::call(address, "GET", "/healthz", &[], b"").err()
    });
}

#[test]
fn unreadable_finished_job_does_not_block_others() {
    let mut scene = Scene::stopped();
    let id = scene.done[4].clone();
    scene.sql(&format!("UPDATE jobs SET detail = '{{' WHERE id = x'{id}'"));
    scene.assert_found(&format!("job {id}: its state cannot be read"));
    scene.assert_served();
    scene.server.get(&format!("/job/{id}")).assert_problem(500, "store_failed");
    assert!(scene.server.log().contains("its state cannot be read"), "the log has the cause");
}

#[test]
fn check_finds_journal_gaps_and_inconsistent_jobs() {
    let scene = Scene::stopped();
    let (gap, elsewhere, gone) = (&scene.done[1], &scene.waiting[1], &scene.waiting[2]);
    scene.sql(&format!("DELETE FROM journal WHERE job = x'{gap}' AND version = 1"));
    scene.sql(&format!("UPDATE jobs SET version = 7 WHERE id = x'{elsewhere}'"));
    scene.sql(&format!("DELETE FROM jobs WHERE id = x'{gone}'"));
    scene.sql(&format!("UPDATE jobs SET priority = 4 WHERE id = x'{}'", scene.waiting[3]));
    scene.assert_found(&format!("does not follow from the one before it of job {gap}"));
    scene.assert_found(&format!(
        "job {elsewhere} is scheduled at version 7, and the journal ends with scheduled at version 0"
    ));
    scene.assert_found(&format!("job {gone} is in the journal, and not among the jobs"));
    scene.sql(&format!(
        "UPDATE jobs SET hold = '{{\"queue\":\"a\"}}' WHERE id = x'{}'",
        scene.waiting[4]
    ));
    for wrong in [&scene.waiting[3], &scene.waiting[4]] {
        scene.assert_found(&format!("job {wrong}: its priority, start deadline, queue or hold"));
    }
    scene.sql("INSERT INTO job_labels VALUES ('team', 'a', 'scheduled', x'00')");
    scene.assert_found("1 labels are not found under what their jobs say");
    scene.sql("UPDATE meta SET value = '99' WHERE key = 'waiting'");
    scene.assert_found("how many jobs wait is not what is written down");
}

#[test]
fn damaged_output_is_found_and_the_rest_served() {
    let mut scene = Scene::stopped();
    let (flipped, cut) = (scene.done[2].clone(), scene.done[3].clone());
    scene.damage(&scene.kept(&flipped), |bytes| *bytes.last_mut().unwrap() ^= 0x01);
    scene.damage(&scene.kept(&cut), |bytes| bytes.truncate(bytes.len() - 3));
    scene.assert_found(&flipped);
    scene.assert_found(&cut);
    scene.assert_served();
    assert_eq!(scene.server.get(&format!("/job/{}/logs", scene.done[4])).text(), "said 4\n");
}

#[test]
fn unfinished_files_are_a_note_not_damage() {
    let mut scene = Scene::stopped();
    let beside = scene.path(&(scene.kept(&scene.done[0]) + ".7.unfinished"));
    fs::write(&beside, "half").unwrap();
    let (whole, said) = scene.check(&[]);
    assert!(whole && said.contains("note: 1 log"), "{said}");
    scene.assert_served();
    assert!(!beside.exists());
}

/// Flips one bit at a time, throughout the file. Undetected flips must leave every job, its status,
/// its attempt and the journal unchanged: they hit unused space, a time, or a text.
#[test]
fn flipped_bit_is_found_or_changes_no_job() {
    let scene = Scene::stopped();
    let dir = scene.server.data_dir();
    let path = scene.path(FILE);
    let whole = fs::read(&path).unwrap();
    let before = dump(&dir).unwrap();
    let mut found = 0;
    for at in (0..whole.len()).step_by(149) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, bytes).unwrap();
        if check::check(&dir).unwrap().whole {
            assert_eq!(dump(&dir).as_ref(), Some(&before), "byte {at}");
        } else {
            found += 1;
        }
    }
    assert!(found > whole.len() / 149 / 20, "of {} only {found} were found", whole.len() / 149);
}

/// Reads the columns that decide about each job and each transition. Returns `None` if they cannot
/// be read.
fn dump(dir: &Path) -> Option<Vec<String>> {
    let connection = Connection::open(dir.join(FILE)).ok()?;
    let mut rows = Vec::new();
    for sql in [
        "SELECT hex(id) || version || name || priority || attempt || status FROM jobs NOT INDEXED ORDER BY rowid",
        "SELECT seq || hex(job) || coalesce(from_status, '') || to_status || attempt || version FROM journal ORDER BY seq",
    ] {
        let mut statement = connection.prepare(sql).ok()?;
        let found = statement.query_map([], |row| row.get::<_, String>(0)).ok()?;
        rows.extend(found.collect::<Result<Vec<_>, _>>().ok()?);
    }
    Some(rows)
}
