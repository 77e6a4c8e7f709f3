//! The dispatcher: asks the store for due jobs and gives them slots.
//!
//! The dispatcher keeps no list of its own. Waiting jobs are in the store, in the order in which
//! they will start: priority, due time, id. A round claims as many jobs as there are slots, records
//! why the others wait, and returns the time until the next round.
//!
//! The dispatcher owns the drivers: it starts one per claimed job and waits for all of them. It
//! also owns the tasks that clear away after them (`clear`), which take no slot.

use std::collections::btree_map::Entry;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::admission::{Admissions, Verdict};
use crate::domain::job::transition::Event;
use crate::domain::job::wait_group::WaitGroup;
use crate::domain::job::{Job, Reason};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::spec::JobSpec;
use crate::scheduler::schedule_updates;
use crate::scheduler::{
    clear,
    context::clearings::Leftover,
    context::{Context, Health, clearings::SweepFinding, drivers::DriverHandle},
    driver,
    reconcile::restored,
    rules::Rules,
    service::handle::Handle,
    stage,
    timing::{BACKOFF, EARLY, LONGEST_NAP, ROUND},
};
use crate::store::StoreError;

/// Dispatches until `stop` is cancelled, then waits for the drivers.
pub(in crate::scheduler) async fn run(
    context: &Arc<Context>,
    found: mpsc::Receiver<SweepFinding>,
    stop: CancellationToken,
) {
    let (drivers, clearing) = (JoinSet::new(), JoinSet::new());
    let mut dispatcher =
        Dispatcher { context, drivers, clearing, stride: 0, synced_rules: None, stop };
    restored::run(context, &dispatcher.stop).await;
    dispatcher.adopt_all().await;
    // The stager starts after the restore, which examines containers that another server staged
    // since the backup.
    let mut stager = JoinSet::new();
    stager.spawn(stage::run(context.clone(), dispatcher.stop.clone()));
    dispatcher.run(found).await;
    while stager.join_next().await.is_some() {}
    while let Some(ended) = dispatcher.drivers.join_next().await {
        let _left_to_the_next_start = reported(ended);
    }
    while dispatcher.clearing.join_next().await.is_some() {}
}

struct Dispatcher<'a> {
    context: &'a Arc<Context>,
    drivers: JoinSet<Option<Leftover>>,
    clearing: JoinSet<()>,
    /// The number of queued jobs that a round reads beyond the number of slots.
    stride: usize,
    /// The rules to which the store's config schedules were last synced.
    synced_rules: Option<Arc<Rules>>,
    stop: CancellationToken,
}

