//! `GET /job/{id}/logs`: sends a job's output, live or kept, as text, server-sent events or lines
//! of JSON.
//!
//! An answer that cannot be read to its end is cut off: the connection closes without a last chunk.
//! A stream of events first sends an `error` event, and never `end`.
//!
//! The last lines are found by reading twice: the first time counts the chosen lines. So an answer
//! needs the memory of one block, whatever the number of lines.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response, Sse, sse};
use chrono::SecondsFormat;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::log_pick::{Picked, PickedLine, Picker};
use super::log_query::{FileFormat, LogsQuery, TextStyle, Wanted};
use crate::domain::job::Job;
use crate::domain::names::id::{Attempt, JobId};
use crate::domain::output::Line;
use crate::http::problem::Problem;
use crate::http::query::KnownQuery;
use crate::http::state::Api;
use crate::http::streamed::Incomplete;
use crate::http::views::LogView;
use crate::scheduler::{Attempts, Output, OutputError, Progress, Until};
use crate::store::logs::Kept;

/// The interval of keep-alive messages in a silent event stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest part of a file's name that comes from the job's name, in characters.
const MAX_FILE_NAME: usize = 64;

/// The chosen lines of each block.
type PickedStream = BoxStream<'static, Result<Picked, OutputError>>;

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Ndjson,
    Events,
}

/// Answers `GET /job/{id}/logs` in the format of the `Accept` header.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    KnownQuery(query): KnownQuery<LogsQuery>,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(&query, &headers, &api)?;
    let id = api.find(&id).await?;
    let (output, picker) = open(&api, id, &wanted).await?;
    let format = Format::of(&headers, wanted.download);
    let about = about(&output);
    let lines = pick(output, picker);
    let mut response = match format {
        Format::Events => as_events(lines),
        Format::Ndjson => as_json_lines(lines),
        Format::Text => as_text(lines, wanted.style),
    };
    let headers = response.headers_mut();
    headers.extend(about);
    if wanted.download.is_some() {
        let job = api.scheduler.store().get(id).await?;
        let name = job.map_or_else(|| id.to_string(), |job| file_name(&job, format));
        if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
    }
    Ok(response)
}

/// Opens the output, and decides where the answer begins and ends.
async fn open(api: &Api, id: JobId, wanted: &Wanted) -> Result<(Output, Picker), Problem> {
    let scheduler = &api.scheduler;
    let until = if wanted.follow { Until::End } else { Until::Now };
    let Some(tail) = wanted.tail else {
        let output = scheduler.output(id, wanted.attempts, until).await?;
        return Ok((output, Picker::new(wanted.lines.clone(), 0, wanted.limit)));
    };
    let so_far = if wanted.follow { Until::Followed } else { Until::Now };
    let counted = match scheduler.output(id, wanted.attempts, so_far).await {
        // A follower waits for the first attempt, or for the next one.
        Err(OutputError::Gone(_)) if wanted.follow => None,
        counted => Some(counted?),
    };
    let attempt = counted.as_ref().map(|counted| counted.attempt);
    let count = match counted {
        Some(counted) => count(counted, wanted).await?,
        None => 0,
    };
    let attempts = match (wanted.attempts, attempt) {
        (Attempts::Last, Some(attempt)) if attempt.0 > 0 => Attempts::From(attempt),
        (attempts, _) => attempts,
    };
    let output = scheduler.output(id, attempts, until).await?;
    let skip = count.saturating_sub(tail);
    // Lines that were written after the count would make more than `tail`.
    let limit = match wanted.limit {
        limit if wanted.follow => limit,
        limit => Some((count - skip).min(limit.unwrap_or(u64::MAX))),
    };
    Ok((output, Picker::new(wanted.lines.clone(), skip, limit)))
}

/// Counts the chosen lines.
async fn count(mut output: Output, wanted: &Wanted) -> Result<u64, OutputError> {
    let lines = &wanted.lines;
    if let (Some(kept), true) = (output.kept, lines.takes_all()) {
        return Ok(total(kept).saturating_sub(lines.from_line - 1));
    }
    let (mut picker, mut count) = (Picker::new(lines.clone(), 0, None), 0);
    while let Some(block) = output.blocks.try_next().await? {
        count += picker.pick(&block).len() as u64;
    }
    Ok(count)
}

/// Counts the lines of kept output. One of them may say that the rest was dropped.
fn total(kept: Kept) -> u64 {
    kept.lines + u64::from(kept.truncated)
}

fn pick(output: Output, picker: Picker) -> PickedStream {
    let next = async |(mut blocks, mut picker): (crate::scheduler::OutputStream, Picker)| loop {
        if picker.is_done() {
            return None;
        }
        match blocks.next().await? {
            Ok(block) => {
                let picked = picker.pick(&block);
                if !picked.is_empty() {
                    return Some((Ok(picked), (blocks, picker)));
                }
            }
            Err(failure) => return Some((Err(failure), (blocks, picker))),
        }
    };
    stream::unfold((output.blocks, picker), next).boxed()
}

