//! The page of one schedule: when it runs, what happened at its last ticks, and what comes next.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::links::Links;
use super::rows::JobRow;
use super::says;
use super::schedules::{Marks, Tick, class, state};
use super::shell::{Part, Shell, render};
use super::tide::Chart;
use super::words::{self, Clock, Moment, sentence};
use crate::domain::job::{Map, Status};
use crate::domain::names::id::Timestamp;
use crate::domain::recurrence::Zone;
use crate::domain::schedule::ScheduleFields;
use crate::domain::schedule::record::ScheduleRecord;
use crate::http::problem::Problem;
use crate::http::state::Api;

/// The ticks of the ledger that the page shows.
const TICKS: usize = 50;
/// The coming ticks that the page shows.
const NEXT: usize = 6;

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ScheduleQuery {
    window: String,
}

/// A coming tick.
struct NextTick {
    at: Moment,
    day: String,
}

/// A tick of the past, as a line of the story.
struct Told {
    at: Moment,
    class: &'static str,
    says: String,
    took: String,
    href: String,
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct SchedulePage {
    shell: Shell,
    name: String,
    href: String,
    status: &'static str,
    says: String,
    state: String,
    is_paused: bool,
    is_of_config: bool,
    edit: String,
    chart: Option<Chart>,
    marks: Marks,
    next: Vec<NextTick>,
    zone: String,
    told: Vec<Told>,
    jobs: Vec<JobRow>,
    runs: String,
    job_name: String,
    definition: String,
    jobs_href: String,
    fields: String,
}

/// Answers `GET /schedule/{name}` for a browser.
pub(super) async fn page(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<ScheduleQuery>,
) -> Result<Response, Problem> {
    let record = api.record(&name).await?;
    let (links, clock) = (api.links(), api.clock());
    let ticks = api.last_ticks(&record.name, TICKS).await?;
    let mut jobs = api.scheduler.store().jobs_of(&record.name).await?;
    jobs.retain(|job| job.map() == Map::Running);
    let zone = record.schedule.time_zone().unwrap_or(Zone::UTC);
    let (name, is_paused) = (record.name.to_string(), record.schedule.is_paused());
    let job_name = record.schedule.job_name().to_string();
    let is_defined = api.scheduler.definition(record.schedule.job_name()).await?.is_some();
    let fields = ScheduleFields::from(record.schedule.clone());
    let href = links.schedule(&name);
    let chart = api.chart(&query.window, &href, Some(&name)).await?;
    render(&SchedulePage {
        shell: api.shell(&name, Part::Schedules).await?,
        status: if is_paused { "canceled" } else { ticks.first().map_or("scheduled", class) },
        says: sentence(&says::recurrence(&record, clock)),
        state: standing(&record, clock),
        is_paused,
        is_of_config: record.source.as_str() == "config",
        edit: format!("{href}/edit"),
        chart,
        marks: Marks::of(&ticks),
        next: coming(&record, api.scheduler.now(), Clock { zone: zone.tz(), ..clock }),
        zone: zone.tz().name().to_owned(),
        told: ticks.iter().map(|tick| told(tick, clock, &links)).collect(),
        jobs: jobs.iter().map(|job| JobRow::new(job, clock, &links, None)).collect(),
        runs: words::count(record.runs, "run"),
        definition: if is_defined { links.definition(&job_name) } else { String::new() },
        jobs_href: Links::with_query(&links.jobs(), &[("schedule", &name)]),
        job_name,
        fields: serde_json::to_string_pretty(&fields).unwrap_or_default(),
        href,
        name,
    })
}

/// Returns how the schedule stands: its next tick, or why it has none.
fn standing(record: &ScheduleRecord, clock: Clock) -> String {
    match (state(record), record.next_tick) {
        (_, Some(next)) => format!("Next {}.", clock.distance(next.nominal)),
        ("paused", None) => "It is paused: ticks are skipped until it is resumed.".to_owned(),
        _ => "It has no tick left.".to_owned(),
    }
}

fn coming(record: &ScheduleRecord, now: Timestamp, clock: Clock) -> Vec<NextTick> {
    let left = record.schedule.max_runs().map_or(u64::MAX, |most| most.saturating_sub(record.runs));
    let count = NEXT.min(usize::try_from(left).unwrap_or(NEXT));
    let ticks = record.timetable();
    ticks
        .after(record.settled_until.max(now))
        .take(count)
        .map(|tick| NextTick { at: clock.moment(tick.nominal), day: clock.when(tick.nominal) })
        .collect()
}

fn told(tick: &Tick, clock: Clock, links: &Links) -> Told {
    let job = tick.job.as_ref();
    let status = job.map(|job| job.state.status());
    let is_failed = matches!(status, Some(Status::Failed | Status::TimedOut | Status::Unknown));
    let said = says::tick(&tick.row, status);
    let took = job.and_then(|job| {
        let run = job.state.run()?;
        Some(words::took((job.state.end()?.at - run.started_at).num_milliseconds().max(0)))
    });
    Told {
        at: clock.moment(tick.row.first),
        class: class(tick),
        says: match job.filter(|_| is_failed) {
            Some(job) => format!("{said}: {}", job.says()),
            None => said,
        },
        took: took.unwrap_or_default(),
        href: job.map(|job| links.job(&job.id.to_string())).unwrap_or_default(),
    }
}
