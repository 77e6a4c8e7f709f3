//! A year of a hundred schedules, with as many restarts as the year has weeks and with clock
//! changes.
//!
//! Every tick of an independent oracle is in the ledger once. Every tick that ran has one job, and
//! its container ran once.
//!
//! Time is skipped while nothing is due and nothing runs, so the year takes as long as its ticks.
//! `SEED=7 cargo test --test schedules_simulated year` plays another year.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tidetable::clock::Clock;
use tidetable::domain::job::Reason;
use tidetable::domain::names::id::{JobId, Timestamp};
use tidetable::domain::names::schedule::ScheduleName;
use tidetable::domain::precondition::Precondition;
use tidetable::domain::recurrence::Zone;
use tidetable::domain::schedule::ledger::{LedgerRow, TickOutcome};
use tidetable::scheduler::Caller;
use tidetable::scheduler::Handle;

use crate::support::oracle::ask;
use crate::support::virtual_time::World;

/// 1 January 2024, UTC. The year is past, so the system's zone data and the data in the binary
/// agree.
const BEGIN: i64 = 1_704_067_200;
const DAY: i64 = 86_400;
const END: i64 = BEGIN + 366 * DAY;

/// Zones with clock changes in that year, and some without.
const ZONES: [&str; 20] = [
    "Europe/Berlin",
    "America/New_York",
    "Europe/London",
    "UTC",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "America/Havana",
    "America/Santiago",
    "America/Asuncion",
    "America/St_Johns",
    "America/Scoresbysund",
    "Atlantic/Azores",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "Asia/Gaza",
    "Australia/Sydney",
];

/// A schedule, with all its ticks by the oracle in seconds since 1970.
struct Planned {
    name: ScheduleName,
    fields: Value,
    ticks: Vec<i64>,
}

#[tokio::test(start_paused = true)]
async fn each_tick_of_a_year_has_one_row() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut rng = StdRng::seed_from_u64(seed);
    let planned = all_planned(&mut rng);
    assert_eq!(planned.len(), 100);

    let mut world = World::new(BEGIN);
    world.live(async |handle| put_all(&handle, &planned).await).await;
    while world.clock.now().timestamp() < END {
        live_on(&mut world, &planned, &mut rng).await;
        world.clock.jump(time_away(&mut rng));
    }
    let clock = world.clock.clone();
    let ledgers = world
        .live(async |handle| {
            settle(&handle).await;
            let mut ledgers = Vec::new();
            for schedule in &planned {
                ledgers.push(ledger(&handle, &schedule.name).await);
            }
            ledgers
        })
        .await;
    world.is_whole();
    let until = clock.now().timestamp();
    let sum = judge(&world, &planned, &ledgers, until);
    eprintln!("seed {seed}, {} lives: {sum:?}", world.lives);
    assert!(
        world.lives > 100 && sum.values().all(|count| *count > 0),
        "every outcome occurs in the year"
    );
}

