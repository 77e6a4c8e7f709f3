//! The reasons for which a due job waits, other than for a free slot: a full queue, as many runs of
//! its name as are allowed, or the previous run of its schedule.
//!
//! Such a job waits in a wait group ([`WaitGroup`]), apart from jobs that can start. The same
//! limits hold back all jobs of a group, and the group names these limits. While the first job of a
//! group cannot start, none can, so callers need not look at the others.
//!
//! A job joins the smallest group that explains why it waits: first its queue, then queue and name,
//! then queue, name and schedule. A job only ever moves to a larger group. It moves at most twice,
//! however many jobs wait.

use serde::{Deserialize, Serialize};

use crate::domain::names::image::JobName;
use crate::domain::names::queue::{QueueName, Queues};
use crate::domain::names::schedule::ScheduleName;
use crate::domain::names::status::Reason;

/// A limit of jobs that run at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// A queue with a limit in the config.
    Queue(QueueName),
    /// A job name, for jobs with a `max_parallel`.
    Name(JobName),
}

/// A wait group: the limits that its jobs share. `None` in a field means that no such limit blocks
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WaitGroup {
    /// The queue that may be full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// The job name of which `max_parallel` jobs may be running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Parallel>,
    /// The schedule with a previous run that may not be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleName>,
}

/// A job name and its `max_parallel`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Parallel {
    pub of: JobName,
    /// The most jobs of this name at once.
    pub most: u32,
}

impl Limit {
    /// Returns the reason that is shown for a job that waits for this limit.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Queue(_) => Reason::QueueFull,
            Self::Name(_) => Reason::MaxParallel,
        }
    }
}

impl WaitGroup {
    /// Returns the limits that can be counted, the name's first.
    pub fn limits(&self) -> impl Iterator<Item = Limit> {
        let name = self.name.as_ref().map(|parallel| Limit::Name(parallel.of.clone()));
        name.into_iter().chain(self.queue.clone().map(Limit::Queue))
    }

    /// Returns the number of jobs that can leave the group, as far as counts tell. `running_counts`
    /// returns the running jobs of a limit.
    pub fn capacity(&self, queues: &Queues, running_counts: impl Fn(&Limit) -> usize) -> usize {
        let most = |limit: &Limit| match limit {
            Limit::Queue(queue) => queues.get(queue).map_or(usize::MAX, |most| most.get()),
            Limit::Name(_) => {
                self.name.as_ref().map_or(usize::MAX, |parallel| of_name(parallel.most))
            }
        };
        self.limits()
            .map(|limit| most(&limit).saturating_sub(running_counts(&limit)))
            .min()
            .unwrap_or(usize::MAX)
    }

    pub(crate) fn has(&self, limit: &Limit) -> bool {
        self.limits().any(|other| other == *limit)
    }

    /// Returns whether the other group has all limits of this one.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        (self.queue.is_none() || self.queue == other.queue)
            && (self.name.is_none() || self.name == other.name)
            && (self.schedule.is_none() || self.schedule == other.schedule)
    }
}

pub(crate) fn of_name(most: u32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}
