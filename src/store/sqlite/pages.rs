//! The pages of `GET /jobs` and the forecast's query: each combination of filters has its index.
//!
//! A page reads as many index entries as it shows jobs, regardless of the size of the store. The
//! indexes hold each status of a map in order of the ids, also for one name and for one schedule.
//! SQLite merges the statuses as it reads. Triggers maintain a table of labels, in order of the ids
//! within a map.
//!
//! Of several filters, one uses its index: the label before the schedule before the name. The
//! others are compared job by job. Where two common filters seldom meet, the query reads everything
//! that the first one finds until the page is full. The same holds for a label combined with a
//! status.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::rows::JOB_COLUMNS;
use super::{errors::failed, queries};
use crate::domain::job::{End, Job, Map, State, Status};
use crate::domain::names::id::JobId;
use crate::domain::names::image::JobName;
use crate::store::error::StoreError;
use crate::store::snapshot::Filter;

/// The labels in the specs: the expected content of the table of labels.
const LABELS: &str = "SELECT label.key, label.value, jobs.map, jobs.id
     FROM jobs, json_each(iif(json_valid(jobs.spec), jobs.spec, '{}'), '$.labels') AS label
     WHERE instr(jobs.spec, '\"labels\"') AND label.type = 'text'";
/// The results of the successful jobs of a name that were accepted last.
const RUNS: &str = "SELECT detail FROM jobs INDEXED BY jobs_by_name
     WHERE name = ?1 AND status = 'succeeded' ORDER BY id DESC LIMIT ?2";
const LABELS_KEPT: &str = "SELECT key, value, map, job FROM job_labels";

/// Returns up to `limit` jobs of a map that pass the filter, ordered by id, after the id `after`.
pub(super) fn page(
    connection: &Connection,
    map: Map,
    filter: &Filter,
    after: Option<JobId>,
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    if filter.status.is_some_and(|only| only.map() != map) {
        return Ok(Vec::new());
    }
    // An empty blob sorts before every id.
    let after = Value::Blob(after.map(|id| id.as_bytes().to_vec()).unwrap_or_default());
    let (label, value) = filter.label.clone().unzip();
    let texts = [filter.name.clone(), filter.schedule.clone(), label, value];
    let texts = texts.into_iter().flatten().map(Value::Text);
    let bound = [after, Value::Integer(queries::limit_of(limit))].into_iter().chain(texts);
    queries::jobs(connection, &page_sql(map, filter), params_from_iter(bound))
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
/// filter follow: name, schedule, label key, label value.
fn page_sql(map: Map, filter: &Filter) -> String {
    let mut numbers = 3..;
    let mut parameter = |column: &str| format!(" AND {column} = ?{}", numbers.next().unwrap_or(0));
    let mut conditions = String::new();
    if filter.name.is_some() {
        conditions += &parameter("name");
    }
    if filter.schedule.is_some() {
        conditions += &parameter("schedule");
    }
    if filter.label.is_some() {
        let (key, value) = (parameter("l.key"), parameter("l.value"));
        let status =
            filter.status.map(|status| format!(" AND status = '{status}'")).unwrap_or_default();
        return format!(
            "SELECT {JOB_COLUMNS} FROM job_labels AS l CROSS JOIN jobs ON jobs.id = l.job
             WHERE l.map = '{}' AND l.job > ?1{key}{value}{conditions}{status} ORDER BY l.job LIMIT ?2",
            map.as_str()
        );
    }
    let index = match filter {
        Filter { schedule: Some(_), .. } => "jobs_by_schedule",
        Filter { name: Some(_), .. } => "jobs_by_name",
        Filter { .. } => "jobs_by_status",
    };
    let wanted =
        |status: &&Status| status.map() == map && filter.status.is_none_or(|only| only == **status);
    let of_status = |status: &Status| {
        format!(
            "SELECT {JOB_COLUMNS} FROM jobs INDEXED BY {index} WHERE status = '{status}' AND id > ?1{conditions}"
        )
    };
    let of_each: Vec<String> = Status::ALL.iter().filter(wanted).map(of_status).collect();
    format!("{} ORDER BY 1 LIMIT ?2", of_each.join(" UNION ALL "))
}

/// Returns every possible query, for the test that reads their plans.
#[cfg(test)]
pub(super) fn built() -> Vec<String> {
    let maps = [Map::Scheduled, Map::Running, Map::History].map(|map| (map, None));
    let statuses = Status::ALL.iter().map(|status| (status.map(), Some(*status)));
    let mut built = Vec::new();
    for (map, status) in maps.into_iter().chain(statuses) {
        for which in 0..8 {
            let text = |bit: u8| (which & bit != 0).then(String::new);
            let filter =
                Filter { status, name: text(1), schedule: text(2), label: text(4).zip(text(4)) };
            built.push(page_sql(map, &filter));
        }
    }
    built.push(RUNS.to_owned());
    built
}
