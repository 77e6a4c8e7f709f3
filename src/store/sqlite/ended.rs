//! The jobs that ended last, in the order of their ends, for the history of a page.
//!
//! The index `jobs_ended` has the order and all that the search compares. A search that few jobs
//! pass reads the index from its end until the limit is reached.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::queries;
use super::rows::JOB_COLUMNS;
use crate::domain::job::Job;
use crate::store::error::StoreError;
use crate::store::snapshot::EndedSearch;

/// Returns up to `limit` jobs that are over and pass the search, the one that ended last first.
pub(super) fn latest(
    connection: &Connection,
    search: &EndedSearch,
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    let name = search.name.clone().map(Value::Text);
    let bound = [Value::Integer(queries::limit_of(limit))].into_iter().chain(name);
    queries::jobs(connection, &sql(search), params_from_iter(bound))
}

/// Builds the query. `?1` is the limit, and `?2` the name if there is one.
fn sql(search: &EndedSearch) -> String {
    let statuses: Vec<String> =
        search.statuses.iter().map(|status| format!("'{status}'")).collect();
    let mut conditions = String::new();
    if !statuses.is_empty() {
        conditions += &format!(" AND status IN ({})", statuses.join(", "));
    }
    if search.name.is_some() {
        conditions += " AND (name = ?2 OR schedule = ?2)";
    }
    format!(
        "SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_ended
         WHERE ended_at > 0{conditions} ORDER BY ended_at DESC LIMIT ?1"
    )
}

/// Returns every form of the query, for the test that reads their plans.
#[cfg(test)]
pub(super) fn built() -> Vec<String> {
    let names = [None, Some(String::new())];
    let statuses = [Vec::new(), crate::domain::job::Status::ALL.to_vec()];
    let searches = names.into_iter().flat_map(|name| {
        statuses.clone().map(|statuses| EndedSearch { statuses, name: name.clone() })
    });
    searches.map(|search| sql(&search)).collect()
}