/// Returns the headers of all formats. A browser that is shown a log must take it for text, and run
/// nothing of it.
fn about(output: &Output) -> HeaderMap {
    let number = |number: u64| HeaderValue::from(number);
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value| {
        headers.insert(HeaderName::from_static(name), value);
    };
    put("x-content-type-options", HeaderValue::from_static("nosniff"));
    put("content-security-policy", HeaderValue::from_static("sandbox"));
    put("cache-control", HeaderValue::from_static("no-store"));
    // Proxies such as nginx would else hold back lines that are followed.
    put("x-accel-buffering", HeaderValue::from_static("no"));
    put("x-log-state", HeaderValue::from_static(word(output.progress)));
    if output.attempt.0 > 0 {
        put("x-log-attempt", number(output.attempt.0.into()));
    }
    if let Some(kept) = output.kept {
        put("x-total-lines", number(total(kept)));
    }
    headers
}

fn word(progress: Progress) -> &'static str {
    match progress {
        Progress::Waiting => "waiting",
        Progress::Live => "live",
        Progress::Complete => "complete",
        Progress::Nothing => "none",
    }
}

/// Builds a name that is safe in a header and on any disk: `NAME-ID8.log`.
fn file_name(job: &Job, format: Format) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = job.name.as_str().chars().take(MAX_FILE_NAME).map(safe).collect();
    let name = name.trim_matches(['.', '-']);
    let id = job.id.to_string();
    let ending = if format == Format::Ndjson { "ndjson" } else { "log" };
    // The beginning of an id is a time, which jobs of one minute share.
    format!("{}-{}.{ending}", if name.is_empty() { "job" } else { name }, &id[24..])
}

impl Format {
    fn of(headers: &HeaderMap, download: Option<FileFormat>) -> Self {
        let accept =
            headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
        let is_json = ["application/x-ndjson", "application/ndjson", "application/json"]
            .iter()
            .any(|kind| accept.contains(kind));
        match download {
            Some(FileFormat::Text) => Self::Text,
            Some(FileFormat::Ndjson) => Self::Ndjson,
            None if accept.contains("text/event-stream") => Self::Events,
            None | Some(FileFormat::Accepted) if is_json => Self::Ndjson,
            None | Some(FileFormat::Accepted) => Self::Text,
        }
    }
}

fn as_text(output: PickedStream, style: TextStyle) -> Response {
    // A long line comes in pieces: only the first one has the prefixes.
    let mut begins = true;
    let write = move |lines: Picked| {
        let mut out = Vec::with_capacity(lines.weight());
        for (number, _, line) in lines.iter() {
            if begins && style.numbers {
                out.extend_from_slice(format!("{number:>6}\t").as_bytes());
            }
            if begins && style.timestamps {
                out.extend_from_slice(time(&line).as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.text);
            if line.complete {
                out.push(b'\n');
            }
            begins = line.complete;
        }
        vec![Bytes::from(out)]
    };
    streamed(cut_on_failure(output, write, |_| None), "text/plain; charset=utf-8")
}

fn as_json_lines(output: PickedStream) -> Response {
    let write = |lines: Picked| {
        let mut out = Vec::with_capacity(lines.weight());
        for line in lines.iter() {
            out.extend_from_slice(json(&line).as_bytes());
            out.push(b'\n');
        }
        vec![Bytes::from(out)]
    };
    streamed(cut_on_failure(output, write, |_| None), "application/x-ndjson")
}

fn as_events(output: PickedStream) -> Response {
    let event = |name: &str, data: String| sse::Event::default().event(name).data(data);
    let write = move |lines: Picked| {
        let id = |attempt: Attempt, number: u64| format!("{attempt}-{number}");
        let events =
            lines.iter().map(|line| event("log", json(&line)).id(id(lines.attempt, line.0)));
        events.collect()
    };
    let last_word = move |problem: &Problem| {
        Some(event("error", serde_json::to_string(problem).unwrap_or_default()))
    };
    let events = cut_on_failure(output, write, last_word);
    let end = stream::once(async move { Ok(event("end", "{}".to_owned())) });
    Sse::new(events.chain(end))
        .keep_alive(sse::KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// Writes the lines. A failure becomes the `last_word`, if there is one, and then the error that
/// cuts the answer off.
fn cut_on_failure<T: Send + 'static>(
    output: PickedStream,
    mut write: impl FnMut(Picked) -> Vec<T> + Send + 'static,
    last_word: impl Fn(&Problem) -> Option<T> + Send + 'static,
) -> BoxStream<'static, Result<T, Incomplete>> {
    let pieces = output.flat_map(move |lines| {
        let (pieces, cut) = match lines {
            Ok(lines) => (write(lines), None),
            Err(failure) => {
                (last_word(&Problem::from(failure)).into_iter().collect(), Some(Incomplete))
            }
        };
        stream::iter(pieces.into_iter().map(Ok).chain(cut.map(Err)))
    });
    // A yield before the error lets the server send the pieces before it. The server drops
    // unflushed bytes when the body fails.
    let flushed = pieces.then(async |piece| {
        if piece.is_err() {
            tokio::task::yield_now().await;
        }
        piece
    });
    flushed.boxed()
}

fn streamed(chunks: BoxStream<'static, Result<Bytes, Incomplete>>, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json((number, is_match, line): &PickedLine<'_>) -> String {
    let view = LogView {
        line: *number,
        at: time(line),
        stream: line.channel.to_string(),
        text: String::from_utf8_lossy(line.text).into_owned(),
        complete: line.complete,
        is_match: *is_match,
    };
    serde_json::to_string(&view).unwrap_or_default()
}

fn time(line: &Line<'_>) -> String {
    line.at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}
