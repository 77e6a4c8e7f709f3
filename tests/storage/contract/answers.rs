//! Idempotency: a job and the stored response to its request are written together, or neither is.

use serde_json::json;
use tidetable::domain::names::id::Timestamp;
use tidetable::store::{RequestKey, StoredResponse};

use super::*;

fn answer(text: &str) -> StoredResponse {
    StoredResponse { request: RequestKey([9; 32]), body: [3; 32], text: text.to_owned() }
}

/// Returns a time before every job.
fn long_ago() -> Timestamp {
    at(0)
}

pub(crate) async fn answered_request_adds_no_second_job(place: &Place) {
    let open = place.open();
    assert_eq!(
        open.store.stored_response(answer("").request, long_ago()).await.expect("read"),
        None
    );
    let first = open
        .store
        .insert_idempotent(&job(1, json!({})), &answer("one"), long_ago())
        .await
        .expect("written");
    assert_eq!(first, None);
    open.close().await;
    let open = place.open();
    let second = open
        .store
        .insert_idempotent(&job(2, json!({})), &answer("two"), long_ago())
        .await
        .expect("read");
    assert_eq!(second, Some(answer("one")));
    assert_eq!(
        open.store.stored_response(answer("").request, long_ago()).await.expect("read"),
        Some(answer("one"))
    );
    assert_eq!(open.store.get(id(2)).await.expect("read"), None);
    assert_eq!(get(&open.store, id(1)).await, job(1, json!({})));
    assert_eq!(journal(&open.store).await.len(), 1);
    open.close().await;
}

pub(crate) async fn failed_insert_leaves_no_stored_response(place: &Place) {
    let open = place.open();
    insert(&open.store, job(1, json!({}))).await;
    assert!(
        open.store.insert_idempotent(&job(1, json!({})), &answer("one"), long_ago()).await.is_err()
    );
    assert_eq!(
        open.store.stored_response(answer("").request, long_ago()).await.expect("read"),
        None
    );
    open.close().await;
}

pub(crate) async fn one_of_many_equal_requests_adds_its_job(place: &Place) {
    let open = place.open();
    let tries: Vec<(Job, StoredResponse)> =
        (1..=16).map(|n| (job(n, json!({})), answer(&n.to_string()))).collect();
    let done = join_all(
        tries.iter().map(|(job, answer)| open.store.insert_idempotent(job, answer, long_ago())),
    )
    .await;
    let done: Vec<Option<StoredResponse>> =
        done.into_iter().map(|done| done.expect("written or read")).collect();
    let won: Vec<usize> = (0..16).filter(|n| done[*n].is_none()).collect();
    assert_eq!(won.len(), 1, "{done:?}");
    assert!(done.iter().flatten().all(|answer| *answer == tries[won[0]].1), "{done:?}");
    assert_eq!(journal(&open.store).await.len(), 1);
    open.close().await;
}

pub(crate) async fn stored_response_expires(place: &Place) {
    let open = place.open();
    let first = job(1, json!({}));
    open.store.insert_idempotent(&first, &answer("one"), long_ago()).await.expect("written");
    let then = first.created_at;
    assert_eq!(open.store.stored_response(answer("").request, then).await.expect("read"), None);
    let again = open
        .store
        .insert_idempotent(&job(2, json!({})), &answer("two"), then)
        .await
        .expect("written");
    assert_eq!(again, None);
    assert_eq!(
        open.store.stored_response(answer("").request, long_ago()).await.expect("read"),
        Some(answer("two"))
    );
    open.close().await;
}
