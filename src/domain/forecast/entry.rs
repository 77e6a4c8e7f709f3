//! The parts of a forecast: future runs, the facts known about a name, and the times at which runs
//! pile up.

use std::time::Duration;

use crate::domain::job::Job;
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::image::JobName;
use crate::domain::names::queue::QueueName;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::Overlap;
use crate::domain::spec::JobSpec;

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
    /// The running jobs; `due_at` is the time at which they began.
    pub running: Vec<Entry>,
    /// The time in which each run is expected to be active, running jobs included.
    pub active: Vec<(Timestamp, Timestamp)>,
}

pub(super) fn entry(job: &Job, due_at: Timestamp) -> Entry {
    let schedule = job.origin.schedule().map(|origin| origin.schedule.clone());
    Entry { schedule, job: Some(job.id), ..Entry::new(due_at, &job.name, &job.spec) }
}

impl Entry {
    pub(super) fn new(due_at: Timestamp, name: &JobName, spec: &JobSpec) -> Self {
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
    pub(super) fn complete(&mut self, known: &Known) {
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

/// A period in which more jobs would run at once than a limit allows, so some of them will wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PileUp {
    /// The name of the limit.
    pub limit: String,
    /// The most runs that the limit allows at once.
    pub most: usize,
    /// The most runs that would be active at once.
    pub peak: usize,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// A schedule whose runs are expected to take longer than the time between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlapWarning {
    pub schedule: ScheduleName,
    /// The policy for a run that comes too early.
    pub overlap: Overlap,
    /// The due time of the first run that comes too early.
    pub first: Timestamp,
    /// The number of runs that come too early.
    pub runs: u64,
    /// The expected duration of a run; `None` if no earlier run is known.
    pub expected: Option<Duration>,
}
