//! The expectations: a record, kept outside the scheduler, of everything that happened, and the
//! checks that hold after every step.
//!
//! The harness records acknowledged jobs, the content of each commit, and containers that others
//! touched. The checks compare the record with the engine's evidence and with the disk. The
//! scheduler's own opinion is never asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::Value;
use tidetable::domain::job::{Job, Map, State};
use tidetable::domain::names::id::{ContainerId, InstanceId, JobId, Timestamp};
use tidetable::engine::simulated::{EventKind, RecordedEvent, SimulatedEngine};

use crate::simulation::limits;
use crate::simulation::saved_schedules::SavedSchedules;
use crate::simulation::ticks::hold_backlog;

/// Returns the instance id that every random run uses.
pub fn ours() -> InstanceId {
    InstanceId::new([7; 16])
}

/// The answers that a caller got for a job.
#[derive(Clone, Debug)]
pub struct RequestedJob {
    pub due_at: Timestamp,
    /// The spec that the caller submitted.
    pub spec: Value,
    /// Set once a caller asks to cancel the job; `canceled` is set once the API confirmed it.
    pub cancel_asked: bool,
    pub canceled: bool,
    pub stop_asked: bool,
}

/// The troubles that were injected into a run; the checker accepts their consequences.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    pub kills: u32,
    pub outages: u32,
    pub engine_restarts: u32,
    /// Restarts that ended running containers. A restarted engine remembers none of its earlier
    /// events.
    pub engine_kills: u32,
    pub clock_jumps: u32,
    pub clock_set_back: bool,
    pub faults: u32,
    pub refusals: u32,
    pub interference: u32,
    /// The time after which nothing goes wrong any more; `None` while troubles go on.
    pub until: Option<Timestamp>,
}

/// The times of events of a job, taken from its commits.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobTimes {
    /// The time of the first claim; `None` before it.
    pub begun: Option<Timestamp>,
    /// The time until which readers of the disk saw the job wait: its first claim or its end was
    /// written then. A slow commit is written later than it was decided.
    pub waited_until: Option<Timestamp>,
    /// The time of the last request to stop; `None` without one.
    pub stop_asked: Option<Timestamp>,
}

/// The times of a commit.
#[derive(Clone, Copy, Debug)]
pub struct CommitTimes {
    pub decided: Timestamp,
    pub written: Timestamp,
}

pub struct Expectations {
    engine: SimulatedEngine,
    max_running: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    targets: BTreeMap<JobId, RequestedJob>,
    /// The last answered commit of each job.
    written: BTreeMap<JobId, Job>,
    /// Requested commits without an answer yet, with their times: they may be on disk.
    in_doubt: Vec<(Job, CommitTimes)>,
    interfered: BTreeSet<JobId>,
    /// Jobs with a container that somebody renamed. All guarantees hold for these jobs, too.
    renamed: BTreeSet<JobId>,
    foreign: BTreeSet<ContainerId>,
    troubles: Troubles,
    seen: usize,
    engine_is_known: bool,
    /// The number of commits that are on disk though their answer was an error.
    unheard: usize,
    times: BTreeMap<JobId, JobTimes>,
    said: SavedSchedules,
    /// The time from which one process has run with a clock that was not set.
    steady_since: Option<Timestamp>,
    /// Set while the disk refuses operations now and then.
    disk_refuses: bool,
}

impl Expectations {
    pub fn new(engine: SimulatedEngine, max_running: usize) -> Self {
        Self { engine, max_running, inner: Mutex::default() }
    }

    pub fn acknowledged(&self, id: JobId, target: RequestedJob) {
        self.inner.lock().unwrap().targets.insert(id, target);
    }

    pub fn change_target(&self, id: JobId, change: impl FnOnce(&mut RequestedJob)) {
        if let Some(target) = self.inner.lock().unwrap().targets.get_mut(&id) {
            change(target);
        }
    }

    pub fn meddled_with(&self, id: JobId) {
        self.inner.lock().unwrap().interfered.insert(id);
    }

    pub fn renamed(&self, id: JobId) {
        self.inner.lock().unwrap().renamed.insert(id);
    }

    pub fn was_not_heard(&self) {
        self.inner.lock().unwrap().unheard += 1;
    }

    pub fn engine_is_known(&self) -> bool {
        self.inner.lock().unwrap().engine_is_known
    }

