//! Decodes the bytes of a request as text: form names and values, path segments, query pairs, JSON.
//!
//! Bytes that are not UTF-8 are refused, and the error names their field. They are not replaced by
//! U+FFFD, because the job would then run with the replacement in place of the caller's text.

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::unique::Unique;
use crate::domain::text::units::shown;

/// Refuses a path or a query that does not decode to UTF-8. Any extractor can decode an admitted
/// request without loss.
pub(super) async fn admit(request: Request, next: Next) -> Response {
    match check_path(&request).and_then(|()| check_query(request.uri().query().unwrap_or_default()))
    {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_path(request: &Request) -> Result<(), Problem> {
    let path = request.uri().path();
    if !path.contains('%') {
        return Ok(());
    }
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    for (part, named) in path.split('/').zip(route.split('/').chain(std::iter::repeat(""))) {
        let field = named.trim_matches(['{', '}']);
        if String::from_utf8(decoded(part.as_bytes(), Plus::IsItself)).is_err() {
            return Err(not_text(field, "invalid_path", part));
        }
    }
    Ok(())
}

fn check_query(query: &str) -> Result<(), Problem> {
    if !query.contains('%') {
        return Ok(());
    }
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        field(name.as_bytes(), value.as_bytes(), "invalid_query")?;
    }
    Ok(())
}

/// Yields the pairs of a urlencoded form, without empty pairs.
///
/// # Errors
/// Yields a [`Problem`] that names the first field with bytes that are not UTF-8.
pub(super) fn urlencoded(body: &[u8]) -> impl Iterator<Item = Result<(String, String), Problem>> {
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default();
        field(name, halves.next().unwrap_or_default(), "invalid_field")
    })
}

fn field(name: &[u8], value: &[u8], code: &str) -> Result<(String, String), Problem> {
    let name = utf8(&name_of(name), decoded(name, Plus::IsBlank), code)?;
    let value = utf8(&name, decoded(value, Plus::IsBlank), code)?;
    Ok((name, value))
}

/// Returns a name for display, with invalid bytes replaced.
fn name_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Converts bytes to text.
///
/// # Errors
/// Returns a [`Problem`] with this code that names the field.
pub(super) fn utf8(field: &str, bytes: Vec<u8>, code: &str) -> Result<String, Problem> {
    String::from_utf8(bytes)
        .map_err(|error| not_text(field, code, &error.as_bytes().escape_ascii().to_string()))
}

fn not_text(field: &str, code: &str, value: &str) -> Problem {
    let (field, value) = (shown(field), shown(value));
    Problem::field(
        &field,
        code,
        format!("`{field}` holds `{value}`, which is not UTF-8: send text as UTF-8"),
    )
}

/// The meaning of a `+`: a blank in forms and queries, itself in paths.
#[derive(Clone, Copy, PartialEq)]
enum Plus {
    IsBlank,
    IsItself,
}

/// Decodes percent signs. A percent sign without two hexadecimal digits stays as it is.
fn decoded(text: &[u8], plus: Plus) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = text.get(at) {
        let pair = digit(at + 1).zip(digit(at + 2)).filter(|_| byte == b'%');
        let value = pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(value.unwrap_or(if byte == b'+' && plus == Plus::IsBlank {
            b' '
        } else {
            byte
        }));
        at += if value.is_some() { 3 } else { 1 };
    }
    bytes
}

/// Returns the problem for a body that is not a JSON object. Names the bytes at fault if they are
/// the reason, else shows `error`.
pub(super) fn not_json(body: &[u8], error: &serde_json::Error) -> Problem {
    let refused = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail);
    if body.starts_with(b"\xef\xbb\xbf") {
        return refused(
            "the body begins with a byte order mark: send the JSON without it".to_owned(),
        );
    }
    let Err(bad) = std::str::from_utf8(body) else {
        return refused(format!("the body is not a JSON object with single fields: {error}"));
    };
    let detail = format!(
        "the body is not UTF-8 from its byte {} on: send JSON as UTF-8",
        bad.valid_up_to() + 1
    );
    Problem { field: broken_field(body), ..refused(detail) }
}

/// Returns the first field that holds bytes which are not UTF-8. `None` if the body is not JSON
/// even with these bytes replaced.
fn broken_field(body: &[u8]) -> Option<String> {
    let Unique(map) = serde_json::from_str(&String::from_utf8_lossy(body)).ok()?;
    let is_broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    let found = map.iter().find(|(name, value)| is_broken(name) || is_broken(&value.to_string()));
    found.map(|(name, _)| shown(name))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn pairs(body: &[u8]) -> Vec<(String, String)> {
        urlencoded(body).collect::<Result<_, _>>().expect("is text")
    }

    #[test]
    fn forms_are_decoded_as_browsers_encode_them() {
        for body in ["a=1&b=x+y&c=%C3%A4%20%2b&&d", "%=%zz&e=%4", "=x", "", "a=b=c&%C3%A4=1"] {
            let wanted: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
            assert_eq!(pairs(body.as_bytes()), wanted, "{body}");
        }
    }

    #[rstest]
    #[case(b"a=1&command=echo+%ae", "command")]
    #[case(b"a=1&command=echo \xe4", "command")]
    #[case(b"env=A%3D%ED%A0%80", "env")]
    #[case(b"command=%c3", "command")]
    #[case(b"comm%ffand=1", "comm%ffand")]
    fn invalid_utf8_in_a_form_names_the_field(#[case] body: &[u8], #[case] field: &str) {
        let refused = urlencoded(body).collect::<Result<Vec<_>, _>>().expect_err("is refused");
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some(field)));
    }

    #[test]
    fn invalid_utf8_in_json_names_the_field() {
        let body = b"{\"job_name\": \"a\", \"env\": {\"A\": \"\xe4\"}}";
        let error = serde_json::from_slice::<serde_json::Value>(body).expect_err("is no text");
        assert_eq!(not_json(body, &error).field.as_deref(), Some("env"));
    }
}
