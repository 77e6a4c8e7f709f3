//! The tide chart: reads its parts from one snapshot of the store.

use std::collections::HashMap;

use super::handle::Handle;
use crate::domain::forecast::Forecast;
use crate::domain::job::Job;
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::ledger::LedgerRow;
use crate::domain::tide::{
    AbsentTicks, LaneKind, LaneName, Parts, PastRuns, RunningJob, Tide, Window,
};
use crate::store::{Snapshot, StoreError};

/// The most rows of skipped and missed ticks that a chart reads.
const MOST_ABSENT: usize = 10_000;
/// The most rows of several ticks that are counted tick by tick.
const MOST_COUNTED: usize = 200;
/// The most ticks that are counted in one row.
const MOST_TICKS: usize = 10_000;

/// A request for a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TideRequest {
    pub window: Window,
    /// The most lanes to show.
    pub lanes: usize,
    /// The only schedule to show; `None` shows all jobs.
    pub only: Option<ScheduleName>,
}

impl Handle {
    /// Returns the chart of a window, as of this snapshot.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn tide(
        &self,
        request: TideRequest,
        mut snapshot: Box<dyn Snapshot>,
    ) -> Result<Tide, StoreError> {
        let TideRequest { window, lanes, only } = request;
        let (mut running, mut paused) = (Vec::new(), Vec::new());
        let horizon = window.to.max(window.now);
        let forecast = self.forecast_until(
            horizon,
            &mut *snapshot,
            |job| running.push(running_job(job, window.now)),
            |record| {
                let skipped = record.skipped_in_pause(window.now);
                paused.extend(skipped.map(|row| (record.name.to_string(), row)));
            },
        );
        let forecast = forecast.await?;
        let only_name = only.as_ref().map(ToString::to_string);
        let mut past = PastRuns::new(window, only_name.clone());
        if window.from <= window.now {
            past = snapshot.ended(past).await?;
        }
        let within = (window.from, window.to);
        let rows = snapshot.absent_ticks(within.0, within.1, only_name.as_deref(), MOST_ABSENT);
        let mut rows = rows.await?;
        drop(snapshot);
        rows.extend(paused);
        let absent = self.absent(rows, &window).await?;
        let Forecast { truncated, until, .. } = forecast;
        let mut parts = Parts {
            past,
            running: with_expected(running, &forecast),
            absent,
            planned: forecast.entries,
            active: forecast.active,
            pile_ups: forecast.pile_ups,
            planned_until: Some(until).filter(|_| truncated),
            limit: Some(self.max_running()).filter(|limit| *limit < usize::MAX),
            lanes,
        };
        if let Some(only) = only {
            restrict(&mut parts, &only);
        }
        Ok(parts.chart())
    }

    /// Converts ledger rows, and counts the ticks of rows that stand for several.
    async fn absent(
        &self,
        rows: Vec<(String, LedgerRow)>,
        window: &Window,
    ) -> Result<Vec<AbsentTicks>, StoreError> {
        let (mut absent, mut counted) = (Vec::with_capacity(rows.len()), 0);
        for (schedule, row) in rows {
            let Some(outcome) = row.outcome else { continue };
            let mut ticks = AbsentTicks {
                schedule,
                first: row.first,
                last: row.last,
                count: 1,
                outcome,
                reason: row.reason,
            };
            if row.first < row.last {
                ticks.count = 2;
                if counted < MOST_COUNTED {
                    counted += 1;
                    ticks = self.within(ticks, &row, window).await?;
                }
            }
            absent.push(ticks);
        }
        Ok(absent)
    }

    /// Cuts a row of several ticks to the window, and counts the ticks that are left.
    async fn within(
        &self,
        ticks: AbsentTicks,
        row: &LedgerRow,
        window: &Window,
    ) -> Result<AbsentTicks, StoreError> {
        let Ok(name) = ticks.schedule.parse::<ScheduleName>() else { return Ok(ticks) };
        let revision = self.store().schedule_revision(&name, row.generation).await?;
        let Some(revision) = revision else { return Ok(ticks) };
        let before = window.to.checked_add_signed(chrono::TimeDelta::milliseconds(1));
        let all: Vec<Timestamp> = row
            .ticks(&revision.timetable(), before)
            .map(|tick| tick.first)
            .take_while(|at| *at >= window.from)
            .take(MOST_TICKS)
            .collect();
        // The latest tick comes first.
        let (Some(last), Some(first)) = (all.first(), all.last()) else { return Ok(ticks) };
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        Ok(AbsentTicks { first: *first, last: *last, count, ..ticks })
    }
}

fn running_job(job: &Job, now: Timestamp) -> RunningJob {
    let lane = match job.origin.schedule() {
        Some(by) => LaneName { kind: LaneKind::Schedule, name: by.schedule.to_string() },
        None => LaneName { kind: LaneKind::Job, name: job.name.to_string() },
    };
    let started_at = job.state.run().map(|run| run.started_at);
    RunningJob {
        due_at: job.due_at,
        is_started: started_at.is_some(),
        ..RunningJob::new(job.id, lane, job.state.status(), started_at.unwrap_or(now))
    }
}

/// Adds the expected durations from the forecast.
fn with_expected(running: Vec<RunningJob>, forecast: &Forecast) -> Vec<RunningJob> {
    let expected: HashMap<JobId, _> =
        forecast.running.iter().filter_map(|entry| Some((entry.job?, entry.expected))).collect();
    let known = |job: &RunningJob| expected.get(&job.job).copied().flatten();
    running.into_iter().map(|job| RunningJob { expected: known(&job), ..job }).collect()
}

/// Keeps the parts of one schedule. Counts of runs at once are then of its past runs alone.
fn restrict(parts: &mut Parts, only: &ScheduleName) {
    let name = LaneName { kind: LaneKind::Schedule, name: only.to_string() };
    parts.running.retain(|job| job.lane == name);
    parts.absent.retain(|ticks| ticks.schedule == name.name);
    parts.planned.retain(|entry| entry.schedule.as_ref() == Some(only));
    parts.active.clear();
    parts.pile_ups.clear();
}
