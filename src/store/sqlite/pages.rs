//! The pages of `GET /jobs` and the forecast's query: each combination of filters has its index.
//!
//! A page reads as many index entries as it shows jobs, regardless of the size of the store. The
//! indexes hold each status of a map in order of the ids, also for one name and for one schedule.
//! SQLite merges the statuses as it reads. Triggers maintain a table of labels, in order of the ids
//! within a map.
//!
//! Of several filters, one uses its index: a label with a value before the schedule before the name.
//! The others are compared job by job. Where two common filters seldom meet, the query reads
//! everything that the first one finds until the page is full. The same holds for a label combined
//! with a status, and for the time of the end.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::rows::JOB_COLUMNS;
use super::{errors::failed, queries};
use crate::domain::job::{End, Job, Map, State, Status};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::names::image::JobName;
use crate::store::error::StoreError;
use crate::store::snapshot::{Filter, Order};

/// The labels in the specs: the expected content of the table of labels.
const LABELS: &str = "SELECT label.key, label.value, jobs.map, jobs.id
     FROM jobs, json_each(iif(json_valid(jobs.spec), jobs.spec, '{}'), '$.labels') AS label
     WHERE instr(jobs.spec, '\"labels\"') AND label.type = 'text'";
/// The results of the successful jobs of a name that were accepted last.
const RUNS: &str = "SELECT detail FROM jobs INDEXED BY jobs_by_name
     WHERE name = ?1 AND status = 'succeeded' ORDER BY id DESC LIMIT ?2";
const LABELS_KEPT: &str = "SELECT key, value, map, job FROM job_labels";

/// Returns up to `limit` jobs of a map that pass the filter, in its order, after the id `after`.
pub(super) fn page(
    connection: &Connection,
    map: Map,
    filter: &Filter,
    after: Option<JobId>,
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    if !filter.statuses.is_empty() && filter.statuses.iter().all(|status| status.map() != map) {
        return Ok(Vec::new());
    }
    let after = after.map(|id| id.as_bytes().to_vec());
    let floor = filter.created_since.map(before_all_since);
    let (start, floor) = match filter.order {
        // An empty blob sorts before every id.
        Order::Oldest => (after.max(floor).unwrap_or_default(), None),
        Order::Newest => (after.unwrap_or(AFTER_ALL.to_vec()), floor),
    };
    let bound = [Value::Blob(start), Value::Integer(queries::limit_of(limit))].into_iter();
    let texts = [filter.name.clone(), filter.schedule.clone()].into_iter().flatten();
    let labels = filter.labels.iter().flat_map(|(key, value)| [Some(key.clone()), value.clone()]);
    let texts = texts.chain(labels.flatten()).map(Value::Text);
    let times = filter.ended_since.map(|at| Value::Integer(at.timestamp_millis()));
    let bound = bound.chain(texts).chain(times).chain(floor.map(Value::Blob));
    queries::jobs(connection, &page_sql(map, filter), params_from_iter(bound))
}

/// A blob that sorts after every id.
const AFTER_ALL: [u8; 17] = [0xff; 17];

/// Returns the largest id that comes before every job accepted at `since` or later.
fn before_all_since(since: Timestamp) -> Vec<u8> {
    let first = u128::from_be_bytes(*JobId::new(since, [0; 10]).as_bytes());
    first.saturating_sub(1).to_be_bytes().to_vec()
}

/// Returns the durations of the last successful runs of a name.
pub(super) fn runs(
    connection: &Connection,
    name: &JobName,
    limit: usize,
) -> Result<Vec<Duration>, StoreError> {
    let mut statement = queries::prepared(connection, RUNS)?;
    let mut found =
        statement.query(params![name.as_str(), queries::limit_of(limit)]).map_err(failed)?;
    let mut runs = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        let detail: Option<String> = row.get(0).map_err(failed)?;
        // Skips a result that cannot be read: the other results are still valid.
        let state = State::from_parts(Status::Succeeded, detail.as_deref()).ok();
        let took = |state: &State| match state {
            State::Ended(End { run: Some(run), exit: Some(exit), .. }) => {
                (exit.at - run.started_at).to_std().ok()
            }
            _ => None,
        };
        runs.extend(state.as_ref().and_then(took));
    }
    Ok(runs)
}

/// Counts labels that are in the table and not in their job's spec, or the reverse.
pub(super) fn loose_labels(connection: &Connection) -> Result<i64, StoreError> {
    let sql = format!(
        "SELECT (SELECT count(*) FROM ({LABELS} EXCEPT {LABELS_KEPT})) + (SELECT count(*) FROM ({LABELS_KEPT} EXCEPT {LABELS}))"
    );
    connection.query_row(&sql, [], |row| row.get(0)).map_err(failed)
}

