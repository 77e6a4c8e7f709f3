//! Aim: how much before its due time the `start` of a job is called that is to *begin* when it is due.
//!
//! What is learned is how long this engine takes from the call to a running process, by the engine's own time of the start, and
//! of that the fastest that was seen: who is called earlier than that by nothing begins early. It is learned from every job,
//! for each network by itself (a bridge takes much longer to set up than none), and is forgotten with the process: the first
//! job on a network is started when it is due.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;

use super::Shared;
use crate::domain::id::Timestamp;
use crate::domain::job::Job;

/// Times are of whole milliseconds here and there, and the next start may be faster than any before.
const MARGIN: TimeDelta = TimeDelta::milliseconds(2);
/// An engine that takes longer than this is not aimed with.
const LONGEST: TimeDelta = TimeDelta::seconds(2);

/// The fastest start that was seen, for each network.
#[derive(Default)]
pub(super) struct Aims(Mutex<BTreeMap<String, TimeDelta>>);

impl Aims {
    /// So long it took from the call of `start` until the process of this job ran.
    pub(super) fn saw(&self, job: &Job, took: TimeDelta) {
        let mut fastest = self.fastest();
        let least = fastest.entry(network(job)).or_insert(took);
        *least = took.min(*least);
    }

    /// How much before it is due the job's `start` is to be called: nothing, unless it aims.
    fn lead(&self, job: &Job) -> TimeDelta {
        let fields = job.spec.fields();
        let fastest = self.fastest().get(&network(job)).copied();
        let Some(fastest) = fastest.filter(|_| fields.aim == Some(true)) else { return TimeDelta::zero() };
        let tolerance = fields.aim_tolerance.and_then(|span| TimeDelta::from_std(span.as_duration()).ok());
        let lead = fastest - MARGIN + tolerance.unwrap_or_default();
        lead.clamp(TimeDelta::zero(), LONGEST)
    }

    fn fastest(&self) -> MutexGuard<'_, BTreeMap<String, TimeDelta>> {
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
