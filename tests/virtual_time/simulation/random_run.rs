//! A random run, derived from its seed: the requests, the troubles, and the times of kills.
//!
//! The seed also selects the kinds of trouble in the run; one seed in eight has all of them.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tidetable::clock::Clock;
use tidetable::domain::container::Owner;
use tidetable::domain::names::id::{Attempt, JobId};
use tidetable::engine::simulated::{Odds, RestartEffect, seeded};

use crate::simulation::checker::{Tally, check};
use crate::simulation::expectations::ours;
use crate::simulation::harness::{Client, Harness, Service, Setup, launch};
use crate::simulation::rules::Rule;
use crate::simulation::schedules::schedule;

/// The longest time to come to rest once nothing goes wrong any more, including clocks that were
/// set back.
const LONGEST_REST: Duration = Duration::from_secs(3 * 3_600);

/// The kinds of trouble in a run. `engine_faults` and `disk` are failures per thousand operations.
#[derive(Clone, Copy, Debug)]
struct Kinds {
    engine_faults: u32,
    engine_outages: bool,
    disk: u32,
    clock: bool,
    interference: bool,
}

impl Kinds {
    fn of(seed: u64, rng: &mut StdRng) -> Self {
        let none = Self {
            engine_faults: 0,
            engine_outages: false,
            disk: 0,
            clock: false,
            interference: false,
        };
        match seed % 8 {
            0 => none,
            1 => Self { engine_faults: 80, ..none },
            2 => Self { engine_outages: true, ..none },
            3 => Self { engine_faults: 250, ..none },
            4 => Self { disk: rng.random_range(20..300), ..none },
            5 => Self { clock: true, ..none },
            6 => Self { interference: true, ..none },
            _ => Self {
                engine_faults: rng.random_range(0..150),
                engine_outages: true,
                disk: rng.random_range(0..100),
                clock: true,
                interference: true,
            },
        }
    }
}

/// The result of a random run.
pub struct RunResult {
    pub tally: Tally,
    pub troubles: crate::simulation::expectations::Troubles,
    pub points: u64,
    pub trace: String,
}

struct RandomRun {
    rng: StdRng,
    kinds: Kinds,
    harness: Harness,
}

/// Plays the random run of a seed, on a runtime of its own.
///
/// # Errors
/// Returns a description of the first guarantee that did not hold, after the trace.
pub fn play(seed: u64, off: Option<Rule>, keep_text: bool) -> Result<RunResult, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut rng = StdRng::seed_from_u64(seed);
        let kinds = Kinds::of(seed, &mut rng);
        let odds = Odds { per_mille: kinds.engine_faults, longest: Duration::from_secs(5) };
        let faults = (odds.per_mille > 0).then(|| seeded(seed ^ 0x5eed, odds));
        let max_running = if rng.random_ratio(1, 4) { 2 } else { 0 };
        let slowest_commit = Duration::from_millis(if rng.random_ratio(1, 3) { 40 } else { 0 });
        let keeps_containers = rng.random_ratio(1, 3);
        let harness = Harness::new(Setup {
            seed,
            slowest_commit,
            keeps_containers,
            faults,
            max_running,
            off,
            keep_text,
        });
        let failpoints = harness.failpoints.clone();
        let told = RandomRun { rng, kinds, harness }.play().await;
        told.map_err(|what| format!("{}{what}", failpoints.trace()))
    })
}

impl RandomRun {
    async fn play(mut self) -> Result<RunResult, String> {
        let jobs = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..self.rng.random_range(2..6) {
            self.live(&jobs).await;
            if let Some(broken) = self.harness.failpoints.broken() {
                return Err(broken);
            }
        }
        self.harness.calm_down();
        self.harness.failpoints.kill_at(None);
        mend(&self.harness, &mut Outage::None);
        let tally = end_in_peace(&mut self.harness).await?;
        let (troubles, points) =
            (self.harness.expectations.troubles(), self.harness.failpoints.passed());
        Ok(RunResult { tally, troubles, points, trace: self.harness.failpoints.trace() })
    }

    /// Runs one process of the scheduler and kills it in the middle of its work.
    async fn live(&mut self, jobs: &Mutex<Vec<JobId>>) {
        let Service { process, client, running } = self.harness.open().await;
        let is_long = self.rng.random_ratio(1, 4);
        let length = if is_long { 8_000..30_000 } else { 50..8_000 };
        let length = Duration::from_millis(self.rng.random_range(length));
        let point = self.harness.failpoints.passed() + self.rng.random_range(1..120);
        self.harness.failpoints.kill_at((!is_long && self.rng.random_bool(0.5)).then_some(point));
        self.harness.disk.refuse(self.kinds.disk);
        self.harness.expectations.disk_refuses(self.kinds.disk > 0);
        let mut rng: [StdRng; 4] =
            std::array::from_fn(|_| StdRng::seed_from_u64(self.rng.random()));
        let [callers, others, troubles, regulars] = &mut rng;
        let harness = &self.harness;
        let mut outage = Outage::None;
        let all = async {
            tokio::join!(
                submit(callers, &client, jobs),
                schedule(regulars, &client),
                change_minds(others, &client, jobs),
                make_trouble(troubles, self.kinds, harness, &mut outage, jobs)
            )
        };
        tokio::select! {
            biased;
            () = process.killed.notified() => {}
            () = running => panic!("it ended by itself"),
            _ = all => {}
            () = tokio::time::sleep(length) => {}
        }
        process.end();
        harness.expectations.trouble(|t| t.kills += 1);
        // In half of the runs the next process finds the engine still away.
        if self.rng.random_bool(0.5) {
            mend(harness, &mut outage);
        } else {
            self.rest_in_pieces(outage).await;
        }
    }

