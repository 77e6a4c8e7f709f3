//! The dispatcher: asks the store what is due, and gives it slots.
//!
//! It keeps no list of its own: what waits is in the store, in the order in which it is to go (priority, due time,
//! id). A round claims as many as there are slots, writes down why the others wait, and says when the next one is due.
//! It owns the drivers: it starts one per claimed job, and waits for all of them. It owns what clears away after them, too
//! (`clear`): that takes no slot.

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
use super::{
    BACKOFF, EARLY, Found, Handle, Health, LONGEST_NAP, Leftover, ROUND, Rules, Seat, Shared,
    clear, driver, restore, schedules, stage,
};
use crate::domain::hold::Hold;
use crate::domain::id::{JobId, Timestamp};
use crate::domain::job::{Job, Reason};
use crate::domain::spec::JobSpec;
use crate::domain::transition::Event;
use crate::store::StoreError;

/// Dispatches until told to stop, then waits for the drivers.
pub(super) async fn run(
    shared: &Arc<Shared>,
    found: mpsc::Receiver<Found>,
    stop: CancellationToken,
) {
    let (drivers, clearing) = (JoinSet::new(), JoinSet::new());
    let mut dispatcher = Dispatcher { shared, drivers, clearing, stride: 0, in_line: None, stop };
    restore::run(shared, &dispatcher.stop).await;
    dispatcher.adopt_all().await;
    // Not before: what another server has staged since a backup is found there.
    let mut stager = JoinSet::new();
    stager.spawn(stage::run(shared.clone(), dispatcher.stop.clone()));
    dispatcher.run(found).await;
    while stager.join_next().await.is_some() {}
    while let Some(ended) = dispatcher.drivers.join_next().await {
        let _left_to_the_next_start = reported(ended);
    }
    while dispatcher.clearing.join_next().await.is_some() {}
}

struct Dispatcher<'a> {
    shared: &'a Arc<Shared>,
    drivers: JoinSet<Option<Leftover>>,
    clearing: JoinSet<()>,
    /// How many more of the queue are looked at than there are slots.
    stride: usize,
    /// The rules with which the store's schedules are in line.
    in_line: Option<Arc<Rules>>,
    stop: CancellationToken,
}

