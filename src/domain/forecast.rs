//! A forecast of the runs over the next hours, and of the times at which they pile up.
//!
//! The module is pure: it reads no clock and no store. A [`Draft`] takes waiting jobs, running
//! jobs and schedules, a page at a time, and keeps the earliest [`MAX_ENTRIES`]. Only a schedule's
//! next tick has a job; later ticks are computed. Earlier runs of the same name give the expected
//! duration ([`typical`]). With it, `load` lets every entry begin when it is due, and counts.
//!
//! A forecast is no plan. A run that has to wait for a slot is later than forecast, and a
//! [`PileUp`] warns of that. A job without known runs is assumed to be over in a second.

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

pub use load::{OverlapWarning, PileUp};

/// The most entries of one forecast; the earliest are kept.
pub const MAX_ENTRIES: usize = 10_000;
/// The number of a name's past runs that give the expected duration of the next.
pub const RUNS_LOOKED_AT: usize = 15;

/// A future run: a waiting job, or a tick that has no job yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The due time; in the past for an overdue job that waits.
    pub due_at: Timestamp,
    /// The definition or image to run.
    pub job_name: JobName,
    /// The schedule of the run, if it has one.
    pub schedule: Option<ScheduleName>,
    /// The waiting job; `None` for a tick that has no job yet.
    pub job: Option<JobId>,
    /// The expected duration; `None` if no run of the name is known.
    pub expected: Option<Duration>,
    /// Set when the previous run of the same schedule will not be over at `due_at`.
    pub overlaps: bool,
    /// The queue of the run, if it has one.
    pub queue: Option<QueueName>,
    /// The most runs of this name at once; `None` means no limit.
    pub max_parallel: Option<u32>,
}

/// Known facts about a job name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The expected duration of a run; `None` if no run is known.
    pub expected: Option<Duration>,
    /// The definition of the name, which fills in fields that a job leaves out.
    pub definition: JobSpec,
}

/// The future runs and their effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The beginning of the period.
    pub from: Timestamp,
    /// The end of the period: the horizon, or the last entry where there are too many.
    pub until: Timestamp,
    /// Set when more entries exist before the horizon.
    pub truncated: bool,
    /// The future runs, by due time.
    pub entries: Vec<Entry>,
    /// The periods in which more jobs would run than a limit allows.
    pub pile_ups: Vec<PileUp>,
    /// The schedules with runs that overlap.
    pub crossings: Vec<OverlapWarning>,
}

/// A forecast under construction.
#[derive(Debug)]
pub struct Draft {
    now: Timestamp,
    horizon: Timestamp,
    most: usize,
    /// A heap with the latest entry on top, which goes first when there are too many.
    earliest: BinaryHeap<Entry>,
    truncated: bool,
    /// The running jobs; `due_at` is the time at which they began.
    at_work: Vec<Entry>,
    overlaps: HashMap<ScheduleName, Overlap>,
}

impl Draft {
    /// Creates an empty draft for the time from `now` to `horizon`, which keeps the earliest `most`
    /// entries.
    pub fn new(now: Timestamp, horizon: Timestamp, most: usize) -> Self {
        let (earliest, at_work, overlaps) = Default::default();
        Self { now, horizon, most, earliest, truncated: false, at_work, overlaps }
    }

    /// Adds a waiting job.
    pub fn add_waiting(&mut self, job: &Job) {
        self.add(entry(job, job.due_at));
    }

    /// Adds a job that has begun and is not over.
    pub fn add_running(&mut self, job: &Job) {
        self.at_work.push(entry(job, job.state.run().map_or(self.now, |run| run.started_at)));
    }

    /// Adds the ticks of a schedule that have no job yet.
    pub fn schedule(&mut self, record: &ScheduleRecord) {
        let (schedule, name) = (&record.schedule, &record.name);
        self.overlaps.insert(name.clone(), schedule.overlap());
        if schedule.is_paused() {
            return;
        }
        let left = schedule.max_runs().map_or(u64::MAX, |most| most.saturating_sub(record.runs));
        let left = left.saturating_sub(u64::from(record.next_tick.is_some()));
        let after = record.next_tick.map_or(record.settled_until, |ahead| ahead.nominal);
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

    /// Returns the job names for which [`Self::finish`] needs known facts.
    pub fn names(&self) -> BTreeSet<JobName> {
        self.earliest.iter().chain(&self.at_work).map(|entry| entry.job_name.clone()).collect()
    }

    /// Completes the forecast from the facts about each name, the server's limit of running jobs,
    /// and the limits of the queues.
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

    /// Returns the time after which no entry would be kept.
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

    /// Fills in fields that the job leaves to its definition.
    fn complete(&mut self, known: &Known) {
        let definition = known.definition.fields();
        self.expected = known.expected;
        self.queue = self.queue.take().or_else(|| definition.queue.clone());
        self.max_parallel = self.max_parallel.or(definition.max_parallel);
    }
}

/// Returns the median; for an even number of runs, the mean of the middle two. `None` without runs.
pub fn typical(mut runs: Vec<Duration>) -> Option<Duration> {
    runs.sort();
    let above = *runs.get(runs.len() / 2)?;
    let below = *runs.get((runs.len() - 1) / 2)?;
    Some((above + below) / 2)
}
