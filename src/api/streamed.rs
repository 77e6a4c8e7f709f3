//! Answers that are written while they are read, so that a million jobs need no more memory than a thousand.
//!
//! All of one answer is of one moment, which the store holds still for it: for a few readers at once, and for none that
//! is too slow. A caller that polls sends back the `ETag` and gets 304 while nothing has changed.
//!
//! An answer that is given up is cut off: its body ends with an error, so the connection is closed without a last chunk.
//! A body ends well only after its writer has said that all of it was written.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::Api;
use super::error::Problem;
use crate::store::{MAX_PAGE, Snapshot, StoreError};

/// How many chunks may wait for a slow reader.
const CHUNKS_WAITING: usize = 4;
/// How long a listing waits for its turn: the store holds still for a few at once.
const TURN: Duration = Duration::from_secs(10);
/// How long a reader may take for one chunk before it is given up: what it reads is held still for it meanwhile.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// Where the chunks of an answer go.
pub(super) struct Chunks {
    chunks: mpsc::Sender<Bytes>,
    stall: Duration,
}

/// Ends the body of an answer that was given up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer was given up before it was whole")]
pub(super) struct CutOff;

/// The reader is gone, or too slow.
pub(super) struct Abandoned;

/// Whether all was written, or why not.
pub(super) type Written = Result<Result<(), StoreError>, Abandoned>;

impl Chunks {
    pub(super) async fn send(&self, chunk: Vec<u8>) -> Result<(), Abandoned> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.chunks.send_timeout(Bytes::from(chunk), self.stall).await.map_err(|_| Abandoned)
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
        let (chunks, waiting) = mpsc::channel(CHUNKS_WAITING);
        let (whole, is_whole) = oneshot::channel();
        let written = write(Chunks { chunks, stall: self.stall });
        self.writers.spawn(async move {
            match written.await {
                Ok(Ok(())) => drop(whole.send(())),
                // The status is sent already: a body that is cut off is how HTTP says that it is not whole.
                Ok(Err(failure)) => warn!(error = %failure, "a listing broke off"),
                Err(Abandoned) => warn!(
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

/// Yields the chunks; then an error, unless the writer said that the answer is whole.
fn until_whole(
    mut waiting: mpsc::Receiver<Bytes>,
    is_whole: oneshot::Receiver<()>,
) -> impl Stream<Item = Result<Bytes, CutOff>> {
    let chunks = futures::stream::poll_fn(move |context| waiting.poll_recv(context));
    let end = futures::stream::once(is_whole)
        .filter_map(async |whole| whole.is_err().then_some(Err(CutOff)));
    chunks.map(Ok).chain(end)
}

/// 304, when the caller has this already.
pub(super) fn not_modified(headers: &HeaderMap, etag: &str) -> Option<Response> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok())?;
    let is_known = known == "*" || known.split(',').any(|tag| tag.trim() == etag);
    let headers = [(header::ETAG, etag), (header::VARY, "accept-encoding")];
    is_known.then(|| (StatusCode::NOT_MODIFIED, headers).into_response())
}

/// How many are asked for, where that can be had; and a cursor only with that.
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
