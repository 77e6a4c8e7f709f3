//! Which of the jobs that could be given a slot are: what their names stand for, what their schedules say (overlap,
//! `max_runs`), and how much room there is in their queue and under their `max_parallel`.
//!
//! It is decided when there is a slot, not before: what runs now is what counts. One round decides for all jobs in turn,
//! so that two that are due together do not both take the last place. What it asks the store it asks once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Rules, Shared};
use crate::domain::hold::{Hold, Limit, Limits};
use crate::domain::id::{JobId, Timestamp};
use crate::domain::image::JobName;
use crate::domain::job::{Job, Reason, State, Status, StopCause};
use crate::domain::ledger::sentence;
use crate::domain::overlap::{Admission, OverlapRules};
use crate::domain::planned::ScheduleRecord;
use crate::domain::schedule::ScheduleName;
use crate::domain::spec::JobSpec;
use crate::domain::transition::{Event, Failure};
use crate::store::StoreError;

/// What is to happen to a job that could be given a slot.
pub(super) enum Verdict {
    /// It is claimed, and runs this.
    Go(Box<JobSpec>),
    /// It is held back.
    Hold(Reason, Hold),
    /// It is not to run at all.
    End(Event),
    /// It waits for a slot.
    NoSlot,
}

/// What stands before the limits: a verdict, or what would run, and under which limits.
enum Ruling {
    Out(Verdict),
    In(JobSpec, Limits),
}

/// What one round knows of definitions, schedules and limits that its jobs led to.
pub(super) struct Admissions {
    rules: Arc<Rules>,
    definitions: HashMap<JobName, Option<JobSpec>>,
    schedules: HashMap<ScheduleName, Known>,
    taken: BTreeMap<Limit, usize>,
}

struct Known {
    record: Option<ScheduleRecord>,
    jobs: Vec<Job>,
    /// The jobs of its ticks that this round has let go.
    gone: HashSet<JobId>,
}

