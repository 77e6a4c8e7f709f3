//! `POST /preview`: explains a recurrence or a date, in words and with the next times. Nothing is
//! stored.

use axum::Json;
use axum::extract::{Request, State};
use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;

use crate::domain::names::id::Timestamp;
use crate::domain::recurrence::{Period, Rule, Zone};
use crate::domain::text::date;
use crate::domain::text::units::shown;
use crate::http::problem::Problem;
use crate::http::query::{KnownQuery, NoQuery};
use crate::http::views::PreviewView;
use crate::http::{json, state::Api};

/// The number of times shown by default, and at most.
const COUNT: (usize, usize) = (5, 1_000);

/// The body of `POST /preview`: exactly one of `cron`, `every` and `date`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct Question {
    cron: Option<Rule>,
    every: Option<Period>,
    date: Option<String>,
    time_zone: Option<Zone>,
    from: Option<String>,
    count: Option<usize>,
}

/// Answers `POST /preview` with a description and the next times.
pub(in crate::http) async fn preview(
    State(api): State<Api>,
    _: KnownQuery<NoQuery>,
    request: Request,
) -> Result<Json<PreviewView>, Problem> {
    let question: Question = json::read(request).await?;
    let zone = question.time_zone.unwrap_or(api.zone.into());
    let from = question.from.as_deref().map_or(Ok(api.scheduler.now()), instant)?;
    let count = count_of("count", question.count)?;
    let rule = match (question.cron, question.every, question.date) {
        (Some(rule), None, None) => rule,
        (None, Some(period), None) => Rule::Every(period),
        (None, None, Some(date)) => {
            let due = date::parse(&date, from, zone.tz())
                .map_err(|error| Problem::field("date", "invalid_date", error.to_string()))?;
            return Ok(Json(PreviewView { says: due.phrase, next: vec![shown_in(zone, due.at)] }));
        }
        _ => {
            let detail = "give one of `cron`, such as `30 2 * * *`, `every`, such as `90m`, and `date`, such as `30s`";
            return Err(Problem::field("cron", "one_of", detail));
        }
    };
    let recurrence = rule.anchored(zone, from);
    let next =
        recurrence.after(from).take(count).map(|tick| shown_in(zone, tick.nominal)).collect();
    Ok(Json(PreviewView { says: recurrence.describe(), next }))
}

/// Checks the requested number of times. `None` gives the default.
///
/// # Errors
/// Returns a [`Problem`] when the number is 0 or above the maximum.
pub(in crate::http) fn count_of(
    field: &'static str,
    asked: Option<usize>,
) -> Result<usize, Problem> {
    match asked {
        None => Ok(COUNT.0),
        Some(count) if (1..=COUNT.1).contains(&count) => Ok(count),
        Some(count) => Err(Problem::field(
            field,
            "invalid_field",
            format!("{count} is asked for: ask for 1 to {}", COUNT.1),
        )),
    }
}

/// Formats an instant as local time in the zone, with its offset.
pub(in crate::http) fn shown_in(zone: Zone, at: Timestamp) -> String {
    at.with_timezone(&zone.tz()).to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

fn instant(text: &str) -> Result<Timestamp, Problem> {
    DateTime::parse_from_rfc3339(text.trim()).map(|at| at.to_utc()).map_err(|_| {
        let detail = format!(
            "`{}` is no instant: write one such as `2026-03-28T02:30:00+01:00`",
            shown(text)
        );
        Problem::field("from", "invalid_field", detail)
    })
}
