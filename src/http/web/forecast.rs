//! The page `/forecast`: the coming runs, and the times at which too many coincide.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::links::Links;
use super::shell::{Part, Shell, render};
use super::words::{self, Clock, Moment};
use crate::domain::forecast::{Entry, Forecast};
use crate::http::problem::Problem;
use crate::http::state::Api;

/// The hours that the page offers; the first is the default.
const HOURS: [(u16, &str); 4] = [(24, "24 h"), (6, "6 h"), (72, "3 d"), (168, "7 d")];
/// The most entries on the page.
const ROWS: usize = 200;

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ForecastQuery {
    hours: Option<u16>,
}

struct Row {
    at: Moment,
    name: String,
    href: String,
    schedule: String,
    takes: String,
    note: &'static str,
}

struct Window {
    text: &'static str,
    href: String,
    is_current: bool,
}

#[derive(Template)]
#[template(path = "forecast.html")]
struct ForecastPage {
    shell: Shell,
    windows: Vec<Window>,
    warnings: Vec<String>,
    rows: Vec<Row>,
    note: String,
}

/// Answers `GET /forecast` for a browser.
pub(super) async fn page(
    State(api): State<Api>,
    Query(query): Query<ForecastQuery>,
) -> Result<Response, Problem> {
    let (links, clock) = (api.links(), api.clock());
    let known = HOURS.iter().find(|(hours, _)| Some(*hours) == query.hours);
    let (hours, _) = *known.unwrap_or(&HOURS[0]);
    let forecast = api.scheduler.forecast(hours, api.snapshot().await?).await?;
    let window = |(value, text): &(u16, &'static str)| Window {
        text,
        href: Links::with_query(&links.forecast(), &[("hours", &value.to_string())]),
        is_current: *value == hours,
    };
    let mut windows: Vec<Window> = HOURS.iter().map(window).collect();
    windows.swap(0, 1);
    let total = forecast.entries.len() as u64;
    let shown = total.min(ROWS as u64);
    render(&ForecastPage {
        shell: api.shell("Forecast", Part::Forecast).await?,
        windows,
        warnings: warnings(&forecast, clock),
        rows: forecast.entries.iter().take(ROWS).map(|entry| row(entry, clock, &links)).collect(),
        note: match shown < total || forecast.truncated {
            true => format!("the next {shown} of {}", words::grouped(total)),
            false => words::grouped(total),
        },
    })
}

fn row(entry: &Entry, clock: Clock, links: &Links) -> Row {
    let schedule = entry.schedule.as_ref().map(ToString::to_string).unwrap_or_default();
    let takes = entry.expected.and_then(|expected| i64::try_from(expected.as_millis()).ok());
    Row {
        at: clock.moment(entry.due_at),
        name: entry.job_name.to_string(),
        href: match (&entry.job, schedule.as_str()) {
            (Some(job), _) => links.job(&job.to_string()),
            (None, name) => links.schedule(name),
        },
        schedule,
        takes: takes.map(words::took).unwrap_or_default(),
        note: if entry.overlaps { "the run before will not be over" } else { "" },
    }
}

/// Returns a sentence on each stretch with too many runs, and on each schedule that overlaps.
fn warnings(forecast: &Forecast, clock: Clock) -> Vec<String> {
    let piles = forecast.pile_ups.iter().map(|pile| {
        format!(
            "From {} to {}, {} jobs want to run at once; {} allows {}. Some will start late.",
            clock.clock(pile.from),
            clock.clock(pile.until),
            pile.peak,
            pile.limit,
            pile.most
        )
    });
    let overlaps = forecast.crossings.iter().map(|crossing| {
        format!(
            "Schedule {} will tick {} while its run before is not over, first at {}.",
            crossing.schedule,
            words::count(crossing.runs, "time"),
            clock.clock(crossing.first)
        )
    });
    piles.chain(overlaps).collect()
}
