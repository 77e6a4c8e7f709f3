//! Lateness: from the due time to the engine's own start event.
//!
//! Everybody has a turn of some jobs, and then the next; who begins changes with each round. A turn is over when all its containers
//! are gone, so that nobody pays for another's.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Options;
use crate::contestants::{ApScheduler, Contestant, Tidetable};
use crate::lab::Lab;
use crate::report::{Figures, table};
use crate::{plot, profile};

/// Between one turn and the next.
const PAUSE: Duration = Duration::from_millis(500);
/// Threads of a peer: as many as are ever in flight here.
const THREADS: usize = 32;

pub async fn run(lab: &Lab, options: &Options) -> Value {
    let mut all = vec![Contestant::PreparedStart, Contestant::Tidetable(Tidetable::new(lab, 0))];
    if options.waiting > 0 {
        all.push(Contestant::Tidetable(Tidetable::new(lab, options.waiting)));
    }
    all.push(Contestant::DockerRun);
    all.extend(options.python.as_deref().map(|python| Contestant::ApScheduler(ApScheduler::new(lab, python, THREADS))));
    let mut report = Map::new();
    for (rate, jobs) in [1, 10].into_iter().zip(options.jobs).filter(|(_, jobs)| *jobs > 0) {
        let late = measure(lab, &all, jobs, rate, options.turns).await;
        let rows: Vec<(String, Figures)> =
            all.iter().zip(&late).map(|(who, late)| (who.name(), Figures::of(late))).collect();
        table(&format!("due → start event, {rate} a second, ms"), &rows);
        if let Some(folder) = &options.plots {
            let names = rows.iter().map(|(name, _)| name.clone());
            plot::shares(&folder.join(format!("lateness-{rate}.svg")), &names.zip(late).collect::<Vec<_>>());
        }
        let figures = rows.iter().map(|(name, figures)| (name.clone(), figures.json(&rows[0].1)));
        report.insert(format!("{rate}_a_second_ms"), Value::Object(figures.collect()));
        for who in &all {
            let Contestant::Tidetable(service) = who else { continue };
            let steps = profile::to_start(lab, service);
            profile::print(&format!("{}: where its time goes, {rate} a second, ms", who.name()), &steps);
            report.insert(format!("{}_{rate}_a_second_steps_ms", who.name()), profile::json(&steps));
            service.jobs.lock().unwrap().clear();
        }
    }
    json!(report)
}

/// How late the jobs of each were, in milliseconds.
async fn measure(lab: &Lab, all: &[Contestant], jobs: usize, rate: u32, turns: usize) -> Vec<Vec<f64>> {
    let mut late = vec![Vec::new(); all.len()];
    let turns = turns.clamp(1, jobs);
    for turn in 0..turns {
        let numbers = jobs * turn / turns..jobs * (turn + 1) / turns;
        for place in 0..all.len() {
            let which = (place + turn) % all.len();
            let keys: Vec<String> =
                numbers.clone().map(|number| lab.key(&format!("late-{rate}-{which}"), number)).collect();
            let due = all[which].start(lab, &keys, Duration::from_secs(1) / rate).await;
            let started = lab.wait(&keys, "started", |life| life.started).await;
            late[which].extend(started.iter().zip(&due).map(|(started, due)| (started - due) as f64 / 1e6));
            lab.wait(&keys, "ended", |life| life.ended).await;
            if matches!(all[which], Contestant::PreparedStart) {
                lab.clear().await;
            }
            lab.wait(&keys, "been removed", |life| life.removed).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
    late
}
