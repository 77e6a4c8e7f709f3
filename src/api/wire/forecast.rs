//! The shapes of a forecast.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::date::rfc3339;
use crate::domain::forecast::{Crossing, Entry, Forecast, PileUp};
use crate::domain::schedule::Overlap;

/// The answer to `GET /forecast`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastView {
    /// From when on, RFC 3339, as all times here.
    pub from: String,
    /// Up to when: where there are too many, the time of the last entry.
    pub until: String,
    /// Whether there are more entries in the hours asked for.
    pub truncated: bool,
    /// What will run, by due time.
    pub entries: Vec<ForecastEntryView>,
    /// When more would run at once than may.
    pub pile_ups: Vec<PileUpView>,
    /// Schedules whose runs take longer than the time between them.
    pub overlaps: Vec<OverlapView>,
}

/// A run that is to come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastEntryView {
    /// When it is due.
    pub due_at: String,
    /// What is run.
    pub job_name: String,
    /// The schedule that it is of.
    pub schedule: Option<String>,
    /// Its job, if it has one already.
    pub job: Option<String>,
    /// How long it takes, by the runs of its name that succeeded last.
    pub expected_seconds: Option<f64>,
    /// Whether the run before it of its schedule is not over by then.
    pub overlaps: bool,
}

/// A stretch in which more would run at once than may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PileUpView {
    /// Which limit: `max_running`, `queues.NAME`, `max_parallel of NAME`.
    pub limit: String,
    /// How many may run.
    pub most: usize,
    /// How many would.
    pub peak: usize,
    /// From when on.
    pub from: String,
    /// Up to when.
    pub until: String,
}

/// A schedule that gets in its own way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverlapView {
    /// Its name.
    pub schedule: String,
    /// What becomes of a run that comes while the one before is not over.
    pub overlap: Overlap,
    /// When the first does.
    pub first: String,
    /// How many do.
    pub runs: u64,
    /// How long a run takes.
    pub expected_seconds: Option<f64>,
}

impl ForecastView {
    /// This forecast.
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
        let overlap = |crossing: &Crossing| OverlapView {
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
