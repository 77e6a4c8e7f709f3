//! The query of `GET /job/{id}/logs`: the parameters as written, and the request as checked.

use axum::http::HeaderMap;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use super::past::past;
use crate::domain::names::id::{Attempt, Timestamp};
use crate::domain::output::Channel;
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::scheduler::Attempts;

/// The largest `tail` and `limit`, in lines.
const MAX_LINES: u64 = 100_000;
/// The largest `context`, in lines before and after a match.
const MAX_CONTEXT: usize = 10;
/// The longest `grep`, in bytes.
const MAX_GREP_BYTES: usize = 1_000;
/// The most memory for a compiled expression, in bytes.
const MAX_REGEX_BYTES: usize = 1024 * 1024;
/// The deepest nesting of an expression. The parser recurses.
const MAX_REGEX_DEPTH: u32 = 50;

/// The query as written.
#[derive(Debug, Default, Deserialize)]
pub(in crate::http) struct LogsQuery {
    attempt: Option<String>,
    context: Option<String>,
    download: Option<String>,
    follow: Option<String>,
    from_line: Option<String>,
    grep: Option<String>,
    limit: Option<String>,
    numbers: Option<String>,
    since: Option<String>,
    stream: Option<String>,
    tail: Option<String>,
    timestamps: Option<String>,
}

/// The query in its parsed form.
pub(super) struct Wanted {
    pub(super) attempts: Attempts,
    pub(super) follow: bool,
    /// The number of the last lines to send; `None` for all.
    pub(super) tail: Option<u64>,
    /// The most lines to send.
    pub(super) limit: Option<u64>,
    pub(super) lines: LineFilter,
    pub(super) style: TextStyle,
    /// Set if the answer is to be saved as a file.
    pub(super) download: Option<FileFormat>,
}

/// The lines to choose.
#[derive(Clone, Debug)]
pub(super) struct LineFilter {
    /// The first line to consider in the first attempt, counted from 1.
    pub(super) from_line: u64,
    pub(super) since: Option<Timestamp>,
    pub(super) channel: Option<Channel>,
    pub(super) grep: Option<Regex>,
    /// The number of lines to show before and after each match.
    pub(super) context: usize,
}

/// The prefixes of a line in plain text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextStyle {
    pub(super) numbers: bool,
    pub(super) timestamps: bool,
}

/// The format of a downloaded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// The format of the `Accept` header, where that is a format of files; else text.
    Accepted,
    Text,
    Ndjson,
}

impl LineFilter {
    /// Checks whether lines are chosen by their number alone.
    pub(super) fn takes_all(&self) -> bool {
        self.since.is_none() && self.channel.is_none() && self.grep.is_none()
    }
}

impl Wanted {
    pub(super) fn read(query: &LogsQuery, headers: &HeaderMap, api: &Api) -> Result<Self, Problem> {
        let tail = match query.tail.as_deref() {
            None | Some("all") => None,
            Some(text) => Some(number("tail", text, 0..=MAX_LINES).map_err(|_| {
                let detail =
                    format!("`tail` has to be a number of lines up to {MAX_LINES}, or `all`");
                wrong("tail", detail)
            })?),
        };
        let one_of = |name, text: &Option<String>, range| {
            text.as_deref().map(|text| number(name, text, range)).transpose()
        };
        let attempt = one_of("attempt", &query.attempt, 1..=u64::from(u32::MAX))?;
        let attempt = attempt.and_then(|number| u32::try_from(number).ok()).map(Attempt);
        let grep = query.grep.as_deref().map(grep).transpose()?;
        let context = one_of("context", &query.context, 0..=MAX_CONTEXT as u64)?;
        let mut wanted = Self {
            attempts: attempt.map_or(Attempts::Last, Attempts::Only),
            follow: flag("follow", query.follow.as_deref())?,
            tail,
            limit: one_of("limit", &query.limit, 1..=MAX_LINES)?,
            lines: LineFilter {
                from_line: one_of("from_line", &query.from_line, 1..=u64::MAX)?.unwrap_or(1),
                since: query.since.as_deref().map(|text| past("since", text, api)).transpose()?,
                channel: query.stream.as_deref().map_or(Ok(None), channel)?,
                grep,
                context: context.and_then(|lines| usize::try_from(lines).ok()).unwrap_or(0),
            },
            style: TextStyle {
                numbers: flag("numbers", query.numbers.as_deref())?,
                timestamps: flag("timestamps", query.timestamps.as_deref())?,
            },
            download: download(query.download.as_deref())?,
        };
        if let Some((attempt, line)) = last_event(headers) {
            wanted.resume(attempt, line);
        }
        Ok(wanted)
    }

    /// Goes on after a line of an attempt, instead of beginning where the query says.
    fn resume(&mut self, attempt: Attempt, line: u64) {
        let is_other = matches!(self.attempts, Attempts::Only(only) if only != attempt);
        if is_other {
            return;
        }
        if self.attempts == Attempts::Last {
            self.attempts = Attempts::From(attempt);
        }
        self.tail = None;
        self.lines.from_line = line.saturating_add(1);
    }
}

