//! The assembly of a chart from its parts: lanes by rank, and the staircase of runs at once.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;

use super::at_once::{Step, staircase};
use super::lane::{Lane, LaneKind, LaneName};
use super::mark::{Mark, MarkKind, add};
use super::pack::pack;
use super::past::{AbsentTicks, PastRuns, Window};
use super::says::is_running;
use crate::domain::forecast::{Entry, PileUp};
use crate::domain::job::Status;
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::schedule::ledger::TickOutcome;

/// The most marks of one chart, so that a picture stays small. Each lane gets its share.
const MOST_MARKS: usize = 640;
/// The fewest marks that a lane may have before its neighbours are merged further.
const FEWEST_MARKS: usize = 24;

/// A job that has begun and is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningJob {
    pub job: JobId,
    pub lane: LaneName,
    pub status: Status,
    /// The start of the process, or the due time before the start.
    pub from: Timestamp,
    pub due_at: Timestamp,
    /// Set if the process runs.
    pub is_started: bool,
    /// The expected duration; `None` if no earlier run is known.
    pub expected: Option<Duration>,
}

/// Everything that a chart shows, before lanes are chosen.
#[derive(Debug)]
pub struct Parts {
    pub past: PastRuns,
    pub running: Vec<RunningJob>,
    pub absent: Vec<AbsentTicks>,
    /// The forecast runs.
    pub planned: Vec<Entry>,
    /// The time in which each forecast or running run is expected to be active.
    pub active: Vec<(Timestamp, Timestamp)>,
    pub pile_ups: Vec<PileUp>,
    /// The end of the forecast, if it is before the end of the window.
    pub planned_until: Option<Timestamp>,
    /// The most runs at once that the server allows.
    pub limit: Option<usize>,
    /// The most lanes to show.
    pub lanes: usize,
}

/// The largest number of runs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busiest {
    pub count: usize,
    pub at: Timestamp,
}

/// A tide chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tide {
    pub window: Window,
    pub limit: Option<usize>,
    /// The lanes: those with trouble or running jobs first, then the busiest.
    pub lanes: Vec<Lane>,
    /// The number of lanes that are not shown.
    pub more_lanes: usize,
    /// The number of runs at once from each instant on, up to now.
    pub past: Vec<(Timestamp, usize)>,
    /// The number of runs at once from each instant on, after now.
    pub ahead: Vec<(Timestamp, usize)>,
    /// The number of jobs in the running map.
    pub running: usize,
    pub most: Option<Busiest>,
    pub pile_ups: Vec<PileUp>,
    pub planned_until: Option<Timestamp>,
}

impl Parts {
    /// Draws the chart.
    pub fn chart(mut self) -> Tide {
        let window = self.past.window();
        let running = self.running.len();
        let (past, ahead, most) = self.at_once();
        let mut marks: BTreeMap<LaneName, Vec<Mark>> = BTreeMap::new();
        let (from, to) = (window.from, window.to);
        let running_marks = self.running.iter().map(|job| (job.lane.clone(), job.mark(window.now)));
        let planned = self.planned.iter().map(|entry| (lane_of(entry), planned(entry, window.now)));
        let absent = self.absent.into_iter().map(absent);
        let all = self.past.into_marks().chain(running_marks).chain(planned).chain(absent);
        for (lane, mark) in all {
            if mark.to.max(mark.expected_to.unwrap_or(mark.to)) >= from && mark.from <= to {
                marks.entry(lane).or_default().push(mark);
            }
        }
        let mut lanes: Vec<Lane> =
            marks.into_iter().map(|(name, marks)| lane(name, marks)).collect();
        lanes.sort_by_key(rank);
        let more_lanes = lanes.len().saturating_sub(self.lanes);
        lanes.truncate(self.lanes);
        let share = (MOST_MARKS / lanes.len().max(1)).max(FEWEST_MARKS);
        for lane in &mut lanes {
            lane.marks = pack(std::mem::take(&mut lane.marks), &window, share);
        }
        let pile_ups =
            self.pile_ups.into_iter().filter(|pile| pile.from < to && pile.until > from).collect();
        let (limit, planned_until) = (self.limit, self.planned_until);
        Tide {
            window,
            limit,
            lanes,
            more_lanes,
            past,
            ahead,
            running,
            most,
            pile_ups,
            planned_until,
        }
    }

