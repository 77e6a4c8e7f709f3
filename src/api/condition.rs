//! Conditions on a change, and the tags that they name: `If-Match`, `If-None-Match: *`, `ETag`.

use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use axum::response::Response;

use super::error::Problem;
use crate::domain::expected::Expected;

/// What the caller takes to be there; `read` makes of a tag's number what is compared. A tag that is none of ours is met
/// by nothing.
///
/// # Errors
/// 400 for headers that are no text, or contradict each other.
pub(super) fn expected<T>(
    headers: &HeaderMap,
    read: impl Fn(u64) -> T,
) -> Result<Expected<T>, Problem> {
    match (text(headers, &IF_MATCH)?, text(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Expected::Anything),
        (None, Some(all)) if all.trim() == "*" => Ok(Expected::Nothing),
        (Some(all), None) if all.trim() == "*" => Ok(Expected::Something),
        (Some(tags), None) => {
            Ok(Expected::OneOf(tags.split(',').filter_map(number).map(read).collect()))
        }
        (_, Some(_)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_header",
            "a change takes either `If-Match` with a tag or `*`, or `If-None-Match: *`, and not both",
        )),
    }
}

/// The tag that names this number.
pub(super) fn tag(number: u64) -> String {
    format!("\"{number}\"")
}

/// The answer with this number as its tag.
pub(super) fn tagged(mut response: Response, number: u64) -> Response {
    if let Ok(value) = HeaderValue::from_str(&tag(number)) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

fn number(tag: &str) -> Option<u64> {
    tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// A header's value; given more than once, it is one list.
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
