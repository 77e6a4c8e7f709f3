//! What becomes of a tick's job that could be started while others of its schedule are not over.

use super::id::{JobId, Timestamp};
use super::job::Job;
use super::schedule::Overlap;

/// What is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is started.
    Go,
    /// It waits until the others are over.
    Wait,
    /// It is not run.
    Skip,
    /// These are stopped, and it waits for that.
    Replace(Vec<JobId>),
}

/// What becomes of `job`; `others` are the jobs of its schedule that are not over. A job that a caller triggered goes.
pub fn admit(overlap: Overlap, job: &Job, others: &[Job], now: Timestamp) -> Admission {
    let Some(mine) = nominal(job) else { return Admission::Go };
    let others = || others.iter().filter(|other| other.id != job.id);
    let begun: Vec<JobId> = others().filter(|other| other.attempt.0 > 0).map(|other| other.id).collect();
    let waiting = || others().filter(|other| other.attempt.0 == 0 && other.due_at <= now).filter_map(nominal);
    match overlap {
        Overlap::Allow => Admission::Go,
        // The newest is the one that is wanted.
        Overlap::Replace if waiting().any(|other| other > mine) => Admission::Skip,
        _ if begun.is_empty() => Admission::Go,
        Overlap::Skip => Admission::Skip,
        Overlap::QueueOne if waiting().any(|other| other < mine) => Admission::Skip,
        Overlap::QueueOne => Admission::Wait,
        Overlap::Replace => Admission::Replace(begun),
    }
}

fn nominal(job: &Job) -> Option<Timestamp> {
    job.origin.as_ref().and_then(|origin| origin.nominal)
}