/// Builds a page query. `?1` is the id before the page and `?2` its length. The values of the
/// filter follow: name, schedule, each label's key and value, the time of the end, the id before
/// the oldest job.
fn page_sql(map: Map, filter: &Filter) -> String {
    let mut numbers = 3..;
    let mut next = || numbers.next().unwrap_or(0);
    let mut conditions = String::new();
    if filter.name.is_some() {
        conditions += &format!(" AND name = ?{}", next());
    }
    if filter.schedule.is_some() {
        conditions += &format!(" AND schedule = ?{}", next());
    }
    let mut of_the_index = None;
    for (_, value) in &filter.labels {
        let (key, value) = (next(), value.as_ref().map(|_| next()));
        match value {
            // The first label with a value uses the table of labels.
            Some(value) if of_the_index.is_none() => {
                of_the_index = Some(format!(" AND l.key = ?{key} AND l.value = ?{value}"));
            }
            value => {
                let value =
                    value.map(|value| format!(" AND its.value = ?{value}")).unwrap_or_default();
                conditions += &format!(
                    " AND EXISTS (SELECT 1 FROM json_each(jobs.spec, '$.labels') AS its WHERE its.key = ?{key}{value})"
                );
            }
        }
    }
    if filter.ended_since.is_some() {
        conditions += &format!(" AND ended_at >= ?{}", next());
    }
    let (beyond, order) = match filter.order {
        Order::Oldest => ('>', "ASC"),
        Order::Newest => ('<', "DESC"),
    };
    let floor = match (filter.order, filter.created_since) {
        (Order::Newest, Some(_)) => Some(next()),
        (Order::Oldest, _) | (Order::Newest, None) => None,
    };
    let above = |id: &str| floor.map(|n| format!(" AND {id} > ?{n}")).unwrap_or_default();
    if let Some(label) = of_the_index {
        let words: Vec<String> =
            filter.statuses.iter().map(|status| format!("'{status}'")).collect();
        let status = match words.is_empty() {
            true => String::new(),
            false => format!(" AND status IN ({})", words.join(", ")),
        };
        return format!(
            "SELECT {JOB_COLUMNS} FROM job_labels AS l CROSS JOIN jobs ON jobs.id = l.job
             WHERE l.map = '{}' AND l.job {beyond} ?1{}{label}{conditions}{status}
             ORDER BY l.job {order} LIMIT ?2",
            map.as_str(),
            above("l.job")
        );
    }
    let index = match filter {
        Filter { schedule: Some(_), .. } => "jobs_by_schedule",
        Filter { name: Some(_), .. } => "jobs_by_name",
        Filter { .. } => "jobs_by_status",
    };
    let wanted = |status: &&Status| {
        status.map() == map && (filter.statuses.is_empty() || filter.statuses.contains(status))
    };
    let floor = above("id");
    let of_status = |status: &Status| {
        format!(
            "SELECT {JOB_COLUMNS} FROM jobs INDEXED BY {index}
             WHERE status = '{status}' AND id {beyond} ?1{floor}{conditions}"
        )
    };
    let of_each: Vec<String> = Status::ALL.iter().filter(wanted).map(of_status).collect();
    format!("{} ORDER BY 1 {order} LIMIT ?2", of_each.join(" UNION ALL "))
}

/// Returns every kind of query, for the test that reads their plans.
#[cfg(test)]
pub(super) fn built() -> Vec<String> {
    let maps = [Map::Scheduled, Map::Running, Map::History].map(|map| (map, Vec::new()));
    let statuses = Status::ALL.iter().map(|status| (status.map(), vec![*status]));
    let mut built = Vec::new();
    for (map, statuses) in maps.into_iter().chain(statuses) {
        for which in 0..128 {
            let text = |bit: u8| (which & bit != 0).then(String::new);
            let time = |bit: u8| (which & bit != 0).then_some(Timestamp::UNIX_EPOCH);
            let filter = Filter {
                statuses: statuses.clone(),
                name: text(1),
                schedule: text(2),
                labels: [
                    text(4).map(|key| (key, Some(String::new()))),
                    text(8).map(|key| (key, None)),
                ]
                .into_iter()
                .flatten()
                .collect(),
                created_since: time(16),
                ended_since: time(32),
                order: if which & 64 == 0 { Order::Oldest } else { Order::Newest },
            };
            built.push(page_sql(map, &filter));
        }
    }
    built.push(RUNS.to_owned());
    built
}