impl Dispatcher<'_> {
    async fn run(&mut self, mut found: mpsc::Receiver<Found>) {
        while !self.stop.is_cancelled() {
            // First: what is on disk later than a round's look at it has to wake the next.
            self.shared.rests_until.store(i64::MAX, Ordering::SeqCst);
            let nap = self.round().await.unwrap_or_else(|failure| {
                // The store has told the log, once.
                if !matches!(failure, StoreError::Gone(_)) {
                    error!(error = %failure, "what is due can be neither read nor moved on; trying again");
                }
                self.shared.holds().read_again();
                LONGEST_NAP
            });
            let until = i64::try_from(nap.as_millis()).unwrap_or(0)
                + self.shared.clock.now().timestamp_millis();
            self.shared.rests_until.store(until, Ordering::SeqCst);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                Some(ended) = self.drivers.join_next() => self.forget(ended),
                Some(ended) = self.clearing.join_next() => drop(reported(ended)),
                Some(found) = found.recv() => match found {
                    Found::Undriven(job) => self.drive(job, None),
                    Found::LeftOver(left) => self.clear_away(left),
                },
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    /// Every job that was claimed when the last process ended gets a driver again. There is no other recovery.
    async fn adopt_all(&mut self) {
        let mut backoff = super::Backoff::new();
        while !self.stop.is_cancelled() {
            match self.shared.store.active().await {
                Ok(jobs) => return jobs.into_iter().for_each(|job| self.drive(job, None)),
                Err(failure) => {
                    error!(error = %failure, "the store cannot be asked what runs; trying again")
                }
            }
            backoff.pause().await;
        }
    }

    /// One look at what is due. Gives the time until it is worth looking again.
    async fn round(&mut self) -> Result<Duration, StoreError> {
        let rules = self.shared.rules();
        if !self.in_line.as_ref().is_some_and(|known| Arc::ptr_eq(known, &rules)) {
            Handle::new(self.shared.clone()).bring_in_line(&rules.catalog).await?;
            self.in_line = Some(rules.clone());
        }
        let now = self.shared.clock.now();
        // First: what was missed is not to be started before that is known.
        let next_look = schedules::look(self.shared, now).await?;
        self.miss_deadlines(now).await?;
        let (due, soon) = self.due(now).await?;
        let full_round = due.len() == ROUND;
        let is_late = |job: &Job| job.start_deadline().is_some_and(|deadline| deadline < now);
        let (late, due): (Vec<Job>, Vec<Job>) = due.into_iter().partition(is_late);
        self.advance_all(&late, &Event::MissDeadline, now).await?;
        let mut is_unfinished = full_round;
        match self.obstacle() {
            Some(reason) => self.queue(due, reason, now).await?,
            // A herd is queued first: only all of it together shows who goes first.
            None if full_round => self.queue(due, Reason::NoSlot, now).await?,
            None => is_unfinished = self.fill_slots(&rules, due, soon, now).await?,
        }
        if is_unfinished {
            return Ok(Duration::ZERO);
        }
        let next_due = self.shared.store.next_due().await?;
        let aimed = self.shared.aimed().into_iter().map(|(starts_at, _)| starts_at);
        // A moment early, if that is still to come; else when it is due.
        let early = next_due.into_iter().chain(aimed).map(|at| at - EARLY).filter(|at| *at > now);
        Ok(match next_due.into_iter().chain(next_look).chain(early).min() {
            None => LONGEST_NAP,
            // The driver of its last attempt is not gone yet.
            Some(at) if at <= now => BACKOFF.0,
            Some(at) => {
                (at - self.shared.clock.now()).to_std().unwrap_or_default().min(LONGEST_NAP)
            }
        })
    }

    /// What is due; and what is to be started in a moment, if only that is left to do for it.
    async fn due(&self, now: Timestamp) -> Result<(Vec<Job>, Vec<Job>), StoreError> {
        let aimed =
            self.shared.aimed().into_iter().filter(|(starts_at, _)| *starts_at - EARLY <= now);
        let until = aimed.map(|(_, due_at)| due_at).fold(now + EARLY, Timestamp::max);
        let mut due = self.shared.store.due(until, ROUND).await?;
        let mut soon = due.split_off(due.partition_point(|job| job.due_at <= now));
        soon.retain(|job| {
            self.shared.starts_at(job) - EARLY <= now && self.shared.stage.is_ready(job.id)
        });
        Ok((due, soon))
    }

    /// What keeps all jobs from being started.
    fn obstacle(&self) -> Option<Reason> {
        match &*self.shared.health.look() {
            Health::Up(_) => None,
            Health::Down { .. } => Some(Reason::EngineUnreachable),
            Health::Changed { .. } => Some(Reason::EngineChanged),
        }
    }

    /// Those that are due now, those that have waited and those that need be held back no longer go by the same order; who
    /// gets no slot is queued. Whether slots are left though others may be there for them.
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
        // The driver of the last attempt may not be gone yet: its end wakes us again.
        waiting.retain(|job| self.shared.seat(job.id).is_none());
        let (mut going, mut others, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_news = false;
        for job in waiting {
            let verdict = if going.len() < slots {
                admissions.judge(self.shared, &job, now).await?
            } else {
                admissions.judge_without_slot(self.shared, &job, now).await?
            };
            match verdict {
                Verdict::Go(spec) => going.push((job, spec)),
                Verdict::NoSlot => rest.push(job),
                // It is asked about again when it is due.
                Verdict::End(_) | Verdict::Hold(..) if job.due_at > now => {}
                Verdict::End(event) => others.push((job, event)),
                // And with it all that wait for the same.
                Verdict::Hold(_, hold) if job.state.hold() == Some(&hold) => {
                    is_news |= open.remove(&hold)
                }
                Verdict::Hold(reason, hold) => {
                    self.shared.holds().add(&hold);
                    others.push((job, Event::Hold(reason, hold)));
                }
            }
        }
        self.shared.holds().look_again(open);
        let has_room = going.len() < slots;
        let moved =
            join_all(others.into_iter().map(|(job, event)| self.advance_one(job, event, now)))
                .await;
        let moved = moved.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().count();
        self.claim(going, now).await?;
        self.shared.starting.set_crowded(!has_room);
        let rest =
            rest.into_iter().filter(|job| job.due_at <= now && !queued.contains(&job.id)).collect();
        self.queue(rest, Reason::NoSlot, now).await?;
        // A herd for a queue that is full is put aside in longer and longer strides.
        self.stride = if has_room && moved > 0 { (2 * self.stride + 1).min(ROUND) } else { 0 };
        Ok(has_room && (moved > 0 || is_news))
    }

    /// The first of those that wait, as many as there are slots; and of those that are held back, the first where there is
    /// room. With the holds under which there may be more of them.
    async fn waiting(
        &self,
        slots: usize,
        admissions: &mut Admissions,
    ) -> Result<(Vec<Job>, BTreeSet<Hold>), StoreError> {
        let mut jobs = match slots {
            0 => Vec::new(),
            _ => self.shared.store.queued(slots.saturating_add(self.stride).min(ROUND)).await?,
        };
        self.shared.read_holds().await?;
        let to_look_at = self.shared.holds().take();
        // Without a slot only a schedule can still decide.
        let (to_look_at, later): (BTreeSet<Hold>, BTreeSet<Hold>) =
            to_look_at.into_iter().partition(|hold| slots > 0 || hold.schedule.is_some());
        self.shared.holds().look_again(later);
        let mut open = admissions.room(self.shared, to_look_at).await?;
        open.retain(|(_, room)| *room > 0);
        let most = slots.clamp(1, ROUND);
        let held =
            if open.is_empty() { Vec::new() } else { self.shared.store.held(&open, most).await? };
        let mut open: BTreeSet<Hold> = open.into_iter().map(|(hold, _)| hold).collect();
        if held.len() < most {
            let found: BTreeSet<Hold> =
                held.iter().filter_map(|job| job.state.hold().cloned()).collect();
            open.difference(&found).for_each(|empty| self.shared.holds().remove(empty));
            open = found;
        }
        jobs.extend(held);
        Ok((jobs, open))
    }

    /// Claims these jobs, all in one commit where the store can, and starts the drivers of those that could be written.
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
                // Others were held back in its favour.
                this.shared.let_go(&job, &spec);
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
        let late = self.shared.store.queued_past_deadline(now, ROUND).await?;
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

    /// The job after the event. One that changed meanwhile is looked at again next round; one that cannot be written
    /// stays as it is, and the round ends there: a disk that is full is not asked again at once.
    async fn advance(
        &self,
        job: &Job,
        event: Event,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let Ok(next) = job.on(event, now) else { return Ok(None) };
        match self.shared.advance(job, &next, now).await {
            Ok(()) => Ok(Some(next)),
            Err(StoreError::Outdated) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn drive(&mut self, id: JobId, claimed: Option<Job>) {
        let seat = Arc::new(Seat::default());
        match self.shared.seats().entry(id) {
            // A sweep may have seen it between its claim and this.
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => place.insert(seat.clone()),
        };
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        self.drivers.spawn(async move {
            let _leave = Leave { shared: shared.clone(), id };
            driver::run(shared, id, claimed, seat, stop).await
        });
    }

    fn forget(&mut self, ended: Result<Option<Leftover>, tokio::task::JoinError>) {
        if let Some(left) = reported(ended).flatten() {
            self.clear_away(left);
        }
        self.shared.wake.notify_one();
    }

    fn clear_away(&mut self, left: Leftover) {
        self.clearing.spawn(clear::run(self.shared.clone(), left, self.stop.clone()));
    }
}

/// Gives up a driver's seat when the driver is gone, however it went.
struct Leave {
    shared: Arc<Shared>,
    id: JobId,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.shared.seats().remove(&self.id);
    }
}

/// What a task gave. One job's may panic without taking the others along; the next sweep finds what it was to do.
fn reported<T>(ended: Result<T, tokio::task::JoinError>) -> Option<T> {
    ended
        .inspect_err(|failure| error!(error = %failure, "a task broke; its job is taken up again by the next sweep"))
        .ok()
}