    pub fn remembers_the_engine(&self) {
        self.inner.lock().unwrap().engine_is_known = true;
    }

    /// Calls `with` on the recorded requests for schedules.
    pub fn said<T>(&self, with: impl FnOnce(&mut SavedSchedules) -> T) -> T {
        with(&mut self.inner.lock().unwrap().said)
    }

    /// Notes that a process begins or the clock was set: jobs that are late now were not
    /// necessarily late before.
    pub fn is_steady_from(&self, now: Timestamp) {
        self.inner.lock().unwrap().steady_since = Some(now);
    }

    pub fn disk_refuses(&self, refuses: bool) {
        self.inner.lock().unwrap().disk_refuses = refuses;
    }

    /// Returns every job as last written, with the times from its commits.
    pub fn jobs(&self) -> BTreeMap<JobId, (Job, JobTimes)> {
        let inner = self.inner.lock().unwrap();
        let times = |id: &JobId| inner.times.get(id).copied().unwrap_or_default();
        inner.written.iter().map(|(id, job)| (*id, (job.clone(), times(id)))).collect()
    }

    pub fn everything_is_meddled_with(&self) {
        let mut inner = self.inner.lock().unwrap();
        let all: Vec<JobId> = inner.written.keys().copied().collect();
        inner.interfered.extend(all);
    }

    pub fn note_foreign(&self, id: ContainerId) {
        self.inner.lock().unwrap().foreign.insert(id);
    }

    pub fn trouble(&self, change: impl FnOnce(&mut Troubles)) {
        change(&mut self.inner.lock().unwrap().troubles);
    }

    pub fn troubles(&self) -> Troubles {
        self.inner.lock().unwrap().troubles.clone()
    }

    pub fn targets(&self) -> BTreeMap<JobId, RequestedJob> {
        self.inner.lock().unwrap().targets.clone()
    }

    pub fn interfered(&self) -> BTreeSet<JobId> {
        self.inner.lock().unwrap().interfered.clone()
    }

    pub fn writes(&self, job: &Job, at: CommitTimes) {
        self.inner.lock().unwrap().in_doubt.push((job.clone(), at));
    }

    /// Notes the answer to a write: `on_disk` is on disk now, or nothing new if `None`.
    pub fn wrote(&self, asked: &Job, on_disk: Option<&Job>, at: CommitTimes) {
        let mut inner = self.inner.lock().unwrap();
        inner.in_doubt.retain(|(other, _)| other != asked);
        if let Some(job) = on_disk {
            inner.times.entry(job.id).or_default().note(job, at);
            inner.written.insert(job.id, job.clone());
        }
    }

    /// Checks the disk when a process begins: every answered commit is there, and no job differs
    /// from its last answered commit unless by a commit still in doubt.
    pub fn hold_against(&self, stored: &[Job]) -> Result<(), String> {
        let mut inner = self.inner.lock().unwrap();
        let stored: BTreeMap<JobId, &Job> = stored.iter().map(|job| (job.id, job)).collect();
        for (id, written) in &inner.written {
            match stored.get(id) {
                None => return Err(format!("{id} was written and is not on disk: {written:?}")),
                Some(job) if *job == written || inner.doubt(job).is_some() => {}
                Some(job) => {
                    return Err(format!("{id} is {job:?} on disk, and was written as {written:?}"));
                }
            }
        }
        for id in inner.targets.keys() {
            if !stored.contains_key(id) {
                return Err(format!("{id} was acknowledged and is lost"));
            }
        }
        for (id, job) in &stored {
            // A commit of no process of this run has no known time.
            let at = inner.doubt(job).unwrap_or(CommitTimes {
                decided: Timestamp::MIN_UTC,
                written: Timestamp::MIN_UTC,
            });
            inner.times.entry(*id).or_default().note(job, at);
        }
        inner.written = stored.into_iter().map(|(id, job)| (id, job.clone())).collect();
        inner.in_doubt.clear();
        Ok(())
    }

