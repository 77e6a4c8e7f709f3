//! The scripted runs: fixed acts of callers and others on a few jobs or schedules.
//!
//! Each run is repeated for each of its failpoints, and the scheduler is killed there. Some runs
//! are also killed twice, or have each call fail in every possible way.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidetable::domain::names::id::JobId;
use tidetable::engine::simulated::{Call, Fault, Faults, RestartEffect, nth};

use crate::simulation::checker::check;
use crate::simulation::harness::{Client, Harness, Service, Setup};
use crate::simulation::random_run::{Outage, mend, nothing_is_left, rest, squat};
use crate::simulation::rules::Rule;
use crate::simulation::runner::caught;

/// A scripted run: the acts of callers and others, with their times.
#[derive(Clone)]
struct ScriptedRun {
    name: String,
    acts: Vec<(u64, Act)>,
    /// The failing calls: the kind, the index among calls of that kind, and the fault.
    faults: Vec<(Call, usize, Fault)>,
    slowest_commit: Duration,
    keeps_containers: bool,
    max_running: usize,
    /// The downtime after a kill.
    away: Duration,
}

#[derive(Clone)]
enum Act {
    Submit(Value),
    /// Cancels the n-th acknowledged job.
    Cancel(usize),
    Stop(usize),
    /// Creates a foreign container under the name of the n-th job's container.
    Squat(usize),
    EngineRestarts(RestartEffect),
    /// Cuts the connection to the engine (true), or restores it (false).
    Cut(bool),
    /// Puts a schedule under this name.
    Put(&'static str, Value),
    /// Posts `pause`, `resume` or `trigger` to the schedule of this name.
    Tell(&'static str, &'static str),
    Delete(&'static str),
}

/// The result of a scripted run that reached its end.
struct Played {
    points: u64,
    /// Set if a planned fault was hit.
    went_wrong: bool,
}

fn scenes() -> Vec<ScriptedRun> {
    let one = |name: &str, job: Value| ScriptedRun::of(name, vec![(0, Act::Submit(job))]);
    let job = |command: &str| json!({"job_name": "busybox", "date": "200ms", "command": command});
    let with = |command: &str, field: &str, value: Value| {
        let mut job = job(command);
        job[field] = value;
        job
    };
    let says = json!({"says": "hello"});
    let mut all = vec![
        one("a job", with("sh -c 'echo hello; sleep 1'", "labels", says)),
        one("a job that fails", job("false")),
        one(
            "a job that is tried again",
            with("false", "retry", json!({"attempts": 1, "delay": "1s"})),
        ),
        one("a command that is not there", job("frobnicate")),
        one(
            "an image that is pulled",
            json!({"job_name": "pull-me", "date": "200ms", "command": "true"}),
        ),
        one(
            "an image that is nowhere",
            json!({"job_name": "no-such-image", "date": "200ms", "command": "true"}),
        ),
        one("a timeout", with("sleep 60", "timeout", json!("2s"))),
        one("a container that is kept", with("true", "keep_container", json!(true))),
        ScriptedRun::of("a stop", vec![(0, Act::Submit(job("sleep 60"))), (1_500, Act::Stop(0))]),
        ScriptedRun::of(
            "a name that is taken",
            vec![(0, Act::Submit(job("true"))), (100, Act::Squat(0))],
        ),
        ScriptedRun::of("a cancel", vec![(0, Act::Submit(job("true"))), (100, Act::Cancel(0))]),
        ScriptedRun::of(
            "two that wait for each other",
            vec![
                (0, Act::Submit(job("sleep 1"))),
                (0, Act::Submit(with("sleep 1", "start_deadline", json!("10s")))),
            ],
        ),
    ];
    all.last_mut().unwrap().max_running = 1;
    let of_limit = |field: &str, value: Value| {
        let one = with("sleep 1", field, value);
        (0..3).map(|_| (0, Act::Submit(one.clone()))).collect::<Vec<_>>()
    };
    all.push(ScriptedRun::of("three of a queue for one", of_limit("queue", json!("one"))));
    all.push(ScriptedRun::of("three of a name for two", of_limit("max_parallel", json!(2))));
    for (toll, keeps_containers) in [
        (RestartEffect::Kept, true),
        (RestartEffect::Ended, false),
        (RestartEffect::Lost, false),
        (RestartEffect::Lost, true),
    ] {
        let acts = vec![(0, Act::Submit(job("sleep 3"))), (1_500, Act::EngineRestarts(toll))];
        let name = format!(
            "an engine that restarts ({toll:?}{})",
            if keeps_containers { ", live-restore" } else { "" }
        );
        all.push(ScriptedRun { keeps_containers, ..ScriptedRun::of(&name, acts) });
    }
    let plain = all[0].clone();
    for call in [Call::Create, Call::Start, Call::Remove] {
        all.extend(faults_of(call).into_iter().map(|fault| ScriptedRun {
            name: format!("{call:?} goes wrong: {fault:?}"),
            faults: vec![(call, 0, fault)],
            ..plain.clone()
        }));
    }
    // The start arrives between its two inspections: before the doubt is resolved, while the
    // container is being removed.
    let slowly = (Call::Remove, 0, Fault::Late(Duration::from_secs(9)));
    let start_late = |seconds| (Call::Start, 0, Fault::LostAndLate(Duration::from_secs(seconds)));
    for (seconds, command) in [(5, "sleep 1"), (32, "true"), (32, "sleep 20")] {
        all.push(ScriptedRun {
            faults: vec![start_late(seconds), slowly],
            ..one(
                &format!("`{command}` starts {seconds} s late, its removal takes 9 s"),
                job(command),
            )
        });
    }
    // The first create arrives while the second is under way.
    all.push(ScriptedRun {
        faults: vec![(Call::Create, 0, Fault::LostAndLate(Duration::from_millis(95)))],
        ..one("two creates that meet", job("true"))
    });
    for at in [195, 205, 215] {
        let acts = vec![(0, Act::Submit(job("true"))), (at, Act::Cancel(0))];
        all.push(ScriptedRun {
            slowest_commit: Duration::from_millis(30),
            ..ScriptedRun::of("a cancel at the last moment", acts)
        });
    }
    all.push(ScriptedRun::of(
        "a stop after the end",
        vec![
            (0, Act::Submit(job("sleep 1"))),
            (800, Act::Cut(true)),
            (3_000, Act::Stop(0)),
            (3_500, Act::Cut(false)),
        ],
    ));
    all.extend(scenes_of_schedules());
    all.extend(scenes_of_absence());
    all
}

/// Returns runs of schedules with runs that end unobserved: the scheduler is down after each kill,
/// and in one run the engine is out of reach.
fn scenes_of_absence() -> Vec<ScriptedRun> {
    let put = |overlap: &str, command: &str, pauses: bool| {
        let spec = json!({"command": command});
        let schedule = json!({
            "job_name": "busybox", "every": "2s", "max_runs": 3, "overlap": overlap, "spec": spec,
            "pause_on_failure": pauses,
        });
        (0, Act::Put("s", schedule))
    };
    let cut = |at, cut| (at, Act::Cut(cut));
    let of = |overlap: &str| ScriptedRun {
        away: Duration::from_secs(5),
        ..ScriptedRun::of(
            &format!("runs that end while nobody is there ({overlap})"),
            vec![put(overlap, "sleep 1", false)],
        )
    };
    let mut all: Vec<ScriptedRun> = ["skip", "queue_one", "replace"].into_iter().map(of).collect();
    all.push(ScriptedRun {
        away: Duration::from_secs(5),
        ..ScriptedRun::of(
            "a run that fails while nobody is there",
            vec![put("allow", "sh -c 'sleep 1; exit 1'", true)],
        )
    });
    all.push(ScriptedRun::of(
        "a run that ends while the engine is out of reach",
        vec![put("skip", "sleep 1", false), cut(2_800, true), cut(9_000, false)],
    ));
    all
}

/// Returns scripted runs of schedules with a few ticks.
fn scenes_of_schedules() -> Vec<ScriptedRun> {
    let every = |command: &str, more: Value| {
        let mut schedule = json!({"job_name": "busybox", "every": "1s", "max_runs": 2, "spec": {"command": command}});
        schedule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Act::Put("s", schedule)
    };
    let plain = |command: &str, more: Value| (0, every(command, more));
    let none = json!({});
    let pause = [(1_500, Act::Tell("s", "pause")), (3_500, Act::Tell("s", "resume"))];
    let at_the_last_moment = ["pause", "resume"].into_iter().map(|then| {
        let acts = vec![
            plain("true", json!({})),
            (1_000, Act::Tell("s", "pause")),
            (1_010, Act::Tell("s", then)),
        ];
        let name = format!("a schedule that is paused at the last moment ({then})");
        ScriptedRun { slowest_commit: Duration::from_millis(30), ..ScriptedRun::of(&name, acts) }
    });
    let mut all: Vec<ScriptedRun> = at_the_last_moment.collect();
    all.extend([
        ScriptedRun::of("a schedule", vec![plain("true", none.clone())]),
        ScriptedRun::of(
            "a schedule that is paused",
            [vec![plain("true", none.clone())], pause.to_vec()].concat(),
        ),
        ScriptedRun::of(
            "a schedule that is triggered",
            vec![plain("true", none.clone()), (1_500, Act::Tell("s", "trigger"))],
        ),
        ScriptedRun::of(
            "a schedule that is deleted",
            vec![plain("sleep 1", none.clone()), (1_500, Act::Delete("s"))],
        ),
        ScriptedRun::of(
            "a schedule that is changed",
            vec![plain("true", none.clone()), (1_500, every("sleep 1", none))],
        ),
        ScriptedRun::of(
            "a schedule that fails",
            vec![plain("false", json!({"pause_on_failure": true}))],
        ),
        ScriptedRun::of(
            "a schedule that overlaps",
            vec![plain("sleep 3", json!({"overlap": "queue_one"}))],
        ),
        ScriptedRun::of(
            "a schedule that replaces",
            vec![plain("sleep 3", json!({"overlap": "replace"}))],
        ),
    ]);
    all
}

/// Returns the faults that a call can have.
fn faults_of(call: Call) -> Vec<Fault> {
    use Fault::{
        AnswerLost, DiskFull, DoneThenHang, Ends, Hang, Late, LostAndLate, NotDone, Phantom, Twice,
    };
    let (soon, late) = (Duration::from_millis(700), Duration::from_secs(9));
    match call {
        Call::Create => {
            vec![
                NotDone,
                AnswerLost,
                Late(late),
                LostAndLate(soon),
                LostAndLate(late),
                Hang(late),
                DoneThenHang(late),
                Phantom(late),
                DiskFull,
            ]
        }
        Call::Start => {
            vec![
                NotDone,
                AnswerLost,
                Late(late),
                LostAndLate(soon),
                LostAndLate(late),
                Hang(late),
                DoneThenHang(late),
                DiskFull,
            ]
        }
        Call::Stop | Call::Remove => {
            vec![NotDone, AnswerLost, Late(late), LostAndLate(soon), Hang(late), DoneThenHang(late)]
        }
        Call::Pull => vec![NotDone, AnswerLost, Late(late), Hang(late)],
        // One fault lasts longer than the sweep interval: a pull must not restart with each sweep.
        Call::Layer => vec![NotDone, Late(Duration::from_secs(70)), Hang(late), DiskFull, Ends],
        Call::ContainerEvent => vec![NotDone, Late(late), Twice, Ends],
        Call::Line => vec![NotDone, Late(late), Ends],
        Call::Describe
        | Call::Inspect
        | Call::Logs
        | Call::List
        | Call::Events
        | Call::Evidence => {
            vec![NotDone, Late(late), Hang(late)]
        }
    }
}

const CALLS: [Call; 13] = [
    Call::Describe,
    Call::Pull,
    Call::Layer,
    Call::Create,
    Call::Start,
    Call::Inspect,
    Call::Stop,
    Call::Remove,
    Call::Logs,
    Call::List,
    Call::Events,
    Call::ContainerEvent,
    Call::Evidence,
];

impl ScriptedRun {
    fn of(name: &str, acts: Vec<(u64, Act)>) -> Self {
        Self {
            name: name.to_owned(),
            acts,
            faults: Vec::new(),
            slowest_commit: Duration::ZERO,
            keeps_containers: false,
            max_running: 0,
            away: Duration::ZERO,
        }
    }

    /// Plays the run and kills the scheduler at these failpoints.
    fn play(&self, kills: &[u64], off: Option<Rule>) -> Result<Played, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let played = caught(|| runtime.block_on(self.live_through(kills, off)));
        played.map_err(|what| format!("{}, killed at {kills:?}: {what}", self.name))
    }

    async fn live_through(&self, kills: &[u64], off: Option<Rule>) -> Result<Played, String> {
        let mut faults: Vec<Faults> =
            self.faults.iter().map(|(call, n, fault)| nth(*call, *n, *fault)).collect();
        let one_of_them: Faults = Box::new(move |call| {
            let all = faults.iter_mut().map(|faults| faults(call));
            all.fold(Fault::None, |one, other| if one == Fault::None { other } else { one })
        });
        let mut harness = Harness::new(Setup {
            seed: 1,
            faults: Some(one_of_them),
            slowest_commit: self.slowest_commit,
            keeps_containers: self.keeps_containers,
            max_running: self.max_running,
            off,
            keep_text: false,
        });
        let (mut done, mut jobs, mut outage) = (0, Vec::new(), Outage::None);
        for kill in kills.iter().copied().map(Some).chain([None]) {
            let Service { process, client, running } = harness.open().await;
            harness.failpoints.kill_at(kill);
            let peace = async {
                self.act(&harness, &client, &mut done, &mut jobs, &mut outage).await;
                rest(&harness).await?;
                check(&harness, &client).await.and_then(|_| nothing_is_left(&harness))
            };
            tokio::select! {
                biased;
                () = process.killed.notified() => {}
                () = running => panic!("it ended by itself"),
                judged = peace => {
                    judged?;
                    break;
                }
            }
            mend(&harness, &mut outage);
            tokio::time::sleep(self.away).await;
            harness.expectations.trouble(|t| t.kills += 1);
            harness.failpoints.broken().map_or(Ok(()), Err)?;
        }
        harness.failpoints.broken().map_or(Ok(()), Err)?;
        harness.calm_down();
        Ok(Played {
            points: harness.failpoints.passed(),
            went_wrong: harness.expectations.troubles().faults > 0,
        })
    }

    /// Performs the remaining acts. An act that was under way at a kill is not repeated.
    async fn act(
        &self,
        harness: &Harness,
        client: &Client,
        done: &mut usize,
        jobs: &mut Vec<JobId>,
        outage: &mut Outage,
    ) {
        for (at, act) in &self.acts[*done..] {
            *done += 1;
            tokio::time::sleep(Duration::from_millis(*at).saturating_sub(harness.clock.elapsed()))
                .await;
            match act {
                Act::Submit(job) => jobs.extend(client.submit(job).await),
                Act::Cancel(n) => {
                    if let Some(job) = jobs.get(*n) {
                        client.cancel(*job).await;
                    }
                }
                Act::Stop(n) => {
                    if let Some(job) = jobs.get(*n) {
                        client.stop(*job).await;
                    }
                }
                Act::Squat(n) => {
                    if let Some(job) = jobs.get(*n) {
                        squat(harness, *job);
                    }
                }
                Act::Put(name, schedule) => client.put_schedule(name, schedule).await,
                Act::Tell(name, what) => client.tell_schedule(name, what).await,
                Act::Delete(name) => {
                    drop(client.call("DELETE", &format!("/schedule/{name}"), None).await)
                }
                Act::EngineRestarts(toll) => {
                    *outage = Outage::Down;
                    harness.engine.go_down(*toll);
                    harness.expectations.trouble(|t| {
                        (t.engine_restarts, t.engine_kills) =
                            (1, u32::from(*toll != RestartEffect::Kept))
                    });
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    mend(harness, outage);
                }
                Act::Cut(true) => {
                    *outage = Outage::Cut;
                    harness.engine.cut(true);
                    harness.expectations.trouble(|t| t.outages += 1);
                }
                Act::Cut(false) => mend(harness, outage),
            }
        }
    }
}

/// Returns a run long enough for foreign containers to grow old.
fn long_scene() -> ScriptedRun {
    let job = json!({"job_name": "busybox", "date": "15m", "command": "true"});
    ScriptedRun::of("a quarter of an hour", vec![(0, Act::Submit(job))])
}

/// Kills every scripted run at each of its failpoints.
pub fn kill_everywhere() -> String {
    long_scene().play(&[], None).unwrap_or_else(|what| panic!("{what}"));
    let scenes = scenes();
    let plays: Vec<(&ScriptedRun, Vec<u64>)> = scenes
        .iter()
        .flat_map(|scene| {
            let points = scene.play(&[], None).unwrap_or_else(|what| panic!("{what}")).points;
            (1..=points).map(move |point| (scene, vec![point]))
        })
        .collect();
    play_all(&plays);
    format!("{} scenes, {} points, each killed at", scenes.len(), plays.len())
}

/// Kills two runs at every pair of failpoints: the plain one, and the one with a lost and late
/// start.
pub fn kill_twice_everywhere() -> String {
    let all = scenes();
    let late = Fault::LostAndLate(Duration::from_millis(700));
    let chosen = all
        .iter()
        .filter(|scene| scene.name == "a job" || scene.faults == [(Call::Start, 0, late)]);
    let plays: Vec<(&ScriptedRun, Vec<u64>)> = chosen
        .flat_map(|scene| {
            let points = scene.play(&[], None).unwrap_or_else(|what| panic!("{what}")).points;
            (1..=points).flat_map(move |first| {
                let then =
                    scene.play(&[first], None).unwrap_or_else(|what| panic!("{what}")).points;
                (first + 1..=then).map(move |second| (scene, vec![first, second]))
            })
        })
        .collect();
    play_all(&plays);
    format!("{} pairs of points, each killed at", plays.len())
}

/// Makes each call fail in each way, in runs that together make every call.
pub fn fail_everywhere() -> String {
    let all = scenes();
    let chosen = [
        "a job that is tried again",
        "an image that is pulled",
        "a stop",
        "an engine that restarts (Lost)",
    ];
    let (mut plays, mut made) = (0, 0);
    for scene in all.iter().filter(|scene| chosen.contains(&scene.name.as_str())) {
        for call in CALLS {
            for fault in faults_of(call) {
                for n in 0.. {
                    let scene = ScriptedRun { faults: vec![(call, n, fault)], ..scene.clone() };
                    let played = scene
                        .play(&[], None)
                        .unwrap_or_else(|what| panic!("call {n} {call:?} {fault:?}: {what}"));
                    plays += 1;
                    if !played.went_wrong || n >= 12 {
                        break;
                    }
                    made += 1;
                }
            }
        }
    }
    format!("{plays} plays, {made} calls that went wrong")
}

/// Plays the runs without kills and with a rule switched off. Returns the number of runs until the
/// failure, with its message; `None` if no run noticed.
pub fn notice(off: Rule) -> Option<(u64, String)> {
    (1..)
        .zip(scenes().into_iter().chain([long_scene()]))
        .find_map(|(n, scene)| Some((n, scene.play(&[], Some(off)).err()?)))
}

fn play_all(plays: &[(&ScriptedRun, Vec<u64>)]) {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None));
    let work = || {
        while failed.lock().unwrap().is_none() {
            let turn = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
            let Some((scene, kills)) = plays.get(turn) else { return };
            if let Err(what) = scene.play(kills, None) {
                *failed.lock().unwrap() = Some(what);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    if let Some(what) = failed.into_inner().unwrap() {
        panic!("{what}");
    }
}
