//! The page `/jobs`: what runs, what will run, and how it ended.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::links::Links;
use super::rows::JobRow;
use super::search::{Query as SearchQuery, Search};
use super::shell::{Part, Shell, render};
use super::tide::Chart;
use super::words::{self, Clock};
use crate::domain::forecast::{RUNS_LOOKED_AT, typical};
use crate::domain::job::{Job, Map, Status};
use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::store::{EndedSearch, Filter, Snapshot};

/// The rows of each list on the page with everything, and on a page with a filter.
const ROWS: [usize; 2] = [10, 100];
/// The rows of the history.
const HISTORY_ROWS: usize = 30;
/// The jobs of a map that a filter looks through.
const LOOKED_THROUGH: usize = 1_000;

/// One figure at the top: a number and what it counts.
pub(super) struct Figure {
    pub(super) number: String,
    pub(super) says: String,
}

/// A link that filters the lists.
struct FilterLink {
    text: String,
    href: String,
    is_current: bool,
}

/// A list of jobs.
struct List {
    id: &'static str,
    title: &'static str,
    note: String,
    rows: Vec<JobRow>,
    /// A sentence for an empty list, and a line to copy.
    empty: &'static str,
    example: String,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    shell: Shell,
    figures: Vec<Figure>,
    chart: Option<Chart>,
    search: String,
    filters: Vec<FilterLink>,
    is_filtered: bool,
    /// The lists side by side.
    ahead: Vec<List>,
    history: Option<List>,
    everything: String,
    /// True while all starts are paused.
    is_paused: bool,
    pause: String,
    resume: String,
}

/// Answers `GET /jobs` for a browser.
pub(super) async fn page(
    State(api): State<Api>,
    query: Result<Query<SearchQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::query(&rejection.body_text()))?;
    if let Some(found) = api.job_of_search(&query.q).await {
        return Ok(found);
    }
    let search = Search::read(&query)?;
    let (links, clock) = (api.links(), api.clock());
    let mut read = Reader { snapshot: api.snapshot().await?, search: &search };
    let running = read.running().await?;
    let scheduled = read.scheduled().await?;
    let usual = read.usual(&running).await?;
    let history = read.ended().await?;
    drop(read);
    let rows = |jobs: Vec<Job>| -> Vec<JobRow> {
        let row = |job: &Job| {
            JobRow::new(job, clock, &links, usual.get(job.name.as_str()).copied().flatten())
        };
        jobs.iter().map(row).collect()
    };
    let (figures, waiting) = api.figures(clock).await?;
    let shown = scheduled.len() as u64;
    let lists = [
        (
            Map::Running,
            List {
                id: "running",
                title: "Running",
                note: words::grouped(running.len() as u64),
                rows: rows(running),
                empty: "Nothing runs now.",
                example: String::new(),
            },
        ),
        (
            Map::Scheduled,
            List {
                id: "scheduled",
                title: "Scheduled",
                note: match shown < waiting && search.is_everything() {
                    true => format!("next {shown} of {}", words::grouped(waiting)),
                    false => words::grouped(shown),
                },
                rows: rows(scheduled),
                empty: "Nothing is scheduled.",
                example: example(&api),
            },
        ),
    ];
    let chart = match search.is_everything() {
        true => api.chart(&query.window, &links.jobs(), None).await?,
        false => None,
    };
    let history = search.includes(Map::History).then(|| List {
        id: "history",
        title: "History",
        note: "latest first".to_owned(),
        rows: rows(history),
        empty: "No job has ended yet.",
        example: String::new(),
    });
    render(&JobsPage {
        shell: api.shell("Jobs", Part::Jobs).await?,
        figures,
        chart,
        filters: filters(&links, &query),
        is_filtered: !search.is_everything(),
        ahead: lists
            .into_iter()
            .filter(|(map, _)| search.includes(*map))
            .map(|(_, it)| it)
            .collect(),
        history,
        search: query.q,
        everything: links.jobs(),
        is_paused: api.scheduler.paused().is_some(),
        pause: links.to("/pause"),
        resume: links.to("/resume"),
    })
}

/// Returns the line that makes a first job.
fn example(api: &Api) -> String {
    let jobs = api.links().to("/job");
    format!(
        "curl localhost:8888{jobs} --json '{{\"job_name\": \"busybox:latest\", \"date\": \"30s\"}}'"
    )
}

fn filters(links: &Links, query: &SearchQuery) -> Vec<FilterLink> {
    let link = |(text, state): (&str, &str)| FilterLink {
        text: text.to_owned(),
        href: Links::with_query(
            &links.jobs(),
            &[
                ("state", state),
                ("q", &query.q),
                ("job_name", &query.job_name),
                ("schedule", &query.schedule),
                ("label", &query.label),
            ],
        ),
        is_current: query.state == state,
    };
    let all = [
        ("All", ""),
        ("Running", "running"),
        ("Scheduled", "scheduled"),
        ("Failed", "failed,timed_out,missed,unknown"),
    ];
    all.into_iter().map(link).collect()
}