    /// Checks the invariants of every step. Each attempt has one container and was started at most
    /// once. Acknowledged jobs exist, limits are kept, and foreign containers are untouched.
    pub fn hold_so_far(&self, now: Timestamp) -> Result<(), String> {
        let mut inner = self.inner.lock().unwrap();
        let running = inner.written.values().filter(|job| job.map() == Map::Running).count();
        // The next sweep finds a claim that is on disk though its answer was an error. Until then
        // the running map holds one job too many.
        if running > self.max_running + inner.unheard {
            return Err(format!(
                "{running} jobs are in the running map, {} are allowed",
                self.max_running
            ));
        }
        limits::hold_on_disk(&inner.written)?;
        if let Some(since) = inner.steady_since.filter(|_| !inner.disk_refuses) {
            hold_backlog(&inner.written, &inner.said, since, now)?;
        }
        let happened = self.engine.happened();
        if happened == inner.seen {
            return Ok(());
        }
        inner.seen = happened;
        let evidence = self.engine.recorded_events();
        if let Some(line) =
            evidence.iter().find(|line| inner.foreign.contains(&line.container) && touched(line))
        {
            return Err(format!("a container that is not ours was touched: {line:?}"));
        }
        limits::hold_on_engine(&evidence, &inner.written, |job| inner.interfered.contains(&job))?;
        for ((job, attempt), lines) in by_attempt(&evidence) {
            // A create that is still under way finds the name free after a rename.
            let may_be_two = inner.interfered.contains(&job) || inner.renamed.contains(&job);
            hold_attempt(&lines, may_be_two)
                .map_err(|what| format!("attempt {attempt} of {job} {what}: {lines:?}"))?;
            if !inner.written.contains_key(&job)
                && !inner.in_doubt.iter().any(|(other, _)| other.id == job)
            {
                return Err(format!("a container was made for {job}, of which nothing is on disk"));
            }
        }
        Ok(())
    }

    /// Returns the jobs with `keep_container`: their containers stay on the engine.
    pub fn kept(&self) -> Vec<JobId> {
        let inner = self.inner.lock().unwrap();
        let keeps = |job: &&Job| job.spec.fields().keep_container == Some(true);
        inner.written.values().filter(keeps).map(|job| job.id).collect()
    }

    /// Returns true if every job is over by its last commit.
    pub fn all_are_over(&self) -> bool {
        self.inner.lock().unwrap().written.values().all(|job| matches!(job.state, State::Ended(_)))
    }
}

impl Inner {
    /// Returns the times of the commit of this job, if it is still in doubt.
    fn doubt(&self, job: &Job) -> Option<CommitTimes> {
        self.in_doubt.iter().find(|(other, _)| other == job).map(|(_, at)| *at)
    }
}

impl JobTimes {
    fn note(&mut self, job: &Job, at: CommitTimes) {
        if job.attempt.0 > 0 {
            self.begun.get_or_insert(at.decided);
        }
        if job.attempt.0 > 0 || job.is_over() {
            self.waited_until.get_or_insert(at.written);
        }
        if let State::Stopping(stopping) = &job.state {
            self.stop_asked = Some(stopping.since);
        }
    }
}

fn touched(line: &RecordedEvent) -> bool {
    !line.by_somebody_else
        && matches!(line.what, EventKind::Create | EventKind::Start | EventKind::Destroy)
}

/// Returns the container events of each attempt of our instance.
pub fn by_attempt(evidence: &[RecordedEvent]) -> BTreeMap<(JobId, u32), Vec<&RecordedEvent>> {
    let mut attempts: BTreeMap<_, Vec<&RecordedEvent>> = BTreeMap::new();
    for line in evidence {
        if let Some(owner) = line.owner.filter(|owner| owner.instance == ours()) {
            attempts.entry((owner.job, owner.attempt.0)).or_default().push(line);
        }
    }
    attempts
}

/// Checks that an attempt has at most one container at a time (unless somebody else renames them),
/// and that we started it at most once.
fn hold_attempt(lines: &[&RecordedEvent], may_be_two: bool) -> Result<(), String> {
    let (mut there, mut starts) = (0, 0);
    for line in lines {
        match line.what {
            EventKind::Create => there += 1,
            EventKind::Destroy => there -= 1,
            EventKind::Start if line.by_somebody_else => {}
            EventKind::Start => starts += 1,
            EventKind::Die(_) => {}
        }
        if starts > 1 {
            return Err(format!("was started {starts} times"));
        }
        if there > 1 && !may_be_two {
            return Err(format!("has {there} containers"));
        }
    }
    Ok(())
}
