//! Staging: what a job needs on the engine is put there a little ahead, so that when it is due only `start` is left to do.
//!
//! The image is pulled and the container is created, under the name and with the labels that it will have; nothing is
//! written down, and nothing is started. It is a convenience that may fail or be forgotten at any point: the driver looks
//! at what is there, and makes what is missing. What is not wanted any more (the job was canceled, put off or changed) is
//! removed.
//!
//! A container that is staged is one party's at a time. While the stager works on one the job's *place* is busy, and a
//! driver waits for it ([`Stage::take`]); once a driver has taken it, the stager has no more to do with it. The job is read
//! after its place was made busy, so nothing is ever removed of a job that is claimed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{ROUND, Shared};
use crate::domain::container::Recipe;
use crate::domain::id::{ContainerId, JobId, Timestamp};
use crate::domain::job::{Job, Map};
use crate::store::StoreError;
use crate::watched::Watched;

mod work;

/// How often it is asked what is due soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many jobs are worked on at once.
const AT_ONCE: usize = 4;

/// What is staged, and what is to be looked at.
#[derive(Default)]
pub(super) struct Stage {
    places: Watched<BTreeMap<JobId, Place>>,
    asked: Mutex<BTreeSet<(Timestamp, JobId)>>,
    news: Notify,
}

enum Place {
    /// The stager works on it; and whether it is to look again then.
    Busy(bool),
    /// There is a container.
    Ready(Staged),
}

/// A container that was created ahead.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Staged {
    pub(super) container: ContainerId,
    /// What it is made by, if that is known.
    pub(super) recipe: Option<Recipe>,
    /// Its job, if that is to begin when it is due.
    pub(super) aimed: Option<Box<Job>>,
}

impl Stage {
    /// Hands over the container that there is of this job, and waits for one that is in the making.
    pub(super) async fn take(&self, job: JobId) -> Option<ContainerId> {
        loop {
            self.places.until(|places| !matches!(places.get(&job), Some(Place::Busy(_)))).await;
            let mut places = self.places.look();
            match places.remove(&job) {
                None => return None,
                Some(Place::Ready(staged)) => return Some(staged.container),
                Some(busy @ Place::Busy(_)) => drop(places.insert(job, busy)),
            }
        }
    }

    /// Whether all that is left to do for this job is to start it.
    pub(super) fn is_ready(&self, job: JobId) -> bool {
        matches!(self.places.look().get(&job), Some(Place::Ready(_)))
    }

    fn knows(&self, job: JobId) -> bool {
        self.places.look().contains_key(&job)
    }

    fn ask(&self, due_at: Timestamp, job: JobId) {
        self.asked().insert((due_at, job));
        self.news.notify_one();
    }

    fn asked(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, JobId)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a job's place busy, for as long as the work is kept. Nothing if it is so already.
    fn begin(self: &Arc<Self>, job: JobId) -> Option<Work> {
        let mut places = self.places.look();
        let staged = match places.insert(job, Place::Busy(false)) {
            None => None,
            Some(Place::Ready(staged)) => Some(staged),
            Some(Place::Busy(_)) => {
                places.insert(job, Place::Busy(true));
                return None;
            }
        };
        Some(Work { stage: self.clone(), job, staged })
    }
}

/// A place that is worked on. When this is dropped it is as `staged` says.
struct Work {
    stage: Arc<Stage>,
    job: JobId,
    staged: Option<Staged>,
}

impl Drop for Work {
    fn drop(&mut self) {
        let staged = self.staged.take();
        let mut again = false;
        self.stage.places.change(|places| {
            again = matches!(places.remove(&self.job), Some(Place::Busy(true)));
            if let Some(staged) = staged {
                places.insert(self.job, Place::Ready(staged));
            }
            true
        });
        if again {
            self.stage.ask(Timestamp::UNIX_EPOCH, self.job);
        }
    }
}

impl Shared {
    /// A job was accepted.
    pub(super) fn is_new(&self, job: &Job) {
        self.wake_for(job.due_at);
        self.stage_again(job);
    }

