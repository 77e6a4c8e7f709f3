//! Jobs that leave evidence of their own, and the one check that compares history with it.
//!
//! Each container appends a line to a file on the host when it begins and one when it ends. The
//! check trusts those files, not the server. Every acknowledged job has to be in history, no
//! attempt may begin twice, and exit codes and output have to be as the job's script makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{IMAGE, Server};

/// The behaviour of one job.
#[derive(Clone, Debug)]
pub struct Work {
    pub kind: Kind,
    /// Milliseconds until the job is due.
    pub due_ms: u64,
    /// Milliseconds that the process runs.
    pub run_ms: u64,
    /// The exit code of the process.
    pub code: i32,
    /// The number of lines that the process writes before it waits.
    pub lines: usize,
    /// Ends on SIGTERM if true; else only on SIGKILL.
    pub obeys: bool,
}

/// The expected course of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs to its end.
    Plain,
    /// Fails in its first attempt, and succeeds in its second.
    Retried,
    /// Runs past its timeout.
    TimedOut,
    /// Runs until a caller stops it.
    Stopped,
    /// Is canceled before it is due.
    Canceled,
}

/// A job that a test submitted, and its id.
#[derive(Clone, Debug)]
pub struct Posted {
    pub work: Work,
    /// The id from the answer. `None` if no answer came; then the job may or may not exist.
    pub id: Option<String>,
}

impl Work {
    /// Creates a random job that runs to its end and is due within three seconds.
    pub fn plain(rng: &mut StdRng) -> Self {
        // The list leaves out the codes with which an engine ends a container: their meaning
        // depends on the engine's event log.
        let code = [0, 0, 1, 3, 42, 126, 200][rng.random_range(0..7)];
        let run_ms = [50, 300, 900, 2_500, 6_000, 20_000][rng.random_range(0..6)];
        let (due_ms, lines) = (rng.random_range(0..3_000), rng.random_range(0..30));
        Self { kind: Kind::Plain, due_ms, run_ms, code, lines, obeys: rng.random_bool(0.5) }
    }

    /// Returns the body of the job's `POST /job`. The label `number` identifies the job even if the
    /// answer was lost.
    pub fn request(&self, number: usize, evidence: &Path) -> Value {
        let mut request = json!({"job_name": IMAGE, "date": format!("{}ms", self.due_ms), "network": "none",
            "command": ["sh", "-c", self.script()], "labels": {"number": number.to_string()}, "stop_grace": "1s",
            "mounts": [{"type": "bind", "source": evidence, "target": "/evidence"}]});
        match self.kind {
            Kind::Plain | Kind::Stopped => {}
            Kind::Retried => {
                request["retry"] = json!({"attempts": 1, "delay": "1s", "on": [self.code]})
            }
            Kind::TimedOut => request["timeout"] = json!("3s"),
            Kind::Canceled => request["date"] = json!("1h"),
        }
        request
    }

    fn script(&self) -> String {
        let (lines, seconds) = (self.lines, self.run_ms as f64 / 1_000.0);
        // Process 1 of a container receives only signals for which it has installed a handler.
        let sleep = match self.obeys {
            true => format!("trap 'exit 143' TERM; sleep {seconds} & wait $!"),
            false => format!("sleep {seconds}"),
        };
        let code = match self.kind {
            Kind::Retried => format!("$(($TIDETABLE_ATTEMPT > 1 ? 0 : {}))", self.code),
            Kind::Plain | Kind::TimedOut | Kind::Stopped | Kind::Canceled => self.code.to_string(),
        };
        format!(
            "e=/evidence/$TIDETABLE_JOB_ID; echo begin $TIDETABLE_ATTEMPT >> $e; i=0; while [ $i -lt {lines} ]; do i=$((i+1)); \
             echo line $i of $TIDETABLE_JOB_ID; done; {sleep}; echo last words; echo end $TIDETABLE_ATTEMPT >> $e; exit {code}"
        )
    }

    /// Returns the output up to the point where the process begins to wait.
    fn first_words(&self, id: &str) -> String {
        (1..=self.lines).map(|line| format!("line {line} of {id}\n")).collect()
    }

    /// Returns the complete output.
    pub fn output(&self, id: &str) -> String {
        self.first_words(id) + "last words\n"
    }
}

