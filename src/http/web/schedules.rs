//! The page `/schedules`: when each schedule runs, how its last ticks went, and when it is next.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::links::Links;
use super::says;
use super::shell::{Part, Shell, render};
use super::words::{self, Clock, Moment};
use crate::domain::forecast::{RUNS_LOOKED_AT, typical};
use crate::domain::job::{Job, Status};
use crate::domain::names::image::JobName;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::ledger::{LedgerRow, TickOutcome};
use crate::domain::schedule::record::ScheduleRecord;
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::store::MAX_PAGE;

/// The schedules of one page.
const ROWS: usize = 50;
/// The ticks that a row shows.
const TICKS: usize = 30;
/// The distance between two marks, and the height of the row of marks.
const MARK: (usize, i64) = (7, 22);

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    q: String,
    after: String,
}

/// A tick as a mark: a bar as high as the run was long.
pub(super) struct Mark {
    pub(super) x: usize,
    pub(super) y: i64,
    pub(super) height: i64,
    pub(super) class: &'static str,
}

/// The last ticks of a schedule.
pub(super) struct Marks {
    pub(super) marks: Vec<Mark>,
    pub(super) width: usize,
    pub(super) says: String,
}

/// A tick with the job that ran for it.
pub(super) struct Tick {
    pub(super) row: LedgerRow,
    pub(super) job: Option<Job>,
}

struct Row {
    name: String,
    href: String,
    job_name: String,
    says: String,
    marks: Marks,
    takes: String,
    next: Option<Moment>,
    is_paused: bool,
    /// The state of a schedule without a next tick.
    state: &'static str,
    status: &'static str,
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct SchedulesPage {
    shell: Shell,
    search: String,
    here: String,
    new_schedule: String,
    rows: Vec<Row>,
    note: String,
    next_page: String,
    example: String,
}

/// Answers `GET /schedules` for a browser.
pub(super) async fn page(
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let (links, clock) = (api.links(), api.clock());
    let (records, more) = api.schedules_with(&query).await?;
    let names: Vec<JobName> = records.iter().map(|it| it.schedule.job_name().clone()).collect();
    let runs = api.snapshot().await?.runs(&names, RUNS_LOOKED_AT).await?;
    let mut rows = Vec::with_capacity(records.len());
    for (record, runs) in records.iter().zip(runs) {
        let ticks = api.last_ticks(&record.name, TICKS).await?;
        let usual = typical(runs).and_then(|usual| i64::try_from(usual.as_millis()).ok());
        rows.push(row(record, &ticks, usual, clock, &links));
    }
    let last = records.last().map(|record| record.name.as_str()).filter(|_| more);
    let next_page =
        last.map(|last| Links::with_query(&links.schedules(), &[("q", &query.q), ("after", last)]));
    render(&SchedulesPage {
        shell: api.shell("Schedules", Part::Schedules).await?,
        here: links.schedules(),
        new_schedule: links.new_schedule(),
        note: words::grouped(rows.len() as u64),
        rows,
        next_page: next_page.unwrap_or_default(),
        example: format!(
            "curl -X PUT localhost:8888{} --json '{{\"job_name\": \"busybox:latest\", \"cron\": \"30 2 * * *\"}}'",
            links.schedule("nightly")
        ),
        search: query.q,
    })
}

fn row(
    record: &ScheduleRecord,
    ticks: &[Tick],
    usual: Option<i64>,
    clock: Clock,
    links: &Links,
) -> Row {
    let is_paused = record.schedule.is_paused();
    let worst = ticks.first().and_then(|tick| tick.job.as_ref()).map(|job| job.state.status());
    Row {
        href: links.schedule(record.name.as_str()),
        name: record.name.to_string(),
        job_name: record.schedule.job_name().to_string(),
        says: says::recurrence(record, clock),
        marks: Marks::of(ticks),
        takes: usual.map(words::took).unwrap_or_default(),
        next: record.next_tick.map(|next| clock.moment(next.nominal)),
        is_paused,
        state: state(record),
        status: if is_paused { "canceled" } else { worst.map_or("scheduled", Status::as_str) },
    }
}

/// Returns the state of a schedule in a word.
pub(super) fn state(record: &ScheduleRecord) -> &'static str {
    match (record.schedule.is_paused(), record.next_tick) {
        (true, _) => "paused",
        (false, Some(_)) => "ticks",
        (false, None) => "over",
    }
}

