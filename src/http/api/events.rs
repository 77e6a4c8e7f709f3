//! `GET /events`: every change from the journal on disk, as it happens; and the story of one job.
//!
//! A stream begins after the number that the caller names, else now. It reads the journal until it
//! has caught up, and then takes rows as they are committed. A stream that falls behind reads the
//! journal again, so nothing is buffered for a slow reader; one that takes nothing for too long is
//! cut off. Rows that were pruned are reported as a `gap`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tracing::warn;

use crate::domain::names::change::Kind;
use crate::domain::names::id::{JobId, Seq};
use crate::http::auth::guard::Admitted;
use crate::http::problem::Problem;
use crate::http::query::KnownQuery;
use crate::http::state::Api;
use crate::http::views::{EventView, GapView, StoryView};
use crate::store::{Entry, Store, StoreError};

/// The time after which a stream without events sends a comment.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The number of journal rows read per query.
const PAGE: usize = 500;
/// The number of chunks that wait for a slow reader.
const CHUNKS_WAITING: usize = 4;
/// The most events in one answer about a job.
const MAX_STORY: usize = 1_000;
/// The header with which a browser resumes a stream.
const LAST_EVENT_ID: &str = "last-event-id";

/// The query of `GET /events`.
#[derive(Debug, Default, Deserialize)]
pub(in crate::http) struct EventsQuery {
    schedule: Option<String>,
    job: Option<String>,
    job_name: Option<String>,
    kind: Option<String>,
    since: Option<u64>,
}

/// The query of `GET /job/{id}/events`.
#[derive(Debug, Default, Deserialize)]
pub(in crate::http) struct StoryQuery {
    since: Option<u64>,
    limit: Option<usize>,
}

/// A filter on events. A field that is `None` does not restrict.
#[derive(Clone, Debug, Default)]
struct Wanted {
    schedule: Option<String>,
    job: Option<JobId>,
    job_name: Option<String>,
    /// The words of the kinds.
    kinds: Option<Vec<String>>,
}

/// The form of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Sse,
    JsonLines,
}

/// Answers `GET /events` with a stream that does not end.
pub(in crate::http) async fn stream(
    State(api): State<Api>,
    by: Admitted,
    headers: HeaderMap,
    KnownQuery(query): KnownQuery<EventsQuery>,
) -> Result<Response, Problem> {
    let from = start(&headers, query.since)?;
    let wanted = api.wanted(query).await?;
    let place = api.streams.take(&by.caller)?;
    let form = Form::of(&headers);
    let store = api.scheduler.store().clone();
    let begins_at = match from {
        Some(seq) => seq,
        None => store.last_seq().await?,
    };
    let (chunks, mut waiting) = mpsc::channel(CHUNKS_WAITING);
    let writer = StreamWriter { store, wanted, form, chunks, stall: api.stall };
    tokio::spawn(async move {
        writer.run(begins_at).await;
        drop(place);
    });
    let chunks = futures::stream::poll_fn(move |context| waiting.poll_recv(context));
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Answers `GET /job/{id}/events` with every change of the job, oldest first.
pub(in crate::http) async fn story(
    State(api): State<Api>,
    Path(id): Path<String>,
    KnownQuery(query): KnownQuery<StoryQuery>,
) -> Result<Json<StoryView>, Problem> {
    let limit = query.limit.unwrap_or(MAX_STORY);
    if !(1..=MAX_STORY).contains(&limit) {
        let detail = format!("`limit` has to be between 1 and {MAX_STORY}");
        return Err(Problem::field("limit", "invalid_query", detail));
    }
    let id = api.find(&id).await?;
    let after = Seq(query.since.unwrap_or(0));
    let rows = api.scheduler.store().journal_of(id, after, limit).await?;
    if rows.is_empty() && api.scheduler.store().get(id).await?.is_none() {
        return Err(Problem::no_job(&id.to_string()));
    }
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.seq.0);
    Ok(Json(StoryView { events: rows.iter().map(EventView::of_job).collect(), next }))
}

impl Api {
    async fn wanted(&self, query: EventsQuery) -> Result<Wanted, Problem> {
        let job = match query.job {
            Some(text) => Some(self.find(&text).await?),
            None => None,
        };
        let kinds = query.kind.as_deref().map(kinds).transpose()?;
        Ok(Wanted { schedule: query.schedule, job, job_name: query.job_name, kinds })
    }
}

/// Reads the kinds, separated by commas.
fn kinds(text: &str) -> Result<Vec<String>, Problem> {
    let is_known = |word: &str| word == "job" || Kind::from_word(word).is_some();
    let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
    match words.iter().find(|word| !is_known(word)) {
        None => Ok(words),
        Some(word) => {
            let detail = format!(
                "`{}` is no kind of event: there are job, schedule, definition, engine and server",
                crate::domain::text::units::shown(word)
            );
            Err(Problem::field("kind", "invalid_query", detail))
        }
    }
}

/// Returns the number after which the stream begins. The header wins, since a browser repeats the
/// address of its first request.
fn start(headers: &HeaderMap, since: Option<u64>) -> Result<Option<Seq>, Problem> {
    let Some(last) = headers.get(LAST_EVENT_ID) else { return Ok(since.map(Seq)) };
    let parsed = last.to_str().ok().and_then(|text| text.trim().parse().ok());
    parsed.map(|seq| Some(Seq(seq))).ok_or_else(|| {
        let detail = "`Last-Event-ID` has to be the `id` of an event of this server";
        Problem::field("Last-Event-ID", "invalid_header", detail)
    })
}

