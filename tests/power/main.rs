//! The power is cut, at any moment: what was answered before that is on disk.
//!
//! A server runs with a recorder preloaded (`record.c`), which writes down all that it does to its files, and each answer
//! just before it leaves, in one order. From that, `disk` makes what may be left after a cut: unsynced bytes and names
//! are lost, kept, or kept here and there. On each of these the store is opened by its own code: every job that was
//! answered for is there, in the state that was answered, with its output if that was said to be kept; and `check` finds
//! nothing. Where syncs are
//! taken for nothing, losses are found: that is how it is known that they would be.
//!
//! `CUTS=2000 SEED=7 cargo test --test power -- --nocapture` cuts more often, elsewhere, and says how often.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

#[path = "../common/mod.rs"]
mod common;
mod disk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::Server;
use disk::{Disk, Ignored, Record, Survives, records};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tidetable::domain::id::{Attempt, InstanceId};
use tidetable::domain::job::{Map, Status};
use tidetable::domain::output::Lines;
use tidetable::store::Store;
use tidetable::store::check::check;
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::{FILE, SqliteStore};
use tidetable::store::threads::Threads;

/// How many cuts are made unless told otherwise.
const CUTS: u64 = 40;
/// How often something of what is unsynced survives, differently each time.
const TORN: usize = 3;
/// Enough for the log of writes to be written into the database, and begun again.
const JOBS: usize = 90;

/// What a server did, and where.
struct Story {
    root: PathBuf,
    records: Vec<Record>,
    _dir: tempfile::TempDir,
}

/// What was answered for a job, at the most: how it stands, and whether its output is kept.
type Answered = BTreeMap<String, (Status, bool)>;

/// What was looked at.
#[derive(Debug, Default)]
struct Seen {
    states: u64,
    jobs: u64,
    losses: Vec<String>,
}

impl Story {
    /// A server under load is killed, comes up again, and is asked to stop.
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

    /// So many moments, and those just after an answer.
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

/// In memory where there is such a place: this is no disk that is cut off.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The recorder, made by the C compiler that links Rust, too.
fn recorder(dir: &Path) -> PathBuf {
    let (source, library) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/power/record.c"), dir.join("record.so"));
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

/// Jobs that say something and end, and are waited for; and some that wait.
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

/// An answer that says how a job stands is a promise.
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

/// Opens what is left as a server does, and holds it against what was answered.
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
fn whenever_the_power_is_cut_what_was_answered_is_on_disk() {
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
    // Syncs that did nothing would be noticed.
    for ignored in [Ignored::Files, Ignored::Folders] {
        let seen = story.cut(ignored, &story.moments(4, &mut rng), &mut rng);
        println!("{ignored:?} not synced: {} losses in {} states", seen.losses.len(), seen.states);
        assert!(!seen.losses.is_empty(), "{ignored:?}");
    }
}
