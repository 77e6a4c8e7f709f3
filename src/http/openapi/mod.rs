//! The API's own description: an OpenAPI 3.1 document, and a reference page made from it.
//!
//! [`calls`] lists every call. The schemas of answers are derived from the views, and the fields of
//! a spec come from [`SpecFields::REFERENCE`](crate::domain::spec::SpecFields::REFERENCE). A test
//! compares the document with the routes and with real answers.

mod calls;
mod changes;
mod document;
mod fields;
mod overview;
mod page;
mod parameters;
mod problems;
mod schemas;
mod server;
mod table;

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::query::{KnownQuery, NoQuery};

/// The content that a browser may load for the reference page.
const PAGE_POLICY: &str = concat!(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; ",
    "frame-ancestors 'none'",
);

static DOCUMENT: LazyLock<Value> = LazyLock::new(document::build);
static DOCUMENT_TEXT: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_string());
static PAGE: LazyLock<String> = LazyLock::new(|| page::render(&DOCUMENT));

/// Answers `GET /openapi.json` with the document.
pub(super) async fn show(_: KnownQuery<NoQuery>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT_TEXT.as_str()).into_response()
}

/// Answers `GET /docs` with the reference page.
pub(super) async fn docs(_: KnownQuery<NoQuery>) -> Response {
    let mut response =
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE.as_str()).into_response();
    let policy = HeaderValue::from_static(PAGE_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}
