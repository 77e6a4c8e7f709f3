//! `GET /job/{id}/logs`: sends a job's output, live or kept, as text, server-sent events or lines
//! of JSON.
//!
//! An answer that cannot be read to its end is cut off: the connection closes without a last chunk.
//! A stream of events first sends an `error` event, and never `end`.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response, Sse, sse};
use chrono::SecondsFormat;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

use crate::domain::names::id::Timestamp;
use crate::domain::output::{Channel, Line, Lines};
use crate::domain::text::date;
use crate::domain::text::units::Span;
use crate::http::problem::Problem;
use crate::http::query::KnownQuery;
use crate::http::state::Api;
use crate::http::streamed::Incomplete;
use crate::http::views::LogView;
use crate::scheduler::{OutputError, OutputStream};

/// The largest `tail`, in lines. They are kept in memory.
const MAX_TAIL: usize = 100_000;
/// The interval of keep-alive messages in a silent event stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The query of `GET /job/{id}/logs`.
#[derive(Debug, Default, Deserialize)]
pub(in crate::http) struct LogsQuery {
    follow: Option<String>,
    tail: Option<String>,
    since: Option<String>,
    timestamps: Option<String>,
    stream: Option<String>,
}

/// The query in its parsed form.
struct Wanted {
    follow: bool,
    tail: Option<usize>,
    since: Option<Timestamp>,
    timestamps: bool,
    channel: Option<Channel>,
}

/// Answers `GET /job/{id}/logs` in the format of the `Accept` header.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    KnownQuery(query): KnownQuery<LogsQuery>,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(&query, &api)?;
    let id = api.find(&id).await?;
    let lines = api.scheduler.output(id, wanted.follow).await?;
    let lines = select(lines, &wanted);
    let lines = match wanted.tail {
        Some(tail) if !wanted.follow => last(lines, tail).await?,
        _ => lines,
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    Ok(if accept.contains("text/event-stream") {
        as_events(lines)
    } else if accept.contains("application/x-ndjson")
        || accept.contains("application/ndjson")
        || accept.contains("application/json")
    {
        as_json_lines(lines)
    } else {
        as_text(lines, wanted.timestamps)
    })
}

impl Wanted {
    fn read(query: &LogsQuery, api: &Api) -> Result<Self, Problem> {
        let tail = match query.tail.as_deref() {
            None | Some("all") => None,
            Some(text) => Some(text.parse().ok().filter(|n| *n <= MAX_TAIL).ok_or_else(|| {
                Problem::field(
                    "tail",
                    "invalid_query",
                    format!("`tail` has to be a number of lines up to {MAX_TAIL}, or `all`"),
                )
            })?),
        };
        let follow = flag("follow", query.follow.as_deref())?;
        if follow && tail.is_some() {
            return Err(Problem::field(
                "tail",
                "invalid_query",
                "`tail` and `follow` do not go together yet: leave one out",
            ));
        }
        let channel = match query.stream.as_deref() {
            None | Some("all") => None,
            Some(word) => Some(Channel::from_word(word).ok_or_else(|| {
                Problem::field(
                    "stream",
                    "invalid_query",
                    "`stream` has to be `stdout`, `stderr` or `all`",
                )
            })?),
        };
        let since = query.since.as_deref().map(|text| since(text, api)).transpose()?;
        Ok(Self {
            follow,
            tail,
            since,
            timestamps: flag("timestamps", query.timestamps.as_deref())?,
            channel,
        })
    }
}

fn flag(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("0" | "false") => Ok(false),
        Some("" | "1" | "true") => Ok(true),
        Some(_) => Err(Problem::field(
            name,
            "invalid_query",
            format!("`{name}` has to be `true` or `false`"),
        )),
    }
}

/// Parses `since`: a time ago (`10m`) or a date.
fn since(text: &str, api: &Api) -> Result<Timestamp, Problem> {
    let now = api.scheduler.now();
    if let Ok(span) = text.parse::<Span>() {
        return Ok(chrono::Duration::from_std(span.as_duration())
            .ok()
            .and_then(|span| now.checked_sub_signed(span))
            .unwrap_or(Timestamp::MIN_UTC));
    }
    // A time of day means the most recent one. Any other date may lie in the past without limit.
    let day = chrono::Duration::days(1);
    let parsed = date::parse(text, now - day, api.zone)
        .or_else(|_| date::parse(text, Timestamp::UNIX_EPOCH, api.zone));
    parsed.map(|due| due.at).map_err(|_| {
        Problem::field(
            "since",
            "invalid_query",
            "`since` has to be a time ago such as `10m`, or a time such as `2021-06-20T13:25:28Z`",
        )
    })
}

fn select(output: OutputStream, wanted: &Wanted) -> OutputStream {
    let (since, channel) = (wanted.since, wanted.channel);
    let passes = move |line: &Line<'_>| {
        since.is_none_or(|since| line.at >= since)
            && channel.is_none_or(|channel| line.channel == channel)
    };
    let passing = output.map_ok(move |lines| lines.filter(passes));
    passing.try_filter(|lines| std::future::ready(!lines.is_empty())).boxed()
}

/// Returns the last `tail` lines of a stream that ends.
async fn last(mut output: OutputStream, tail: usize) -> Result<OutputStream, OutputError> {
    let (mut kept, mut count) = (VecDeque::new(), 0);
    while let Some(lines) = output.try_next().await? {
        count += lines.len();
        kept.push_back(lines);
        while let Some(first) = kept.front().map(Lines::len).filter(|first| count - first >= tail) {
            count -= first;
            kept.pop_front();
        }
    }
    if let Some(first) = kept.pop_front() {
        kept.push_front(first.skip(count.saturating_sub(tail)));
    }
    Ok(stream::iter(kept.into_iter().map(Ok)).boxed())
}

fn as_text(output: OutputStream, timestamps: bool) -> Response {
    let write = move |lines: Lines| {
        let mut out = Vec::with_capacity(lines.weight());
        for line in lines.iter() {
            if timestamps {
                out.extend_from_slice(time(&line).as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.text);
            if line.complete {
                out.push(b'\n');
            }
        }
        vec![Bytes::from(out)]
    };
    streamed(cut_on_failure(output, write, |_| None), "text/plain; charset=utf-8")
}

fn as_json_lines(output: OutputStream) -> Response {
    let write = |lines: Lines| {
        let mut out = Vec::with_capacity(lines.weight());
        for line in lines.iter() {
            out.extend_from_slice(json(&line).as_bytes());
            out.push(b'\n');
        }
        vec![Bytes::from(out)]
    };
    streamed(cut_on_failure(output, write, |_| None), "application/x-ndjson")
}

fn as_events(output: OutputStream) -> Response {
    let event = |name: &str, data: String| sse::Event::default().event(name).data(data);
    let write = move |lines: Lines| lines.iter().map(|line| event("log", json(&line))).collect();
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
    output: OutputStream,
    write: impl Fn(Lines) -> Vec<T> + Send + 'static,
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

fn json(line: &Line<'_>) -> String {
    let view = LogView {
        at: time(line),
        stream: line.channel.to_string(),
        text: String::from_utf8_lossy(line.text).into_owned(),
        complete: line.complete,
    };
    serde_json::to_string(&view).unwrap_or_default()
}

fn time(line: &Line<'_>) -> String {
    line.at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}
