//! Staging: creates containers shortly before jobs are due, so that only `start` remains.
//!
//! The stager pulls the image and creates the container, under its final name and labels. Nothing
//! is written to the store and nothing is started. Staging may fail or be forgotten at any point:
//! the driver inspects the engine and makes what is missing. A staged container is removed when its
//! job is canceled, postponed or changed.
//!
//! Either the stager or a driver owns a staged container, never both. While the stager works on
//! one, the job's *place* is busy, and a driver waits for it
//! ([`Stage::take`](crate::scheduler::context::staged::Stage::take)). Once a driver has taken the
//! container, the stager leaves it alone. The stager reads the job after marking its place busy, so
//! it never removes a container of a claimed job.

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::job::{Job, Map};
use crate::domain::names::id::{ContainerId, Timestamp};
use crate::scheduler::context::Context;
use crate::scheduler::context::staged::{Slot, Staged, Work};
use crate::scheduler::timing::ROUND;
use crate::store::StoreError;

use super::work;

/// The interval between two queries for jobs that are due soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The number of jobs that are staged at once.
const AT_ONCE: usize = 4;

impl Context {
    /// Wakes the dispatcher and the stager for a job that was just accepted.
    pub(in crate::scheduler) fn on_accepted(&self, job: &Job) {
        self.wake_for(job.due_at);
        self.stage_again(job);
    }

    /// Asks the stager to check a job that is new or has changed, if there may be something to
    /// create or remove.
    pub(in crate::scheduler) fn stage_again(&self, job: &Job) {
        let ahead = self.rules().settings.stage_ahead;
        if ahead.is_zero() && !self.stage.knows(job.id) {
            return;
        }
        let left = job.due_at - self.clock.now();
        let is_soon = left > TimeDelta::zero() && left.to_std().is_ok_and(|left| left <= ahead);
        let is_wanted = match job.map() {
            // The driver owns the container.
            Map::Running => false,
            Map::Scheduled if is_soon => self.stage.knows(job.id) || self.stage_room() > 0,
            // A job that waits for a slot keeps its staged container.
            Map::Scheduled if left <= TimeDelta::zero() => false,
            Map::Scheduled | Map::History => self.stage.knows(job.id),
        };
        if is_wanted {
            self.stage.ask(job.due_at, job.id);
        }
    }

    /// Returns the start time and the due time of every staged job that aims.
    pub(in crate::scheduler) fn aimed(&self) -> Vec<(Timestamp, Timestamp)> {
        let slots = self.stage.slots.look();
        let aimed = slots.values().filter_map(|place| match place {
            Slot::Ready(staged) => staged.aimed.as_deref(),
            Slot::Busy { .. } => None,
        });
        aimed.map(|job| (self.start_latencies.starts_at(job), job.due_at)).collect()
    }

    /// Takes on a staged container that a sweep found, possibly created by an earlier process.
    pub(in crate::scheduler) fn found_staged(&self, job: &Job, container: &ContainerId) {
        let found =
            Slot::Ready(Staged { container: container.clone(), spec_hash: None, aimed: None });
        let is_news = match self.stage.slots.look().entry(job.id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(found);
                true
            }
        };
        if is_news {
            self.stage.ask(job.due_at, job.id);
        } else {
            self.stage_again(job);
        }
    }

    /// Returns the number of containers that may be staged. More than can run at once would be
    /// useless.
    pub(super) fn stage_size(&self) -> usize {
        self.rules().max_running().min(ROUND)
    }

    /// Returns the number of containers that may still be staged. Jobs beyond that number get their
    /// containers when they are due.
    fn stage_room(&self) -> usize {
        self.stage_size().saturating_sub(self.stage.slots.look().len() + self.stage.asked().len())
    }
}

/// Stages until `stop` is cancelled. Staged containers stay on the engine.
pub(in crate::scheduler) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut stager = Stager { context: &context, looked_until: None };
    let mut works = FuturesUnordered::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while works.len() < AT_ONCE
            && let Some(work) = stager.next()
        {
            works.push(work::attend(&context, work));
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = works.next() => {}
            () = context.stage.news.notified(), if works.len() < AT_ONCE => {}
            _ = looks.tick() => stager.look_ahead().await.unwrap_or_else(|failure| {
                warn!(error = %failure, "cannot read the jobs due soon; they are not staged");
            }),
        }
    }
}

struct Stager<'a> {
    context: &'a Context,
    /// The time up to which due jobs have been queried; `None` to begin again from now.
    looked_until: Option<Timestamp>,
}

impl Stager<'_> {
    /// Returns the next job to check, the earliest due first.
    fn next(&self) -> Option<Work> {
        loop {
            let (_, job) = self.context.stage.asked().pop_first()?;
            // A busy job is checked again when its work is done.
            if let Some(work) = self.context.stage.begin(job) {
                return Some(work);
            }
        }
    }

    async fn look_ahead(&mut self) -> Result<(), StoreError> {
        let (stage, now) = (&self.context.stage, self.context.clock.now());
        let ahead =
            TimeDelta::from_std(self.context.rules().settings.stage_ahead).unwrap_or_default();
        let room = self.context.stage_room();
        if !self.context.health.look().is_up() {
            self.looked_until = None;
            return Ok(());
        }
        // Jobs that are stored later announce themselves. After the clock was set back, the query
        // begins again.
        let until = now + ahead;
        let after = self.looked_until.filter(|at| *at <= until).map_or(now, |at| at.max(now));
        if room == 0 || after >= until {
            return Ok(());
        }
        let found = self.context.store.upcoming(after, until, room).await?;
        // More jobs may be due at the last instant than were returned.
        let last = found
            .last()
            .filter(|_| found.len() == room)
            .map(|(at, _)| *at - TimeDelta::milliseconds(1));
        self.looked_until = Some(last.unwrap_or(until));
        stage.asked().extend(found);
        Ok(())
    }
}
