//! Power cuts at any moment: everything answered before the cut is on disk.
//!
//! A server runs with a preloaded recorder (`record.c`). It records all file operations, and each
//! answer just before it leaves, in one order. `disk` derives possible contents after a cut:
//! unsynced bytes and names are lost, kept, or partly kept.
//!
//! The store's own code opens each of these. Every answered job is there, in the answered state,
//! with its output if the answer called it complete; and `check` finds nothing. With ignored syncs
//! the test does find losses, so it would notice real ones.
//!
//! `CUTS=2000 SEED=7 cargo test --test power -- --nocapture` cuts more often, elsewhere, and prints
//! the counts.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod disk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::support::Server;
use disk::{Disk, Ignored, Record, Survives, records};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tidetable::domain::job::{Map, Status};
use tidetable::domain::names::id::{Attempt, InstanceId};
use tidetable::domain::output::Lines;
use tidetable::store::Store;
use tidetable::store::check::check;
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::{FILE, SqliteStore};
use tidetable::store::threads::Threads;

/// The default number of cuts; `CUTS` overrides it.
const CUTS: u64 = 40;
/// The number of random contents for each cut.
const TORN: usize = 3;
/// Enough jobs for the write-ahead log to be copied into the database and restarted.
const JOBS: usize = 90;

/// The recorded calls of a server, and its data folder.
struct Story {
    root: PathBuf,
    records: Vec<Record>,
    _dir: tempfile::TempDir,
}

/// The strongest answer for each job: its status, and whether its output is stored.
type Answered = BTreeMap<String, (Status, bool)>;

/// The counts of a check, with all losses.
#[derive(Debug, Default)]
struct Seen {
    states: u64,
    jobs: u64,
    losses: Vec<String>,
}

impl Story {
    /// Loads a server, kills it, restarts and loads it again, and stops it.
    fn record() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, log, recorder) =
            (dir.path().join("data"), dir.path().join("log"), recorder(dir.path()));
        let of = |path: &Path| path.to_str().unwrap().to_owned();
        let environment =
            [("POWER_DIR", of(&root)), ("POWER_LOG", of(&log)), ("LD_PRELOAD", of(&recorder))];
        let mut server = Server::simulated_with(
            root.clone(),
            &environment.each_ref().map(|(k, v)| (*k, v.as_str())),
        );
        load(&server);
        server.kill();
        server.up();
        load(&server);
        assert!(server.terminate().success());
        let records = records(&std::fs::read(log).unwrap());
        Self { root, records, _dir: dir }
    }

    /// Cuts the power after each of these records, in every way.
    fn cut(&self, ignored: Ignored, cuts: &[usize], rng: &mut StdRng) -> Seen {
        let mut disk = Disk::new(&self.root, ignored);
        let (mut answered, mut seen) = (Answered::new(), Seen::default());
        for (number, record) in self.records.iter().enumerate() {
            disk.apply(record);
            note(record, &mut answered);
            if cuts.contains(&number) {
                let torn = std::iter::repeat_n(Survives::Something, TORN);
                for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(torn) {
                    let place = place();
                    let to = place.path().join("data");
                    disk.cut(&self.root, &to, survives, rng);
                    seen.states += 1;
                    seen.jobs += answered.len() as u64;
                    if let Err(loss) = look(&to, &answered) {
                        seen.losses
                            .push(format!("after record {number} with {survives:?}: {loss}"));
                    }
                }
            }
        }
        seen
    }

    /// Returns `count` record numbers: half random, half just after an answer.
    fn moments(&self, count: u64, rng: &mut StdRng) -> Vec<usize> {
        let answers: Vec<usize> =
            (0..self.records.len()).filter(|n| self.records[*n].what == 'A').collect();
        (0..count)
            .map(|n| match n % 2 {
                0 => rng.random_range(0..self.records.len()),
                _ => answers[rng.random_range(0..answers.len())],
            })
            .collect()
    }
}

/// Returns a folder in memory, if there is one: it is not the disk under test.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Compiles the recorder with the C compiler that also links Rust.
fn recorder(dir: &Path) -> PathBuf {
    let (source, library) = (
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/storage/power/record.c"),
        dir.join("record.so"),
    );
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(compiler);
    command.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).args([
        source,
        "-ldl",
        "-lpthread",
    ]);
    let made = command.output().expect("there is a C compiler");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    library
}

