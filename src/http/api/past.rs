//! Reads a past time in a query: a time ago, or a date.

use crate::domain::names::id::Timestamp;
use crate::domain::text::date;
use crate::domain::text::units::Span;
use crate::http::problem::Problem;
use crate::http::state::Api;

/// Reads the parameter `name`: a time ago (`10m`) or a date.
///
/// # Errors
/// Returns a 400 that names the parameter.
pub(super) fn past(name: &str, text: &str, api: &Api) -> Result<Timestamp, Problem> {
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
        let detail = format!(
            "`{name}` has to be a time ago such as `10m`, or a time such as `2021-06-20T13:25:28Z`"
        );
        Problem::field(name, "invalid_query", detail)
    })
}
