//! `GET /schedules`: lists all schedules, or a page of them, ordered by name.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::schedules::view;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::record::ScheduleRecord;
use crate::http::problem::Problem;
use crate::http::query::KnownQuery;
use crate::http::state::Api;
use crate::http::streamed::{Chunks, Written, limit_of, not_modified};
use crate::store::Snapshot;

/// The number of schedules in one read.
const CHUNK: usize = 256;

/// The query of `GET /schedules`.
#[derive(Clone, Debug, Deserialize, Hash)]
pub(in crate::http) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Answers `GET /schedules` with a stream, or with 304.
pub(in crate::http) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    KnownQuery(query): KnownQuery<ListQuery>,
) -> Result<Response, Problem> {
    let limit = limit_of(query.limit, query.cursor.as_deref())?;
    let after =
        query.cursor.as_deref().map(|name| name.parse::<ScheduleName>()).transpose().map_err(
            |_| {
                Problem::field(
                    "cursor",
                    "invalid_query",
                    "that is no cursor of ours: take the `next` of the last page",
                )
            },
        )?;
    // The tag is read before the snapshot, so it may be older than the body but never newer.
    let etag = api.etag_of_schedules(&query).await?;
    if let Some(answer) = not_modified(&headers, &etag) {
        return Ok(answer);
    }
    let snapshot = api.snapshot().await?;
    Ok(api.streamed(&etag, |chunks| write(snapshot, after, limit, chunks)))
}

impl Api {
    /// Returns a weak tag that changes with every write to the store, because jobs also change the
    /// view of a schedule. The tag differs between processes.
    async fn etag_of_schedules(&self, query: &ListQuery) -> Result<String, Problem> {
        let store = self.scheduler.store();
        let mut hasher = DefaultHasher::new();
        (query, store.instance()).hash(&mut hasher);
        Ok(format!("W/\"{:x}-{:016x}\"", store.changes().await?, hasher.finish()))
    }
}

async fn write(
    mut snapshot: Box<dyn Snapshot>,
    mut after: Option<ScheduleName>,
    limit: Option<usize>,
    chunks: Chunks,
) -> Written {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut open = "{\"schedules\":{";
    let next = loop {
        // A further schedule, which is read but not written, shows whether there is a next page.
        let most = CHUNK.min(left.saturating_add(1));
        let mut records = match snapshot.schedules(after.as_ref(), most).await {
            Ok(records) => records,
            Err(failure) => return Ok(Err(failure)),
        };
        let (is_last, is_cut) = (records.len() < most, records.len() > left);
        records.truncate(left);
        left -= records.len();
        chunks.send(render(&records, open)).await?;
        open = if records.is_empty() { open } else { "," };
        after = records.pop().map(|record| record.name).or(after);
        if is_last || is_cut {
            break after.filter(|_| is_cut);
        }
    };
    // Without any schedule, the opening is not written yet.
    let open = if open == "," { "" } else { open };
    let end = match (limit, next) {
        (None, _) => "}}".to_owned(),
        (Some(_), None) => "},\"next\":null}".to_owned(),
        (Some(_), Some(next)) => format!("}},\"next\":\"{next}\"}}"),
    };
    chunks.send(format!("{open}{end}").into_bytes()).await?;
    Ok(Ok(()))
}

/// Renders the schedules, with `open` before the first one.
fn render(records: &[ScheduleRecord], open: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() * 640);
    for (record, before) in records.iter().zip(std::iter::once(open).chain(std::iter::repeat(",")))
    {
        out.extend_from_slice(format!("{before}\"{}\":", record.name).as_bytes());
        // Writing to a vector cannot fail, and neither can serializing these types.
        let _infallible: Result<(), serde_json::Error> =
            serde_json::to_writer(&mut out, &view(record));
    }
    out
}