impl Marks {
    /// Draws these ticks, the latest first, as marks with the latest at the right.
    pub(super) fn of(ticks: &[Tick]) -> Self {
        let took = |tick: &Tick| {
            let job = tick.job.as_ref()?;
            let run = job.state.run()?;
            Some((job.state.end()?.at - run.started_at).num_milliseconds().max(1))
        };
        let longest = ticks.iter().filter_map(took).max().unwrap_or(1);
        let mark = |(index, tick): (usize, &Tick)| {
            let height = took(tick)
                .map_or(MARK.1 / 2, |ms| (MARK.1 * 2 / 5) + ms * (MARK.1 * 3 / 5) / longest);
            Mark { x: index * MARK.0, y: MARK.1 - height, height, class: class(tick) }
        };
        let marks: Vec<Mark> = ticks.iter().rev().enumerate().map(mark).collect();
        Self { width: (marks.len() * MARK.0).max(1), says: summary(ticks), marks }
    }
}

/// Returns the class of a tick: the status of its job, or its outcome.
pub(super) fn class(tick: &Tick) -> &'static str {
    match (tick.row.outcome, &tick.job) {
        (Some(TickOutcome::Ran | TickOutcome::CaughtUp), Some(job)) => job.state.status().as_str(),
        (Some(TickOutcome::Ran | TickOutcome::CaughtUp), None) => "succeeded",
        (Some(TickOutcome::Skipped), _) => "skipped",
        (Some(TickOutcome::Missed), _) => "missed",
        (None, _) => "scheduled",
    }
}

/// Returns the counts of the outcomes: `26 succeeded, 3 failed, 1 skipped`.
fn summary(ticks: &[Tick]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for tick in ticks {
        let class = class(tick);
        match counts.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => counts.push((class, 1)),
        }
    }
    let said = counts.iter().map(|(class, count)| format!("{count} {}", class.replace('_', " ")));
    let said = said.collect::<Vec<_>>().join(", ");
    if said.is_empty() { "no ticks yet".to_owned() } else { said }
}

impl Api {
    /// Returns a page of the schedules that the search finds, and whether there are more.
    async fn schedules_with(
        &self,
        query: &ListQuery,
    ) -> Result<(Vec<ScheduleRecord>, bool), Problem> {
        let mut snapshot = self.snapshot().await?;
        let mut after = query.after.parse::<ScheduleName>().ok();
        let wanted = query.q.trim().to_lowercase();
        let mut found = Vec::new();
        loop {
            let records = snapshot.schedules(after.as_ref(), MAX_PAGE).await?;
            let is_last = records.len() < MAX_PAGE;
            after = records.last().map(|record| record.name.clone());
            found.extend(records.into_iter().filter(|record| {
                record.name.as_str().to_lowercase().contains(&wanted)
                    || record.schedule.job_name().as_str().to_lowercase().contains(&wanted)
            }));
            if is_last || found.len() > ROWS {
                let more = found.len() > ROWS;
                found.truncate(ROWS);
                return Ok((found, more));
            }
        }
    }

    /// Returns the last ticks of a schedule with their jobs, the latest first.
    pub(super) async fn last_ticks(
        &self,
        name: &ScheduleName,
        limit: usize,
    ) -> Result<Vec<Tick>, Problem> {
        let rows = self.scheduler.ledger(name, None, limit).await?;
        let mut ticks = Vec::with_capacity(rows.len());
        for row in rows {
            let job = match row.job {
                Some(id) => self.scheduler.store().get(id).await?,
                None => None,
            };
            ticks.push(Tick { row, job });
        }
        Ok(ticks)
    }
}
