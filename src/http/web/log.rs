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

use super::words;
use crate::domain::job::Job;
use crate::domain::output::{Channel, Line, Lines};
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::scheduler::{OutputError, OutputState};

/// The most lines in one page.
const MOST_LINES: usize = 100_000;
/// The lines of one block.
const BLOCK_LINES: usize = 500;
/// The longest line that is shown, in bytes.
const MOST_LINE_BYTES: usize = 8 * 1024;
/// The place of the lines in the template of a job.
const PLACE: &str = "<!--log-->";

/// The writer of lines as HTML.
struct Writer {
    zone: chrono_tz::Tz,
    grep: String,
    /// The number of lines that came, shown or not.
    number: usize,
    /// The number of lines that are not shown because others came later.
    skip: usize,
    /// The number of lines that were written.
    shown: usize,
}

/// Returns the page with the lines of the job's output in it.
pub(super) async fn into_page(
    api: &Api,
    job: &Job,
    output: &OutputState,
    grep: &str,
    page: &str,
) -> Result<Response, Problem> {
    let (before, after) = page.split_once(PLACE).unwrap_or((page, ""));
    let (before, after) = (before.to_owned(), after.to_owned());
    let total = output.kept.map_or(0, |kept| usize::try_from(kept.lines).unwrap_or(usize::MAX));
    let skip = if grep.is_empty() { total.saturating_sub(MOST_LINES) } else { 0 };
    let writer = Writer { zone: api.zone, grep: grep.to_owned(), number: 0, skip, shown: 0 };
    let lines = match api.scheduler.output(job.id, false).await {
        Ok(lines) => lines,
        Err(OutputError::NotFound) => return Err(Problem::from(OutputError::NotFound)),
        Err(failure) => stream::iter([Err(failure)]).boxed(),
    };
    let skipped = match skip {
        0 => String::new(),
        skip => format!(
            "<p class=\"cut\">{} before these are in the download.</p>",
            words::count(skip as u64, "line")
        ),
    };
    let state = (lines, writer, false);
    let blocks = stream::unfold(state, async |(mut lines, mut writer, is_over)| {
        if is_over {
            return None;
        }
        let (html, is_over) = match lines.next().await {
            Some(Ok(lines)) => (writer.lines(&lines), false),
            Some(Err(failure)) => (cut(&failure), true),
            None => (writer.end(), true),
        };
        Some((html, (lines, writer, is_over)))
    });
    let parts = stream::iter([before, skipped]).chain(blocks).chain(stream::iter([after]));
    let body = Body::from_stream(parts.map(|part| Ok::<_, std::convert::Infallible>(Bytes::from(part))));
    Ok(of_kind(body, "text/html; charset=utf-8"))
}

/// Answers with the lines from number `from` on, as they come: one line of HTML for each.
pub(super) async fn follow(api: &Api, job: &Job, from: usize) -> Result<Response, Problem> {
    let lines = api.scheduler.output(job.id, true).await?;
    let skip = from.saturating_sub(1);
    let mut writer = Writer { zone: api.zone, grep: String::new(), number: 0, skip, shown: 0 };
    let text = lines.map_ok(move |lines| Bytes::from(writer.single_lines(&lines)));
    Ok(of_kind(Body::from_stream(text), "text/plain; charset=utf-8"))
}

fn of_kind(body: Body, kind: &'static str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn cut(failure: &OutputError) -> String {
    let why = match failure {
        OutputError::Unreachable(_) => {
            "The output is on the engine, and the engine does not answer. It is shown when the engine is back."
        }
        OutputError::NotFound | OutputError::Store(_) => {
            "The rest of the output cannot be read; the server’s log says why."
        }
    };
    format!("<p class=\"cut\">{why}</p>")
}

impl Writer {
    fn lines(&mut self, lines: &Lines) -> String {
        let mut out = String::with_capacity(lines.weight() + lines.len() * 96);
        for line in lines.iter() {
            self.number += 1;
            if !self.is_wanted(&line) {
                continue;
            }
            if self.shown % BLOCK_LINES == 0 {
                out.push_str(if self.shown == 0 { "<div>" } else { "</div><div>" });
            }
            self.shown += 1;
            self.write(&mut out, &line);
        }
        out
    }

    fn single_lines(&mut self, lines: &Lines) -> String {
        let mut out = String::new();
        for line in lines.iter() {
            self.number += 1;
            if self.is_wanted(&line) {
                self.write(&mut out, &line);
                out.push('\n');
            }
        }
        out
    }

    fn is_wanted(&self, line: &Line<'_>) -> bool {
        self.number > self.skip
            && (self.grep.is_empty() || String::from_utf8_lossy(line.text).contains(&self.grep))
    }

    fn end(&self) -> String {
        match (self.shown, self.grep.is_empty()) {
            (0, true) => String::new(),
            (0, false) => "<p class=\"cut\">No line has this text.</p>".to_owned(),
            _ => "</div>".to_owned(),
        }
    }

    fn write(&self, out: &mut String, line: &Line<'_>) {
        let at = line.at.with_timezone(&self.zone).format("%H:%M:%S%.3f");
        let (class, mark) = match line.channel {
            Channel::Stdout => ("", ""),
            Channel::Stderr => (" class=\"e\"", "<i>err</i>"),
        };
        let number = self.number;
        // Writing to a text cannot fail.
        let _infallible = write!(
            out,
            "<p id=\"L{number}\"{class}><a href=\"#L{number}\">{number}</a><time>{at}</time><span>{mark}"
        );
        shown(out, line.text);
        out.push_str("</span></p>");
    }
}

/// Writes a line's text as HTML: escaped, without control characters, and cut.
fn shown(out: &mut String, text: &[u8]) {
    let cut = text.len().saturating_sub(MOST_LINE_BYTES);
    let text = String::from_utf8_lossy(&text[..text.len() - cut]);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    if cut > 0 {
        let _infallible = write!(out, "… {} bytes more", words::grouped(cut as u64));
    }
}