/// Results that are allowed because of faults of the engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Allows containers that ended together with their engine.
    pub engine_restarted: bool,
    /// Allows the effects of a killed engine: work and reads that it left half done are unknown.
    pub engine_killed: bool,
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct Tally {
    pub jobs: usize,
    /// Jobs submitted around a kill, to which no answer came.
    pub unanswered: usize,
    /// Attempts that one server process began and a later one finished.
    pub adopted: usize,
    /// Jobs that report `engine_restarted`: their containers ended with the engine, or the engine
    /// missed the end.
    pub engine_restarted: usize,
    /// Jobs for which a killed engine reported exit code 0 although the process ended with another
    /// one. Observed with Docker 20.10.
    pub misreported: Vec<String>,
    /// Reason and error sentence of each job in status `unknown`.
    pub unknown: Vec<String>,
    /// Acknowledged jobs that are not in history.
    pub lost: Vec<String>,
    /// Attempts that began more than once, or that history does not have.
    pub doubled: Vec<String>,
    /// All other differences between history and evidence.
    pub wrong: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "jobs {} (unanswered {}), adopted {}, ",
            self.jobs, self.unanswered, self.adopted
        )?;
        write!(
            f,
            "ended by the engine {}, misreported by it {}, ",
            self.engine_restarted,
            self.misreported.len()
        )?;
        write!(f, "unknown {}, lost {}, ", self.unknown.len(), self.lost.len())?;
        write!(f, "doubled {}, wrong {}", self.doubled.len(), self.wrong.len())
    }
}

impl Tally {
    /// Fails if a job was lost, doubled or wrong. Only prints the jobs in status `unknown`: the
    /// check has already decided that they are allowed.
    pub fn assert_kept(&self) {
        let mut unknown = BTreeMap::<_, usize>::new();
        for why in &self.unknown {
            *unknown.entry(why).or_default() += 1;
        }
        for (why, times) in unknown {
            eprintln!("  unknown, {times} times: {why}");
        }
        let broken = [("lost", &self.lost), ("doubled", &self.doubled), ("wrong", &self.wrong)];
        let broken: Vec<_> = broken
            .iter()
            .flat_map(|(what, jobs)| jobs.iter().map(move |job| format!("{what}: {job}")))
            .collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }
}

/// Compares history with the evidence, once every job is over.
pub fn check(server: &Server, evidence: &Path, posted: &[Posted], allowed: Allowed) -> Tally {
    let maps = server.get("/jobs").json();
    let mut tally = Tally { adopted: adopted(&server.log()), ..Tally::default() };
    for map in ["scheduled", "running"] {
        tally.wrong.extend(
            maps[map].as_object().unwrap().values().map(|job| format!("still {map}: {job}")),
        );
    }
    let history = maps["history"].as_object().unwrap();
    tally.jobs = history.len();
    tally.unanswered = posted.iter().filter(|posted| posted.id.is_none()).count();
    for id in posted
        .iter()
        .filter_map(|posted| posted.id.as_ref())
        .filter(|id| !history.contains_key(*id))
    {
        tally.lost.push(id.clone());
    }
    for file in std::fs::read_dir(evidence).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if !history.contains_key(&name) {
            tally.doubled.push(format!("{name} ran, and is not in history"));
        }
    }
    let mut seen = BTreeSet::new();
    for (id, job) in history {
        let number: usize = job["labels"]["number"].as_str().unwrap().parse().unwrap();
        if !seen.insert(number) {
            tally.doubled.push(format!("submitted once, and there twice: {job}"));
        }
        let trail = Trail::read(evidence.join(id));
        Case { server, id, job, work: &posted[number].work, trail, allowed }.judge(&mut tally);
    }
    tally
}

/// The evidence of one job: for each attempt, the number of its beginnings and ends.
struct Trail {
    begins: BTreeMap<u64, usize>,
    ends: BTreeMap<u64, usize>,
}

impl Trail {
    fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let count = |word: &str| {
            let mut counts = BTreeMap::new();
            for attempt in text.lines().filter_map(|line| line.strip_prefix(word)) {
                *counts.entry(attempt.trim().parse().unwrap()).or_default() += 1;
            }
            counts
        };
        Self { begins: count("begin"), ends: count("end") }
    }

    fn began(&self, attempt: u64) -> bool {
        self.begins.contains_key(&attempt)
    }

    fn ended(&self, attempt: u64) -> bool {
        self.ends.contains_key(&attempt)
    }
}

/// A job with everything that is known about it.
struct Case<'a> {
    server: &'a Server,
    id: &'a str,
    job: &'a Value,
    work: &'a Work,
    trail: Trail,
    allowed: Allowed,
}

