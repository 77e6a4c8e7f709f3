//! The SQLite store's directory: access rights, refusals with their error messages, the content
//! after a `kill -9`, and shared connections.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures::future::join_all;
use rusqlite::Connection;
use serde_json::json;
use tidetable::domain::job::{Job, Map, State};
use tidetable::domain::names::actor::Actor;
use tidetable::domain::names::id::{EngineId, InstanceId, JobId, Seq, Version};
use tidetable::store::Entry;
use tidetable::store::backup::back_up;
use tidetable::store::sqlite::{FILE, SqliteStore};
use tidetable::store::threads::Threads;
use tidetable::store::{Filter, OpenError, Restored, Store, StoreError};

use crate::contract::fixtures::{at, every_state, id, job, queued, with_state};
use crate::contract::{Open, get, insert, journal, open_sqlite};
use tidetable::store::{JobStore, MetaStore};

/// The child's environment variable with the directory to write to.
const CHILD_DIR: &str = "TIDETABLE_TEST_CHILD_DIR";

fn open(dir: &Path) -> Open {
    open_sqlite(dir, Threads::Pool).expect("it opens")
}

fn refusal(dir: &Path) -> OpenError {
    SqliteStore::open(dir, Threads::Pool, InstanceId::new([7; 16])).err().expect("it is refused")
}

/// Opens the database of a closed store directly with SQLite.
fn database(dir: &Path) -> Connection {
    Connection::open(dir.join(FILE)).expect("it opens")
}

async fn with_one_job(dir: &Path) {
    let open = open(dir);
    insert(&open.store, job(1, json!({}))).await;
    open.close().await;
}

#[tokio::test]
async fn missing_store_directory_refuses_claims() {
    let above = tempfile::tempdir().expect("a folder");
    let (dir, aside) = (above.path().join("a"), above.path().join("b"));
    let open = open(&dir);
    let waits = insert(&open.store, job(1, json!({}))).await;
    fs::rename(&dir, &aside).expect("it can be moved");
    let claimed = Job { version: waits.version.next(), state: State::Pulling, ..waits.clone() };
    assert!(matches!(
        open.store.advance(&waits, &claimed, at(1), &Actor::Scheduler).await,
        Err(StoreError::Gone(_))
    ));
    fs::rename(&aside, &dir).expect("it can be put back");
    assert_eq!(get(&open.store, id(1)).await, waits);
    open.store.advance(&waits, &claimed, at(1), &Actor::Scheduler).await.expect("it goes on");
    open.close().await;
}

/// Writes enough commits to restart the log several times, on one thread and on several.
#[tokio::test]
async fn checkpoint_raises_no_false_alarm() {
    for threads in [Threads::Pool, Threads::Inline] {
        let dir = tempfile::tempdir().expect("a folder");
        let open = open_sqlite(dir.path(), threads).expect("it opens");
        let wide = json!({"env": {"A": "x".repeat(30_000)}});
        for round in 0..20 {
            let jobs: Vec<Job> = (1..50).map(|n| job(round * 100 + n, wide.clone())).collect();
            join_all(jobs.iter().map(|job| open.store.insert(job)))
                .await
                .into_iter()
                .collect::<Result<(), _>>()
                .expect("all are written");
        }
        open.store.is_there().await.expect("it is there");
        open.close().await;
    }
}

#[tokio::test]
async fn directory_is_private_and_opened_once() {
    let above = tempfile::tempdir().expect("a folder");
    let dir = above.path().join("a").join("b");
    let first = open(&dir);
    assert_eq!(fs::metadata(&dir).expect("it is there").permissions().mode() & 0o777, 0o700);
    let refused = refusal(&dir);
    assert!(matches!(&refused, OpenError::InUse { path } if Path::new(path) == dir), "{refused}");
    assert!(refused.to_string().contains("in use by another server"));
    first.close().await;
    open(&dir).close().await;
}

#[tokio::test]
async fn instance_keeps_its_first_id() {
    let dir = tempfile::tempdir().expect("a folder");
    let (first, second) = (InstanceId::new([1; 16]), InstanceId::new([2; 16]));
    for given in [first, second] {
        let (store, _writer) =
            SqliteStore::open(dir.path(), Threads::Pool, given).expect("it opens");
        assert_eq!(store.instance(), first);
    }
}

