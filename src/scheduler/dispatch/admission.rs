//! Admission: decides which jobs may take a slot. Checks the definition, the schedule's rules
//! (overlap, `max_runs`), and the capacity of the queue and of `max_parallel`.
//!
//! The decision is made when a slot is free and not earlier, because the jobs that run at that
//! moment count. One round decides jobs one after another, so that two jobs due together do not
//! both take the last place. A round asks the store each question once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::job::transition::{Event, Failure};
use crate::domain::job::{Job, Reason, State, Status, StopCause};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::image::JobName;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::ledger::sentence;
use crate::domain::schedule::overlap::{Admission, OverlapRules};
use crate::domain::schedule::record::ScheduleRecord;
use crate::domain::spec::JobSpec;
use crate::domain::{
    admission::limits::Limits,
    job::wait_group::{Limit, WaitGroup},
};
use crate::scheduler::context::Context;
use crate::scheduler::rules::Rules;
use crate::store::StoreError;

/// The decision about a job that could take a slot.
pub(in crate::scheduler) enum Verdict {
    /// Claim the job with this spec.
    Go(Box<JobSpec>),
    /// Put the job into this wait group.
    WaitInGroup(Reason, WaitGroup),
    /// End the job without a run.
    End(Event),
    /// Let the job wait for a slot.
    NoSlot,
    /// Decide in the next round, when the claims of this one are written.
    NextRound,
}

/// The decision before limits are counted: either final, or the spec and the limits to count.
enum Ruling {
    Out(Verdict),
    In(JobSpec, Limits),
}

/// The definitions, schedules and limits that one round has read so far.
pub(in crate::scheduler) struct Admissions {
    rules: Arc<Rules>,
    definitions: HashMap<JobName, Option<JobSpec>>,
    schedules: HashMap<ScheduleName, Known>,
    running_counts: BTreeMap<Limit, usize>,
}

struct Known {
    record: Option<ScheduleRecord>,
    jobs: Vec<Job>,
    /// The jobs of the schedule's ticks that this round has admitted.
    gone: HashSet<JobId>,
}

