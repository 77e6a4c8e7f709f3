//! Reads the preconditions of a change and writes the tags that they name: `If-Match`,
//! `If-None-Match: *`, `ETag`.

use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use axum::response::Response;

use super::problem::Problem;
use crate::domain::precondition::Precondition;

/// Reads the caller's precondition. `read` turns the number in a tag into the value to compare. A
/// tag that this server did not make never matches.
///
/// # Errors
/// Returns 400 for headers that are not text or contradict each other.
pub(super) fn expected<T>(
    headers: &HeaderMap,
    read: impl Fn(u64) -> T,
) -> Result<Precondition<T>, Problem> {
    match (text(headers, &IF_MATCH)?, text(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::Anything),
        (None, Some(all)) if all.trim() == "*" => Ok(Precondition::Nothing),
        (Some(all), None) if all.trim() == "*" => Ok(Precondition::Something),
        (Some(tags), None) => {
            Ok(Precondition::OneOf(tags.split(',').filter_map(number).map(read).collect()))
        }
        (_, Some(_)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_header",
            "a change takes either `If-Match` with a tag or `*`, or `If-None-Match: *`, and not both",
        )),
    }
}

/// Returns the tag for this number.
pub(super) fn tag(number: u64) -> String {
    format!("\"{number}\"")
}

/// Adds this number to the response as its `ETag`.
pub(super) fn tagged(mut response: Response, number: u64) -> Response {
    if let Ok(value) = HeaderValue::from_str(&tag(number)) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

fn number(tag: &str) -> Option<u64> {
    tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// Returns the value of a header. A header that is repeated becomes one list.
fn text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let values: Result<Vec<&str>, _> =
        headers.get_all(name).iter().map(HeaderValue::to_str).collect();
    let values = values.map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_header",
            format!("`{name}` holds what is no text"),
        )
    })?;
    Ok((!values.is_empty()).then(|| values.join(",")))
}
