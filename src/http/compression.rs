//! Compresses JSON answers, pages and their assets with gzip for callers that ask for it.
//!
//! Other content is not compressed: a stream of lines or events would wait in the compressor. An
//! answer with a strong `ETag` is not compressed either, because gzip changes its bytes; long
//! answers have weak tags. A streamed answer stays a stream, because the compressor holds only one
//! chunk.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};
use axum::middleware::Next;
use tower_http::CompressionLevel;
use tower_http::compression::predicate::SizeAbove;
use tower_http::compression::{CompressionLayer, Predicate};

/// The size of the shortest answer to compress, in bytes. A shorter answer fits into one packet
/// anyway.
const SHORTEST_BYTES: u64 = 1_024;

/// Returns the layer that compresses answers accepted by [`Kinds`]. The layer [`settle`] must run
/// before it.
pub(super) fn layer() -> CompressionLayer<impl Predicate> {
    let what = SizeAbove::new(SHORTEST_BYTES).and(Kinds);
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(what)
}

/// Reduces `Accept-Encoding` to `gzip` or nothing. For a caller that accepts neither gzip nor plain
/// bytes, the layer would answer 406 after the handler has done its work. Such a caller gets plain
/// bytes instead.
pub(super) async fn settle(mut request: Request, next: Next) -> axum::response::Response {
    let wanted = request.method() == Method::GET && wants_gzip(request.headers());
    let headers = request.headers_mut();
    headers.remove(header::ACCEPT_ENCODING);
    if wanted {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    next.run(request).await
}

fn wants_gzip(headers: &HeaderMap) -> bool {
    let lists =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight: Option<f32> =
            weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
    })
}

/// The content types to compress.
const KINDS: [&str; 5] =
    ["application/json", "text/html", "text/css", "text/javascript", "image/svg+xml"];

/// Accepts answers of these kinds without an `ETag` or with a weak one.
#[derive(Clone, Copy, Debug)]
struct Kinds;

impl Predicate for Kinds {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &Response<B>) -> bool {
        let is = |name, begins: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.as_bytes().starts_with(begins.as_bytes()))
        };
        KINDS.iter().any(|kind| is(header::CONTENT_TYPE, kind) == Some(true))
            && is(header::ETAG, "W/") != Some(false)
    }
}
