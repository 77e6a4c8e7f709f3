//! `GET /tide`: the tide chart as data or as a picture, of one snapshot of the store.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta};
use serde::Deserialize;

use crate::domain::names::id::Timestamp;
use crate::domain::text::units::{Span, shown};
use crate::domain::tide::{Tide, Window};
use crate::http::problem::Problem;
use crate::http::query::KnownQuery;
use crate::http::state::Api;
use crate::http::views::TideView;
use crate::http::web::chart::{self, Look};
use crate::scheduler::TideRequest;

/// The time before and after now by default.
const DEFAULT: TimeDelta = TimeDelta::hours(6);
/// The shortest and the longest window.
const WINDOW: (TimeDelta, TimeDelta) = (TimeDelta::seconds(1), TimeDelta::days(31));
/// The number of lanes by default, and at most.
const LANES: (usize, usize) = (8, 50);
/// The smallest, the default and the largest width in pixels.
const PX: (u32, u32, u32) = (200, 1_180, 4_000);

/// The query of `GET /tide`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::http) struct TideQuery {
    /// The start of the window: a time, or a span before or after now.
    pub(in crate::http) from: Option<String>,
    /// The end of the window.
    pub(in crate::http) to: Option<String>,
    pub(in crate::http) lanes: Option<usize>,
    pub(in crate::http) px: Option<u32>,
    /// The only schedule to show.
    pub(in crate::http) schedule: Option<String>,
}

/// Answers `GET /tide` with JSON, or with a picture if `Accept` asks for SVG.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    headers: HeaderMap,
    KnownQuery(query): KnownQuery<TideQuery>,
) -> Result<Response, Problem> {
    let tide = api.tide(&query).await?;
    let vary = (header::VARY, "accept");
    if !wants_svg(&headers) {
        return Ok(([vary], Json(TideView::of(&tide, api.zone))).into_response());
    }
    let look = Look { zone: api.zone, base: "", one_lane: query.schedule.is_some() };
    let kind = (header::CONTENT_TYPE, "image/svg+xml");
    Ok(([kind, vary], chart::picture(&tide, &look)).into_response())
}

/// Returns whether the caller asks for a picture. A browser that opens the address asks for a page
/// as well, and gets JSON.
fn wants_svg(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("image/svg+xml") && !accept.contains("text/html"))
}

impl Api {
    /// Returns the chart for a query.
    ///
    /// # Errors
    /// Returns a [`Problem`] for a query out of range, or if the store fails or is busy.
    pub(in crate::http) async fn tide(&self, query: &TideQuery) -> Result<Tide, Problem> {
        let request = request(query, self.scheduler.now())?;
        let snapshot = self.snapshot().await?;
        Ok(self.scheduler.tide(request, snapshot).await?)
    }
}

fn request(query: &TideQuery, now: Timestamp) -> Result<TideRequest, Problem> {
    let edge = |name: &str, text: &Option<String>, default: TimeDelta| match text {
        Some(text) => instant(name, text, now),
        None => Ok(now + default),
    };
    let (from, to) = (edge("from", &query.from, -DEFAULT)?, edge("to", &query.to, DEFAULT)?);
    if to - from < WINDOW.0 {
        return Err(refused("to", "`to` has to be after `from`, by a second at least".to_owned()));
    }
    if to - from > WINDOW.1 {
        let detail = "the window from `from` to `to` may be 31 days long at most".to_owned();
        return Err(refused("from", detail));
    }
    let lanes = query.lanes.unwrap_or(LANES.0);
    if !(1..=LANES.1).contains(&lanes) {
        let detail = format!("`lanes` is {lanes} and has to be between 1 and {}", LANES.1);
        return Err(refused("lanes", detail));
    }
    let px = query.px.unwrap_or(PX.1);
    if !(PX.0..=PX.2).contains(&px) {
        let detail = format!("`px` is {px} and has to be between {} and {}", PX.0, PX.2);
        return Err(refused("px", detail));
    }
    let only = query.schedule.as_deref().map(str::parse).transpose();
    let only = only.map_err(|error| refused("schedule", format!("`schedule`: {error}")))?;
    Ok(TideRequest { window: Window { from, to, now, px }, lanes, only })
}

/// Reads a time: `now`, a span before now (`-6h`) or after it (`6h`), or RFC 3339.
fn instant(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let wrong = || {
        refused(
            name,
            format!(
                "`{name}` is `{}`: write a span such as `-6h` or `6h`, `now`, or a time such as `2021-06-20T13:25:28Z`",
                shown(text)
            ),
        )
    };
    // A plus arrives as a space.
    let text = text.trim();
    let span = |text: &str| {
        let span: Span = text.parse().ok()?;
        TimeDelta::from_std(span.as_duration()).ok()
    };
    let at = match (text, text.strip_prefix('-')) {
        ("now", _) => Some(now),
        (_, Some(rest)) => span(rest).and_then(|span| now.checked_sub_signed(span)),
        (_, None) => match span(text.strip_prefix('+').unwrap_or(text)) {
            Some(span) => now.checked_add_signed(span),
            None => {
                DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok().map(|at| at.to_utc())
            }
        },
    };
    let years = Timestamp::UNIX_EPOCH..Timestamp::UNIX_EPOCH + TimeDelta::days(365 * 8_000);
    at.filter(|at| years.contains(at)).ok_or_else(wrong)
}

fn refused(field: &str, detail: String) -> Problem {
    Problem::field(field, "invalid_query", detail)
}