/// Submits jobs with output and waits for them, and submits jobs due in an hour.
fn load(server: &Server) {
    std::thread::scope(|scope| {
        for lane in 0..3 {
            scope.spawn(move || {
                for n in 0..JOBS / 3 {
                    let long = "x".repeat(if n % 10 == 0 { 9_000 } else { 10 });
                    let script = format!("echo lane {lane}, job {n}, {long}; exit {}", n % 2);
                    let date = if n % 5 == 4 { "1h" } else { "now" };
                    let id =
                        server.submit(json!({"job_name": "busybox", "date": date, "command": ["sh", "-c", script]}));
                    if date == "now" {
                        server.kept(&id);
                    }
                }
            });
        }
    });
}

/// Records the promise of an answer that shows a job's status.
fn note(record: &Record, answered: &mut Answered) {
    if record.what != 'A' {
        return;
    }
    let text = String::from_utf8_lossy(&record.bytes);
    let Some(body) =
        text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Value>(body).ok())
    else {
        return;
    };
    let (Some(id), Some(status)) = (body["id"].as_str(), body["status"].as_str()) else { return };
    let is_kept = body["log"]["complete"] == true;
    answered.insert(id.to_owned(), (Status::from_word(status).unwrap(), is_kept));
}

/// Opens the remaining data as a server does, and compares it with the answers.
fn look(dir: &Path, answered: &Answered) -> Result<(), String> {
    if !answered.is_empty() && !dir.join(FILE).exists() {
        return Err("there is no store".to_owned());
    }
    let (store, writer) = SqliteStore::open(dir, Threads::Inline, InstanceId::new([7; 16]))
        .map_err(|error| error.to_string())?;
    let store: Arc<dyn Store> = store;
    let logs =
        LogStore::open(&dir.join("logs"), Threads::Inline).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (id, (status, is_kept)) in answered {
        runtime
            .block_on(hold(&store, &logs, id, *status, *is_kept))
            .map_err(|loss| format!("job {id}, {status}: {loss}"))?;
    }
    drop((store, writer));
    let report = check(dir).map_err(|error| error.to_string())?;
    if report.whole { Ok(()) } else { Err(report.to_string()) }
}

async fn hold(
    store: &Arc<dyn Store>,
    logs: &LogStore,
    id: &str,
    status: Status,
    is_kept: bool,
) -> Result<(), String> {
    let id = id.parse().unwrap();
    let job = store.get(id).await.map_err(|error| error.to_string())?.ok_or("it is lost")?;
    if status.map() != Map::History {
        return Ok(());
    }
    let stands = job.state.status();
    if stands != status {
        return Err(format!("it is {stands}"));
    }
    if !is_kept {
        return Ok(());
    }
    let kept = logs
        .read(id, Attempt(1))
        .await
        .map_err(|error| error.to_string())?
        .ok_or("its output is lost")?;
    let blocks: Vec<_> = kept.collect().await;
    let is_said = |lines: &Lines| {
        let mut lines = lines.iter();
        let first = lines
            .next()
            .is_some_and(|line| line.text.starts_with(b"lane") && line.text.ends_with(b"x"));
        first && lines.next().is_none()
    };
    match &blocks[..] {
        [Ok(lines)] if is_said(lines) => Ok(()),
        other => Err(format!("its output is {other:?}")),
    }
}

#[test]
fn answered_jobs_survive_any_power_cut() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut rng = StdRng::seed_from_u64(number("SEED").unwrap_or(1));
    let story = Story::record();
    let count = |what| story.records.iter().filter(|record| record.what == what).count();
    assert!(
        count('A') > JOBS && count('S') > JOBS && count('R') > JOBS,
        "the recorder has seen the work"
    );
    let cuts = number("CUTS").unwrap_or(CUTS);
    let seen = story.cut(Ignored::Nothing, &story.moments(cuts, &mut rng), &mut rng);
    println!(
        "{} records, {cuts} cuts, {} states of the disk, {} times a job was looked for: {} losses",
        story.records.len(),
        seen.states,
        seen.jobs,
        seen.losses.len()
    );
    assert_eq!(seen.losses, Vec::<String>::new());
    // The test must notice syncs that did nothing.
    for ignored in [Ignored::Files, Ignored::Folders] {
        let seen = story.cut(ignored, &story.moments(4, &mut rng), &mut rng);
        println!("{ignored:?} not synced: {} losses in {} states", seen.losses.len(), seen.states);
        assert!(!seen.losses.is_empty(), "{ignored:?}");
    }
}
