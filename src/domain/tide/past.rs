//! The past runs of a window, counted as they are read.

use std::collections::HashMap;

use super::lane::{LaneKind, LaneName};
use super::mark::Mark;
use crate::domain::job::{Reason, Status};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::schedule::ledger::TickOutcome;

/// A stretch of time and the number of pixels that show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
    /// The present time, which may be outside of the window.
    pub now: Timestamp,
    /// The width of the time axis in pixels.
    pub px: u32,
}

impl Window {
    /// Returns the length of this number of pixels in milliseconds; at least 1.
    pub(super) fn pixels(&self, count: i64) -> i64 {
        let length = (self.to - self.from).num_milliseconds();
        (count * length / i64::from(self.px.max(1))).max(1)
    }

    /// Returns the pixel column of an instant; instants outside are in the first or last column.
    fn column(&self, at_ms: i64, from_ms: i64, length_ms: i64) -> u16 {
        let column = (at_ms - from_ms) * i64::from(self.px) / length_ms;
        u16::try_from(column.clamp(0, i64::from(self.px))).unwrap_or(u16::MAX)
    }
}

/// A job that is over, as a store reads it. Times are in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct PastRun<'a> {
    pub job: JobId,
    pub name: &'a str,
    pub schedule: Option<&'a str>,
    pub status: Status,
    /// The start of the process; `None` if none is known to have run.
    pub started_at: Option<i64>,
    pub ended_at: i64,
    pub due_at: i64,
}

/// Consecutive ticks of a schedule that have no job and did not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentTicks {
    pub schedule: String,
    pub first: Timestamp,
    pub last: Timestamp,
    /// The number of ticks, if it is known.
    pub count: u64,
    pub outcome: TickOutcome,
    pub reason: Option<Reason>,
}

/// The runs of one lane that a picture cannot tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct CellKey {
    lane: u32,
    from: u16,
    to: u16,
    status: Status,
}

/// The past runs of a window. Runs of one lane and one status that begin in the same pixel and end
/// in the same pixel are counted together.
#[derive(Debug)]
pub struct PastRuns {
    window: Window,
    /// The only schedule to keep; `None` keeps all jobs.
    only: Option<String>,
    from_ms: i64,
    to_ms: i64,
    lanes: Vec<LaneName>,
    schedules: HashMap<String, u32>,
    names: HashMap<String, u32>,
    cells: HashMap<CellKey, Mark>,
    /// The starts and ends of all processes, in milliseconds since 1970.
    pub(super) starts: Vec<i64>,
    pub(super) ends: Vec<i64>,
}

impl PastRuns {
    /// Creates an empty collection for this window, of all jobs or of one schedule.
    pub fn new(window: Window, only: Option<String>) -> Self {
        let (from_ms, to_ms) = (window.from.timestamp_millis(), window.to.timestamp_millis());
        let (lanes, schedules, names, cells) = Default::default();
        let (starts, ends) = Default::default();
        Self { window, only, from_ms, to_ms, lanes, schedules, names, cells, starts, ends }
    }

    pub fn window(&self) -> Window {
        self.window
    }

    /// Returns the schedule to which the chart is restricted, if any.
    pub fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }

    /// Adds a run. A run outside of the window is ignored, and so is a job that was canceled before
    /// it was due.
    pub fn add(&mut self, run: &PastRun<'_>) {
        if self.only.is_some() && self.only.as_deref() != run.schedule {
            return;
        }
        let did_not_run = matches!(run.status, Status::Canceled | Status::Missed);
        let (from, to) = match run.started_at {
            Some(started) => (started, run.ended_at.max(started)),
            None if did_not_run => (run.due_at, run.due_at),
            None => (run.ended_at, run.ended_at),
        };
        let was_early = did_not_run && run.due_at > self.window.now.timestamp_millis();
        if to < self.from_ms || from > self.to_ms || was_early {
            return;
        }
        if run.started_at.is_some() {
            self.starts.push(from);
            self.ends.push(to.max(from + 1));
        }
        let lane = self.lane(run.name, run.schedule);
        let length = (self.to_ms - self.from_ms).max(1);
        let column = |at| self.window.column(at, self.from_ms, length);
        let key = CellKey { lane, from: column(from), to: column(to), status: run.status };
        if let Some(cell) = self.cells.get_mut(&key) {
            let at = Timestamp::from_timestamp_millis;
            cell.count_one_more(at(from), at(to));
        } else if let Some(mark) = mark(run, from, to) {
            self.cells.insert(key, mark);
        }
    }

    /// Returns the marks of each lane, in no order.
    pub(super) fn into_marks(self) -> impl Iterator<Item = (LaneName, Mark)> {
        let mut cells: Vec<(CellKey, Mark)> = self.cells.into_iter().collect();
        cells.sort_unstable_by_key(|(key, _)| *key);
        let lanes = self.lanes;
        cells
            .into_iter()
            .filter_map(move |(key, mark)| Some((lanes.get(key.lane as usize)?.clone(), mark)))
    }

    fn lane(&mut self, name: &str, schedule: Option<&str>) -> u32 {
        let (lanes, name, kind) = match schedule {
            Some(schedule) => (&mut self.schedules, schedule, LaneKind::Schedule),
            None => (&mut self.names, name, LaneKind::Job),
        };
        if let Some(lane) = lanes.get(name) {
            return *lane;
        }
        let lane = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
        lanes.insert(name.to_owned(), lane);
        self.lanes.push(LaneName { kind, name: name.to_owned() });
        lane
    }
}

fn mark(run: &PastRun<'_>, from: i64, to: i64) -> Option<Mark> {
    let at = Timestamp::from_timestamp_millis;
    let mark = Mark::past(run.status, at(from)?, at(to)?, at(run.due_at)?, run.job);
    Some(Mark { has_run: run.started_at.is_some(), ..mark })
}