impl Admissions {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            definitions: HashMap::new(),
            schedules: HashMap::new(),
            taken: BTreeMap::new(),
        }
    }

    /// What is to happen to this job. Those that it replaces are asked to stop.
    pub(super) async fn judge(
        &mut self,
        shared: &Shared,
        job: &Job,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let (spec, limits) = match self.rule(shared, job, now).await? {
            Ruling::In(spec, limits) => (spec, limits),
            Ruling::Out(verdict) => return Ok(verdict),
        };
        self.count(shared, limits.counted()).await?;
        if let Some(full) = limits.full(|limit| self.taken(limit)) {
            return Ok(Verdict::Hold(full.reason(), limits.hold(&full, job.state.hold())));
        }
        self.goes(job, &spec);
        Ok(Verdict::Go(Box::new(spec)))
    }

    /// What is to happen to a job for which there is no slot: a tick that has just become due, or waits for its schedule, is
    /// skipped for a run before it all the same.
    pub(super) async fn judge_without_slot(
        &mut self,
        shared: &Shared,
        job: &Job,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let is_open = job.state == State::Scheduled
            || job.state.hold().is_some_and(|hold| hold.schedule.is_some());
        if !is_open || !is_first_of_a_tick(job) || job.due_at > now {
            return Ok(Verdict::NoSlot);
        }
        Ok(match self.rule(shared, job, now).await? {
            Ruling::In(..) => Verdict::NoSlot,
            Ruling::Out(verdict) => verdict,
        })
    }

    /// What its deadline, its name, its policy and its schedule say to a job.
    async fn rule(
        &mut self,
        shared: &Shared,
        job: &Job,
        now: Timestamp,
    ) -> Result<Ruling, StoreError> {
        if job.start_deadline().is_some_and(|deadline| deadline < now) {
            return Ok(Ruling::Out(Verdict::End(Event::MissDeadline)));
        }
        let spec = match self.resolve(shared, job).await? {
            Ok(spec) => spec,
            Err(failure) => return Ok(Ruling::Out(Verdict::End(Event::Reject(failure)))),
        };
        let limits = Limits::of(job, &spec, &self.rules.catalog.queues);
        Ok(match self.by_schedule(shared, job, now).await? {
            BySchedule::Go => Ruling::In(spec, limits),
            BySchedule::Wait => {
                Ruling::Out(Verdict::Hold(Reason::Overlap, limits.hold_by_schedule()))
            }
            BySchedule::Skip(reason) => {
                Ruling::Out(Verdict::End(Event::Skip(Failure::new(reason, sentence(reason)))))
            }
        })
    }

    /// How many jobs can go from under each of these holds, as far as can be counted.
    pub(super) async fn room(
        &mut self,
        shared: &Shared,
        holds: impl IntoIterator<Item = Hold>,
    ) -> Result<Vec<(Hold, usize)>, StoreError> {
        let holds: Vec<Hold> = holds.into_iter().collect();
        self.count(shared, holds.iter().flat_map(Hold::limits)).await?;
        let room = |hold: &Hold| hold.room(&self.rules.catalog.queues, |limit| self.taken(limit));
        Ok(holds
            .into_iter()
            .map(|hold| (room(&hold), hold))
            .map(|(room, hold)| (hold, room))
            .collect())
    }

    /// What it runs, or why it can never be.
    async fn resolve(
        &mut self,
        shared: &Shared,
        job: &Job,
    ) -> Result<Result<JobSpec, Failure>, StoreError> {
        let kept = match self.definitions.get(&job.name) {
            Some(kept) => kept.clone(),
            None if self.rules.catalog.asks_store(&job.name, &job.spec) => {
                let kept =
                    shared.store.definition(&job.name).await?.map(|definition| definition.spec);
                self.definitions.insert(job.name.clone(), kept.clone());
                kept
            }
            None => None,
        };
        match self.rules.catalog.resolve(&job.name, job.spec.clone(), kept.as_ref()) {
            Ok(spec) if spec.fields().image.is_some() => Ok(Ok(spec)),
            Ok(_) => shared.no_such_job(&self.rules.catalog, &job.name).await.map(Err),
            Err(denied) => Ok(Err(Failure::new(Reason::PolicyDenied, denied.detail))),
        }
    }

    async fn count(
        &mut self,
        shared: &Shared,
        limits: impl Iterator<Item = Limit>,
    ) -> Result<(), StoreError> {
        let unknown: Vec<Limit> = limits.filter(|limit| !self.taken.contains_key(limit)).collect();
        if !unknown.is_empty() {
            let taken = shared.store.taken(&unknown).await?;
            self.taken.extend(unknown.into_iter().zip(taken));
        }
        Ok(())
    }

    fn taken(&self, limit: &Limit) -> usize {
        self.taken.get(limit).copied().unwrap_or(0)
    }

    /// It is given a slot: for those that come after it in this round, it runs.
    fn goes(&mut self, job: &Job, spec: &JobSpec) {
        let queue = spec.fields().queue.clone().map(Limit::Queue);
        for limit in queue.into_iter().chain([Limit::Name(job.name.clone())]) {
            if let Some(taken) = self.taken.get_mut(&limit) {
                *taken += 1;
            }
        }
        let known = job.origin.as_ref().and_then(|origin| self.schedules.get_mut(&origin.schedule));
        if let Some(known) = known.filter(|_| is_first_of_a_tick(job)) {
            known.begin(job.id);
        }
    }

    async fn by_schedule(
        &mut self,
        shared: &Shared,
        job: &Job,
        now: Timestamp,
    ) -> Result<BySchedule, StoreError> {
        let Some(origin) = job.origin.as_ref().filter(|_| is_first_of_a_tick(job)) else {
            return Ok(BySchedule::Go);
        };
        if !self.schedules.contains_key(&origin.schedule) {
            // In this order: a failed run that is not among the jobs any more is in the record.
            let jobs = shared.store.jobs_of(&origin.schedule).await?;
            let record = shared.store.schedule(&origin.schedule).await?;
            self.schedules
                .insert(origin.schedule.clone(), Known { record, jobs, gone: HashSet::new() });
        }
        let Some(known) = self.schedules.get_mut(&origin.schedule) else {
            return Ok(BySchedule::Go);
        };
        // A schedule that was deleted has no rules for what is left of it.
        let Some(record) = &known.record else { return Ok(BySchedule::Go) };
        if record
            .schedule
            .max_runs()
            .is_some_and(|most| record.runs + known.gone.len() as u64 >= most)
        {
            return Ok(BySchedule::Skip(Reason::Limit));
        }
        if record.failed && record.schedule.pauses_on_failure() {
            // The next look at the schedule pauses it, and takes this job off.
            return Ok(BySchedule::Wait);
        }
        let rules = OverlapRules::from(&record.schedule);
        let is_current =
            |other: &Job| known.gone.contains(&other.id) || shared.was_alive(other, job.due_at);
        match rules.admit(job, &known.jobs, now, is_current) {
            Admission::Go => Ok(BySchedule::Go),
            Admission::Wait => Ok(BySchedule::Wait),
            Admission::Look(begun) => {
                // One that is claimed a moment early is asked about when it is due.
                if job.due_at <= now {
                    begun.into_iter().for_each(|id| shared.ask_whether_alive(id));
                }
                Ok(BySchedule::Wait)
            }
            Admission::Skip(reason) => {
                known.jobs.retain(|other| other.id != job.id);
                shared.note_backlog(&origin.schedule, reason, 1);
                Ok(BySchedule::Skip(reason))
            }
            Admission::Replace(begun) => {
                for id in begun {
                    stop(shared, id, now).await?;
                }
                Ok(BySchedule::Wait)
            }
        }
    }
}

/// What a job's schedule says.
enum BySchedule {
    Go,
    Wait,
    Skip(Reason),
}

/// Another attempt of what was begun, and what a caller triggered, is not asked about.
fn is_first_of_a_tick(job: &Job) -> bool {
    job.attempt.0 == 0 && job.origin.as_ref().is_some_and(|origin| origin.nominal.is_some())
}

impl Known {
    fn begin(&mut self, id: JobId) {
        self.gone.insert(id);
        for job in self.jobs.iter_mut().filter(|job| job.id == id) {
            job.attempt = job.attempt.next();
        }
    }
}

/// Stops a job that is replaced, or takes off its next attempt.
async fn stop(shared: &Shared, id: JobId, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let Some(job) = shared.store.get(id).await? else { return Ok(()) };
        let skip = Event::Skip(Failure::new(Reason::Overlap, sentence(Reason::Overlap)));
        if job.state.status() == Status::Stopping {
            // It is not hurried: nobody has asked for that.
            return Ok(());
        }
        let stop = shared.rules().catalog.policy.stop(&job, StopCause::Request, None, now);
        let stopped = job.on(stop, now).or_else(|_| job.on(skip, now));
        let Ok(after) = stopped else { return Ok(()) };
        match shared.advance(&job, &after, now).await {
            Ok(()) => {
                shared.poke(id);
                return Ok(());
            }
            // Its driver came first: it is read again, and asked again.
            Err(StoreError::Outdated) => {}
            Err(failure) => return Err(failure),
        }
    }
}
