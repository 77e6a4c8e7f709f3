//! Aim: how much before its due time the `start` of a job is called that is to *begin* when it is due.
//!
//! What is learned is how long this engine takes from the call to a running process, by the engine's own time of the start, and
//! of that the fastest that was seen, less a margin: a start that is faster still would begin early. It is learned from every job,
//! for each network by itself (a bridge takes much longer to set up than none), and is forgotten with the process: the first
//! jobs on a network are started when they are due.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;

use super::Shared;
use crate::domain::id::Timestamp;
use crate::domain::job::Job;

/// The next start may be faster than any before: by how much, as a part of the fastest, and at least, since times are of whole
/// milliseconds here and there.
const MARGIN: (i32, TimeDelta) = (8, TimeDelta::milliseconds(2));
/// How many starts have to be seen before one is aimed by them.
const ENOUGH: u32 = 16;
/// No `start` is called earlier than this before its job is due, however long the engine takes.
const LONGEST: TimeDelta = TimeDelta::seconds(2);

/// What was seen of starts, for each network.
#[derive(Default)]
pub(super) struct Aims(Mutex<BTreeMap<String, Starts>>);

struct Starts {
    fastest: TimeDelta,
    count: u32,
}

impl Aims {
    /// So long it took from the call of `start` until the process of this job ran.
    pub(super) fn saw(&self, job: &Job, took: TimeDelta) {
        let mut starts = self.starts();
        let seen = starts.entry(network(job)).or_insert(Starts { fastest: took, count: 0 });
        seen.fastest = took.min(seen.fastest);
        seen.count = seen.count.saturating_add(1);
    }

    /// How much before it is due the job's `start` is to be called: nothing, unless it aims.
    fn lead(&self, job: &Job) -> TimeDelta {
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

    fn starts(&self) -> MutexGuard<'_, BTreeMap<String, Starts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn network(job: &Job) -> String {
    job.spec.fields().network.clone().unwrap_or_default()
}

impl Shared {
    /// When `start` is to be called for this job.
    pub(super) fn starts_at(&self, job: &Job) -> Timestamp {
        job.due_at - self.aims.lead(job)
    }
}
