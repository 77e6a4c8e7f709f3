//! Queues, `max_parallel` and overlap together, over restarts: the service on the simulated engine,
//! in virtual time. The engine tells how many containers ran at once.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tidetable::domain::admission::policy::Policy;
use tidetable::domain::job::origin::Origin;
use tidetable::domain::job::{Job, Status};
use tidetable::domain::names::id::{JobId, Seq};
use tidetable::domain::precondition::Precondition;
use tidetable::domain::recurrence::Zone;
use tidetable::engine::simulated::Run;
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Catalog, Handle, JobRequest, Rules};
use tidetable::store::Entry;

use crate::support::virtual_time::World;

/// The full hour at which these runs begin, in seconds since 1970.
const BEGIN: i64 = 1_700_002_800;

impl World {
    fn with_limits(max_running: usize, queues: Value) -> Self {
        let mut world = Self::new(BEGIN);
        world.catalog.queues = serde_json::from_value(queues).unwrap();
        world.settings.max_running = max_running;
        world
    }

    fn define(&mut self, name: &str, spec: Value) {
        self.catalog.definitions.insert(name.to_owned(), serde_json::from_value(spec).unwrap());
    }

    /// Returns the runs of these jobs, ordered by start.
    fn runs_of(&self, jobs: &[JobId]) -> Vec<(JobId, Run)> {
        let of_job = |run: Run| Some((run.owner?.job, run)).filter(|(job, _)| jobs.contains(job));
        let mut runs: Vec<(JobId, Run)> =
            self.engine.runs().into_iter().filter_map(of_job).collect();
        runs.sort_by_key(|(_, run)| run.started_at);
        runs
    }

    /// Returns the largest number of these jobs that ran at one instant.
    fn most_at_once(&self, jobs: &[JobId]) -> usize {
        let mut changes = Vec::new();
        for (_, run) in self.runs_of(jobs) {
            changes.push((run.started_at, 1));
            // At the same instant an end comes first.
            changes.extend(run.ended.map(|(at, _)| (at, -1)));
        }
        changes.sort_unstable();
        let (mut now, mut most) = (0_i32, 0_i32);
        for (_, change) in changes {
            now += change;
            most = most.max(now);
        }
        usize::try_from(most).unwrap()
    }

    /// Returns the order of starts, as positions in `jobs`.
    fn order(&self, jobs: &[JobId]) -> Vec<usize> {
        let place = |id: JobId| jobs.iter().position(|other| *other == id).unwrap();
        self.runs_of(jobs).into_iter().map(|(id, _)| place(id)).collect()
    }

    /// Checks that each job ran once and the store is intact.
    fn each_ran_once(&self, jobs: &[JobId]) {
        let mut runs: BTreeMap<JobId, usize> = jobs.iter().map(|id| (*id, 0)).collect();
        self.runs_of(jobs).iter().for_each(|(id, _)| *runs.get_mut(id).unwrap() += 1);
        assert!(runs.values().all(|count| *count == 1), "{runs:?}");
        self.is_whole();
    }
}

