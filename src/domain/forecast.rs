//! What will run when over the next hours, and where it will pile up.
//!
//! Times in, a forecast out. A [`Draft`] is given what waits, what runs and the schedules, a page at a time, and keeps the
//! earliest [`MAX_ENTRIES`]: of a schedule only the next tick has a job, those after it are computed. How long each takes is
//! what runs of its name took before ([`typical`]); with that, `load` lets every entry begin when it is due and counts.
//!
//! It is a forecast and no plan: whatever has to wait for a slot runs later than it says, and that is what a [`PileUp`] warns
//! of. A job that no run is known of is taken to be over in a second.

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use super::id::{JobId, Timestamp};
use super::image::JobName;
use super::job::Job;
use super::planned::ScheduleRecord;
use super::queue::{QueueName, Queues};
use super::schedule::{Overlap, ScheduleName};
use super::spec::JobSpec;

mod load;
#[cfg(test)]
mod tests;

pub use load::{Crossing, PileUp};

/// The most entries of one forecast: the earliest.
pub const MAX_ENTRIES: usize = 10_000;
/// How many runs of a name say how long the next one takes.
pub const RUNS_LOOKED_AT: usize = 15;

/// A run that is to come: a job that waits, or a tick that has none yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// When it is due. What is overdue and waits has its time in the past.
    pub due_at: Timestamp,
    /// The definition or image that is run.
    pub job_name: JobName,
    /// The schedule that it is of.
    pub schedule: Option<ScheduleName>,
    /// Its job, if there is one already.
    pub job: Option<JobId>,
    /// How long it will take, if runs of its name are known.
    pub expected: Option<Duration>,
    /// Whether the run before it, of the same schedule, will not be over then.
    pub overlaps: bool,
    /// The queue that it will be in.
    pub queue: Option<QueueName>,
    /// How many of its name may run at once.
    pub max_parallel: Option<u32>,
}

/// What is known of a name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// How long a run takes.
    pub expected: Option<Duration>,
    /// What it is defined as.
    pub definition: JobSpec,
}

/// What will run, and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// From when on.
    pub from: Timestamp,
    /// Up to when: the horizon, or the last entry where there are too many.
    pub until: Timestamp,
    /// Whether there are more before the horizon.
    pub truncated: bool,
    /// By due time.
    pub entries: Vec<Entry>,
    /// Where more run at once than may.
    pub pile_ups: Vec<PileUp>,
    /// Schedules that get in their own way.
    pub crossings: Vec<Crossing>,
}

/// A forecast in the making.
#[derive(Debug)]
pub struct Draft {
    now: Timestamp,
    horizon: Timestamp,
    most: usize,
    /// The latest on top: it is the one that goes when there are too many.
    earliest: BinaryHeap<Entry>,
    truncated: bool,
    /// They are due since they began.
    at_work: Vec<Entry>,
    overlaps: HashMap<ScheduleName, Overlap>,
}

impl Draft {
    /// Nothing yet, for the time from `now` to `horizon`; with the earliest `most` entries.
    pub fn new(now: Timestamp, horizon: Timestamp, most: usize) -> Self {
        let (earliest, at_work, overlaps) = Default::default();
        Self { now, horizon, most, earliest, truncated: false, at_work, overlaps }
    }

    /// A job that waits.
    pub fn waits(&mut self, job: &Job) {
        self.add(entry(job, job.due_at));
    }

    /// A job that is begun and not over.
    pub fn is_at_work(&mut self, job: &Job) {
        self.at_work.push(entry(job, job.state.run().map_or(self.now, |run| run.started_at)));
    }

