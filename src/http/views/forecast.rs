//! The JSON types of a forecast.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::forecast::{Entry, Forecast, OverlapWarning, PileUp};
use crate::domain::schedule::Overlap;
use crate::domain::text::date::rfc3339;

/// The answer to `GET /forecast`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastView {
    /// The start of the forecast, RFC 3339 like all times here.
    #[schema(format = DateTime)]
    pub from: String,
    /// The end of the forecast. With too many entries, the time of the last one.
    #[schema(format = DateTime)]
    pub until: String,
    /// True if the requested hours have more entries.
    pub truncated: bool,
    /// The coming runs, by due time.
    pub entries: Vec<ForecastEntryView>,
    /// The stretches in which more jobs would run at once than a limit allows.
    pub pile_ups: Vec<PileUpView>,
    /// The schedules with runs that take longer than the time between them.
    pub overlaps: Vec<OverlapView>,
}

/// A run in the future.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastEntryView {
    /// The due time, RFC 3339.
    #[schema(format = DateTime)]
    pub due_at: String,
    /// The name of a definition or an image.
    pub job_name: String,
    /// The schedule of the run. Null without one.
    pub schedule: Option<String>,
    /// The id of the run's job. Null if no job exists yet.
    pub job: Option<String>,
    /// The expected duration in seconds, from the last successful runs of the same name. Null if
    /// unknown.
    pub expected_seconds: Option<f64>,
    /// True if the previous run of the schedule is not over by the due time.
    pub overlaps: bool,
}

/// A stretch in which more jobs would run at once than a limit allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PileUpView {
    /// The limit: `max_running`, `queues.NAME` or `max_parallel of NAME`.
    pub limit: String,
    /// The number of jobs that the limit allows.
    pub most: usize,
    /// The largest number of jobs that would run at once.
    pub peak: usize,
    /// The start of the stretch.
    #[schema(format = DateTime)]
    pub from: String,
    /// The end of the stretch.
    #[schema(format = DateTime)]
    pub until: String,
}

/// A schedule with overlapping runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverlapView {
    pub schedule: String,
    /// The policy for a run that comes before the previous one is over.
    pub overlap: Overlap,
    /// The due time of the first such run.
    #[schema(format = DateTime)]
    pub first: String,
    /// The number of such runs.
    pub runs: u64,
    /// The expected duration of a run in seconds. Null if unknown.
    pub expected_seconds: Option<f64>,
}

impl ForecastView {
    /// Builds the view of a forecast.
    pub fn of(forecast: &Forecast) -> Self {
        let seconds = |expected: Option<Duration>| {
            expected.map(|expected| expected.as_millis() as f64 / 1_000.0)
        };
        let entry = |entry: &Entry| ForecastEntryView {
            due_at: rfc3339(entry.due_at),
            job_name: entry.job_name.to_string(),
            schedule: entry.schedule.as_ref().map(ToString::to_string),
            job: entry.job.map(|job| job.to_string()),
            expected_seconds: seconds(entry.expected),
            overlaps: entry.overlaps,
        };
        let pile_up = |pile: &PileUp| PileUpView {
            limit: pile.limit.clone(),
            most: pile.most,
            peak: pile.peak,
            from: rfc3339(pile.from),
            until: rfc3339(pile.until),
        };
        let overlap = |crossing: &OverlapWarning| OverlapView {
            schedule: crossing.schedule.to_string(),
            overlap: crossing.overlap,
            first: rfc3339(crossing.first),
            runs: crossing.runs,
            expected_seconds: seconds(crossing.expected),
        };
        Self {
            from: rfc3339(forecast.from),
            until: rfc3339(forecast.until),
            truncated: forecast.truncated,
            entries: forecast.entries.iter().map(entry).collect(),
            pile_ups: forecast.pile_ups.iter().map(pile_up).collect(),
            overlaps: forecast.crossings.iter().map(overlap).collect(),
        }
    }
}