    /// Brings the engine back while no process runs. Half of the time the pause is long enough for
    /// runs to end and ticks to be missed.
    async fn rest_in_pieces(&mut self, mut outage: Outage) {
        let longest = if self.rng.random_bool(0.5) { 4_000 } else { 40_000 };
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..longest))).await;
        mend(&self.harness, &mut outage);
    }
}

/// Runs the last process without troubles until everything is over and cleaned up, then calls the
/// checker.
pub async fn end_in_peace(harness: &mut Harness) -> Result<Tally, String> {
    let Service { process, client, running } = harness.open().await;
    let settled = rest(harness);
    tokio::select! {
        biased;
        () = process.killed.notified() => {}
        () = running => panic!("it ended by itself"),
        judged = async { settled.await?; check(harness, &client).await } => {
            if let Some(broken) = harness.failpoints.broken() {
                return Err(broken);
            }
            return judged.and_then(|tally| nothing_is_left(harness).map(|()| tally));
        }
    }
    Err(harness.failpoints.broken().unwrap_or_else(|| "a life ended that nobody killed".to_owned()))
}

pub async fn rest(harness: &Harness) -> Result<(), String> {
    let began = harness.clock.elapsed();
    while harness.clock.elapsed() - began < LONGEST_REST {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ours = leftovers(harness).await;
        if harness.expectations.all_are_over()
            && ours.is_empty()
            && harness.engine.on_their_way() == 0
        {
            return Ok(());
        }
        if let Some(broken) = harness.failpoints.broken() {
            return Err(broken);
        }
    }
    Err(format!(
        "after hours of peace it is not at rest; on the engine: {:?}",
        leftovers(harness).await
    ))
}

/// Returns the names of our remaining containers, except for those that must be kept.
async fn leftovers(harness: &Harness) -> Vec<String> {
    let kept: Vec<String> = harness.expectations.kept().iter().map(ToString::to_string).collect();
    let is_kept = |name: &String| kept.iter().any(|id| name.contains(id));
    harness.ours().await.into_iter().filter(|name| !is_kept(name)).collect()
}

/// Checks that no partial file is left in the log directory.
pub fn nothing_is_left(harness: &Harness) -> Result<(), String> {
    for shelf in std::fs::read_dir(harness.data_dir().join("logs")).unwrap() {
        for file in std::fs::read_dir(shelf.unwrap().path()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".log.zst") {
                return Err(format!("{name} is left in the logs"));
            }
        }
    }
    Ok(())
}

async fn submit(rng: &mut StdRng, client: &Client, jobs: &Mutex<Vec<JobId>>) {
    for _ in 0..rng.random_range(0..5) {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..1_500))).await;
        if let Some(id) = client.submit(&order(rng)).await {
            jobs.lock().unwrap().push(id);
        }
        if rng.random_ratio(1, 4) {
            client.call("GET", "/jobs", None).await;
        }
    }
    std::future::pending::<()>().await;
}

/// Returns a random job request. The expected output is in a label, for the checker.
fn order(rng: &mut StdRng) -> Value {
    let commands: [(&str, Option<&str>); 9] = [
        ("true", None),
        ("false", None),
        ("sleep 1", None),
        ("sh -c 'echo begun; sleep 2; echo done'", Some("begun\ndone")),
        ("frobnicate", None),
        ("sh -c 'echo no; exit 3'", Some("no")),
        ("sh -c 'sleep 1; echo late; exit 4'", Some("late")),
        ("sleep 20", None),
        ("sh -c 'trap \"\" TERM; sleep 12'", None),
    ];
    let (command, says) = *commands.choose(rng).unwrap();
    let image = *["busybox", "busybox", "busybox", "pull-me", "no-such-image"].choose(rng).unwrap();
    let mut job = json!({"job_name": image, "date": format!("{}ms", rng.random_range(0..4_000)), "command": command});
    if let Some(says) = says {
        job["labels"] = json!({"says": says});
    }
    let mut now_and_then = |field: &str, value: Value| {
        if rng.random_ratio(1, 6) {
            job[field] = value;
        }
    };
    now_and_then("retry", json!({"attempts": 2, "delay": "1s"}));
    now_and_then("timeout", json!("5s"));
    now_and_then("start_deadline", json!("3s"));
    now_and_then("keep_container", json!(true));
    now_and_then("priority", json!(5));
    now_and_then("queue", json!("one"));
    now_and_then("queue", json!("two"));
    now_and_then("max_parallel", json!(1));
    now_and_then("max_parallel", json!(2));
    now_and_then("pull", json!("always"));
    job
}

