//! The page of one job: how it stands in one sentence, what happened, its log, and the evidence.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::links::Links;
use super::log;
use super::says;
use super::shell::{Part, Shell, text};
use super::story::{self, Step};
use super::words::{self, Clock};
use crate::domain::job::{Job, Map};
use crate::domain::names::id::Seq;
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::scheduler::OutputState;

/// The digits of an id that a page shows.
const SHORT_ID: usize = 12;

/// The most attempts that have a tab.
const MOST_TABS: u32 = 8;
/// The most transitions of one job that are read. A job with the most retries has fewer.
const MOST_TRANSITIONS: usize = 8_000;

/// The query of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JobQuery {
    /// Text that the shown lines have to contain.
    grep: String,
    /// `live` for a page without its log, `log` for lines from `from` on, as they come.
    part: String,
    /// The number of the first line, from 1.
    from: u64,
    /// The attempt whose log is shown; 0 for the last one.
    attempt: u32,
}

struct Action {
    says: &'static str,
    href: String,
}

/// A row of the evidence.
struct Fact {
    name: &'static str,
    value: String,
    href: String,
    is_code: bool,
}

struct TextLink {
    text: String,
    href: String,
    is_current: bool,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    shell: Shell,
    name: String,
    id: String,
    short_id: String,
    href: String,
    status: &'static str,
    says: String,
    later: String,
    actions: Vec<Action>,
    schedule_it: String,
    story: Vec<Step>,
    log_note: String,
    attempts: Vec<TextLink>,
    grep: String,
    download: String,
    follows: bool,
    follow_href: String,
    evidence: Vec<Fact>,
    labels: Vec<TextLink>,
    spec: String,
    curl: String,
}

/// Answers `GET /job/{id}` for a browser. The lines of the log are streamed into the page.
pub(super) async fn page(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<JobQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = api.job(&id).await?;
    if query.part == "log" {
        return log::follow(&api, &job, query.attempt, query.from).await;
    }
    let output = api.scheduler.output_state(&job).await;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let page = view(&api, &job, &output, &query, host).await?;
    let page = text(&page)?;
    if query.part == "live" {
        return Ok(Html(page).into_response());
    }
    let wanted = log::Wanted { grep: query.grep, attempt: query.attempt };
    log::into_page(&api, &job, wanted, &page).await
}

async fn view(
    api: &Api,
    job: &Job,
    output: &OutputState,
    query: &JobQuery,
    host: &str,
) -> Result<JobPage, Problem> {
    let (links, clock) = (api.links(), api.clock());
    let id = job.id.to_string();
    let href = links.job(&id);
    let status = job.state.status();
    let store = api.scheduler.store();
    let journal = store.journal_of(job.id, Seq(0), MOST_TRANSITIONS).await?;
    let spec = serde_json::to_string_pretty(&job.spec).unwrap_or_default();
    let name = job.name.to_string();
    let is_earlier = (1..job.attempt.0).contains(&query.attempt);
    let of_attempt = if is_earlier { query.attempt.to_string() } else { String::new() };
    Ok(JobPage {
        shell: api.shell(&name, Part::Jobs).await?,
        short_id: id.chars().take(SHORT_ID).collect(),
        status: status.as_str(),
        says: says::whole(job),
        later: later(job, clock),
        actions: actions(job, &href),
        schedule_it: Links::with_query(&links.new_schedule(), &[("job_name", &name)]),
        story: story::of(job, &journal, clock),
        log_note: if is_earlier { String::new() } else { log_note(output) },
        attempts: attempts(job, query.attempt, &href),
        grep: query.grep.clone(),
        download: Links::with_query(
            &format!("{href}/logs"),
            &[("download", "true"), ("attempt", &of_attempt)],
        ),
        follows: !output.complete && query.grep.is_empty() && of_attempt.is_empty(),
        follow_href: format!("{href}?part=log&attempt={}", job.attempt.0),
        evidence: evidence(job, output, clock, &links),
        labels: labels(job, &links),
        curl: curl(job, host, &links),
        href,
        id,
        name,
        spec,
    })
}

