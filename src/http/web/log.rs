//! The lines of a log as HTML: in blocks that a browser lays out only when they are seen.
//!
//! The lines are streamed into the page of a job, so neither side holds more than a chunk. A page
//! shows at most the last [`MOST_LINES`]; the download has all. Line numbers count from 1 over the
//! whole output.

use std::fmt::Write as _;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};

use super::ansi::Ansi;
use super::words;
use crate::domain::job::Job;
use crate::domain::names::id::Attempt;
use crate::domain::output::{Channel, Line};
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::scheduler::{Attempts, OutputBlock, OutputError, Until};

/// The most lines in one page.
const MOST_LINES: u64 = 100_000;
/// The lines of one block.
const BLOCK_LINES: usize = 500;
/// The place of the lines in the template of a job.
const PLACE: &str = "<!--log-->";

/// The writer of lines as HTML.
struct Writer {
    zone: chrono_tz::Tz,
    grep: String,
    /// The number of the last line that is not shown, because too many came later.
    skip: u64,
    /// The number of lines that were written.
    shown: usize,
    ansi: Ansi,
}

/// The lines that a page wants.
pub(super) struct Wanted {
    /// Text that the lines have to contain. Empty: all lines.
    pub(super) grep: String,
    /// The attempt that wrote them; 0 for the current or last one.
    pub(super) attempt: u32,
}

/// Returns the page with the lines of the job's output in it.
pub(super) async fn into_page(
    api: &Api,
    job: &Job,
    wanted: Wanted,
    page: &str,
) -> Result<Response, Problem> {
    let (before, after) = page.split_once(PLACE).unwrap_or((page, ""));
    let (before, after) = (before.to_owned(), after.to_owned());
    let opened = api.scheduler.output(job.id, attempts(wanted.attempt), Until::Now).await;
    let (blocks, total) = match opened {
        Ok(output) => (output.blocks, output.kept.map_or(0, |kept| kept.lines)),
        Err(OutputError::NotFound) => return Err(Problem::from(OutputError::NotFound)),
        Err(failure) => (stream::iter([Err(failure)]).boxed(), 0),
    };
    let is_all = wanted.grep.is_empty();
    let skip = if is_all { total.saturating_sub(MOST_LINES) } else { 0 };
    let writer =
        Writer { zone: api.zone, grep: wanted.grep, skip, shown: 0, ansi: Ansi::default() };
    let skipped = match skip {
        0 => String::new(),
        skip => format!(
            "<p class=\"cut\">{} before these are in the download.</p>",
            words::count(skip, "line")
        ),
    };
    let state = (blocks, writer, false);
    let lines = stream::unfold(state, async |(mut blocks, mut writer, is_over)| {
        if is_over {
            return None;
        }
        let (html, is_over) = match blocks.next().await {
            Some(Ok(block)) => (writer.block(&block), false),
            Some(Err(failure)) => (writer.end() + &cut(&failure), true),
            None => (writer.end(), true),
        };
        Some((html, (blocks, writer, is_over)))
    });
    let parts = stream::iter([before, skipped]).chain(lines).chain(stream::iter([after]));
    let parts = parts.map(|part| Ok::<_, std::convert::Infallible>(Bytes::from(part)));
    Ok(of_kind(Body::from_stream(parts), "text/html; charset=utf-8"))
}

/// Answers with the lines of one attempt from number `from` on, as they come: one line of HTML for
/// each.
pub(super) async fn follow(
    api: &Api,
    job: &Job,
    attempt: u32,
    from: u64,
) -> Result<Response, Problem> {
    let output = api.scheduler.output(job.id, attempts(attempt), Until::End).await?;
    let (zone, skip) = (api.zone, from.saturating_sub(1));
    let mut writer = Writer { zone, grep: String::new(), skip, shown: 0, ansi: Ansi::default() };
    let text = output.blocks.map_ok(move |block| Bytes::from(writer.single_lines(&block)));
    Ok(of_kind(Body::from_stream(text), "text/plain; charset=utf-8"))
}

fn attempts(attempt: u32) -> Attempts {
    match attempt {
        0 => Attempts::Last,
        attempt => Attempts::Only(Attempt(attempt)),
    }
}

fn of_kind(body: Body, kind: &'static str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns a line that says why there are no lines, or no more. Empty for an attempt that never
/// ran.
fn cut(failure: &OutputError) -> String {
    let why = match failure {
        OutputError::NoAttempt { .. } => return String::new(),
        OutputError::Gone(_) => "The output is gone: neither the disk nor the engine has it.",
        OutputError::Unreachable { .. } => {
            "The output is on the engine, and the engine does not answer. It is shown when the engine is back."
        }
        OutputError::NotFound | OutputError::Store(_) => {
            "The rest of the output cannot be read; the server’s log says why."
        }
    };
    format!("<p class=\"cut\">{why}</p>")
}

impl Writer {
    fn block(&mut self, block: &OutputBlock) -> String {
        let mut out = String::with_capacity(block.lines.weight() + block.lines.len() * 96);
        for (number, line) in (block.first..).zip(block.lines.iter()) {
            if !self.is_wanted(number, &line) {
                continue;
            }
            if self.shown.is_multiple_of(BLOCK_LINES) {
                out.push_str(if self.shown == 0 { "<div>" } else { "</div><div>" });
            }
            self.shown += 1;
            self.write(&mut out, number, &line);
        }
        out
    }

    fn single_lines(&mut self, block: &OutputBlock) -> String {
        let mut out = String::new();
        for (number, line) in (block.first..).zip(block.lines.iter()) {
            if self.is_wanted(number, &line) {
                self.write(&mut out, number, &line);
                out.push('\n');
            }
        }
        out
    }

    fn is_wanted(&self, number: u64, line: &Line<'_>) -> bool {
        number > self.skip
            && (self.grep.is_empty() || String::from_utf8_lossy(line.text).contains(&self.grep))
    }

    fn end(&self) -> String {
        match (self.shown, self.grep.is_empty()) {
            (0, true) => String::new(),
            (0, false) => "<p class=\"cut\">No line has this text.</p>".to_owned(),
            _ => "</div>".to_owned(),
        }
    }

    fn write(&mut self, out: &mut String, number: u64, line: &Line<'_>) {
        let at = line.at.with_timezone(&self.zone).format("%H:%M:%S%.3f");
        let (class, mark) = match line.channel {
            Channel::Stdout => ("", ""),
            Channel::Stderr => (" class=\"e\"", "<i>err</i>"),
        };
        // Writing to a text cannot fail.
        let _infallible = write!(
            out,
            "<p id=\"L{number}\"{class}><a href=\"#L{number}\">{number}</a><time>{at}</time><span>{mark}"
        );
        out.push_str(&self.ansi.html(line.text));
        out.push_str("</span></p>");
    }
}
