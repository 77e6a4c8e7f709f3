//! Answers that are written while they are read, so that a million jobs need no more memory than a thousand.
//!
//! All of one answer is of one moment, which the store holds still for it: for a few readers at once, and for none that
//! is too slow. A caller that polls sends back the `ETag` and gets 304 while nothing has changed.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tracing::warn;

use super::Api;
use super::error::Problem;
use crate::store::{MAX_PAGE, Snapshot, StoreError};

/// How many chunks may wait for a slow reader.
const CHUNKS_WAITING: usize = 4;
/// How long a listing waits for its turn: the store holds still for a few at once.
const TURN: Duration = Duration::from_secs(10);
/// How long a reader may take for one chunk before it is given up: what it reads is held still for it meanwhile.
const STALL: Duration = Duration::from_secs(30);

/// Where the chunks of an answer go.
pub(super) struct Chunks(mpsc::Sender<Result<Bytes, StoreError>>);

/// The reader is gone, or too slow.
pub(super) struct Abandoned;

/// Whether all was written, or why not.
pub(super) type Written = Result<Result<(), StoreError>, Abandoned>;

impl Chunks {
    pub(super) async fn send(&self, chunk: Vec<u8>) -> Result<(), Abandoned> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.0.send_timeout(Ok(Bytes::from(chunk)), STALL).await.map_err(|_| Abandoned)
    }
}

impl Api {
    /// One moment of the store.
    pub(super) async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Problem> {
        let snapshot = tokio::time::timeout(TURN, self.scheduler.store().snapshot()).await.map_err(|_| {
            let detail = "too many listings are being read at once; poll with `If-None-Match`, or page with `limit`";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
        })?;
        Ok(snapshot?)
    }

    /// JSON under this tag, as `write` writes it.
    pub(super) fn streamed<F>(&self, etag: &str, write: impl FnOnce(Chunks) -> F) -> Response
    where
        F: Future<Output = Written> + Send + 'static,
    {
        let (chunks, mut waiting) = mpsc::channel(CHUNKS_WAITING);
        let broken = chunks.clone();
        let written = write(Chunks(chunks));
        self.writers.spawn(async move {
            // The status is sent already: a body that is cut off is how HTTP says that it is not whole.
            if let Ok(Err(failure)) = written.await {
                warn!(error = %failure, "a listing broke off");
                let _ = broken.send_timeout(Err(failure), STALL).await;
            }
        });
        // Who compresses it may ask once more after the end.
        let body = Body::from_stream(futures::stream::poll_fn(move |context| waiting.poll_recv(context)));
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(etag) = HeaderValue::from_str(etag) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

/// 304, when the caller has this already.
pub(super) fn not_modified(headers: &HeaderMap, etag: &str) -> Option<Response> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok())?;
    let is_known = known == "*" || known.split(',').any(|tag| tag.trim() == etag);
    let headers = [(header::ETAG, etag), (header::VARY, "accept-encoding")];
    is_known.then(|| (StatusCode::NOT_MODIFIED, headers).into_response())
}

/// How many are asked for, where that can be had; and a cursor only with that.
pub(super) fn limit_of(limit: Option<usize>, cursor: Option<&str>) -> Result<Option<usize>, Problem> {
    if limit.is_some_and(|limit| !(1..=MAX_PAGE).contains(&limit)) {
        let detail = format!("`limit` has to be between 1 and {MAX_PAGE}");
        return Err(Problem::field("limit", "invalid_query", detail));
    }
    if cursor.is_some() && limit.is_none() {
        return Err(Problem::field("cursor", "invalid_query", "`cursor` goes with `limit`"));
    }
    Ok(limit)
}
