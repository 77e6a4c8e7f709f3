//! Which of the jobs that could be started are, where schedules have a say: overlap, `max_runs`.
//!
//! It is decided when there is a slot, not before: what runs now is what counts. One round decides for all jobs of a
//! schedule in turn, so that two of them that are due together do not both go.

use std::collections::HashMap;

use super::Shared;
use crate::domain::id::{JobId, Timestamp};
use crate::domain::job::{Job, Reason, StopCause};
use crate::domain::ledger::sentence;
use crate::domain::overlap::{Admission, admit};
use crate::domain::planned::ScheduleRecord;
use crate::domain::schedule::{Overlap, ScheduleName};
use crate::domain::transition::{Event, Failure};
use crate::store::StoreError;

/// What one round knows of the schedules whose jobs it has come across.
#[derive(Default)]
pub(super) struct Admissions {
    known: HashMap<ScheduleName, Known>,
}

struct Known {
    record: Option<ScheduleRecord>,
    jobs: Vec<Job>,
    /// How many of its ticks this round has let go.
    gone: u64,
}

impl Admissions {
    /// What is to happen to this job instead of being started; nothing if it may start. Those that it replaces are asked
    /// to stop.
    pub(super) async fn instead(
        &mut self,
        shared: &Shared,
        job: &Job,
        now: Timestamp,
    ) -> Result<Option<Event>, StoreError> {
        // Another attempt of what was begun, and what a caller triggered, is not asked about.
        let Some(origin) = job.origin.as_ref().filter(|origin| origin.nominal.is_some() && job.attempt.0 == 0) else {
            return Ok(None);
        };
        if !self.known.contains_key(&origin.schedule) {
            let record = shared.store.schedule(&origin.schedule).await?;
            let jobs = shared.store.jobs_of(&origin.schedule).await?;
            self.known.insert(origin.schedule.clone(), Known { record, jobs, gone: 0 });
        }
        let Some(known) = self.known.get_mut(&origin.schedule) else { return Ok(None) };
        let most = known.record.as_ref().and_then(|record| Some((record.runs, record.schedule.max_runs()?)));
        if most.is_some_and(|(runs, most)| runs + known.gone >= most) {
            return Ok(Some(skip(Reason::Limit)));
        }
        let overlap = known.record.as_ref().map_or(Overlap::Allow, |record| record.schedule.overlap());
        match admit(overlap, job, &known.jobs, now) {
            Admission::Go => {
                known.gone += 1;
                known.begin(job.id);
                Ok(None)
            }
            Admission::Wait => Ok(Some(Event::Queue(Reason::Overlap))),
            Admission::Skip => {
                known.jobs.retain(|other| other.id != job.id);
                Ok(Some(skip(Reason::Overlap)))
            }
            Admission::Replace(begun) => {
                for id in begun {
                    stop(shared, id, now).await?;
                }
                Ok(Some(Event::Queue(Reason::Overlap)))
            }
        }
    }
}

impl Known {
    fn begin(&mut self, id: JobId) {
        for job in self.jobs.iter_mut().filter(|job| job.id == id) {
            job.attempt = job.attempt.next();
        }
    }
}

fn skip(reason: Reason) -> Event {
    Event::Skip(Failure::new(reason, sentence(reason)))
}

/// Stops a job that is replaced, or takes off its next attempt. One that changes meanwhile is asked next round.
async fn stop(shared: &Shared, id: JobId, now: Timestamp) -> Result<(), StoreError> {
    let Some(job) = shared.store.get(id).await? else { return Ok(()) };
    let stopped = job.on(Event::Stop(StopCause::Request), now).or_else(|_| job.on(skip(Reason::Overlap), now));
    let Ok(after) = stopped else { return Ok(()) };
    match shared.store.advance(&job, &after, now).await {
        Ok(()) => shared.poke(id),
        Err(StoreError::Outdated) => {}
        Err(failure) => return Err(failure),
    }
    Ok(())
}