/// Returns the second sentence: when it ended, how late it began.
fn later(job: &Job, clock: Clock) -> String {
    let late = job.state.run().map(|run| {
        let late = (run.started_at - job.due_at).num_milliseconds().max(0);
        format!("It began {} after it was due.", words::took(late))
    });
    let ended = job.state.end().map(|end| format!("It ended {}.", clock.distance(end.at)));
    [ended, late].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn actions(job: &Job, href: &str) -> Vec<Action> {
    let action = |says, path: &str| Action { says, href: format!("{href}/{path}") };
    match job.map() {
        Map::Scheduled => vec![action("Run now", "now"), action("Take off the schedule", "cancel")],
        Map::Running => vec![action("Stop", "stop")],
        Map::History => vec![action("Run again", "rerun")],
    }
}

/// Returns a tab for each attempt of a job with more than one, the last [`MOST_TABS`] at most.
fn attempts(job: &Job, shown: u32, href: &str) -> Vec<TextLink> {
    let last = job.attempt.0;
    let shown = if (1..last).contains(&shown) { shown } else { last };
    let first = last.saturating_sub(MOST_TABS).max(1);
    let tab = |attempt: u32| TextLink {
        text: format!("attempt {attempt}"),
        href: format!("{href}?attempt={attempt}#h-log"),
        is_current: attempt == shown,
    };
    if last > 1 { (first..=last).map(tab).collect() } else { Vec::new() }
}

fn log_note(output: &OutputState) -> String {
    match (output.kept, output.complete) {
        (Some(kept), true) if kept.lines == 0 => "no output".to_owned(),
        (Some(kept), _) => {
            let cut = if kept.truncated { ", cut at its limit" } else { "" };
            format!("{}, {}{cut}", words::count(kept.lines, "line"), words::size(kept.bytes))
        }
        (None, true) => "no output".to_owned(),
        (None, false) => "as it comes".to_owned(),
    }
}

fn evidence(job: &Job, output: &OutputState, clock: Clock, links: &Links) -> Vec<Fact> {
    let plain = |name, value: String| Fact { name, value, href: String::new(), is_code: false };
    let code = |name, value: String| Fact { is_code: true, ..plain(name, value) };
    let (run, end) = (job.state.run(), job.state.end());
    let exit = end.and_then(|end| end.exit.as_ref());
    let until = end.map_or(clock.now, |end| end.at);
    let ms = |span: chrono::TimeDelta| words::took(span.num_milliseconds().max(0));
    let usage = end.and_then(|end| end.usage);
    let millis = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let pair = |one, other| format!("{}, {}", words::size(one), words::size(other));
    let definition = links.definition(job.name.as_str());
    let fields = job.spec.fields();
    let facts = [
        job.state.exit_code().map(|number| plain("Exit code", number.to_string())),
        exit.and_then(|exit| exit.signal()).map(|signal| plain("Signal", signal.to_string())),
        exit.filter(|exit| exit.oom_killed).map(|_| plain("Out of memory", "yes".to_owned())),
        job.state.reason().map(|reason| code("Reason", reason.to_string())),
        run.map(|run| plain("Late", ms(run.started_at - job.due_at))),
        run.map(|run| plain("Ran", ms(until - run.started_at))),
        usage.map(|usage| plain("Memory, peak", words::size(usage.memory_peak_bytes))),
        usage.map(|usage| plain("CPU time", words::took(millis(usage.cpu_ms)))),
        usage.map(|usage| {
            plain("Read, written", pair(usage.block_read_bytes, usage.block_write_bytes))
        }),
        usage.map(|usage| {
            plain("Received, sent", pair(usage.network_rx_bytes, usage.network_tx_bytes))
        }),
        (job.attempt.0 > 0).then(|| plain("Attempts", job.attempt.0.to_string())),
        output.kept.map(|kept| plain("Log", words::size(kept.bytes))),
        job.origin.schedule().map(|origin| Fact {
            href: links.schedule(origin.schedule.as_str()),
            ..plain("Schedule", origin.schedule.to_string())
        }),
        job.nominal().map(|at| plain("Tick", clock.clock(at))),
        fields.queue.as_ref().map(|queue| plain("Queue", queue.to_string())),
        fields.image.as_ref().map(|image| code("Image", image.to_string())),
        fields
            .image
            .as_ref()
            .filter(|image| image.as_str() != job.name.as_str())
            .map(|_| Fact { href: definition, ..plain("Definition", job.name.to_string()) }),
        run.and_then(|run| run.image_digest.as_ref())
            .map(|digest| code("Digest", digest.0.clone())),
        job.submitted_by.as_ref().map(|by| plain("Submitted by", by.to_string())),
        Some(code("Id", job.id.to_string())),
    ];
    facts.into_iter().flatten().collect()
}

fn labels(job: &Job, links: &Links) -> Vec<TextLink> {
    let labels = job.spec.fields().labels.iter().flat_map(|labels| &labels.0);
    let link = |(key, value): (&String, &String)| {
        let text = format!("{key}={value}");
        let href = Links::with_query(&links.jobs(), &[("label", &text)]);
        TextLink { text, href, is_current: false }
    };
    labels.map(link).collect()
}

/// Returns the call that would make this job, due now.
fn curl(job: &Job, host: &str, links: &Links) -> String {
    let mut body = serde_json::to_value(&job.spec).unwrap_or_default();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("image");
        fields.insert("job_name".to_owned(), job.name.as_str().into());
        fields.insert("date".to_owned(), "now".into());
    }
    let address = format!("http://{host}{}", links.to("/job"));
    format!(
        "curl {} \\\n  --json {}",
        shell_words::quote(&address),
        shell_words::quote(&body.to_string())
    )
}
