//! `GET /jobs`: lists the three maps.
//!
//! Without parameters, all jobs are listed from one store snapshot. A job that moves between maps
//! meanwhile is in exactly one of them. With `limit`, the answer comes in pages.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono_tz::Tz;
use serde::Deserialize;

use super::past::past;
use crate::domain::job::{Job, Map, Status};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::spec::command;
use crate::http::problem::Problem;
use crate::http::query::KnownQuery;
use crate::http::state::Api;
use crate::http::streamed::{Chunks, ReaderGone, Written, limit_of, not_modified};
use crate::http::views::JobLine;
use crate::store::{Filter, Order, Snapshot, StoreError};

/// The maps, in the order of the classic answer.
const MAPS: [Map; 3] = [Map::Running, Map::Scheduled, Map::History];
/// The number of jobs in one chunk of the answer, and in the first read.
const CHUNK: usize = 256;
/// The number of jobs in each later read. Fewer keep two threads waiting for each other; more only
/// use memory.
const READ: usize = 512;
/// The size at which a chunk is sent, in bytes.
const CHUNK_BYTES: usize = 32 * 1024;
/// The estimated size of one job with some labels or an error, in bytes.
const JOB_BYTES: usize = 640;

/// The query of `GET /jobs`.
#[derive(Clone, Debug, Default, Deserialize, Hash)]
pub(in crate::http) struct ListQuery {
    state: Option<String>,
    job_name: Option<String>,
    schedule: Option<String>,
    #[serde(default)]
    label: Vec<String>,
    created_since: Option<String>,
    ended_since: Option<String>,
    order: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The query in its parsed form.
struct Request {
    maps: Vec<Map>,
    filter: Filter,
    limit: Option<usize>,
    after: Option<(Map, JobId)>,
}

/// Answers `GET /jobs` with a stream, or with 304.
pub(in crate::http) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    KnownQuery(query): KnownQuery<ListQuery>,
) -> Result<Response, Problem> {
    let request = Request::read(&query, &api)?;
    // The tag is read before the snapshot, so it may be older than the body but never newer.
    let etag = api.etag(&query).await?;
    if let Some(answer) = not_modified(&headers, &etag) {
        return Ok(answer);
    }
    let snapshot = api.snapshot().await?;
    let (zone, engine) = (api.zone, api.engine);
    let unreachable_since = api.unreachable_since(Map::Running);
    Ok(api.streamed(&etag, |chunks| {
        let out = Out { zone, engine, unreachable_since, chunks, waiting: Vec::new() };
        Writer { snapshot, request, out }.run()
    }))
}

impl Request {
    fn read(query: &ListQuery, api: &Api) -> Result<Self, Problem> {
        let statuses = query.state.as_deref().map(statuses).transpose()?.unwrap_or_default();
        let is_wanted =
            |map: &Map| statuses.is_empty() || statuses.iter().any(|status| status.map() == *map);
        let time = |name: &'static str, text: &Option<String>| {
            text.as_deref().map(|text| past(name, text, api)).transpose()
        };
        let filter = Filter {
            name: query.job_name.clone(),
            schedule: query.schedule.clone(),
            labels: query.label.iter().map(|text| label(text)).collect::<Result<_, _>>()?,
            created_since: time("created_since", &query.created_since)?,
            ended_since: time("ended_since", &query.ended_since)?,
            order: order(query.order.as_deref())?,
            statuses: statuses.clone(),
        };
        let limit = limit_of(query.limit, query.cursor.as_deref())?;
        let after = query.cursor.as_deref().map(cursor).transpose()?;
        let maps = MAPS.into_iter().filter(is_wanted).collect();
        Ok(Self { maps, filter, limit, after })
    }
}

/// Reads states separated by commas: statuses, and maps, which stand for all statuses in them.
fn statuses(text: &str) -> Result<Vec<Status>, Problem> {
    let mut statuses = Vec::new();
    for word in text.split(',').map(str::trim) {
        let of_map = Status::ALL.iter().filter(|status| status.map().as_str() == word);
        statuses.extend(of_map);
        match Status::from_word(word) {
            Some(status) => statuses.push(status),
            None if MAPS.into_iter().any(|map| map.as_str() == word) => {}
            None => return Err(no_state(word)),
        }
    }
    Ok(statuses)
}

fn no_state(word: &str) -> Problem {
    let all: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
    Problem::field(
        "state",
        "invalid_query",
        format!(
            "`{}` is no state: there are running, scheduled and history for a whole map, and the statuses {}",
            crate::domain::text::units::shown(word),
            all.join(", ")
        ),
    )
}

/// Reads a label: `KEY=VALUE`, or `KEY` for any value.
fn label(text: &str) -> Result<(String, Option<String>), Problem> {
    if !text.contains('=') && !text.is_empty() {
        return Ok((text.to_owned(), None));
    }
    command::entry(text)
        .map(|(key, value)| (key, Some(value)))
        .map_err(|error| Problem::field("label", "invalid_query", error.to_string()))
}

fn order(word: Option<&str>) -> Result<Order, Problem> {
    match word {
        None | Some("oldest") => Ok(Order::Oldest),
        Some("newest") => Ok(Order::Newest),
        Some(_) => {
            let detail = "`order` has to be `oldest` or `newest`";
            Err(Problem::field("order", "invalid_query", detail))
        }
    }
}

fn cursor(text: &str) -> Result<(Map, JobId), Problem> {
    let parsed = text.split_once('-').and_then(|(map, id)| {
        Some((MAPS.into_iter().find(|m| m.as_str() == map)?, id.parse().ok()?))
    });
    parsed.ok_or_else(|| {
        Problem::field(
            "cursor",
            "invalid_query",
            "that is no cursor of ours: take the `next` of the last page",
        )
    })
}

