//! `Idempotency-Key`: a repeated request gets the stored response, and creates no second job.
//!
//! A key belongs to its caller. It stands for a name, a date and a spec, in any kind of body. The
//! same key with another request is refused. Only an accepted request uses up a key. Neither keys
//! nor tokens are stored, only hashes.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::created::created;
use crate::http::auth::guard::Admitted;
use crate::http::body::NewJob;
use crate::http::problem::Problem;
use crate::http::views::DoneView;
use crate::store::{RequestKey, StoredResponse};

/// The header's name, in lower case.
const HEADER: &str = "idempotency-key";
/// The length of the longest key, in bytes.
const LONGEST_KEY: usize = 255;

/// Returns the request's idempotency key, or `None` without the header.
///
/// # Errors
/// Returns a [`Problem`] when the key is empty, too long, repeated, or not visible text.
pub(in crate::http) fn key(
    headers: &HeaderMap,
    caller: &Admitted,
) -> Result<Option<RequestKey>, Problem> {
    let mut keys = headers.get_all(HEADER).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= LONGEST_KEY && keys.next().is_none() => {
            let hash = Sha256::new().chain_update(caller.hash).chain_update(key).finalize();
            Ok(Some(RequestKey(hash.into())))
        }
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_header",
            format!(
                "`Idempotency-Key` has to be given once, with 1 to {LONGEST_KEY} visible characters"
            ),
        )),
    }
}

/// Returns a hash of the request's name, date and spec.
pub(in crate::http) fn digest(new: &NewJob) -> [u8; 32] {
    let asked = serde_json::json!([new.name, new.date, new.spec]);
    Sha256::digest(asked.to_string()).into()
}

/// Returns the stored response to an equal request.
///
/// # Errors
/// Returns 422 when the request differs from the one that used the key.
pub(in crate::http) fn replay(
    earlier: &StoredResponse,
    body: [u8; 32],
) -> Result<Response, Problem> {
    Ok(created(replayed(earlier, body)?))
}

/// Returns the content of the stored response to an equal request.
///
/// # Errors
/// Returns 422 when the request differs from the one that used the key.
pub(in crate::http) fn replayed(
    earlier: &StoredResponse,
    body: [u8; 32],
) -> Result<DoneView, Problem> {
    if earlier.body != body {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this `Idempotency-Key` was used for another job: give each its own, and use one again only to send the same request again",
        ));
    }
    let Json(done): Json<DoneView> =
        Json::from_bytes(earlier.text.as_bytes()).map_err(|error| unreadable(&error))?;
    Ok(done)
}

/// Returns the response in the form in which it is stored.
pub(in crate::http) fn stored_response(
    request: RequestKey,
    body: [u8; 32],
    done: &DoneView,
) -> Result<StoredResponse, Problem> {
    let text = serde_json::to_string(done).map_err(|error| unreadable(&error))?;
    Ok(StoredResponse { request, body, text })
}

fn unreadable(cause: &dyn std::fmt::Display) -> Problem {
    let sentence = "the answer cannot be kept or read; the server's log says why";
    Problem::internal(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", sentence, cause)
}
