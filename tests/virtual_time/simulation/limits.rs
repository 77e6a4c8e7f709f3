//! Checks of queues and `max_parallel` after every step, both on disk and on the engine.

use std::collections::BTreeMap;

use tidetable::domain::job::{Job, Map};
use tidetable::domain::names::id::{ContainerId, JobId};
use tidetable::domain::names::queue::Queues;
use tidetable::engine::simulated::{EventKind, RecordedEvent};

/// The queues of every run, with the number of jobs of each that may run at once.
const QUEUES: [(&str, usize); 3] = [("one", 1), ("two", 2), ("ticks", 1)];

/// Returns the queues as the config file would declare them.
pub fn queues() -> Queues {
    QUEUES.iter().map(|(name, most)| (name.parse().unwrap(), (*most).try_into().unwrap())).collect()
}

/// Checks the running map on disk: no queue, and no name with a limit, has more jobs than allowed.
pub fn hold_on_disk(written: &BTreeMap<JobId, Job>) -> Result<(), String> {
    let running: Vec<&Job> = written.values().filter(|job| job.map() == Map::Running).collect();
    hold_queues("in the running map", &running)?;
    let mut of_name: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for job in &running {
        of_name.entry(job.name.as_str()).or_default().extend(job.spec.fields().max_parallel);
    }
    // The last job was released while all others were running, so its limit covers all of them.
    match of_name
        .into_iter()
        .find(|(_, limits)| limits.len() > limits.iter().max().map_or(0, |most| *most as usize))
    {
        Some((name, limits)) => {
            Err(format!("of `{name}` there run {}, who allow {limits:?}", limits.len()))
        }
        None => Ok(()),
    }
}

/// Checks the containers that run on the engine, except for jobs with interference.
pub fn hold_on_engine(
    evidence: &[RecordedEvent],
    written: &BTreeMap<JobId, Job>,
    is_interfered: impl Fn(JobId) -> bool,
) -> Result<(), String> {
    let mut running: BTreeMap<&ContainerId, &Job> = BTreeMap::new();
    for line in evidence {
        match (line.what, line.owner.and_then(|owner| written.get(&owner.job))) {
            (EventKind::Start, Some(job)) if !is_interfered(job.id) => {
                let _ = running.insert(&line.container, job);
            }
            (EventKind::Die(_) | EventKind::Destroy, _) => drop(running.remove(&line.container)),
            (EventKind::Start | EventKind::Create, _) => {}
        }
    }
    hold_queues("on the engine", &running.into_values().collect::<Vec<_>>())
}

fn hold_queues(place: &str, running: &[&Job]) -> Result<(), String> {
    for (queue, most) in QUEUES {
        let is_in = |job: &&&Job| {
            job.spec.fields().queue.as_ref().is_some_and(|name| name.as_str() == queue)
        };
        let of_queue: Vec<JobId> = running.iter().filter(is_in).map(|job| job.id).collect();
        if of_queue.len() > most {
            return Err(format!(
                "{place} there are {of_queue:?} of the queue `{queue}`, and {most} may be"
            ));
        }
    }
    Ok(())
}
