//! What has to hold of queues and of `max_parallel` after every step: by what is on disk, and by what runs on the engine.

use std::collections::BTreeMap;

use tidetable::domain::id::{ContainerId, JobId};
use tidetable::domain::job::{Job, Map};
use tidetable::domain::queue::Queues;
use tidetable::engine::simulated::{Evidence, Happened};

/// The queues of every story, and how many of each may run at once.
const QUEUES: [(&str, usize); 3] = [("one", 1), ("two", 2), ("ticks", 1)];

/// The same as the config file would say it.
pub fn queues() -> Queues {
    QUEUES.iter().map(|(name, most)| (name.parse().unwrap(), (*most).try_into().unwrap())).collect()
}

/// Of each queue, and of each name among those that have a limit, no more are in the running map than may be.
pub fn hold_on_disk(written: &BTreeMap<JobId, Job>) -> Result<(), String> {
    let running: Vec<&Job> = written.values().filter(|job| job.map() == Map::Running).collect();
    hold_queues("in the running map", &running)?;
    let mut of_name: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for job in &running {
        of_name.entry(job.name.as_str()).or_default().extend(job.spec.fields().max_parallel);
    }
    // The one that came last was let go with so many of the others there.
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

/// The same of what runs on the engine, but for jobs that somebody else laid hands on.
pub fn hold_on_engine(
    evidence: &[Evidence],
    written: &BTreeMap<JobId, Job>,
    is_meddled: impl Fn(JobId) -> bool,
) -> Result<(), String> {
    let mut running: BTreeMap<&ContainerId, &Job> = BTreeMap::new();
    for line in evidence {
        match (line.what, line.owner.and_then(|owner| written.get(&owner.job))) {
            (Happened::Start, Some(job)) if !is_meddled(job.id) => {
                drop(running.insert(&line.container, job))
            }
            (Happened::Die(_) | Happened::Destroy, _) => drop(running.remove(&line.container)),
            (Happened::Start | Happened::Create, _) => {}
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
