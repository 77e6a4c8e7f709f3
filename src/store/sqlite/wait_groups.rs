//! The SQL for jobs in wait groups, and for counting the running jobs of each limit.
//!
//! Each query costs as much as its answer. The next wait group is one step in an index, and the
//! first jobs of a group are neighbours in it. Jobs are compared by their index entries, and only
//! the chosen ones are read.

use rusqlite::{Connection, OptionalExtension, params};

use super::queries::{self, limit_of, prepared};
use super::{errors::failed, rows};
use crate::domain::job::Job;
use crate::domain::job::wait_group::{Limit, WaitGroup};
use crate::domain::names::id::JobId;
use crate::store::error::StoreError;

const NEXT_HOLD: &str = "SELECT hold FROM jobs INDEXED BY jobs_held
     WHERE status = 'queued' AND hold IS NOT NULL AND hold > ?1 ORDER BY hold LIMIT 1";
const FIRST: &str = "SELECT priority, due_at, id FROM jobs INDEXED BY jobs_held
     WHERE status = 'queued' AND hold IS NOT NULL AND hold = ?1 ORDER BY priority DESC, due_at, id LIMIT ?2";
const IN_QUEUE: &str = "SELECT count(*) FROM jobs INDEXED BY jobs_running_in_queue
     WHERE queue = ?1 AND queue IS NOT NULL AND status IN ('pulling', 'starting', 'running', 'stopping')";
const BY_NAME: &str = "SELECT count(*) FROM jobs INDEXED BY jobs_running_by_name
     WHERE name = ?1 AND status IN ('pulling', 'starting', 'running', 'stopping')";

/// All statements, for the test that reads their plans.
#[cfg(test)]
pub(super) const FIXED: [&str; 4] = [NEXT_HOLD, FIRST, IN_QUEUE, BY_NAME];

/// Returns up to `limit` wait groups after the group `after`, ordered by their text.
pub(super) fn wait_groups(
    connection: &Connection,
    after: Option<&WaitGroup>,
    limit: usize,
) -> Result<Vec<WaitGroup>, StoreError> {
    let mut statement = prepared(connection, NEXT_HOLD)?;
    let mut last = after.map(text).transpose()?.unwrap_or_default();
    let mut found = Vec::new();
    while found.len() < limit {
        let next: Option<String> =
            statement.query_row([&last], |row| row.get(0)).optional().map_err(failed)?;
        let Some(next) = next else { break };
        let unreadable =
            |error| StoreError::Damaged(format!("the hold `{next}` cannot be read: {error}"));
        found.push(serde_json::from_str(&next).map_err(unreadable)?);
        last = next;
    }
    Ok(found)
}

/// Considers the first `n` jobs of each wait group; returns up to `limit` of them ordered by
/// priority, due time and id.
pub(super) fn in_groups(
    connection: &Connection,
    wanted: &[(WaitGroup, usize)],
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    // A single transaction, so the chosen jobs are still in their groups when they are read.
    let _moment = connection.unchecked_transaction().map_err(failed)?;
    let mut first: Vec<(i64, i64, [u8; 16])> = Vec::new();
    let mut statement = prepared(connection, FIRST)?;
    for (wait_group, most) in wanted {
        let params = params![text(wait_group)?, limit_of((*most).min(limit))];
        let found = statement
            .query_map(params, |row| Ok((-row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)));
        for key in found.map_err(failed)? {
            first.push(key.map_err(failed)?);
        }
    }
    first.sort_unstable();
    first.truncate(limit);
    let jobs = first.into_iter().map(|(_, _, id)| queries::get(connection, JobId::from_bytes(id)));
    jobs.filter_map(Result::transpose).collect()
}

/// Counts the jobs in the running map for each limit.
pub(super) fn taken(connection: &Connection, limits: &[Limit]) -> Result<Vec<usize>, StoreError> {
    let count = |limit: &Limit| {
        let (sql, key) = match limit {
            Limit::Queue(queue) => (IN_QUEUE, queue.as_str()),
            Limit::Name(name) => (BY_NAME, name.as_str()),
        };
        let count: i64 =
            prepared(connection, sql)?.query_row([key], |row| row.get(0)).map_err(failed)?;
        Ok(usize::try_from(count).unwrap_or(0))
    };
    limits.iter().map(count).collect()
}

fn text(wait_group: &WaitGroup) -> Result<String, StoreError> {
    rows::hold_text(wait_group)
        .map_err(|error| StoreError::Failed(format!("a hold cannot be written: {error}")))
}
