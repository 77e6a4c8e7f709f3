//! JSON is sent as gzip to whoever asks for it.
//!
//! Only JSON, and only what is read: a stream of lines or events would wait in the compressor. An answer with a strong
//! `ETag` goes as it is, since gzip makes other bytes of it; those that are long have weak ones. What is written while it
//! is read stays so: the compressor holds one chunk.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};
use axum::middleware::Next;
use tower_http::CompressionLevel;
use tower_http::compression::predicate::SizeAbove;
use tower_http::compression::{CompressionLayer, Predicate};

/// Shorter answers are one packet anyway.
const SHORTEST_BYTES: u64 = 1_024;

/// Compresses what [`Json`] lets through. [`settle`] has to come before.
pub(super) fn layer() -> CompressionLayer<impl Predicate> {
    let what = SizeAbove::new(SHORTEST_BYTES).and(Json);
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(what)
}

/// Leaves of `Accept-Encoding` whether gzip is wanted. The layer would answer 406 to who wants neither that nor plain
/// bytes, after the handler has done its work; who asks for the impossible gets plain bytes.
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

/// JSON whose tag, if it has one, is weak.
#[derive(Clone, Copy, Debug)]
struct Json;

impl Predicate for Json {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &Response<B>) -> bool {
        let is = |name, begins: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.as_bytes().starts_with(begins.as_bytes()))
        };
        is(header::CONTENT_TYPE, "application/json") == Some(true)
            && is(header::ETAG, "W/") != Some(false)
    }
}
