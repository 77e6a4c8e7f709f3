//! Measures lateness: the time from the due time to the engine's own start event.
//!
//! Every subject has turns of several jobs. At one job per second, the subjects of the ratios share
//! their turns. Each has its own part of every second, long enough for a container to start and
//! end, and the parts change with each turn. At ten per second, each subject has turns of its own,
//! in a changing order.
//!
//! A turn is over when all its containers are gone, so that no subject is slowed by another. The
//! first second of a turn is not counted, because the engine was idle before it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Options;
use crate::engine_probe::EngineProbe;
use crate::ofelia::Ofelia;
use crate::report::{Figures, table};
use crate::subjects::{ApScheduler, Subject, Tidetable, count_of, nanos, soon, warn_if_late};
use crate::{machine, plot, profile};

/// The pause between two turns.
const PAUSE: Duration = Duration::from_millis(500);
/// The number of threads of a peer: as many as are ever in flight here.
const THREADS: usize = 32;

/// Measures at one job per second and at ten.
pub async fn run(probe: &EngineProbe, options: &Options) -> Value {
    let all = contestants(probe, options);
    let mut report = Map::new();
    for (rate, jobs) in [1, 10].into_iter().zip(options.jobs).filter(|(_, jobs)| *jobs > 0) {
        let jobs = |who: &Subject| if who.is_peer() { options.peer_jobs } else { jobs };
        report.extend(at(probe, &all, rate, jobs, options).await);
    }
    json!(report)
}

/// Measures jobs with `aim`, enough of them to show that none starts early. The limit gets a fifth
/// as many.
pub async fn aim(probe: &EngineProbe, options: &Options) -> Value {
    const RATE: usize = 4;
    let all = [Subject::PreparedStart, Subject::Tidetable(Tidetable::aiming(probe))];
    let jobs = |who: &Subject| {
        if matches!(who, Subject::PreparedStart) { options.aim / 5 } else { options.aim }
    };
    Value::Object(at(probe, &all, RATE, jobs, options).await)
}

/// Measures at one rate. Prints tables, draws a plot, and returns the same as JSON.
async fn at(
    probe: &EngineProbe,
    all: &[Subject],
    rate: usize,
    jobs: impl Fn(&Subject) -> usize,
    options: &Options,
) -> Map<String, Value> {
    let late = measure(probe, all, rate, jobs, options.turns).await;
    let seen: Vec<(&Subject, Vec<f64>)> =
        all.iter().zip(late).filter(|(_, late)| !late.is_empty()).collect();
    let rows: Vec<(String, Figures)> =
        seen.iter().map(|(who, late)| (who.name(), Figures::of(late))).collect();
    table(&format!("due → start event, {rate} a second, network {}, ms", probe.network), &rows);
    let figures = rows.iter().map(|(name, figures)| (name.clone(), figures.json(&rows[0].1)));
    let mut report =
        Map::from_iter([(format!("{rate}_a_second_ms"), Value::Object(figures.collect()))]);
    for (who, late) in &seen {
        let Subject::Tidetable(service) = who else { continue };
        if service.aims {
            let early = late.iter().filter(|late| **late < 0.0).count();
            eprintln!("\n{}: {early} of {} started early", who.name(), late.len());
            report.insert(
                format!("{}_{rate}_a_second_early", who.name()),
                json!({"early": early, "of": late.len()}),
            );
        }
        let steps = profile::to_start(probe, service);
        profile::print(
            &format!("{}: where its time goes, {rate} a second, ms", who.name()),
            &steps,
        );
        report.insert(format!("{}_{rate}_a_second_steps_ms", who.name()), profile::json(&steps));
        service.jobs.lock().unwrap().clear();
    }
    if let Some(folder) = &options.plots {
        let lines: Vec<_> = seen.into_iter().map(|(who, late)| (who.name(), late)).collect();
        plot::shares(&folder.join(format!("lateness-{rate}.svg")), &lines);
    }
    report
}