impl Case<'_> {
    fn judge(&self, tally: &mut Tally) {
        let attempts = self.job["attempt"].as_u64().unwrap();
        if self.trail.begins.iter().any(|(attempt, times)| *times > 1 || *attempt > attempts) {
            tally.doubled.push(format!("began {:?}: {}", self.trail.begins, self.job));
        }
        let verdict = match (self.text("status"), self.text("reason")) {
            ("unknown", _) if self.allowed.engine_killed => {
                tally.unknown.push(format!("{}: {}", self.text("reason"), self.text("error")));
                return;
            }
            // A server that was killed in a fence has removed a container that never ran, and its
            // finding did not get on disk. And Docker's log of 256 events may have forgotten a
            // container by the time that a fence asks, when many jobs start after an outage.
            ("unknown", "container_removed" | "start_ambiguous")
                if self.trail.begins.is_empty() =>
            {
                tally.unknown.push(format!("{}: {}", self.text("reason"), self.text("error")));
                return;
            }
            ("failed", "engine_restarted") if self.allowed.engine_restarted => {
                tally.engine_restarted += 1;
                self.is_part(&self.work.output(self.id))
            }
            _ => self.ran_as_told(attempts),
        };
        if let Err(why) = verdict {
            let is_misreported = self.allowed.engine_killed
                && self.job["exit_code"] == 0
                && self.trail.ended(attempts);
            let list = if is_misreported { &mut tally.misreported } else { &mut tally.wrong };
            list.push(format!(
                "{why}; began {:?}, ended {:?}: {}",
                self.trail.begins, self.trail.ends, self.job
            ));
        }
    }

    fn text(&self, field: &str) -> &str {
        self.job[field].as_str().unwrap_or_default()
    }

    fn ran_as_told(&self, attempts: u64) -> Result<(), String> {
        let exit = self.job["exit_code"].as_i64().map(|code| code as i32);
        let (status, code) = match self.work.kind {
            Kind::Plain if self.work.code != 0 => ("failed", Some(self.work.code)),
            Kind::Plain | Kind::Retried => ("succeeded", Some(0)),
            Kind::TimedOut => ("timed_out", exit),
            Kind::Stopped => ("stopped", exit),
            Kind::Canceled => ("canceled", None),
        };
        that(self.text("status") == status, || format!("it is not {status}"))?;
        that(exit == code, || format!("its exit code is not {code:?}"))?;
        match self.work.kind {
            Kind::Plain | Kind::Retried => {
                let wanted = if self.work.kind == Kind::Retried { 2 } else { 1 };
                that(attempts == wanted, || format!("it has not {wanted} attempts"))?;
                let whole = (1..=attempts)
                    .all(|attempt| self.trail.began(attempt) && self.trail.ended(attempt));
                that(whole, || "it did not run to its end".to_owned())?;
                self.has_output(&self.work.output(self.id))
            }
            Kind::TimedOut => {
                that(self.trail.began(1), || "it did not begin".to_owned())?;
                // Nothing stops a container while its engine is away.
                if self.trail.ended(1) && self.allowed.engine_killed {
                    return self.has_output(&self.work.output(self.id));
                }
                that(!self.trail.ended(1), || "it was not ended by its timeout".to_owned())?;
                self.has_output(&self.work.first_words(self.id))
            }
            Kind::Stopped => {
                that(!self.trail.ended(1), || "it was not stopped".to_owned())?;
                self.is_part(&self.work.first_words(self.id))
            }
            Kind::Canceled => that(self.trail.begins.is_empty(), || "it ran".to_owned()),
        }
    }

    fn has_output(&self, wanted: &str) -> Result<(), String> {
        // A killed daemon loses output that it had read and not yet written.
        if self.allowed.engine_killed {
            return self.is_part(wanted);
        }
        let kept = self.output();
        that(kept == wanted, || format!("kept {kept:?} and not {wanted:?}"))
    }

    fn is_part(&self, whole: &str) -> Result<(), String> {
        let kept = self.output();
        that(is_part(&kept, whole), || format!("kept {kept:?}, no part of {whole:?}"))
    }

    fn output(&self) -> String {
        self.server.get(&format!("/job/{}/logs", self.id)).text()
    }
}

/// Checks that `some` consists of lines of `whole`, in the same order.
pub fn is_part(some: &str, whole: &str) -> bool {
    let mut lines = whole.lines();
    some.lines().all(|line| lines.any(|other| other == line))
}

fn that(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Counts the attempts that moved in more than one process of the server, according to its log.
fn adopted(log: &str) -> usize {
    let mut life = 0;
    let mut lives: BTreeMap<(&str, &str), BTreeSet<usize>> = BTreeMap::new();
    for line in log.lines() {
        let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        match (field("instance="), field("job="), field("attempt=")) {
            (Some(_), ..) => life += 1,
            (_, Some(job), Some(attempt)) => {
                lives.entry((job, attempt)).or_default().insert(life);
            }
            _ => {}
        }
    }
    lives.values().filter(|lives| lives.len() > 1).count()
}