    /// A job is new, or is not what it was: there may be something to stage, or to take back.
    pub(super) fn stage_again(&self, job: &Job) {
        let ahead = self.rules().settings.stage_ahead;
        if ahead.is_zero() && !self.stage.knows(job.id) {
            return;
        }
        let left = job.due_at - self.clock.now();
        let is_soon = left > TimeDelta::zero() && left.to_std().is_ok_and(|left| left <= ahead);
        let is_wanted = match job.map() {
            // Its driver's.
            Map::Running => false,
            Map::Scheduled if is_soon => self.stage.knows(job.id) || self.stage_room() > 0,
            // It waits for a slot, and keeps what it has.
            Map::Scheduled if left <= TimeDelta::zero() => false,
            Map::Scheduled | Map::History => self.stage.knows(job.id),
        };
        if is_wanted {
            self.stage.ask(job.due_at, job.id);
        }
    }

    /// When the jobs are to be started that aim, and when these are due; of those that are staged.
    pub(super) fn aimed(&self) -> Vec<(Timestamp, Timestamp)> {
        let places = self.stage.places.look();
        let aimed = places.values().filter_map(|place| match place {
            Place::Ready(staged) => staged.aimed.as_deref(),
            Place::Busy(_) => None,
        });
        aimed.map(|job| (self.starts_at(job), job.due_at)).collect()
    }

    /// A container was found that was created ahead, by a process before this one perhaps.
    pub(super) fn found_staged(&self, job: &Job, container: &ContainerId) {
        let found =
            Place::Ready(Staged { container: container.clone(), recipe: None, aimed: None });
        let is_news = match self.stage.places.look().entry(job.id) {
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

    /// How many containers may be staged: more than can run are of no use.
    fn stage_size(&self) -> usize {
        self.rules().max_running().min(ROUND)
    }

    /// For how many more there is room. Of a herd that comes at once, the others are made when they are due.
    fn stage_room(&self) -> usize {
        self.stage_size().saturating_sub(self.stage.places.look().len() + self.stage.asked().len())
    }
}

/// Stages until told to stop. What is there then stays there.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut stager = Stager { shared: &shared, looked_until: None };
    let mut works = FuturesUnordered::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while works.len() < AT_ONCE
            && let Some(work) = stager.next()
        {
            works.push(work::attend(&shared, work));
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = works.next() => {}
            () = shared.stage.news.notified(), if works.len() < AT_ONCE => {}
            _ = looks.tick() => stager.look_ahead().await.unwrap_or_else(|failure| {
                warn!(error = %failure, "what is due soon cannot be read; it is not staged");
            }),
        }
    }
}

struct Stager<'a> {
    shared: &'a Shared,
    /// What is due by then is known.
    looked_until: Option<Timestamp>,
}

impl Stager<'_> {
    /// Those that are due first come first.
    fn next(&self) -> Option<Work> {
        loop {
            let (_, job) = self.shared.stage.asked().pop_first()?;
            // One that is worked on is looked at again when that is done.
            if let Some(work) = self.shared.stage.begin(job) {
                return Some(work);
            }
        }
    }

    async fn look_ahead(&mut self) -> Result<(), StoreError> {
        let (stage, now) = (&self.shared.stage, self.shared.clock.now());
        let ahead =
            TimeDelta::from_std(self.shared.rules().settings.stage_ahead).unwrap_or_default();
        let room = self.shared.stage_room();
        if !self.shared.health.look().is_up() {
            self.looked_until = None;
            return Ok(());
        }
        // What comes in later says so itself; a clock that was set back begins anew.
        let until = now + ahead;
        let after = self.looked_until.filter(|at| *at <= until).map_or(now, |at| at.max(now));
        if room == 0 || after >= until {
            return Ok(());
        }
        let found = self.shared.store.upcoming(after, until, room).await?;
        // Of those that are due at the last instant there may be more.
        let last = found
            .last()
            .filter(|_| found.len() == room)
            .map(|(at, _)| *at - TimeDelta::milliseconds(1));
        self.looked_until = Some(last.unwrap_or(until));
        stage.asked().extend(found);
        Ok(())
    }
}
