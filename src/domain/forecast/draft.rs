//! A forecast under construction: takes jobs and schedules a page at a time, and keeps the earliest
//! runs.

use std::collections::{BTreeSet, BinaryHeap, HashMap};

use crate::domain::job::Job;
use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::domain::names::queue::Queues;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::Overlap;
use crate::domain::schedule::record::ScheduleRecord;

use super::entry::{Entry, Forecast, Known, entry};
use super::load::{Load, limits};

/// The most entries of one forecast; the earliest are kept.
pub const MAX_ENTRIES: usize = 10_000;
/// The number of a name's past runs that give the expected duration of the next.
pub const RUNS_LOOKED_AT: usize = 15;

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
        let mut load = Load::new(self.now, until, &self.overlaps);
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
        let limits = limits(&runs, max_running, queues);
        let pile_ups = limits.iter().flat_map(|limit| load.pile_ups(limit, &runs)).collect();
        let active = load.active().collect();
        let (crossings, entries) = (load.crossings(), runs.split_off(at_work));
        let (from, truncated, running) = (self.now, self.truncated, runs);
        Forecast { from, until, truncated, entries, pile_ups, crossings, running, active }
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
