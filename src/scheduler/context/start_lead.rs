//! Aim: calls `start` early enough that the process is running at the due time, for jobs that ask
//! for it.
//!
//! The lead is learned from every job: the time from the call of `start` to the running process, by
//! the engine's own start time. The fastest start seen counts, less a margin, because a start that
//! is faster still would begin early.
//!
//! Each network has its own figures, since a bridge takes much longer to set up than no network.
//! The figures are lost when the process ends. The first jobs on a network are started at their due
//! times.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;

use crate::domain::job::Job;
use crate::domain::names::id::Timestamp;

/// The allowance for a start faster than any before: a divisor of the fastest time, and a minimum,
/// because some times are in whole milliseconds.
const MARGIN: (i32, TimeDelta) = (8, TimeDelta::milliseconds(2));
/// The number of starts to measure before jobs aim.
const ENOUGH: u32 = 16;
/// The longest lead before a job's due time, however slow the engine is.
const LONGEST: TimeDelta = TimeDelta::seconds(2);

/// The measured start times, by network.
#[derive(Default)]
pub(in crate::scheduler) struct StartLatencies(Mutex<BTreeMap<String, Starts>>);

pub(in crate::scheduler) struct Starts {
    pub(in crate::scheduler) fastest: TimeDelta,
    pub(in crate::scheduler) count: u32,
}

impl StartLatencies {
    /// Records the time from calling `start` until the job's process was running.
    pub(in crate::scheduler) fn saw(&self, job: &Job, took: TimeDelta) {
        let mut starts = self.starts();
        let seen = starts.entry(network(job)).or_insert(Starts { fastest: took, count: 0 });
        seen.fastest = took.min(seen.fastest);
        seen.count = seen.count.saturating_add(1);
    }

    /// Returns the time by which `start` is called before the job's due time; zero unless the job
    /// aims.
    pub(in crate::scheduler) fn lead(&self, job: &Job) -> TimeDelta {
        let fields = job.spec.fields();
        if fields.aim != Some(true) {
            return TimeDelta::zero();
        }
        let starts = self.starts();
        let Some(seen) = starts.get(&network(job)).filter(|seen| seen.count >= ENOUGH) else {
            return TimeDelta::zero();
        };
        let margin = MARGIN.1.max(seen.fastest / MARGIN.0);
        let tolerance =
            fields.aim_tolerance.and_then(|span| TimeDelta::from_std(span.as_duration()).ok());
        let lead = seen.fastest - margin + tolerance.unwrap_or_default();
        lead.clamp(TimeDelta::zero(), LONGEST)
    }

    /// Returns the time at which `start` is to be called for this job.
    pub(in crate::scheduler) fn starts_at(&self, job: &Job) -> Timestamp {
        job.due_at - self.lead(job)
    }

    pub(in crate::scheduler) fn starts(&self) -> MutexGuard<'_, BTreeMap<String, Starts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn network(job: &Job) -> String {
    job.spec.fields().network.clone().unwrap_or_default()
}
