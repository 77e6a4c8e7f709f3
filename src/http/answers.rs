//! The outermost layers: the id of a request, and the headers of every answer.
//!
//! A caller may send an `X-Request-Id`. The answer repeats it, the log's span has it, and a problem
//! names it as `instance`. An id that is missing or unfit is replaced by a new one.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::request_id::RequestId;
use tracing::Span;

use super::problem::Problem;

/// The name of the header with the id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The length of the longest id that is taken from a caller.
const LONGEST_ID: usize = 64;

/// Headers of every answer, unless the answer has its own.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Removes an id that cannot be passed on: repeated, empty, too long, or with characters that a URL
/// or a log would have to escape. The layer below makes a new one.
pub(super) async fn admit_id(mut request: Request, next: Next) -> Response {
    let mut ids = request.headers().get_all(REQUEST_ID).iter();
    let is_fit = ids.next().is_some_and(is_token) && ids.next().is_none();
    if !is_fit {
        request.headers_mut().remove(REQUEST_ID);
    }
    next.run(request).await
}

fn is_token(value: &HeaderValue) -> bool {
    let is_unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    (1..=LONGEST_ID).contains(&value.len()) && value.as_bytes().iter().all(is_unreserved)
}

/// Returns the log's span for a request.
pub(super) fn span(request: &Request) -> Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
}

/// Adds the headers of every answer, and the id of the request to a problem.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let instance = id.and_then(|id| id.header_value().to_str().map(str::to_owned).ok());
        response = named(response, Problem { instance, ..problem });
    }
    let status = response.status();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Some(seconds) = retry_after(status) {
        headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static(seconds));
    }
    if status == StatusCode::REQUEST_TIMEOUT {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if is_text(headers) {
        let sandbox = HeaderValue::from_static("sandbox");
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(sandbox);
    }
    response
}

/// Writes the body of a problem again.
fn named(response: Response, problem: Problem) -> Response {
    let (mut parts, body) = response.into_parts();
    match serde_json::to_vec(&problem) {
        Ok(bytes) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(bytes))
        }
        Err(_) => Response::from_parts(parts, body),
    }
}

/// Returns the seconds after which a refused call is worth another try.
fn retry_after(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some("10"),
        StatusCode::SERVICE_UNAVAILABLE => Some("5"),
        _ => None,
    }
}

/// Checks for plain text, such as logs, which a browser must not run as a page.
fn is_text(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_tokens_are_request_ids() {
        for fit in ["a", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "A_b.c~1", &"x".repeat(64)] {
            assert!(is_token(&HeaderValue::from_str(fit).expect("a header")), "{fit}");
        }
        for unfit in ["", "a b", "a/b", "a:b", "\u{e4}", "a\"", &"x".repeat(65)] {
            assert!(!is_token(&HeaderValue::from_bytes(unfit.as_bytes()).expect("a header")));
        }
    }
}