impl Wanted {
    fn admits(&self, entry: &Entry) -> bool {
        let kind = match entry {
            Entry::Job(_) => "job",
            Entry::Other(change) => change.kind.as_str(),
        };
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.iter().any(|word| word == kind)) {
            return false;
        }
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        match entry {
            Entry::Job(t) => {
                is(&self.schedule, t.schedule.as_deref())
                    && is(&self.job_name, Some(&t.job_name))
                    && self.job.is_none_or(|job| job == t.job)
            }
            Entry::Other(change) => {
                let schedule = (change.kind == Kind::Schedule).then_some(change.name.as_str());
                is(&self.schedule, schedule) && self.job.is_none() && self.job_name.is_none()
            }
        }
    }
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        match accept {
            Some(accept) if accept.contains("ndjson") => Self::JsonLines,
            Some(_) | None => Self::Sse,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::JsonLines => "application/x-ndjson",
        }
    }

    fn write(self, entry: &Entry, out: &mut Vec<u8>) {
        let view = EventView::of(entry);
        let data = serde_json::to_string(&view).unwrap_or_default();
        let text = match self {
            Self::Sse => format!("id: {}\nevent: {}\ndata: {data}\n\n", view.seq, view.kind),
            Self::JsonLines => data + "\n",
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// Writes a gap. The event has the number of the last missing row, so a resumed stream does not
    /// report it again.
    fn write_gap(self, first: u64, last: u64, out: &mut Vec<u8>) {
        let gap = GapView { kind: "gap".to_owned(), from_seq: first, to_seq: last };
        let data = serde_json::to_string(&gap).unwrap_or_default();
        let text = match self {
            Self::Sse => format!("id: {last}\nevent: gap\ndata: {data}\n\n"),
            Self::JsonLines => data + "\n",
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// Returns the text that only keeps the connection open.
    const fn heartbeat(self) -> &'static [u8] {
        match self {
            Self::Sse => b": still here\n\n",
            Self::JsonLines => b"\n",
        }
    }
}

/// The task that writes one stream.
struct StreamWriter {
    store: Arc<dyn Store>,
    wanted: Wanted,
    form: Form,
    chunks: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
    stall: Duration,
}

/// The reason why a stream ends.
enum End {
    ReaderGone,
    Store(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl StreamWriter {
    async fn run(self, begins_at: Seq) {
        if let Err(End::Store(error)) = self.write_all(begins_at).await
            && !matches!(error, StoreError::Closed)
        {
            warn!(%error, "a stream of events broke off");
        }
    }

    async fn write_all(&self, mut last: Seq) -> Result<(), End> {
        // Sent at once, so that the caller sees the stream open.
        self.send(self.form.heartbeat().to_vec()).await?;
        let mut live = self.store.subscribe();
        last = self.report_gap(last).await?;
        last = self.catch_up(last).await?;
        loop {
            let next = tokio::select! {
                biased;
                () = self.chunks.closed() => return Err(End::ReaderGone),
                next = tokio::time::timeout(HEARTBEAT, live.recv()) => next,
            };
            match next {
                Err(_) => self.send(self.form.heartbeat().to_vec()).await?,
                Ok(Ok(entry)) => {
                    let mut out = Vec::new();
                    last = self.write(&entry, last, &mut out);
                    // Whatever else is there goes into the same chunk.
                    while let Ok(entry) = live.try_recv() {
                        last = self.write(&entry, last, &mut out);
                    }
                    self.send(out).await?;
                }
                Ok(Err(RecvError::Lagged(_))) => last = self.catch_up(last).await?,
                Ok(Err(RecvError::Closed)) => return Err(StoreError::Closed.into()),
            }
        }
    }

    /// Reports the rows after `last` that were pruned. Returns the number to go on from.
    async fn report_gap(&self, last: Seq) -> Result<Seq, End> {
        let first = match self.store.first_seq().await? {
            Some(first) => first.0,
            None => self.store.last_seq().await?.0 + 1,
        };
        if last.0 + 1 >= first {
            return Ok(last);
        }
        let mut out = Vec::new();
        self.form.write_gap(last.0 + 1, first - 1, &mut out);
        self.send(out).await?;
        Ok(Seq(first - 1))
    }

    async fn catch_up(&self, mut last: Seq) -> Result<Seq, End> {
        loop {
            let page = self.store.journal(last, PAGE).await?;
            let mut out = Vec::new();
            for entry in &page {
                last = self.write(entry, last, &mut out);
            }
            self.send(out).await?;
            if page.len() < PAGE {
                return Ok(last);
            }
        }
    }

    /// Writes an entry that is newer than `last`. Returns the number of the newest entry.
    fn write(&self, entry: &Entry, last: Seq, out: &mut Vec<u8>) -> Seq {
        if entry.seq() <= last {
            return last;
        }
        if self.wanted.admits(entry) {
            self.form.write(entry, out);
        }
        entry.seq()
    }

    async fn send(&self, chunk: Vec<u8>) -> Result<(), End> {
        if chunk.is_empty() {
            return Ok(());
        }
        let sent = self.chunks.send_timeout(Ok(Bytes::from(chunk)), self.stall).await;
        sent.map_err(|_| End::ReaderGone)
    }
}