#[tokio::test]
async fn unwritable_directory_is_refused() {
    let above = tempfile::tempdir().expect("a folder");
    let file = above.path().join("file");
    fs::write(&file, "").expect("it can be written");
    for dir in [&file, &file.join("below"), Path::new("/proc/tidetable")] {
        let refused = refusal(dir);
        assert!(matches!(refused, OpenError::NotWritable { .. }), "{refused}");
        assert!(refused.to_string().contains("cannot be written"), "{refused}");
    }
}

#[tokio::test]
async fn newer_schema_is_refused_and_left_untouched() {
    let dir = tempfile::tempdir().expect("a folder");
    with_one_job(dir.path()).await;
    let newer =
        "INSERT INTO refinery_schema_history VALUES (999, 'later', '2030-01-01T00:00:00Z', '1')";
    database(dir.path()).execute(newer, []).expect("it can be written");
    let before = fs::read(dir.path().join(FILE)).expect("it can be read");
    let refused = refusal(dir.path());
    assert!(matches!(refused, OpenError::Newer { found: 999, .. }), "{refused}");
    assert!(refused.to_string().contains("newer version"), "{refused}");
    assert_eq!(fs::read(dir.path().join(FILE)).expect("it can be read"), before);
}

#[tokio::test]
async fn damaged_file_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    with_one_job(dir.path()).await;
    let file = dir.path().join(FILE);
    let whole = fs::read(&file).expect("it can be read");
    let mut scrambled = whole.clone();
    scrambled[100..4_096].fill(0xa5);
    for bytes in [vec![b'x'; 10_000], whole[..whole.len() / 2].to_vec(), scrambled] {
        fs::write(&file, bytes).expect("it can be written");
        let refused = refusal(dir.path());
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
        assert!(refused.to_string().contains("restore a backup"), "{refused}");
    }
    fs::write(&file, whole).expect("it can be written");
    open(dir.path()).close().await;
}

#[tokio::test]
async fn foreign_database_is_refused_and_left_untouched() {
    let dir = tempfile::tempdir().expect("a folder");
    let other = database(dir.path());
    other
        .execute_batch("CREATE TABLE jobs (mine TEXT); INSERT INTO jobs VALUES ('x')")
        .expect("it can be written");
    assert!(matches!(refusal(dir.path()), OpenError::Damaged { .. }));
    let kept: String =
        other.query_row("SELECT mine FROM jobs", [], |row| row.get(0)).expect("it can be read");
    assert_eq!(kept, "x");
}

#[tokio::test]
async fn damaged_row_is_refused_with_its_job_id() {
    let dir = tempfile::tempdir().expect("a folder");
    for broken in [
        "spec = '{'",
        "status = 'gone'",
        "status = 'running'",
        "name = ''",
        "due_at = 9223372036854775807",
    ] {
        let _ = fs::remove_file(dir.path().join(FILE));
        with_one_job(dir.path()).await;
        database(dir.path())
            .execute(&format!("UPDATE jobs SET {broken}"), [])
            .expect("it can be written");
        let refused = refusal(dir.path());
        assert!(matches!(refused, OpenError::Damaged { .. }), "{broken}: {refused:?}");
        assert!(refused.to_string().contains(&id(1).to_string()), "{broken}: {refused}");
    }
}

#[tokio::test]
async fn damaged_history_row_does_not_prevent_opening() {
    let dir = tempfile::tempdir().expect("a folder");
    for broken in ["spec = '{', status = 'missed'", "status = 'failed', detail = '{'"] {
        let _ = fs::remove_file(dir.path().join(FILE));
        with_one_job(dir.path()).await;
        database(dir.path())
            .execute(&format!("UPDATE jobs SET {broken}"), [])
            .expect("it can be written");
        let open = open(dir.path());
        let failure = open.store.get(id(1)).await.expect_err("it cannot be read");
        assert!(matches!(failure, StoreError::Damaged(_)), "{broken}: {failure}");
        assert!(failure.to_string().contains(&id(1).to_string()), "{broken}: {failure}");
        open.close().await;
    }
}