    /// The ticks of a schedule that have no job yet.
    pub fn schedule(&mut self, record: &ScheduleRecord) {
        let (schedule, name) = (&record.schedule, &record.name);
        self.overlaps.insert(name.clone(), schedule.overlap());
        if schedule.is_paused() {
            return;
        }
        let left = schedule.max_runs().map_or(u64::MAX, |most| most.saturating_sub(record.runs));
        let left = left.saturating_sub(u64::from(record.ahead.is_some()));
        let after = record.ahead.map_or(record.settled, |ahead| ahead.nominal);
        let timetable = record.timetable();
        for tick in timetable.after(after).take(usize::try_from(left).unwrap_or(usize::MAX)) {
            // A tick is never due before its nominal time.
            if tick.nominal > self.last() {
                self.truncated |= tick.nominal <= self.horizon;
                return;
            }
            let entry =
                Entry::new(schedule.due_at(name, tick), schedule.job_name(), schedule.spec());
            self.add(Entry { schedule: Some(name.clone()), ..entry });
        }
    }

    /// The names of which something is to be known.
    pub fn names(&self) -> BTreeSet<JobName> {
        self.earliest.iter().chain(&self.at_work).map(|entry| entry.job_name.clone()).collect()
    }

    /// The forecast, with what is known of each name, where so many may run at once, and so many of each queue.
    pub fn finish(
        self,
        known: &HashMap<JobName, Known>,
        max_running: usize,
        queues: &Queues,
    ) -> Forecast {
        let entries = self.earliest.into_sorted_vec();
        let last = entries.last().map_or(self.horizon, |entry| entry.due_at.max(self.now));
        let until = if self.truncated { last } else { self.horizon };
        let mut load = load::Load::new(self.now, until, &self.overlaps);
        let mut runs = self.at_work;
        let at_work = runs.len();
        runs.extend(entries);
        for (run, entry) in runs.iter_mut().enumerate() {
            if let Some(known) = known.get(&entry.job_name) {
                entry.complete(known);
            }
            if run < at_work {
                load.goes_on(run, entry);
            } else {
                entry.overlaps = load.begin(run, entry);
            }
        }
        let limits = load::limits(&runs, max_running, queues);
        let pile_ups = limits.iter().flat_map(|limit| load.pile_ups(limit, &runs)).collect();
        let (crossings, entries) = (load.crossings(), runs.split_off(at_work));
        Forecast { from: self.now, until, truncated: self.truncated, entries, pile_ups, crossings }
    }

    /// After this there is nothing that would be kept.
    fn last(&self) -> Timestamp {
        let is_full = self.earliest.len() >= self.most;
        self.earliest
            .peek()
            .filter(|_| is_full)
            .map_or(self.horizon, |latest| latest.due_at.min(self.horizon))
    }

    fn add(&mut self, entry: Entry) {
        if entry.due_at > self.horizon {
            return;
        }
        self.earliest.push(entry);
        if self.earliest.len() > self.most {
            self.earliest.pop();
            self.truncated = true;
        }
    }
}

fn entry(job: &Job, due_at: Timestamp) -> Entry {
    let schedule = job.origin.as_ref().map(|origin| origin.schedule.clone());
    Entry { schedule, job: Some(job.id), ..Entry::new(due_at, &job.name, &job.spec) }
}

impl Entry {
    fn new(due_at: Timestamp, name: &JobName, spec: &JobSpec) -> Self {
        let (queue, max_parallel) = (spec.fields().queue.clone(), spec.fields().max_parallel);
        let job_name = name.clone();
        Self {
            due_at,
            job_name,
            schedule: None,
            job: None,
            expected: None,
            overlaps: false,
            queue,
            max_parallel,
        }
    }

    /// What it does not say itself, its definition says.
    fn complete(&mut self, known: &Known) {
        let definition = known.definition.fields();
        self.expected = known.expected;
        self.queue = self.queue.take().or_else(|| definition.queue.clone());
        self.max_parallel = self.max_parallel.or(definition.max_parallel);
    }
}

/// The middle of these; of an even number, the mean of the two in the middle.
pub fn typical(mut runs: Vec<Duration>) -> Option<Duration> {
    runs.sort();
    let above = *runs.get(runs.len() / 2)?;
    let below = *runs.get((runs.len() - 1) / 2)?;
    Some((above + below) / 2)
}