/// Returns the subjects, with the limit first.
fn contestants(probe: &EngineProbe, options: &Options) -> Vec<Subject> {
    let mut all = vec![Subject::PreparedStart, Subject::Tidetable(Tidetable::new(probe))];
    if options.waiting > 0 {
        all.push(Subject::Tidetable(Tidetable::among(probe, options.waiting)));
    }
    if options.aims {
        all.push(Subject::Tidetable(Tidetable::aiming(probe)));
    }
    all.extend(machine::docker_client().map(|_| Subject::DockerRun));
    all.extend(
        options
            .python
            .as_deref()
            .map(|python| Subject::ApScheduler(ApScheduler::new(probe, python, THREADS))),
    );
    all.extend(
        options.ofelias.iter().flat_map(|program| Ofelia::both(program)).map(Subject::Ofelia),
    );
    all
}

/// Returns the lateness of each subject's jobs in milliseconds.
async fn measure(
    probe: &EngineProbe,
    all: &[Subject],
    rate: usize,
    jobs: impl Fn(&Subject) -> usize,
    turns: usize,
) -> Vec<Vec<f64>> {
    let mut late = vec![Vec::new(); all.len()];
    let (peers, ours): (Vec<usize>, Vec<usize>) =
        (0..all.len()).partition(|which| all[*which].is_peer());
    let ours =
        if rate == 1 { vec![ours] } else { ours.into_iter().map(|which| vec![which]).collect() };
    for turn in 0..turns {
        for place in 0..ours.len() {
            let group = &ours[(place + turn) % ours.len()];
            let jobs = jobs(&all[group[0]]).div_ceil(turns);
            measure_turn(probe, all, group, turn, (rate, jobs), &mut late).await;
        }
    }
    for peer in peers {
        measure_turn(probe, all, &[peer], 0, (rate, jobs(&all[peer])), &mut late).await;
    }
    late
}

/// Runs one turn of these subjects, which share its seconds.
async fn measure_turn(
    probe: &EngineProbe,
    all: &[Subject],
    group: &[usize],
    turn: usize,
    (rate, jobs): (usize, usize),
    late: &mut [Vec<f64>],
) {
    let jobs = rate + jobs;
    let mut told = Vec::new();
    for which in group {
        let keys: Vec<String> =
            (0..jobs).map(|n| probe.key(&format!("late-{rate}-{which}-{turn}"), n)).collect();
        let prepared = all[*which].prepare(probe, &keys).await;
        told.push((keys, prepared));
    }
    let base = soon(jobs * group.len());
    let mut parts = Vec::new();
    for (place, (which, (keys, prepared))) in group.iter().zip(told).enumerate() {
        let part = ((place + turn) % group.len(), group.len());
        let due = due_times(&all[*which], base, rate, jobs, part);
        all[*which].plan(probe, &keys, &due, prepared);
        warn_if_late(base, &all[*which].name());
        parts.push((*which, keys, due));
    }
    for (which, keys, due) in parts {
        late[which].extend(
            lateness(probe, &all[which], &keys, &due).await.into_iter().skip(rate).flatten(),
        );
    }
    tokio::time::sleep(PAUSE).await;
}

/// Returns the lateness of each job in milliseconds, once all containers are gone. `None` for a job
/// that a peer did not start.
async fn lateness(
    probe: &EngineProbe,
    who: &Subject,
    keys: &[String],
    due: &[i64],
) -> Vec<Option<f64>> {
    let ran = who.ran(probe, keys).await;
    if ran.len() < keys.len() {
        eprintln!("{} started {} of {} jobs", who.name(), ran.len(), keys.len());
    }
    probe.wait(&ran, "ended", |life| life.ended).await;
    who.end(probe, keys).await;
    probe.wait(&ran, "been removed", |life| life.removed).await;
    let late = |(key, due): (&String, &i64)| {
        probe.life(key).started.map(|started| (started - due) as f64 / 1e6)
    };
    keys.iter().zip(due).map(late).collect()
}

/// Returns the due times of the jobs in this part of each period. A subject that accepts only
/// seconds gets all jobs of a second at its beginning.
fn due_times(
    who: &Subject,
    base: i64,
    rate: usize,
    jobs: usize,
    (part, parts): (usize, usize),
) -> Vec<i64> {
    let second = nanos(Duration::from_secs(1));
    let period = second / count_of(rate);
    let offset = period * count_of(part) / count_of(parts) / 1_000_000 * 1_000_000;
    let due = |n: usize| match who.knows_only_seconds() {
        true => base + second * count_of(n / rate),
        false => base + period * count_of(n) + offset,
    };
    (0..jobs).map(due).collect()
}