/// Each migration adds its part here: the content of a database one step older, and its fate.
#[tokio::test]
async fn each_migration_creates_its_tables() {
    let dir = tempfile::tempdir().expect("a folder");
    open(dir.path()).close().await;
    let connection = database(dir.path());
    let names = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).expect("it can be read");
        let rows = statement.query_map([], |row| row.get(0)).expect("it can be read");
        rows.collect::<Result<_, _>>().expect("it can be read")
    };
    let tables = names(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    );
    assert_eq!(
        tables,
        [
            "answers",
            "definitions",
            "generations",
            "job_labels",
            "jobs",
            "journal",
            "ledger",
            "meta",
            "outbox",
            "refinery_schema_history",
            "schedules"
        ]
    );
    assert_eq!(
        names("SELECT version || ' ' || name FROM refinery_schema_history ORDER BY version"),
        [
            "1 jobs_and_journal",
            "2 definitions",
            "3 schedules",
            "4 answers",
            "5 holds",
            "6 filters",
            "7 config_schedules",
            "8 outbox",
            "9 waiting",
            "10 covered_ticks",
            "11 config_file",
            "12 seen",
            "13 absent_ticks"
        ]
    );
    assert_eq!(names("PRAGMA journal_mode"), ["wal"]);
    assert_eq!(names("PRAGMA integrity_check"), ["ok"]);
}

#[tokio::test]
async fn ninth_snapshot_waits_until_one_is_dropped() {
    let dir = tempfile::tempdir().expect("a folder");
    let open = open(dir.path());
    insert(&open.store, job(1, json!({}))).await;
    let mut held = join_all((0..8).map(|_| open.store.snapshot())).await;
    assert!(held.iter().all(Result::is_ok));
    let mut ninth = open.store.snapshot();
    assert!(futures::poll!(&mut ninth).is_pending());
    insert(&open.store, job(2, json!({}))).await;
    held.pop();
    let mut snapshot = ninth.await.expect("a connection is free");
    let page = snapshot.page(Map::Scheduled, &Filter::default(), None, 10).await.expect("a page");
    assert_eq!(page.len(), 2, "the snapshot is new, not that of its connection's previous user");
    drop((snapshot, held));
    open.close().await;
}

#[tokio::test]
async fn abandoned_page_releases_its_snapshot() {
    let dir = tempfile::tempdir().expect("a folder");
    let open = open(dir.path());
    insert(&open.store, job(1, json!({}))).await;
    for _ in 0..20 {
        let mut snapshot = open.store.snapshot().await.expect("a snapshot");
        let filter = Filter::default();
        let mut page = snapshot.page(Map::Scheduled, &filter, None, 10);
        let _ = futures::poll!(&mut page);
        drop(page);
        drop(snapshot);
    }
    assert_eq!(join_all((0..8).map(|_| open.store.snapshot())).await.len(), 8);
    open.close().await;
}

/// A child process writes, and reports each commit only after the store answered. The test kills it
/// after enough reports: everything it reported is there. Five rounds use the same directory.
#[tokio::test]
async fn acknowledged_jobs_survive_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut acknowledged: HashMap<JobId, Version> = HashMap::new();
    for round in 0..5 {
        let before = acknowledged.len();
        read_until_killed(dir.path(), 200 + 77 * round, &mut acknowledged);
        assert!(acknowledged.len() > before);
        let open = open(dir.path());
        for (id, version) in &acknowledged {
            assert!(get(&open.store, *id).await.version >= *version, "{id}");
        }
        journal_agrees(&open.store).await;
        open.close().await;
        let verdict: String = database(dir.path())
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("it can be read");
        assert_eq!(verdict, "ok");
    }
}

/// Starts a child, kills it after `lines` reports, and collects its reports, which may be more.
fn read_until_killed(dir: &Path, lines: usize, acknowledged: &mut HashMap<JobId, Version>) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "contract::directory::the_child_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut seen = 0;
    for line in output.lines() {
        let line = line.expect("it is text");
        let mut words = line.split(' ');
        let (Some("acknowledged"), Some(id), Some(version)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let version = Version(version.parse().expect("a number"));
        let known = acknowledged.entry(id.parse().expect("an id")).or_insert(version);
        *known = version.max(*known);
        seen += 1;
        if seen == lines {
            child.kill().expect("it is killed"); // SIGKILL
        }
    }
    assert!(seen >= lines, "the child ended by itself after {seen}");
    child.wait().expect("it is gone");
}

/// Checks that every job's journal rows are complete, in order, and end with the job's state.
async fn journal_agrees(store: &Arc<dyn Store>) {
    let rows = journal(store).await;
    assert!(rows.windows(2).all(|pair| pair[0].seq() < pair[1].seq()));
    assert_eq!(
        rows.last().map(|row| row.seq()),
        Some(store.last_seq().await.expect("it can be read"))
    );
    let mut last = HashMap::new();
    for row in rows.iter().filter_map(Entry::job) {
        let before = last.insert(row.job, row);
        assert_eq!(row.from, before.map(|before| before.to));
        assert_eq!(row.version.0, before.map_or(0, |before| before.version.0 + 1));
    }
    for (id, row) in last {
        let job = get(store, id).await;
        assert_eq!((job.version, job.state.status()), (row.version, row.to));
    }
    assert_eq!(store.journal(Seq(0), 1).await.expect("it can be read").len(), 1);
}

