//! Streams long answers, so that a million jobs need no more memory than a thousand.
//!
//! Each answer is read from one store snapshot. The number of snapshots is limited, and a reader
//! that is too slow is dropped. A caller that polls sends back the `ETag` and gets 304 while
//! nothing has changed.
//!
//! An abandoned answer is cut off: its body ends with an error, so the connection closes without a
//! last chunk. A body ends normally only after its writer has reported that the answer is complete.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::problem::Problem;
use super::state::Api;
use crate::store::{MAX_PAGE, Snapshot, StoreError};

/// The number of chunks that may wait for a slow reader.
const CHUNKS_WAITING: usize = 4;
/// The longest time that a listing waits for a snapshot. The store grants only a few at once.
const TURN: Duration = Duration::from_secs(10);

/// The sender of an answer's chunks.
pub(super) struct Chunks {
    chunks: mpsc::Sender<Bytes>,
    stall: Duration,
}

/// The error that ends the body of an abandoned answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer was given up before it was whole")]
pub(super) struct Incomplete;

/// The reader has disconnected or is too slow.
pub(super) struct ReaderGone;

/// The result of writing an answer: complete, failed in the store, or abandoned.
pub(super) type Written = Result<Result<(), StoreError>, ReaderGone>;

impl Chunks {
    pub(super) async fn send(&self, chunk: Vec<u8>) -> Result<(), ReaderGone> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.chunks.send_timeout(Bytes::from(chunk), self.stall).await.map_err(|_| ReaderGone)
    }
}

impl Api {
    /// Takes a snapshot of the store.
    ///
    /// # Errors
    /// Returns 503 when no snapshot is free within 10 s.
    pub(super) async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Problem> {
        let snapshot = tokio::time::timeout(TURN, self.scheduler.store().snapshot()).await.map_err(|_| {
            let detail = "too many listings are being read at once; poll with `If-None-Match`, or page with `limit`";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
        })?;
        Ok(snapshot?)
    }

    /// Returns a JSON response with this tag. The task `write` produces its body.
    pub(super) fn streamed<F>(&self, etag: &str, write: impl FnOnce(Chunks) -> F) -> Response
    where
        F: Future<Output = Written> + Send + 'static,
    {
        let (chunks, waiting) = mpsc::channel(CHUNKS_WAITING);
        let (whole, is_whole) = oneshot::channel();
        let written = write(Chunks { chunks, stall: self.stall });
        self.writers.spawn(async move {
            match written.await {
                Ok(Ok(())) => drop(whole.send(())),
                // The status is already sent. A body that is cut off tells the caller that the
                // answer is incomplete.
                Ok(Err(failure)) => warn!(error = %failure, "a listing broke off"),
                Err(ReaderGone) => warn!(
                    "a listing was given up: its reader is gone, or took nothing for too long"
                ),
            }
        });
        let body = Body::from_stream(until_whole(waiting, is_whole));
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

/// Yields the chunks, then an error unless the writer reported that the answer is complete.
fn until_whole(
    mut waiting: mpsc::Receiver<Bytes>,
    is_whole: oneshot::Receiver<()>,
) -> impl Stream<Item = Result<Bytes, Incomplete>> {
    let chunks = futures::stream::poll_fn(move |context| waiting.poll_recv(context));
    let end = futures::stream::once(is_whole)
        .filter_map(async |whole| whole.is_err().then_some(Err(Incomplete)));
    chunks.map(Ok).chain(end)
}

/// Returns a 304 if the caller already has the answer with this tag.
pub(super) fn not_modified(headers: &HeaderMap, etag: &str) -> Option<Response> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok())?;
    let is_known = known == "*" || known.split(',').any(|tag| tag.trim() == etag);
    let headers = [(header::ETAG, etag), (header::VARY, "accept-encoding")];
    is_known.then(|| (StatusCode::NOT_MODIFIED, headers).into_response())
}

/// Checks the requested `limit`. `None`: no limit was given. A `cursor` is allowed only with a
/// `limit`.
///
/// # Errors
/// Returns a [`Problem`] for a `limit` out of range, or a `cursor` without a `limit`.
pub(super) fn limit_of(
    limit: Option<usize>,
    cursor: Option<&str>,
) -> Result<Option<usize>, Problem> {
    if limit.is_some_and(|limit| !(1..=MAX_PAGE).contains(&limit)) {
        let detail = format!("`limit` has to be between 1 and {MAX_PAGE}");
        return Err(Problem::field("limit", "invalid_query", detail));
    }
    if cursor.is_some() && limit.is_none() {
        return Err(Problem::field("cursor", "invalid_query", "`cursor` goes with `limit`"));
    }
    Ok(limit)
}