impl Api {
    /// Returns a weak tag that changes whenever the answer changes.
    async fn etag(&self, query: &ListQuery) -> Result<String, Problem> {
        let store = self.scheduler.store();
        let seq = store.last_seq().await?;
        let mut hasher = DefaultHasher::new();
        (query, store.instance(), self.zone.name(), self.unreachable_since(Map::Running))
            .hash(&mut hasher);
        Ok(format!("W/\"{}-{:016x}\"", seq.0, hasher.finish()))
    }
}

/// The writer of the answer, which it sends chunk by chunk.
struct Writer {
    snapshot: Box<dyn Snapshot>,
    request: Request,
    out: Out,
}

/// The destination of the answer, with the settings for writing jobs.
struct Out {
    zone: Tz,
    engine: &'static str,
    unreachable_since: Option<Timestamp>,
    chunks: Chunks,
    /// Bytes that are written but not yet sent.
    waiting: Vec<u8>,
}

impl Writer {
    async fn run(mut self) -> Written {
        let mut left = self.request.limit.unwrap_or(usize::MAX);
        let mut next = None;
        for (index, map) in MAPS.into_iter().enumerate() {
            self.out.write(&format!(
                "{}\"{}\":{{",
                if index == 0 { "{" } else { "," },
                map.as_str()
            ));
            match self.write_map(map, &mut left).await? {
                Ok(None) => {}
                Ok(Some(last)) => next = next.or(Some(format!("{}-{last}", map.as_str()))),
                Err(failure) => return Ok(Err(failure)),
            }
            self.out.write("}");
        }
        let end = match (self.request.limit, next) {
            (None, _) => "}".to_owned(),
            (Some(_), None) => ",\"next\":null}".to_owned(),
            (Some(_), Some(next)) => format!(",\"next\":\"{next}\"}}"),
        };
        self.out.write(&end);
        self.out.send().await?;
        Ok(Ok(()))
    }

    /// Writes the jobs of a map. Returns `None` at the end of the map, or the last job's id once
    /// the limit is reached.
    async fn write_map(
        &mut self,
        map: Map,
        left: &mut usize,
    ) -> Result<Result<Option<JobId>, StoreError>, ReaderGone> {
        let order = |map: Map| MAPS.iter().position(|m| *m == map);
        let (skipped, mut after) = match self.request.after {
            Some((at, id)) if at == map => (false, Some(id)),
            Some((at, _)) => (order(map) < order(at), None),
            None => (false, None),
        };
        if skipped || !self.request.maps.contains(&map) {
            return Ok(Ok(None));
        }
        let mut first = true;
        // A further job, which is read but not written, shows whether there is a next page.
        let mut limit = CHUNK.min(left.saturating_add(1));
        let mut page = self.snapshot.page(map, &self.request.filter, after, limit).await;
        loop {
            let jobs = match page {
                Ok(jobs) => jobs,
                Err(failure) => return Ok(Err(failure)),
            };
            let take = jobs.len().min(*left);
            *left -= take;
            let (shown, last) = (&jobs[..take], jobs[..take].last().map(|job| job.id));
            if take < jobs.len() {
                self.out.jobs(shown, map, &mut first).await?;
                // The next page begins after the last job of this map that was shown. If none was
                // shown, it begins after the job in the request, or at the map's first job.
                let before_first = match self.request.filter.order {
                    Order::Oldest => JobId::from_bytes([0; 16]),
                    Order::Newest => JobId::from_bytes([0xff; 16]),
                };
                return Ok(Ok(last.or(after).or(Some(before_first))));
            }
            if take < limit {
                self.out.jobs(shown, map, &mut first).await?;
                return Ok(Ok(None));
            }
            after = last;
            // The next jobs are read while these are written, and no others. Memory therefore holds
            // at most two pages, whichever side is slower.
            limit = READ.min(left.saturating_add(1));
            let next = self.snapshot.page(map, &self.request.filter, after, limit);
            let (read, written) = tokio::join!(biased; next, self.out.jobs(shown, map, &mut first));
            written?;
            page = read;
        }
    }
}

impl Out {
    fn write(&mut self, text: &str) {
        self.waiting.extend_from_slice(text.as_bytes());
    }

    /// Writes these jobs. Sends a chunk whenever it is large enough, so a short answer leaves as
    /// one chunk.
    async fn jobs(&mut self, jobs: &[Job], map: Map, first: &mut bool) -> Result<(), ReaderGone> {
        for jobs in jobs.chunks(CHUNK) {
            self.chunk(jobs, map, first);
            if self.waiting.len() >= CHUNK_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    fn chunk(&mut self, jobs: &[Job], map: Map, first: &mut bool) {
        let since = self.unreachable_since.filter(|_| map == Map::Running);
        self.waiting.reserve(jobs.len() * JOB_BYTES);
        let mut id = [0; 32];
        for job in jobs {
            let id = job.id.hex(&mut id);
            self.write(if std::mem::take(first) { "\"" } else { ",\"" });
            self.write(id);
            self.write("\":");
            // Writing to a vector cannot fail, and neither can serializing these types.
            let _infallible: Result<(), serde_json::Error> = serde_json::to_writer(
                &mut self.waiting,
                &JobLine::of(job, id, self.zone, self.engine, since),
            );
        }
    }

    async fn send(&mut self) -> Result<(), ReaderGone> {
        self.chunks.send(std::mem::take(&mut self.waiting)).await
    }
}