impl Admissions {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            definitions: HashMap::new(),
            schedules: HashMap::new(),
            running_counts: BTreeMap::new(),
        }
    }

    /// Decides about this job. Asks the jobs that it replaces to stop.
    pub(super) async fn decide(
        &mut self,
        context: &Context,
        job: &Job,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let (spec, limits) = match self.rule(context, job, now).await? {
            Ruling::In(spec, limits) => (spec, limits),
            Ruling::Out(verdict) => return Ok(verdict),
        };
        self.count(context, limits.counted()).await?;
        if let Some(full) = limits.full(|limit| self.running_counts(limit)) {
            return Ok(Verdict::WaitInGroup(
                full.reason(),
                limits.wait_group(&full, job.state.wait_group()),
            ));
        }
        self.goes(job, &spec);
        Ok(Verdict::Go(Box::new(spec)))
    }

    /// Decides about a job while no slot is free. A new tick, or one that waits for its schedule,
    /// may still be skipped because of an earlier run.
    pub(super) async fn decide_without_slot(
        &mut self,
        context: &Context,
        job: &Job,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let is_open = job.state == State::Scheduled
            || job.state.wait_group().is_some_and(|wait_group| wait_group.schedule.is_some());
        if !is_open || !is_first_of_a_tick(job) || job.due_at > now {
            return Ok(Verdict::NoSlot);
        }
        Ok(match self.rule(context, job, now).await? {
            Ruling::In(..) => Verdict::NoSlot,
            Ruling::Out(verdict) => verdict,
        })
    }

    /// Applies the job's start deadline, definition, policy and schedule.
    async fn rule(
        &mut self,
        context: &Context,
        job: &Job,
        now: Timestamp,
    ) -> Result<Ruling, StoreError> {
        if job.start_deadline().is_some_and(|deadline| deadline < now) {
            return Ok(Ruling::Out(Verdict::End(Event::MissDeadline)));
        }
        let spec = match self.resolve(context, job).await? {
            Ok(spec) => spec,
            Err(failure) => return Ok(Ruling::Out(Verdict::End(Event::Reject(failure)))),
        };
        let limits = Limits::of(job, &spec, &self.rules.catalog.queues);
        Ok(match self.by_schedule(context, job, now).await? {
            BySchedule::Go => Ruling::In(spec, limits),
            BySchedule::Wait => {
                Ruling::Out(Verdict::WaitInGroup(Reason::Overlap, limits.wait_for_schedule()))
            }
            BySchedule::Skip(reason) => {
                Ruling::Out(Verdict::End(Event::Skip(Failure::new(reason, sentence(reason)))))
            }
            BySchedule::NextRound => Ruling::Out(Verdict::NextRound),
        })
    }

    /// Returns the capacity left for each of these wait groups, as far as it can be counted.
    pub(super) async fn capacity(
        &mut self,
        context: &Context,
        wait_groups: impl IntoIterator<Item = WaitGroup>,
    ) -> Result<Vec<(WaitGroup, usize)>, StoreError> {
        let wait_groups: Vec<WaitGroup> = wait_groups.into_iter().collect();
        self.count(context, wait_groups.iter().flat_map(WaitGroup::limits)).await?;
        let capacity = |wait_group: &WaitGroup| {
            wait_group.capacity(&self.rules.catalog.queues, |limit| self.running_counts(limit))
        };
        Ok(wait_groups
            .into_iter()
            .map(|wait_group| (capacity(&wait_group), wait_group))
            .map(|(room, wait_group)| (wait_group, room))
            .collect())
    }

    /// Returns the spec that the job would run, or the reason it can never run.
    async fn resolve(
        &mut self,
        context: &Context,
        job: &Job,
    ) -> Result<Result<JobSpec, Failure>, StoreError> {
        let kept = match self.definitions.get(&job.name) {
            Some(kept) => kept.clone(),
            None if self.rules.catalog.asks_store(&job.name, &job.spec) => {
                let kept =
                    context.store.definition(&job.name).await?.map(|definition| definition.spec);
                self.definitions.insert(job.name.clone(), kept.clone());
                kept
            }
            None => None,
        };
        match self.rules.catalog.resolve(&job.name, job.spec.clone(), kept.as_ref()) {
            Ok(spec) if spec.fields().image.is_some() => Ok(Ok(spec)),
            Ok(_) => context.no_such_job(&self.rules.catalog, &job.name).await.map(Err),
            Err(denied) => Ok(Err(Failure::new(Reason::PolicyDenied, denied.detail))),
        }
    }

    async fn count(
        &mut self,
        context: &Context,
        limits: impl Iterator<Item = Limit>,
    ) -> Result<(), StoreError> {
        let unknown: Vec<Limit> =
            limits.filter(|limit| !self.running_counts.contains_key(limit)).collect();
        if !unknown.is_empty() {
            let running_counts = context.store.taken(&unknown).await?;
            self.running_counts.extend(unknown.into_iter().zip(running_counts));
        }
        Ok(())
    }

    fn running_counts(&self, limit: &Limit) -> usize {
        self.running_counts.get(limit).copied().unwrap_or(0)
    }

    /// Counts the job as running for the rest of this round.
    fn goes(&mut self, job: &Job, spec: &JobSpec) {
        let queue = spec.fields().queue.clone().map(Limit::Queue);
        for limit in queue.into_iter().chain([Limit::Name(job.name.clone())]) {
            if let Some(running_counts) = self.running_counts.get_mut(&limit) {
                *running_counts += 1;
            }
        }
        let known =
            job.origin.schedule().and_then(|origin| self.schedules.get_mut(&origin.schedule));
        if let Some(known) = known.filter(|_| is_first_of_a_tick(job)) {
            known.begin(job.id);
        }
    }

    async fn by_schedule(
        &mut self,
        context: &Context,
        job: &Job,
        now: Timestamp,
    ) -> Result<BySchedule, StoreError> {
        let Some(origin) = job.origin.schedule().filter(|_| is_first_of_a_tick(job)) else {
            return Ok(BySchedule::Go);
        };
        if !self.schedules.contains_key(&origin.schedule) {
            // The jobs are read before the record: a failed run that has left the jobs by then is
            // noted in the record.
            let jobs = context.store.jobs_of(&origin.schedule).await?;
            let record = context.store.schedule(&origin.schedule).await?;
            self.schedules
                .insert(origin.schedule.clone(), Known { record, jobs, gone: HashSet::new() });
        }
        let Some(known) = self.schedules.get_mut(&origin.schedule) else {
            return Ok(BySchedule::Go);
        };
        // The remaining jobs of a deleted schedule have no rules.
        let Some(record) = &known.record else { return Ok(BySchedule::Go) };
        if record
            .schedule
            .max_runs()
            .is_some_and(|most| record.runs + known.gone.len() as u64 >= most)
        {
            return Ok(BySchedule::Skip(Reason::Limit));
        }
        if record.failed && record.schedule.pauses_on_failure() {
            // The next check of the schedule pauses it and cancels this job.
            return Ok(BySchedule::Wait);
        }
        let rules = OverlapRules::from(&record.schedule);
        let is_current =
            |other: &Job| known.gone.contains(&other.id) || context.was_alive(other, job.due_at);
        match rules.admit(job, &known.jobs, now, is_current) {
            Admission::Go => Ok(BySchedule::Go),
            // A job that is judged a moment early is judged again when it is due. Only then are
            // drivers asked, runs replaced, and skipped ticks counted.
            Admission::Inspect(_) | Admission::Replace(_) | Admission::Skip(_)
                if job.due_at > now =>
            {
                Ok(BySchedule::Wait)
            }
            // The claims of this round are not written yet, and may never be.
            Admission::Replace(_) | Admission::Skip(Reason::Overlap) if !known.gone.is_empty() => {
                Ok(BySchedule::NextRound)
            }
            Admission::Wait => Ok(BySchedule::Wait),
            Admission::Inspect(begun) => {
                begun.into_iter().for_each(|id| context.ask_whether_alive(id));
                Ok(BySchedule::Wait)
            }
            Admission::Skip(reason) => {
                known.jobs.retain(|other| other.id != job.id);
                context.backlog().note(&origin.schedule, reason, 1);
                Ok(BySchedule::Skip(reason))
            }
            Admission::Replace(begun) => {
                for id in begun {
                    stop(context, id, now).await?;
                }
                Ok(BySchedule::Wait)
            }
        }
    }
}