/// Returns five schedules for each zone. The oracle is slow, so as many zones are asked at once as
/// there are processors.
fn all_planned(rng: &mut StdRng) -> Vec<Planned> {
    let zones: Vec<(&str, u64)> = ZONES.iter().map(|zone| (*zone, rng.random())).collect();
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let ask_some = |zones: &[(&'static str, u64)]| -> Vec<Planned> {
        zones
            .iter()
            .flat_map(|(zone, seed)| in_zone(zone, &mut StdRng::seed_from_u64(*seed)))
            .collect()
    };
    std::thread::scope(|scope| {
        let parts = zones
            .chunks(zones.len().div_ceil(at_once))
            .map(|zones| scope.spawn(move || ask_some(zones)));
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// Returns five schedules for the clocks of one zone.
fn in_zone(zone: &str, rng: &mut StdRng) -> Vec<Planned> {
    let (minute, hour, day) =
        (rng.random_range(0..60), rng.random_range(0..24), rng.random_range(1..29));
    let crons = [
        format!(
            "{} {} * * *",
            [0, 30, minute].choose(rng).unwrap(),
            [0, 1, 2, 3].choose(rng).unwrap()
        ),
        format!("{minute} {hour} * * {}", ["MON", "1-5", "SUN#1", "FRIL"].choose(rng).unwrap()),
        format!(
            "{minute} {hour} {} * *",
            ["L", "LW", "15W", &day.to_string()].choose(rng).unwrap()
        ),
        format!("{minute} */12 */2 * *"),
        format!("*/20 0,1,2,3,23 {} 3,4,10,11 SUN", if rng.random() { "*" } else { "?" }),
    ];
    let whole_year: Vec<_> =
        crons.iter().map(|cron| ((BEGIN, END + 40 * DAY), cron.as_str())).collect();
    let ticks = ask(zone, &whole_year);
    let short = zone.split('/').next_back().unwrap_or(zone).to_lowercase();
    let mut all = Vec::new();
    for (n, (cron, ticks)) in crons.iter().zip(ticks).enumerate() {
        let mut fields = json!({"job_name": "busybox", "cron": cron, "time_zone": zone, "spec": {"command": "true"}});
        for (field, values) in [
            ("catch_up", &[json!("last"), json!("none"), json!("all")][..]),
            ("catch_up_window", &[json!("24h"), json!("90m"), json!("3d")]),
            ("jitter", &[json!("0s"), json!("0s"), json!("10m")]),
            ("overlap", &[json!("skip"), json!("queue_one"), json!("allow"), json!("replace")]),
        ] {
            fields[field] = values.choose(rng).unwrap().clone();
        }
        // Some runs last so long that the next tick overlaps them.
        if n == 4 && rng.random_bool(0.2) {
            fields["spec"] = json!({"command": "sleep 1500"});
        }
        let ticks = ticks.into_iter().filter(|at| *at > BEGIN).collect();
        all.push(Planned { name: format!("{short}-{n}").parse().unwrap(), fields, ticks });
    }
    // One schedule of each zone uses a fixed period.
    let hours = rng.random_range(20..200);
    let every =
        json!({"job_name": "busybox", "every": format!("{hours}h"), "spec": {"command": "true"}});
    let ticks =
        (1..).map(|n| BEGIN + n * hours * 3_600).take_while(|at| *at < END + 40 * DAY).collect();
    all[1] = Planned { name: all[1].name.clone(), fields: every, ticks };
    all
}

async fn put_all(handle: &Handle, planned: &[Planned]) {
    for schedule in planned {
        put(handle, &schedule.name, &schedule.fields).await;
    }
    assert_eq!(
        handle.now().timestamp(),
        BEGIN,
        "puts take no virtual time: periods count from here"
    );
}

async fn put(handle: &Handle, name: &ScheduleName, fields: &Value) {
    let schedule = serde_json::from_value(fields.clone()).unwrap();
    handle
        .put_schedule(&Caller::anonymous(), name, schedule, Zone::UTC, Precondition::Anything)
        .await
        .unwrap();
}

/// Runs the service for some hours or days, sets clocks and pauses schedules, then kills it in the
/// middle of its work.
async fn live_on(world: &mut World, planned: &[Planned], rng: &mut StdRng) {
    let clock = world.clock.clone();
    let until = clock.now() + TimeDelta::hours(rng.random_range(1..80));
    world
        .live(async |handle| {
            while clock.now() < until {
                match rng.random_range(0..100) {
                    0 => clock.jump(1_000 * rng.random_range(30..30_000)),
                    1 => clock.jump(-1_000 * rng.random_range(1..10_000)),
                    2 => {
                        let schedule = planned.choose(rng).unwrap();
                        let paused = rng.random_bool(0.3);
                        handle
                            .pause_schedule(
                                &Caller::anonymous(),
                                &schedule.name,
                                paused,
                                Precondition::Anything,
                            )
                            .await
                            .unwrap();
                    }
                    3 => change(&handle, planned.choose(rng).unwrap()).await,
                    _ => {}
                }
                if let Some(idle) = idle(&handle).await {
                    clock.jump((idle.min(until - clock.now()).num_milliseconds() - 400).max(0));
                }
                tokio::time::sleep(Duration::from_millis(rng.random_range(100..1_500))).await;
            }
        })
        .await;
}

/// Sets or removes an environment variable of the schedule's jobs: a new generation with the same
/// ticks. Skips schedules with a period, which would count anew.
async fn change(handle: &Handle, planned: &Planned) {
    if planned.fields["every"].is_string() {
        return;
    }
    let record = handle.store().schedule(&planned.name).await.unwrap().unwrap();
    let mut fields = planned.fields.clone();
    fields["paused"] = json!(record.schedule.is_paused());
    if record.schedule.spec().fields().env.is_none() {
        fields["spec"]["env"] = json!({"CHANGED": "1"});
    }
    put(handle, &planned.name, &fields).await;
}

/// Returns the time until the next due job or check; `None` while jobs are active or queued, or the
/// engine is down.
async fn idle(handle: &Handle) -> Option<TimeDelta> {
    let store = handle.store();
    let is_idle =
        store.active().await.unwrap().is_empty() && store.queued(1).await.unwrap().is_empty();
    let next = store
        .next_due()
        .await
        .unwrap()
        .into_iter()
        .chain(store.next_schedule_check().await.unwrap())
        .min();
    next.filter(|_| is_idle && handle.health().is_up()).map(|next| next - handle.now())
}

/// Returns a downtime in milliseconds: mostly a restart, sometimes hours, sometimes days.
fn time_away(rng: &mut StdRng) -> i64 {
    1_000
        * match rng.random_range(0..10) {
            0..6 => rng.random_range(0..50),
            6..9 => rng.random_range(60..20_000),
            _ => rng.random_range(DAY..4 * DAY),
        }
}

/// Waits until every due job is over.
async fn settle(handle: &Handle) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    while idle(handle).await.is_none_or(|idle| idle < TimeDelta::seconds(2)) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Returns the whole ledger, read page by page.
async fn ledger(handle: &Handle, name: &ScheduleName) -> Vec<LedgerRow> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = handle.ledger(name, before, 97).await.unwrap();
        let Some(last) = page.last() else { return all };
        before = Some((last.first, last.generation));
        all.extend(page);
    }
}

/// Compares ledgers and runs with the oracle. Returns the number of ticks by outcome and reason.
fn judge(
    world: &World,
    planned: &[Planned],
    ledgers: &[Vec<LedgerRow>],
    until: i64,
) -> BTreeMap<String, usize> {
    let mut runs: HashMap<JobId, usize> = HashMap::new();
    for run in world.engine.runs() {
        *runs.entry(run.owner.unwrap().job).or_default() += 1;
    }
    let mut sum = BTreeMap::new();
    for (schedule, ledger) in planned.iter().zip(ledgers) {
        let name = &schedule.name;
        let mut rows: Vec<i64> = ledger.iter().map(|row| row.first.timestamp()).collect();
        rows.reverse();
        let ticks: Vec<i64> = schedule.ticks.iter().copied().filter(|at| *at <= until).collect();
        assert_eq!(first_difference(&rows, &ticks), None, "{name}: {}", schedule.fields);
        for row in ledger {
            let outcome = row.outcome.unwrap();
            let has_own =
                matches!((outcome, row.reason), (TickOutcome::Ran | TickOutcome::CaughtUp, None));
            if has_own {
                let ran = runs.remove(&row.job.unwrap());
                assert_eq!(
                    ran,
                    Some(1),
                    "{name} at {}: its job ran once: {row:?}, {}",
                    row.first,
                    schedule.fields
                );
            }
            let stands_for_it =
                (outcome, row.reason) == (TickOutcome::CaughtUp, Some(Reason::CaughtUp));
            let other = ledger.iter().find(|other| other.job == row.job && other.first > row.first);
            assert!(
                !stands_for_it || other.is_some(),
                "{name} at {}: a later tick's job covers it",
                row.first
            );
            // A caught-up tick has a job that ran. Ticks that share a job share its fate.
            let ran = |row: &LedgerRow| {
                matches!(row.outcome, Some(TickOutcome::Ran | TickOutcome::CaughtUp))
            };
            if let Some(other) = other.filter(|_| row.job.is_some()) {
                assert_eq!(ran(row), ran(other), "{name} at {}: {row:?} {other:?}", row.first);
                assert!(
                    ran(row) || (row.outcome, row.reason) == (other.outcome, other.reason),
                    "{row:?} {other:?}"
                );
            }
            let reason = row.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
            *sum.entry(format!("{}{reason}", outcome.as_str())).or_default() += 1;
        }
    }
    assert!(runs.is_empty(), "these jobs ran and are in no ledger: {runs:?}");
    sum
}

/// Returns the first difference of two lists of instants, as text.
fn first_difference(rows: &[i64], ticks: &[i64]) -> Option<String> {
    let at = rows
        .iter()
        .zip(ticks)
        .position(|(row, tick)| row != tick)
        .unwrap_or(rows.len().min(ticks.len()));
    let shown = |list: &[i64]| {
        list.get(at)
            .and_then(|at| DateTime::from_timestamp(*at, 0))
            .map(|at: Timestamp| at.to_string())
    };
    let (row, tick) = (shown(rows), shown(ticks));
    (row != tick).then(|| {
        format!(
            "tick {at}: the ledger has {row:?}, the oracle {tick:?}; {} and {} in all",
            rows.len(),
            ticks.len()
        )
    })
}