/// Reads the id of the last event that a reconnecting caller has seen: `ATTEMPT-LINE`. Any other
/// text is ignored.
fn last_event(headers: &HeaderMap) -> Option<(Attempt, u64)> {
    let (attempt, line) = headers.get("last-event-id")?.to_str().ok()?.split_once('-')?;
    let attempt = attempt.parse().ok().filter(|number| *number > 0)?;
    Some((Attempt(attempt), line.parse().ok()?))
}

fn wrong(field: &str, detail: String) -> Problem {
    Problem::field(field, "invalid_query", detail)
}

fn number(name: &str, text: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Problem> {
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = range.into_inner();
        let most = if most >= u64::from(u32::MAX) { String::new() } else { format!(" to {most}") };
        wrong(name, format!("`{name}` has to be a number from {least}{most}"))
    })
}

fn flag(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("0" | "false") => Ok(false),
        Some("" | "1" | "true") => Ok(true),
        Some(_) => Err(wrong(name, format!("`{name}` has to be `true` or `false`"))),
    }
}

fn download(value: Option<&str>) -> Result<Option<FileFormat>, Problem> {
    match value {
        Some("text") => Ok(Some(FileFormat::Text)),
        Some("ndjson") => Ok(Some(FileFormat::Ndjson)),
        other => flag("download", other)
            .map(|is_set| is_set.then_some(FileFormat::Accepted))
            .map_err(|_| {
                let detail = "`download` has to be `true`, `false`, `text` or `ndjson`";
                wrong("download", detail.to_owned())
            }),
    }
}

fn channel(word: &str) -> Result<Option<Channel>, Problem> {
    if word == "all" {
        return Ok(None);
    }
    Channel::from_word(word)
        .map(Some)
        .ok_or_else(|| wrong("stream", "`stream` has to be `stdout`, `stderr` or `all`".to_owned()))
}

/// Parses `grep`: a text to find, or an expression between slashes.
fn grep(text: &str) -> Result<Regex, Problem> {
    if text.is_empty() || text.len() > MAX_GREP_BYTES {
        let detail = format!(
            "`grep` has to be a text or an expression such as `/a|b/`, of 1 to {MAX_GREP_BYTES} bytes"
        );
        return Err(wrong("grep", detail));
    }
    let between = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    let expression = match between.filter(|expression| !expression.is_empty()) {
        Some(expression) => {
            check(expression)?;
            expression.to_owned()
        }
        None => regex::escape(text),
    };
    let built = RegexBuilder::new(&expression)
        .size_limit(MAX_REGEX_BYTES)
        .dfa_size_limit(MAX_REGEX_BYTES)
        .nest_limit(MAX_REGEX_DEPTH)
        .build();
    built.map_err(|_| {
        wrong("grep", "the expression in `grep` is too large: write a simpler one".to_owned())
    })
}

/// Finds the place of a mistake in an expression.
fn check(expression: &str) -> Result<(), Problem> {
    let parsed = regex_syntax::ParserBuilder::new()
        .utf8(false)
        .nest_limit(MAX_REGEX_DEPTH)
        .build()
        .parse(expression);
    let (begin, why) = match parsed {
        Ok(_) => return Ok(()),
        Err(regex_syntax::Error::Parse(error)) => {
            (error.span().start.offset, error.kind().to_string())
        }
        Err(regex_syntax::Error::Translate(error)) => {
            (error.span().start.offset, error.kind().to_string())
        }
        Err(other) => (0, other.to_string()),
    };
    // Counted in characters of `grep`, of which the first is the slash.
    let position = expression.get(..begin).map_or(0, |before| before.chars().count()) + 2;
    let detail = format!("the expression in `grep` is wrong at character {position}: {why}");
    Err(wrong("grep", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grep_is_literal_or_an_expression() {
        let finds = |grep: &str, text: &[u8]| super::grep(grep).expect("valid").is_match(text);
        assert!(finds("a.b", b"xa.bx") && !finds("a.b", b"axb"));
        assert!(finds("/a.b/", b"axb") && !finds("/a.b/", b"/ab/"));
        assert!(finds("/", b"a/b") && finds("//", b"a//b") && finds("/usr", b"/usr/bin"));
        assert!(finds(r"/(?-u)\xff/", b"\xff") && finds("/(?i)ERROR/", b"an Error\xff"));
    }

    #[test]
    fn wrong_expression_is_named_with_its_place() {
        for (grep, place) in [("/a(b/", Some(3)), ("/é[z-a]/", Some(4)), ("/*/", Some(2))] {
            let detail = super::grep(grep).expect_err("wrong").detail;
            let place = place.map(|n| format!("wrong at character {n}:")).unwrap_or_default();
            assert!(detail.contains(&place), "{grep}: {detail}");
        }
        for large in ["/(a{999}){999}/".to_owned(), "(".repeat(100), "a".repeat(1_001)] {
            let large = if large.starts_with("((") { format!("/{large}/") } else { large };
            super::grep(&large).expect_err("too large");
        }
    }

    #[test]
    fn event_id_names_attempt_and_line() {
        let read = |id: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", axum::http::HeaderValue::from_static(id));
            last_event(&headers)
        };
        assert_eq!(read("2-17"), Some((Attempt(2), 17)));
        for other in ["", "2", "0-1", "2-x", "-1-2", "4711"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