impl Api {
    /// Returns a redirect to the job whose id was searched for.
    async fn job_of_search(&self, text: &str) -> Option<Response> {
        let text = text.trim();
        let is_id = text.len() >= 8 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        let id = self.find(text).await.ok().filter(|_| is_id)?;
        Some(Redirect::to(&format!("/job/{id}")).into_response())
    }

    async fn figures(&self, clock: Clock) -> Result<(Vec<Figure>, u64), Problem> {
        let summary = self.summary().await?;
        let next = self.scheduler.store().next_due().await?;
        let figure = |number: String, says: String| Figure { number, says };
        let slots = summary.slots.limit.map(|limit| format!("running, of {limit} slots"));
        let next = next.map(|at| format!("scheduled, next {}", clock.distance(at)));
        let ended: u64 = summary.ended_24h.values().sum();
        let well = summary.ended_24h.get(Status::Succeeded.as_str()).copied().unwrap_or_default();
        let share = (ended > 0).then(|| {
            let tenths = well * 1_000 / ended;
            let says = format!("of {} in 24 h succeeded", words::count(ended, "run"));
            figure(format!("{}.{} %", tenths / 10, tenths % 10), says)
        });
        let late = summary.lateness_ms.map(|late| {
            let says = format!("late at the median, {} at p99", words::took(late.p99.max(0)));
            figure(words::took(late.p50.max(0)), says)
        });
        let figures = [
            Some(figure(
                words::grouped(summary.jobs.running),
                slots.unwrap_or_else(|| "running".to_owned()),
            )),
            Some(figure(
                words::grouped(summary.jobs.scheduled),
                next.unwrap_or_else(|| "scheduled".to_owned()),
            )),
            share,
            late,
        ];
        Ok((figures.into_iter().flatten().collect(), summary.jobs.scheduled))
    }
}

/// The reads of the page: all of one snapshot.
struct Reader<'a> {
    snapshot: Box<dyn Snapshot>,
    search: &'a Search,
}

impl Reader<'_> {
    fn rows(&self) -> usize {
        ROWS[usize::from(!self.search.is_everything())]
    }

    /// Returns the jobs in the running map, the one that was accepted last first.
    async fn running(&mut self) -> Result<Vec<Job>, Problem> {
        let mut jobs =
            self.snapshot.page(Map::Running, &Filter::default(), None, LOOKED_THROUGH).await?;
        jobs.retain(|job| self.search.passes(job));
        jobs.reverse();
        jobs.truncate(ROWS[1]);
        Ok(jobs)
    }

    /// Returns the waiting jobs: the queued first, then the others by due time.
    async fn scheduled(&mut self) -> Result<Vec<Job>, Problem> {
        let queued = Filter { statuses: vec![Status::Queued], ..Filter::default() };
        let limit = if self.search.is_everything() { ROWS[0] } else { LOOKED_THROUGH };
        let mut jobs = self.snapshot.page(Map::Scheduled, &queued, None, limit).await?;
        jobs.extend(self.snapshot.due(Timestamp::MAX_UTC, limit).await?);
        jobs.retain(|job| self.search.passes(job));
        jobs.truncate(self.rows());
        Ok(jobs)
    }

    /// Returns the jobs that ended last, the latest first.
    async fn ended(&mut self) -> Result<Vec<Job>, Problem> {
        let is_rare = self.search.label.is_some();
        let most = if self.search.is_everything() { HISTORY_ROWS } else { ROWS[1] };
        let (statuses, name) = (self.search.statuses.clone(), self.search.name.clone());
        let search = EndedSearch { statuses, name };
        // The index does not have the labels, so more jobs are read and compared.
        let read = if is_rare { LOOKED_THROUGH } else { most };
        let mut jobs = self.snapshot.latest_ended(&search, read).await?;
        jobs.retain(|job| self.search.passes(job));
        jobs.truncate(most);
        Ok(jobs)
    }

    /// Returns the usual time of each of these jobs' names, in ms.
    async fn usual(&mut self, jobs: &[Job]) -> Result<HashMap<String, Option<i64>>, Problem> {
        let mut names: Vec<JobName> = jobs.iter().map(|job| job.name.clone()).collect();
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let runs = self.snapshot.runs(&names, RUNS_LOOKED_AT).await?;
        let usual = |runs| typical(runs).and_then(|usual| i64::try_from(usual.as_millis()).ok());
        Ok(names
            .into_iter()
            .map(|name| name.to_string())
            .zip(runs.into_iter().map(usual))
            .collect())
    }
}