/// Plays callers that cancel, stop and read jobs.
async fn change_minds(rng: &mut StdRng, client: &Client, jobs: &Mutex<Vec<JobId>>) {
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(200..3_000))).await;
        let Some(id) = jobs.lock().unwrap().choose(rng).copied() else { continue };
        match rng.random_range(0..3) {
            0 => client.cancel(id).await,
            1 => client.stop(id).await,
            _ => drop(client.call("GET", &format!("/job/{id}"), None).await),
        }
    }
}

/// A reason for the engine's absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    None,
    Down,
    Cut,
    Frozen,
    Swapped,
}

/// Ends the outage; the engine is reachable again, with its own identity.
pub fn mend(harness: &Harness, outage: &mut Outage) {
    match std::mem::replace(outage, Outage::None) {
        Outage::None => {}
        Outage::Down => harness.engine.come_up(),
        Outage::Cut => harness.engine.cut(false),
        Outage::Frozen => harness.engine.resume(),
        Outage::Swapped => harness.engine.swap_back(),
    }
}

async fn make_trouble(
    rng: &mut StdRng,
    kinds: Kinds,
    harness: &Harness,
    outage: &mut Outage,
    jobs: &Mutex<Vec<JobId>>,
) {
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..2_500))).await;
        match rng.random_range(0..3) {
            0 if kinds.engine_outages => go_away(rng, harness, outage).await,
            1 if kinds.clock => {
                let by = rng.random_range(-90_000..90_000);
                harness.failpoints.note(|| format!("the clock is set by {by} ms"));
                harness.clock.jump(by);
                harness.expectations.is_steady_from(harness.clock.now());
                harness.expectations.trouble(|t| {
                    (t.clock_jumps, t.clock_set_back) =
                        (t.clock_jumps + 1, t.clock_set_back | (by < 0))
                });
            }
            2 if kinds.interference => meddle(rng, harness, jobs),
            _ => {}
        }
    }
}

async fn go_away(rng: &mut StdRng, harness: &Harness, outage: &mut Outage) {
    let engine = &harness.engine;
    *outage = *[Outage::Down, Outage::Down, Outage::Cut, Outage::Frozen, Outage::Swapped]
        .choose(rng)
        .unwrap();
    harness.failpoints.note(|| format!("the engine goes away: {outage:?}"));
    harness.expectations.trouble(|t| t.outages += 1);
    match *outage {
        Outage::None => {}
        Outage::Down => {
            let toll = *[RestartEffect::Kept, RestartEffect::Ended, RestartEffect::Lost]
                .choose(rng)
                .unwrap();
            engine.go_down(toll);
            harness.expectations.trouble(|t| {
                t.engine_restarts += 1;
                t.engine_kills += u32::from(toll != RestartEffect::Kept);
            });
        }
        Outage::Cut => engine.cut(true),
        Outage::Frozen => engine.pause(),
        // The first engine that the scheduler ever meets becomes its engine, so a swap must wait.
        Outage::Swapped if harness.expectations.engine_is_known() => engine.swap(),
        Outage::Swapped => *outage = Outage::None,
    }
    let longest = if rng.random_ratio(2, 3) { 4_000 } else { 25_000 };
    tokio::time::sleep(Duration::from_millis(rng.random_range(10..longest))).await;
    mend(harness, outage);
}

/// Interferes with a container or with a container name.
fn meddle(rng: &mut StdRng, harness: &Harness, jobs: &Mutex<Vec<JobId>>) {
    let Some(job) = jobs.lock().unwrap().choose(rng).copied() else { return };
    let engine = &harness.engine;
    let what = rng.random_range(0..6);
    harness.failpoints.note(|| format!("somebody meddles ({what}) with {job}"));
    harness.expectations.trouble(|t| t.interference += 1);
    if what == 0 {
        return squat(harness, job);
    }
    let Some(container) = engine.container_of(job) else { return };
    if what == 1 {
        harness.expectations.everything_is_meddled_with();
        engine.prune();
        return;
    }
    if what == 5 {
        harness.expectations.renamed(job);
        drop(engine.rename(&container, &format!("stolen-{job}")));
        return;
    }
    harness.expectations.meddled_with(job);
    match what {
        2 => engine.remove_behind_back(&container),
        3 => engine.kill_behind_back(&container),
        _ => drop(engine.start_behind_back(&container)),
    }
}

/// Creates a foreign container under the name of the job's first container.
pub fn squat(harness: &Harness, job: JobId) {
    let owner = Owner { instance: ours(), job, attempt: Attempt(1) };
    if let Ok(container) = harness.engine.create_behind_back(&launch(owner), false) {
        harness.expectations.note_foreign(container);
    }
}