impl Dispatcher<'_> {
    async fn run(&mut self, mut found: mpsc::Receiver<SweepFinding>) {
        while !self.stop.is_cancelled() {
            // Reset first: a job stored after this round's read has to cause another round.
            self.context.rests_until.store(i64::MAX, Ordering::SeqCst);
            let round = self.round().await;
            let nap = round.inspect(|_| self.context.metrics.dispatched(self.context.clock.now()));
            let nap = nap.unwrap_or_else(|failure| {
                // The store has logged this error itself, once.
                if !matches!(failure, StoreError::Gone(_)) {
                    error!(error = %failure, "cannot read or update the due jobs; trying again");
                }
                self.context.wait_groups().read_again();
                LONGEST_NAP
            });
            let until = i64::try_from(nap.as_millis()).unwrap_or(0)
                + self.context.clock.now().timestamp_millis();
            self.context.rests_until.store(until, Ordering::SeqCst);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                Some(ended) = self.drivers.join_next() => self.forget(ended),
                Some(ended) = self.clearing.join_next() => drop(reported(ended)),
                Some(found) = found.recv() => match found {
                    SweepFinding::Undriven(job) => self.drive(job, None),
                    SweepFinding::LeftOver(left) => self.clear_away(left),
                },
                () = self.context.wake.notified() => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    /// Gives a driver to every job that was claimed when the last process ended, and reads the pause
    /// of everything. There is no other recovery.
    async fn adopt_all(&mut self) {
        let mut backoff = crate::scheduler::timing::Backoff::new();
        while !self.stop.is_cancelled() {
            // The pause comes first: nothing is started before it is known.
            let active = match self.context.read_pause().await {
                Ok(()) => self.context.store.active().await,
                Err(failure) => Err(failure),
            };
            match active {
                Ok(jobs) => return jobs.into_iter().for_each(|job| self.drive(job, None)),
                Err(failure) => {
                    error!(error = %failure, "cannot read the running jobs; trying again")
                }
            }
            backoff.pause().await;
        }
    }

    /// Runs one round over the due jobs. Returns the time until the next round is worthwhile.
    async fn round(&mut self) -> Result<Duration, StoreError> {
        let rules = self.context.rules();
        if !self.synced_rules.as_ref().is_some_and(|known| Arc::ptr_eq(known, &rules)) {
            Handle::new(self.context.clone()).sync_config_schedules(&rules.catalog).await?;
            self.synced_rules = Some(rules.clone());
        }
        let now = self.context.clock.now();
        let resumes_at = self.context.look_at_pause(now).await?;
        // Schedules come first: a missed tick must be decided before its job could start.
        let next_schedule_check = schedule_updates::look(self.context, now).await?;
        self.miss_deadlines(now).await?;
        let (due, soon) = self.due(now).await?;
        let full_round = due.len() == ROUND;
        let is_late = |job: &Job| job.start_deadline().is_some_and(|deadline| deadline < now);
        let (late, due): (Vec<Job>, Vec<Job>) = due.into_iter().partition(is_late);
        self.advance_all(&late, &Event::MissDeadline, now).await?;
        let mut is_unfinished = full_round;
        match self.obstacle(now) {
            Some(reason) => self.queue(due, reason, now).await?,
            // More jobs than one round reads are queued first: only all of them together show the
            // right order.
            None if full_round => self.queue(due, Reason::NoSlot, now).await?,
            None => is_unfinished = self.fill_slots(&rules, due, soon, now).await?,
        }
        if is_unfinished {
            return Ok(Duration::ZERO);
        }
        let next_due = self.context.store.next_due().await?;
        let aimed = self.context.aimed().into_iter().map(|(starts_at, _)| starts_at);
        // The next round is `EARLY` before the due or start time if that is still ahead, else at
        // the due time.
        let early = next_due.into_iter().chain(aimed).map(|at| at - EARLY).filter(|at| *at > now);
        Ok(
            match next_due
                .into_iter()
                .chain(next_schedule_check)
                .chain(early)
                .chain(resumes_at)
                .min()
            {
                None => LONGEST_NAP,
                // The driver of this job's last attempt has not ended yet.
                Some(at) if at <= now => BACKOFF.0,
                Some(at) => {
                    (at - self.context.clock.now()).to_std().unwrap_or_default().min(LONGEST_NAP)
                }
            },
        )
    }

    /// Returns the due jobs, and the jobs that will be due in a moment whose container is staged
    /// already.
    async fn due(&self, now: Timestamp) -> Result<(Vec<Job>, Vec<Job>), StoreError> {
        let aimed =
            self.context.aimed().into_iter().filter(|(starts_at, _)| *starts_at - EARLY <= now);
        let until = aimed.map(|(_, due_at)| due_at).fold(now + EARLY, Timestamp::max);
        let mut due = self.context.store.due(until, ROUND).await?;
        let mut soon = due.split_off(due.partition_point(|job| job.due_at <= now));
        soon.retain(|job| {
            self.context.start_latencies.starts_at(job) - EARLY <= now
                && self.context.stage.is_ready(job.id)
        });
        Ok((due, soon))
    }

    /// Returns the reason if no job can start at all.
    fn obstacle(&self, now: Timestamp) -> Option<Reason> {
        match &*self.context.health.look() {
            Health::Up(_) => self.context.paused(now).map(|_| Reason::Paused),
            Health::Down { .. } => Some(Reason::EngineUnreachable),
            Health::Changed { .. } => Some(Reason::EngineChanged),
        }
    }

    /// Starts due, queued and released jobs in one order (priority, due time, id) until the slots
    /// are used, and queues the rest. Returns whether another round is worthwhile now: decisions
    /// were left open, or free slots remain and something has changed.
    async fn fill_slots(
        &mut self,
        rules: &Arc<Rules>,
        due: Vec<Job>,
        soon: Vec<Job>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let slots = rules.max_running().saturating_sub(self.drivers.len());
        let mut admissions = Admissions::new(rules.clone());
        let (mut waiting, mut open) = self.waiting(slots, &mut admissions).await?;
        let queued: HashSet<JobId> = waiting.iter().map(|job| job.id).collect();
        waiting.extend(due);
        waiting.extend(soon);
        waiting.sort_by_key(|job| {
            (std::cmp::Reverse(job.spec.fields().priority.unwrap_or(0)), job.due_at, job.id)
        });
        // Skips a job whose last driver has not ended yet: the end of that driver wakes the
        // dispatcher.
        waiting.retain(|job| self.context.driver_handle(job.id).is_none());
        let (mut going, mut others, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let (mut is_news, mut is_open) = (false, false);
        for job in waiting {
            let verdict = if going.len() < slots {
                admissions.decide(self.context, &job, now).await?
            } else {
                admissions.decide_without_slot(self.context, &job, now).await?
            };
            match verdict {
                Verdict::Go(spec) => going.push((job, spec)),
                Verdict::NoSlot => rest.push(job),
                Verdict::NextRound => is_open = true,
                // An early job is judged again when it is due.
                Verdict::End(_) | Verdict::WaitInGroup(..) if job.due_at > now => {}
                Verdict::End(event) => others.push((job, event)),
                // The job keeps waiting, and so does everything else in its wait group.
                Verdict::WaitInGroup(_, wait_group)
                    if job.state.wait_group() == Some(&wait_group) =>
                {
                    is_news |= open.remove(&wait_group)
                }
                Verdict::WaitInGroup(reason, wait_group) => {
                    self.context.wait_groups().add(&wait_group);
                    others.push((job, Event::WaitInGroup(reason, wait_group)));
                }
            }
        }
        self.context.wait_groups().look_again(open);
        let has_room = going.len() < slots;
        let moved =
            join_all(others.into_iter().map(|(job, event)| self.advance_one(job, event, now)))
                .await;
        let moved = moved.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().count();
        self.claim(going, now).await?;
        self.context.start_limit.set_crowded(!has_room);
        // A job that waited for the end of a pause waits for a slot now.
        let is_new_here =
            |job: &Job| !queued.contains(&job.id) || job.state.reason() == Some(Reason::Paused);
        let rest = rest.into_iter().filter(|job| job.due_at <= now && is_new_here(job)).collect();
        self.queue(rest, Reason::NoSlot, now).await?;
        // Jobs for a full queue are moved aside in strides that grow with every round.
        self.stride = if has_room && moved > 0 { (2 * self.stride + 1).min(ROUND) } else { 0 };
        Ok(is_open || has_room && (moved > 0 || is_news))
    }

    /// Returns the first queued jobs, as many as there are slots plus the stride, and the first
    /// jobs of each wait group that has capacity. Also returns the wait groups that may hold more
    /// such jobs.
    async fn waiting(
        &self,
        slots: usize,
        admissions: &mut Admissions,
    ) -> Result<(Vec<Job>, BTreeSet<WaitGroup>), StoreError> {
        let mut jobs = match slots {
            0 => Vec::new(),
            _ => self.context.store.queued(slots.saturating_add(self.stride).min(ROUND)).await?,
        };
        self.context.read_wait_groups().await?;
        let to_look_at = self.context.wait_groups().take();
        // Without a slot only a schedule's rules can still decide about a job.
        let (to_look_at, later): (BTreeSet<WaitGroup>, BTreeSet<WaitGroup>) = to_look_at
            .into_iter()
            .partition(|wait_group| slots > 0 || wait_group.schedule.is_some());
        self.context.wait_groups().look_again(later);
        let mut open = admissions.capacity(self.context, to_look_at).await?;
        open.retain(|(_, room)| *room > 0);
        let most = slots.clamp(1, ROUND);
        let held = if open.is_empty() {
            Vec::new()
        } else {
            self.context.store.waiting_in_groups(&open, most).await?
        };
        let mut open: BTreeSet<WaitGroup> =
            open.into_iter().map(|(wait_group, _)| wait_group).collect();
        if held.len() < most {
            let found: BTreeSet<WaitGroup> =
                held.iter().filter_map(|job| job.state.wait_group().cloned()).collect();
            open.difference(&found).for_each(|empty| self.context.wait_groups().remove(empty));
            open = found;
        }
        jobs.extend(held);
        Ok((jobs, open))
    }

    /// Claims these jobs, all in one commit where the store can, and starts a driver for each job
    /// that was written.
    async fn claim(
        &mut self,
        jobs: Vec<(Job, Box<JobSpec>)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let this = &*self;
        let claims = jobs.into_iter().map(|(job, spec)| async move {
            let event = Event::Claim((*spec != job.spec).then(|| spec.clone()));
            let claimed = this.advance(&job, event, now).await;
            if !matches!(claimed, Ok(Some(_))) {
                // Other jobs were put into a wait group because this one was counted as running.
                this.context.release(&job, &spec);
            }
            claimed
        });
        let mut written = Ok(());
        for claimed in join_all(claims).await {
            match claimed {
                Ok(Some(claimed)) => self.drive(claimed.id, Some(claimed)),
                Ok(None) => {}
                Err(failure) => written = Err(failure),
            }
        }
        written
    }

    async fn queue(
        &self,
        jobs: Vec<Job>,
        reason: Reason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.advance_all(&jobs, &Event::Queue(reason), now).await
    }

    async fn miss_deadlines(&self, now: Timestamp) -> Result<(), StoreError> {
        let late = self.context.store.queued_past_deadline(now, ROUND).await?;
        self.advance_all(&late, &Event::MissDeadline, now).await
    }

    async fn advance_one(
        &self,
        job: Job,
        event: Event,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        self.advance(&job, event, now).await
    }

    async fn advance_all(
        &self,
        jobs: &[Job],
        event: &Event,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let advanced = join_all(jobs.iter().map(|job| self.advance(job, event.clone(), now))).await;
        advanced.into_iter().try_for_each(|written| written.map(|_| ()))
    }

    /// Writes the transition and returns the job after `event`. Returns `None` if the job changed
    /// meanwhile: the next round considers it again. A failed write leaves the job as it is and
    /// ends the round, so that a full disk is not written to again at once.
    async fn advance(
        &self,
        job: &Job,
        event: Event,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let Ok(next) = job.on(event, now) else { return Ok(None) };
        match self.context.advance(job, &next, now).await {
            Ok(()) => Ok(Some(next)),
            Err(StoreError::Outdated) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn drive(&mut self, id: JobId, claimed: Option<Job>) {
        let driver_handle = Arc::new(DriverHandle::default());
        match self.context.driver_handles().entry(id) {
            // A sweep may have found the job between its claim and this call.
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => place.insert(driver_handle.clone()),
        };
        let (context, stop) = (self.context.clone(), self.stop.clone());
        self.drivers.spawn(async move {
            let _leave = DriverGuard { context: context.clone(), id };
            driver::run(context, id, claimed, driver_handle, stop).await
        });
    }

    fn forget(&mut self, ended: Result<Option<Leftover>, tokio::task::JoinError>) {
        if let Some(left) = reported(ended).flatten() {
            self.clear_away(left);
        }
        self.context.wake.notify_one();
    }

    fn clear_away(&mut self, left: Leftover) {
        self.clearing.spawn(clear::run(self.context.clone(), left, self.stop.clone()));
    }
}

/// Removes a driver's handle when the driver ends, even if it panics.
struct DriverGuard {
    context: Arc<Context>,
    id: JobId,
}

impl Drop for DriverGuard {
    fn drop(&mut self) {
        self.context.driver_handles().remove(&self.id);
    }
}

/// Returns the task's result, or `None` if it panicked. A panic in one job's task does not affect
/// the others; the next sweep takes up its work.
fn reported<T>(ended: Result<T, tokio::task::JoinError>) -> Option<T> {
    ended
        .inspect_err(
            |failure| error!(error = %failure, "a task panicked; the next sweep takes up its job"),
        )
        .ok()
}