/// The decision of the job's schedule.
enum BySchedule {
    Go,
    Wait,
    Skip(Reason),
    NextRound,
}

/// Returns whether this is the first attempt of a tick. Overlap rules do not apply to later
/// attempts or to jobs that a caller triggered.
fn is_first_of_a_tick(job: &Job) -> bool {
    job.attempt.0 == 0 && job.origin.schedule().is_some_and(|origin| origin.nominal.is_some())
}

impl Known {
    fn begin(&mut self, id: JobId) {
        self.gone.insert(id);
        for job in self.jobs.iter_mut().filter(|job| job.id == id) {
            job.attempt = job.attempt.next();
        }
    }
}

/// Stops a job that is replaced, or cancels its next attempt.
async fn stop(context: &Context, id: JobId, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let Some(job) = context.store.get(id).await? else { return Ok(()) };
        let skip = Event::Skip(Failure::new(Reason::Overlap, sentence(Reason::Overlap)));
        if job.state.status() == Status::Stopping {
            // The replacement does not shorten the grace period of a job that is stopping.
            return Ok(());
        }
        let stop = context.rules().catalog.policy.stop(&job, StopCause::Request, None, now);
        let stopped = job.on(stop, now).or_else(|_| job.on(skip, now));
        let Ok(after) = stopped else { return Ok(()) };
        match context.advance(&job, &after, now).await {
            Ok(()) => {
                context.wake_driver(id);
                return Ok(());
            }
            // The job's driver wrote first: read the job and try again.
            Err(StoreError::Outdated) => {}
            Err(failure) => return Err(failure),
        }
    }
}
