//! The JSON types of the tide chart.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::forecast::PileUp;
use crate::domain::names::id::Timestamp;
use crate::domain::text::date::rfc3339;
use crate::domain::tide::{Lane, Mark, MarkKind, Tide, says};

/// The answer to `GET /tide`. All times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TideView {
    /// The start of the window.
    #[schema(format = DateTime)]
    pub from: String,
    /// The end of the window.
    #[schema(format = DateTime)]
    pub to: String,
    /// The server's time at which the chart was made.
    #[schema(format = DateTime)]
    pub now: String,
    /// The server's time zone.
    pub zone: String,
    /// The number of jobs that may run at once. Null without a limit.
    pub limit: Option<usize>,
    /// The lanes: with trouble or running jobs first, then the busiest.
    pub lanes: Vec<LaneView>,
    /// The number of lanes that are not shown.
    pub more_lanes: usize,
    /// The number of runs at once, over time.
    pub at_once: AtOnceView,
    /// The stretches in which more jobs would run at once than a limit allows.
    pub pile_ups: Vec<TidePileUpView>,
    /// The end of the forecast, where it has too many runs to reach the end of the window. Absent
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub planned_until: Option<String>,
}

/// A lane of the chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LaneView {
    /// The schedule, or the job name of jobs without a schedule.
    pub name: String,
    /// `schedule` or `job`.
    pub kind: String,
    /// The marks, by their beginning.
    pub marks: Vec<MarkView>,
}

/// A mark in a lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MarkView {
    /// `run`, `running`, `planned`, `skipped`, `missed`, or `many` for marks too close to be told
    /// apart.
    pub kind: String,
    /// The status of the job. The worst one of `many`.
    pub status: String,
    #[schema(format = DateTime)]
    pub from: String,
    #[schema(format = DateTime)]
    pub to: String,
    #[schema(format = DateTime)]
    pub due_at: String,
    /// The id of the job. Null for a tick without a job, and for `many`.
    pub job: Option<String>,
    /// The number of runs or ticks.
    pub count: u64,
    /// The number of each status, for `many`. Absent otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// The row within the lane, from 0. Runs that overlap are in different rows.
    pub row: u8,
    /// The number of rows of the marks that this one overlaps with; 1 without any.
    pub rows: u8,
    /// What happened, as one sentence without the name.
    pub says: String,
    /// The expected end of a running job. Absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expected_to: Option<String>,
}

/// The number of runs at once, as steps: from each time on, so many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AtOnceView {
    /// The steps up to now.
    pub past: Vec<(String, usize)>,
    /// The expected steps after now.
    pub ahead: Vec<(String, usize)>,
    /// The number of jobs in the running map.
    pub now: usize,
    /// The most at once in the window. Null without runs.
    pub most: Option<BusiestView>,
}

/// The largest number of runs at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BusiestView {
    pub count: usize,
    #[schema(format = DateTime)]
    pub at: String,
}

/// A stretch in which more jobs would run at once than a limit allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TidePileUpView {
    #[schema(format = DateTime)]
    pub from: String,
    #[schema(format = DateTime)]
    pub to: String,
    /// The largest number of jobs that would run at once.
    pub count: usize,
    /// The number of jobs that the limit allows.
    pub limit: usize,
    /// The limit: `max_running`, `queues.NAME` or `max_parallel of NAME`.
    pub name: String,
}

impl TideView {
    /// Builds the view of a chart.
    pub fn of(tide: &Tide, zone: Tz) -> Self {
        let (window, now) = (&tide.window, tide.window.now);
        let steps = |steps: &[(Timestamp, usize)]| {
            steps.iter().map(|(at, count)| (rfc3339(*at), *count)).collect()
        };
        let pile_up = |pile: &PileUp| TidePileUpView {
            from: rfc3339(pile.from),
            to: rfc3339(pile.until),
            count: pile.peak,
            limit: pile.most,
            name: pile.limit.clone(),
        };
        let most = tide.most.map(|most| BusiestView { count: most.count, at: rfc3339(most.at) });
        Self {
            from: rfc3339(window.from),
            to: rfc3339(window.to),
            now: rfc3339(now),
            zone: zone.name().to_owned(),
            limit: tide.limit,
            lanes: tide.lanes.iter().map(|lane| LaneView::of(lane, now)).collect(),
            more_lanes: tide.more_lanes,
            at_once: AtOnceView {
                past: steps(&tide.past),
                ahead: steps(&tide.ahead),
                now: tide.running,
                most,
            },
            pile_ups: tide.pile_ups.iter().map(pile_up).collect(),
            planned_until: tide.planned_until.map(rfc3339),
        }
    }
}

impl LaneView {
    fn of(lane: &Lane, now: Timestamp) -> Self {
        Self {
            name: lane.name.name.clone(),
            kind: lane.name.kind.as_str().to_owned(),
            marks: lane.marks.iter().map(|mark| MarkView::of(mark, now)).collect(),
        }
    }
}

impl MarkView {
    fn of(mark: &Mark, now: Timestamp) -> Self {
        let is_many = mark.kind == MarkKind::Many;
        let counts = mark.tally.iter().filter(|_| is_many);
        Self {
            kind: mark.kind.as_str().to_owned(),
            status: mark.status.to_string(),
            from: rfc3339(mark.from),
            to: rfc3339(mark.to),
            due_at: rfc3339(mark.due_at),
            job: mark.job.filter(|_| !is_many).map(|job| job.to_string()),
            count: mark.count(),
            counts: counts.map(|(status, count)| (status.to_string(), *count)).collect(),
            row: mark.row,
            rows: mark.rows,
            says: says(mark, now),
            expected_to: mark.expected_to.map(rfc3339),
        }
    }
}