    /// Counts the runs at once before and after now, and finds the most.
    fn at_once(&mut self) -> (Steps, Steps, Option<Busiest>) {
        let window = self.past.window();
        let ms = |at: Timestamp| at.timestamp_millis();
        let (from, to, now) = (ms(window.from), ms(window.to), ms(window.now));
        let step = window.pixels(2);
        let mut starts = std::mem::take(&mut self.past.starts);
        let mut ends = std::mem::take(&mut self.past.ends);
        for job in self.running.iter().filter(|job| job.is_started) {
            starts.push(ms(job.from));
            ends.push(i64::MAX);
        }
        let (past, most_past) = staircase(starts, ends, from, to.min(now), step);
        let (starts, ends) = self.active.iter().map(|(from, to)| (ms(*from), ms(*to))).unzip();
        let until = to.min(self.planned_until.map_or(to, ms));
        let (ahead, most_ahead) = staircase(starts, ends, from.max(now), until, step);
        let most = [most_past, most_ahead]
            .into_iter()
            .flatten()
            .max_by_key(|(at, count)| (*count, std::cmp::Reverse(*at)));
        let most = most.and_then(|(at, count)| {
            Some(Busiest { count, at: Timestamp::from_timestamp_millis(at)? })
        });
        (instants(past), instants(ahead), most)
    }
}

/// The number of runs at once from each instant on.
type Steps = Vec<(Timestamp, usize)>;

fn instants(steps: Vec<Step>) -> Steps {
    let at = Timestamp::from_timestamp_millis;
    steps.into_iter().filter_map(|(ms, count)| Some((at(ms)?, count))).collect()
}

fn lane(name: LaneName, marks: Vec<Mark>) -> Lane {
    let mut tally = Vec::new();
    for (status, count) in marks.iter().flat_map(|mark| &mark.tally) {
        add(&mut tally, *status, *count);
    }
    Lane { name, marks, tally }
}

/// Orders lanes: with trouble or running jobs first, then the most marks, then the name.
fn rank(lane: &Lane) -> (bool, std::cmp::Reverse<u64>, LaneName) {
    let is_calm = lane.trouble() == 0 && !lane.has_running();
    (is_calm, std::cmp::Reverse(lane.count(|_| true)), lane.name.clone())
}

impl RunningJob {
    fn mark(&self, now: Timestamp) -> Mark {
        let expected_to = self
            .expected
            .filter(|_| self.is_started)
            .and_then(|expected| after(self.from, expected));
        Mark {
            due_at: self.due_at,
            job: Some(self.job),
            expected_to,
            has_run: self.is_started,
            ..Mark::new(MarkKind::Running, self.status, self.from.min(now), now)
        }
    }

    /// Creates a running job without known earlier runs.
    pub fn new(job: JobId, lane: LaneName, status: Status, from: Timestamp) -> Self {
        debug_assert!(is_running(status), "the job is in the running map");
        Self { job, lane, status, from, due_at: from, is_started: true, expected: None }
    }
}

fn lane_of(entry: &Entry) -> LaneName {
    match &entry.schedule {
        Some(schedule) => LaneName { kind: LaneKind::Schedule, name: schedule.to_string() },
        None => LaneName { kind: LaneKind::Job, name: entry.job_name.to_string() },
    }
}

fn planned(entry: &Entry, now: Timestamp) -> Mark {
    let from = entry.due_at.max(now);
    let to = entry.expected.and_then(|expected| after(from, expected)).unwrap_or(from);
    Mark {
        due_at: entry.due_at,
        job: entry.job,
        ..Mark::new(MarkKind::Planned, Status::Scheduled, from, to)
    }
}

fn absent(ticks: AbsentTicks) -> (LaneName, Mark) {
    let (kind, status) = match ticks.outcome {
        TickOutcome::Missed => (MarkKind::Missed, Status::Missed),
        TickOutcome::Skipped | TickOutcome::Ran | TickOutcome::CaughtUp => {
            (MarkKind::Skipped, Status::Canceled)
        }
    };
    let kind = if ticks.count > 1 { MarkKind::Many } else { kind };
    let mark = Mark {
        has_run: false,
        reason: ticks.reason,
        tally: vec![(status, ticks.count.max(1))],
        ..Mark::new(kind, status, ticks.first, ticks.last)
    };
    (LaneName { kind: LaneKind::Schedule, name: ticks.schedule }, mark)
}

fn after(from: Timestamp, length: Duration) -> Option<Timestamp> {
    from.checked_add_signed(TimeDelta::from_std(length).ok()?)
}