#[test]
#[ignore = "is what another test starts and kills"]
fn the_child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (store, writer) =
            SqliteStore::open(Path::new(&dir), Threads::Pool, InstanceId::new([7; 16]))
                .expect("it opens");
        tokio::join!(writer.run(), join_all((0..16).map(|lane| write_for_ever(&store, lane))));
    });
}

async fn write_for_ever(store: &SqliteStore, lane: u8) {
    let round = u16::try_from(std::process::id() % 65_536).expect("small");
    for n in 0_u64.. {
        let mut bytes = [lane; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        bytes[8..10].copy_from_slice(&round.to_be_bytes());
        let first = Job {
            id: JobId::from_bytes(bytes),
            ..job(0, json!({"env": {"LANE": lane.to_string()}}))
        };
        store.insert(&first).await.expect("it is inserted");
        acknowledge(&first);
        let second = Job { version: first.version.next(), state: State::Pulling, ..first };
        store
            .advance(
                &Job { version: Version(0), state: State::Scheduled, ..second.clone() },
                &second,
                at(1),
                &Actor::Scheduler,
            )
            .await
            .expect("it is advanced");
        acknowledge(&second);
    }
}

fn acknowledge(job: &Job) {
    let line = format!("acknowledged {} {}\n", job.id, job.version.0);
    std::io::stdout().write_all(line.as_bytes()).expect("somebody reads");
}

/// A backup is a store like any other, except for a mark. `tests/engines/restore.rs` explains the mark.
#[tokio::test]
async fn restored_backup_lists_overtaken_jobs_until_reconciled() {
    let above = tempfile::tempdir().expect("a folder");
    let (dir, copy) = (above.path().join("store"), above.path().join("backup"));
    let original = open(&dir);
    let due = |n, ms, state| Job { due_at: at(ms), ..with_state(n, json!({}), state) };
    let over =
        every_state().into_iter().find(|state| state.status().map() == Map::History).expect("one");
    for job in [
        due(1, 500, State::Scheduled),
        due(2, 5_000, State::Scheduled),
        due(3, 9_000, queued()),
        due(4, 9_000, State::Pulling),
        due(5, 500, over),
    ] {
        insert(&original.store, job).await;
    }
    original.store.remember_engine(&EngineId("A".to_owned())).await.expect("it is remembered");
    assert_eq!(original.store.restored(at(0)).await.expect("read"), None);
    back_up(&dir, &copy, at(1_000)).expect("it is written");
    original.close().await;

    let restored =
        Restored { since: at(1_000), served_at: at(2_000), engine: Some(EngineId("A".to_owned())) };
    for served_at in [at(2_000), at(7_000)] {
        let served = open(&copy);
        assert_eq!(
            served.store.restored(served_at).await.expect("read"),
            Some(restored.clone()),
            "the first time counts"
        );
        served.store.remember_engine(&EngineId("B".to_owned())).await.expect("it is remembered");
        let mut overtaken = served.store.overtaken(restored.served_at).await.expect("read");
        overtaken.sort();
        assert_eq!(overtaken, [id(1), id(3), id(4)], "jobs of the serving process are not listed");
        insert(
            &served.store,
            Job {
                due_at: at(1_500),
                ..job(100 + u32::try_from(served_at.timestamp()).expect("small"), json!({}))
            },
        )
        .await;
        served.close().await;
    }
    // Nobody reconciled the copy: a backup of it keeps its age, and all of its jobs are from
    // before.
    let again = above.path().join("again");
    back_up(&copy, &again, at(8_000)).expect("it is written");
    let served = open(&again);
    let mark = served.store.restored(at(9_000)).await.expect("read").expect("it is one");
    assert_eq!(mark, Restored { served_at: at(9_000), ..restored });
    assert_eq!(served.store.overtaken(mark.served_at).await.expect("read").len(), 6);
    served.store.forget_restored().await.expect("it is forgotten");
    served.close().await;
    let served = open(&again);
    assert_eq!(served.store.restored(at(9_999)).await.expect("read"), None);
    served.close().await;
}