/// Returns the spec of a job that runs `seconds`.
fn sleeps(seconds: u64, fields: Value) -> Value {
    let mut spec = json!({"command": format!("sleep {seconds}")});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

/// Submits a job that is due in `after_ms` milliseconds.
async fn submit(handle: &Handle, name: &str, after_ms: i64, spec: Value) -> JobId {
    let due_at = handle.now() + chrono::Duration::milliseconds(after_ms);
    let order = JobRequest {
        name: name.parse().unwrap(),
        spec: serde_json::from_value(spec).unwrap(),
        due_at,
        origin: Origin::Api,
    };
    handle.submit(&Caller::anonymous(), order).await.unwrap().job.id
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn get(handle: &Handle, id: JobId) -> Job {
    handle.store().get(id).await.unwrap().unwrap()
}

async fn stands(handle: &Handle, id: JobId) -> String {
    let job = get(handle, id).await;
    let reason = job.state.reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    format!("{}{reason}", job.state.status())
}

#[tokio::test(start_paused = true)]
async fn queue_limit_holds_over_restarts() {
    let mut world = World::with_limits(16, json!({"etl": 3}));
    let jobs = world
        .live(async |handle| {
            let job = |n: i64| {
                submit(
                    &handle,
                    "busybox",
                    10 * n,
                    sleeps(3, json!({"queue": "etl", "priority": n % 3})),
                )
            };
            join_all((0..40).map(job)).await
        })
        .await;
    for ms in [350, 2_900, 3_100, 1, 5_000, 7_777] {
        world.live(async |_| tokio::time::sleep(Duration::from_millis(ms)).await).await;
    }
    world.live(async |_| sleep(120).await).await;
    assert_eq!(world.most_at_once(&jobs), 3, "the capacity is used in full and never exceeded");
    world.each_ran_once(&jobs);
}

#[tokio::test(start_paused = true)]
async fn max_parallel_limits_running_jobs_of_a_name() {
    let mut world = World::with_limits(16, json!({}));
    let (mut limited, mut others) = (Vec::new(), Vec::new());
    world
        .live(async |handle| {
            for n in 0..10 {
                limited.push(
                    submit(&handle, "busybox", 0, sleeps(2, json!({"max_parallel": 2}))).await,
                );
                others.push(
                    submit(
                        &handle,
                        if n < 5 { "alpine" } else { "debian" },
                        0,
                        sleeps(2, json!({})),
                    )
                    .await,
                );
            }
            sleep(1).await;
            assert_eq!(stands(&handle, limited[9]).await, "queued max_parallel");
        })
        .await;
    world.live(async |_| sleep(60).await).await;
    assert_eq!((world.most_at_once(&limited), world.most_at_once(&others)), (2, 10));
    world.each_ran_once(&[limited, others].concat());
}

#[tokio::test(start_paused = true)]
async fn max_parallel_counts_running_jobs_without_a_limit() {
    let mut world = World::with_limits(16, json!({}));
    let waits = world
        .live(async |handle| {
            for _ in 0..3 {
                submit(&handle, "busybox", 0, sleeps(5, json!({}))).await;
            }
            sleep(1).await;
            let waits = submit(&handle, "busybox", 0, sleeps(1, json!({"max_parallel": 3}))).await;
            sleep(2).await;
            assert_eq!(stands(&handle, waits).await, "queued max_parallel");
            sleep(5).await;
            assert_eq!(stands(&handle, waits).await, "succeeded");
            waits
        })
        .await;
    world.each_ran_once(&[waits]);
}

#[tokio::test(start_paused = true)]
async fn five_thousand_waiting_jobs_delay_no_others() {
    const HERD: usize = 5_000;
    let mut world = World::with_limits(4, json!({"etl": 1}));
    let (herd, others) = world
        .live(async |handle| {
            let first = submit(
                &handle,
                "busybox",
                0,
                sleeps(7_200, json!({"queue": "etl", "priority": 100})),
            )
            .await;
            sleep(1).await;
            let one = || {
                submit(&handle, "busybox", 500, sleeps(1, json!({"queue": "etl", "priority": 50})))
            };
            let mut herd = join_all((0..HERD).map(|_| one())).await;
            herd.push(first);
            sleep(30).await;
            let queued = handle.store().queued(HERD).await.unwrap();
            assert_eq!(queued.len(), 0, "the whole herd waits in its group");
            let mut others = Vec::new();
            for n in 0..20 {
                others.push(
                    submit(&handle, "busybox", 100 * n, sleeps(1, json!({"priority": -5}))).await,
                );
            }
            sleep(20).await;
            (herd, others)
        })
        .await;
    for (n, (id, run)) in world.runs_of(&others).into_iter().enumerate() {
        let late = run.started_at - world.live(async |handle| get(&handle, id).await.due_at).await;
        assert!(late.num_seconds() <= 8, "{n} of 20 in 3 slots is {} late", late);
    }
    world.each_ran_once(&others);
    assert_eq!(world.runs_of(&herd).len(), 1);
    // Each job joined its wait group once, and the next process does not repeat it.
    let transitions =
        world.live(async |handle| handle.store().journal(Seq(0), 1_000_000).await.unwrap()).await;
    let queued = transitions
        .iter()
        .filter_map(Entry::job)
        .filter(|t| t.to == Status::Queued && herd.contains(&t.job))
        .count();
    assert!(queued <= 2 * HERD, "{queued} times queued");
}

#[tokio::test(start_paused = true)]
async fn released_jobs_start_by_priority_due_time_id() {
    let mut world = World::with_limits(16, json!({"one": 1}));
    let jobs = world
        .live(async |handle| {
            let busy = submit(&handle, "alpine", 0, sleeps(10, json!({"queue": "one"}))).await;
            // Some jobs wait because of their name, others because of the queue.
            submit(&handle, "busybox", 0, sleeps(9, json!({}))).await;
            sleep(1).await;
            let mut jobs = vec![busy];
            for (name, after, priority, max_parallel) in [
                ("busybox", 20, 0, json!(1)),
                ("busybox", 10, 0, json!(1)),
                ("busybox", 300, 7, json!(1)),
                ("debian", 40, 0, json!(null)),
                ("debian", 30, 5, json!(null)),
                ("alpine", 600, 5, json!(2)),
                ("alpine", 5, -1, json!(null)),
            ] {
                let fields =
                    json!({"queue": "one", "priority": priority, "max_parallel": max_parallel});
                jobs.push(submit(&handle, name, after, sleeps(1, fields)).await);
            }
            sleep(60).await;
            jobs
        })
        .await;
    assert_eq!(world.order(&jobs), [0, 3, 5, 6, 2, 1, 4, 7]);
    assert_eq!(world.most_at_once(&jobs), 1);
}

#[tokio::test(start_paused = true)]
async fn all_limits_hold_and_no_job_starves() {
    let mut world = World::with_limits(16, json!({"etl": 2}));
    let names = ["busybox", "alpine", "debian"];
    let mut jobs: Vec<Vec<JobId>> = vec![Vec::new(); names.len()];
    world
        .live(async |handle| {
            for n in 0..24 {
                let fields = json!({"queue": "etl", "max_parallel": 1});
                // The first name has the most and the earliest jobs.
                let which = if n < 14 { 0 } else { 1 + n % 2 };
                jobs[which].push(submit(&handle, names[which], 0, sleeps(2, fields)).await);
            }
            sleep(5).await;
        })
        .await;
    world.live(async |_| sleep(90).await).await;
    let all = jobs.concat();
    assert_eq!(world.most_at_once(&all), 2, "of the queue");
    let transitions =
        world.live(async |handle| handle.store().journal(Seq(0), 10_000).await.unwrap()).await;
    for id in &all {
        let queued = transitions
            .iter()
            .filter_map(Entry::job)
            .filter(|t| t.to == Status::Queued && t.job == *id)
            .count();
        assert!(queued <= 2, "queued {queued} times: moved back and forth between wait groups");
    }
    for of_name in &jobs {
        assert_eq!(world.most_at_once(of_name), 1, "of a name");
    }
    world.each_ran_once(&all);
    let last = world.runs_of(&all).last().unwrap().1.started_at;
    let first = world.runs_of(&all)[0].1.started_at;
    assert!((last - first).num_seconds() < 24 * 3, "the second place was used, too");
}

#[tokio::test(start_paused = true)]
async fn job_with_free_queue_overtakes_blocked_namesakes() {
    let mut world = World::with_limits(16, json!({"full": 1, "free": 1}));
    world
        .live(async |handle| {
            submit(&handle, "alpine", 0, sleeps(60, json!({"queue": "full"}))).await;
            let running =
                submit(&handle, "busybox", 0, sleeps(5, json!({"max_parallel": 1}))).await;
            sleep(1).await;
            let blocked = json!({"queue": "full", "max_parallel": 1, "priority": 9});
            let first = submit(&handle, "busybox", 0, sleeps(1, blocked)).await;
            let second = submit(
                &handle,
                "busybox",
                0,
                sleeps(1, json!({"queue": "free", "max_parallel": 1})),
            )
            .await;
            sleep(2).await;
            assert_eq!(stands(&handle, second).await, "queued max_parallel");
            sleep(15).await;
            assert_eq!(stands(&handle, running).await, "succeeded");
            assert_eq!(stands(&handle, second).await, "succeeded");
            assert_eq!(get(&handle, first).await.state.status(), Status::Queued);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn tick_waiting_for_previous_run_delays_no_others() {
    let mut world = World::with_limits(3, json!({"etl": 1}));
    let ran = world
        .live(async |handle| {
            let schedule = json!({"every": "60s", "job_name": "busybox", "overlap": "queue_one", "spec": sleeps(90, json!({"queue": "etl", "priority": 9}))});
            let schedule = serde_json::from_value(schedule).unwrap();
            let name = "a".parse().unwrap();
            handle.put_schedule(&Caller::anonymous(), &name, schedule, Zone::UTC, Precondition::Anything).await.unwrap();
            sleep(30).await;
            let herd: Vec<JobId> =
                join_all((0..300).map(|_| submit(&handle, "busybox", 0, sleeps(3, json!({"queue": "etl"}))))).await;
            let free: Vec<JobId> = join_all((0..30).map(|n| submit(&handle, "alpine", n * 5_000, sleeps(1, json!({}))))).await;
            sleep(100).await;
            let tick = handle.store().jobs_of(&name).await.unwrap();
            let waits: Vec<String> = tick.iter().filter_map(|job| job.state.reason()).map(|r| r.to_string()).collect();
            assert_eq!(waits, ["overlap"]);
            sleep(5_000).await;
            handle.delete_schedule(&Caller::anonymous(), &name, Precondition::Anything).await.unwrap();
            sleep(500).await;
            (herd, free)
        })
        .await;
    world.each_ran_once(&ran.1);
    let late = world.runs_of(&ran.1).last().unwrap().1.started_at;
    assert!(
        (late - world.runs_of(&ran.1)[0].1.started_at).num_seconds() < 150,
        "unrelated jobs were delayed"
    );
    let all: Vec<JobId> =
        world.engine.runs().into_iter().filter_map(|run| Some(run.owner?.job)).collect();
    let in_queue: Vec<JobId> = all.into_iter().filter(|id| !ran.1.contains(id)).collect();
    assert_eq!(world.most_at_once(&in_queue), 1);
    assert!(in_queue.len() > 10, "ticks ran, one after the other: {}", in_queue.len());
}

#[tokio::test(start_paused = true)]
async fn start_deadline_applies_to_waiting_jobs() {
    let mut world = World::with_limits(16, json!({"etl": 1}));
    let spec = |fields: Value| sleeps(60, fields);
    let late = world
        .live(async |handle| {
            submit(&handle, "busybox", 0, spec(json!({"queue": "etl"}))).await;
            sleep(1).await;
            submit(&handle, "busybox", 0, spec(json!({"queue": "etl", "start_deadline": "10s"})))
                .await
        })
        .await;
    world
        .live(async |handle| {
            sleep(5).await;
            assert_eq!(stands(&handle, late).await, "queued queue_full");
            sleep(10).await;
            assert_eq!(stands(&handle, late).await, "missed deadline_passed");
        })
        .await;
    assert_eq!(world.runs_of(&[late]).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn removed_or_raised_limit_releases_waiting_jobs() {
    let mut world = World::with_limits(16, json!({"etl": 1}));
    let jobs = world
        .live(async |handle| {
            let jobs = join_all(
                (0..8).map(|_| submit(&handle, "busybox", 0, sleeps(600, json!({"queue": "etl"})))),
            )
            .await;
            sleep(5).await;
            jobs
        })
        .await;
    assert_eq!(world.runs_of(&jobs).len(), 1);
    world.catalog.queues = serde_json::from_value(json!({"etl": 3})).unwrap();
    world.live(async |_| sleep(5).await).await;
    assert_eq!(world.runs_of(&jobs).len(), 3);
    world.catalog.queues.clear();
    world.live(async |_| sleep(5).await).await;
    assert_eq!(world.runs_of(&jobs).len(), 8);
}

#[tokio::test(start_paused = true)]
async fn reloaded_queues_release_and_limit_jobs() {
    let mut world = World::with_limits(16, json!({"etl": 1}));
    let jobs = world
        .live(async |handle| {
            let job = |queue: &'static str| {
                submit(&handle, "busybox", 0, sleeps(600, json!({ "queue": queue })))
            };
            let mut jobs = join_all(["etl", "etl", "etl"].map(job)).await;
            sleep(5).await;
            let queues = serde_json::from_value(json!({"other": 1})).unwrap();
            handle.set_rules(Rules {
                catalog: Catalog { queues, ..Catalog::default() },
                ..Rules::default()
            });
            sleep(3).await;
            for id in &jobs {
                assert_eq!(stands(&handle, *id).await, "running");
            }
            jobs.extend(join_all(["other", "other"].map(job)).await);
            sleep(3).await;
            jobs
        })
        .await;
    assert_eq!(world.runs_of(&jobs).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn late_definition_sets_the_limits_of_its_job() {
    let mut world = World::with_limits(16, json!({"etl": 1}));
    let jobs = world
        .live(async |handle| {
            // These names have no definition yet.
            let mut jobs = Vec::new();
            for name in ["JOB_A", "JOB_A", "JOB_B", "JOB_B"] {
                jobs.push(submit(&handle, name, 2_000, json!({})).await);
            }
            jobs
        })
        .await;
    world.define("JOB_A", sleeps(5, json!({"image": "busybox", "queue": "etl"})));
    world
        .live(async |handle| {
            let kept = sleeps(5, json!({"image": "busybox", "max_parallel": 1}));
            let anything = Precondition::Anything;
            let spec = serde_json::from_value(kept).unwrap();
            handle
                .define(&Caller::anonymous(), &"JOB_B".parse().unwrap(), &spec, anything)
                .await
                .unwrap();
            sleep(4).await;
            assert_eq!(stands(&handle, jobs[1]).await, "queued queue_full");
            assert_eq!(stands(&handle, jobs[3]).await, "queued max_parallel");
        })
        .await;
    world.live(async |_| sleep(30).await).await;
    for of_one in [&jobs[..2], &jobs[2..]] {
        assert_eq!(world.most_at_once(of_one), 1);
    }
    world.each_ran_once(&jobs);
}

#[tokio::test(start_paused = true)]
async fn retry_frees_its_queue_place_while_it_waits() {
    let mut world = World::with_limits(16, json!({"etl": 1}));
    let jobs = world
        .live(async |handle| {
            let retry = json!({"command": "false", "queue": "etl", "retry": {"attempts": 3, "delay": "1s"}});
            let failing = submit(&handle, "busybox", 0, retry).await;
            let others =
                join_all((0..5).map(|_| submit(&handle, "busybox", 0, sleeps(4, json!({"queue": "etl"}))))).await;
            sleep(60).await;
            assert_eq!(get(&handle, failing).await.attempt.0, 4);
            [vec![failing], others].concat()
        })
        .await;
    assert_eq!((world.most_at_once(&jobs), world.runs_of(&jobs).len()), (1, 9));
}

#[tokio::test(start_paused = true)]
async fn waiting_job_can_be_canceled_and_rescheduled() {
    let mut world = World::with_limits(16, json!({"etl": 1}));
    world
        .live(async |handle| {
            let mut jobs = Vec::new();
            for _ in 0..4 {
                jobs.push(submit(&handle, "busybox", 0, sleeps(5, json!({"queue": "etl"}))).await);
            }
            sleep(2).await;
            handle.cancel(&Caller::anonymous(), jobs[1]).await.unwrap();
            handle
                .reschedule(
                    &Caller::anonymous(),
                    jobs[2],
                    handle.now() + chrono::Duration::seconds(60),
                )
                .await
                .unwrap();
            sleep(20).await;
            let stand = join_all(jobs.iter().map(|id| stands(&handle, *id))).await;
            assert_eq!(stand, ["succeeded", "canceled", "scheduled", "succeeded"]);
            sleep(60).await;
            assert_eq!(stands(&handle, jobs[2]).await, "succeeded");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn lower_max_running_of_the_policy_applies() {
    let mut world = World::with_limits(16, json!({}));
    world.catalog.policy = Policy { max_running: NonZeroUsize::new(2), ..Policy::default() };
    let jobs = world
        .live(async |handle| {
            let jobs =
                join_all((0..6).map(|_| submit(&handle, "busybox", 0, sleeps(3, json!({}))))).await;
            sleep(30).await;
            jobs
        })
        .await;
    assert_eq!(world.most_at_once(&jobs), 2);
    world.each_ran_once(&jobs);
}
