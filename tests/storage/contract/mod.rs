//! The contract of every store. A further store needs one function that opens it and one line in
//! [`on_every_store`].
//!
//! Tests for the SQLite store alone (a directory in use, a damaged file, a killed process) are in
//! [`directory`].

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tidetable::domain::job::{Job, Reason, State, Status};
use tidetable::domain::names::actor::Actor;
use tidetable::domain::names::id::{Attempt, EngineId, InstanceId, JobId, Seq};
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tidetable::store::{Entry, OpenError, Store, StoreError, Transition};

mod answers;
mod definitions;
mod directory;
mod fixtures;
mod outbox;
mod reads;
mod schedules;
mod wait_groups;

use answers::*;
use definitions::*;
use fixtures::{at, every_state, id, job, with_state};
use outbox::*;
use reads::*;
use schedules::*;
use wait_groups::*;

/// An open store, with the future that closes it.
struct Open {
    store: Arc<dyn Store>,
    close: BoxFuture<'static, ()>,
}

impl Open {
    /// Closes the store as a server does: every accepted write reaches the disk.
    async fn close(self) {
        drop(self.store);
        self.close.await;
    }
}

type Opener = fn(&Path) -> Result<Open, OpenError>;

fn open_sqlite(dir: &Path, threads: Threads) -> Result<Open, OpenError> {
    let (store, writer) = SqliteStore::open(dir, threads, InstanceId::new([7; 16]))?;
    let writing = tokio::spawn(writer.run());
    let closing = store.clone();
    let close = async move {
        closing.close().await;
        drop(closing);
        writing.await.expect("the writer ends in peace");
    };
    Ok(Open { store, close: close.boxed() })
}

/// An empty folder, with the function that opens a store there.
struct Place {
    dir: tempfile::TempDir,
    opener: Opener,
}

impl Place {
    fn new(opener: Opener) -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), opener }
    }

    fn open(&self) -> Open {
        (self.opener)(self.dir.path()).expect("it opens")
    }
}

macro_rules! on_every_store {
    ($($test:ident,)*) => {
        contract!(sqlite, |dir| open_sqlite(dir, Threads::Pool), $($test,)*);
        contract!(sqlite_on_one_thread, |dir| open_sqlite(dir, Threads::Inline), $($test,)*);
    };
}

macro_rules! contract {
    ($store:ident, $opener:expr, $($test:ident,)*) => {
        mod $store {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                super::$test(&Place::new($opener)).await;
            })*
        }
    };
}

on_every_store!(
    job_in_any_state_is_read_as_written,
    existing_job_is_not_inserted_again,
    missing_job_is_none,
    outdated_transition_changes_nothing,
    one_of_many_concurrent_transitions_wins,
    due_jobs_are_returned_earliest_first,
    next_due_time_ignores_queued_and_active_jobs,
    queue_orders_by_priority_due_time_and_id,
    jobs_in_wait_groups_are_not_queued,
    released_or_moved_job_leaves_its_wait_group,
    each_wait_group_is_listed_once,
    running_counts_match_the_running_map,
    waiting_jobs_are_counted_with_every_write,
    queued_jobs_past_their_start_deadline_are_found,
    active_jobs_are_the_running_map,
    ids_are_found_by_their_digits,
    page_continues_after_the_last_id,
    filter_selects_by_status_name_schedule_and_label,
    job_is_found_by_current_labels_and_map,
    snapshot_shows_one_moment_despite_later_writes,
    each_transition_is_one_journal_row,
    journal_continues_after_a_restart,
    subscribers_get_every_transition_in_order,
    thousand_concurrent_inserts_survive_a_restart,
    abandoned_insert_is_still_written,
    closed_store_refuses_reads_and_writes,
    instance_and_engine_ids_are_remembered,
    definition_is_read_back_as_written,
    definition_is_written_only_if_precondition_holds,
    recreated_definition_has_a_new_revision,
    one_of_many_writes_over_a_revision_wins,
    definitions_are_paged_by_name,
    answered_request_adds_no_second_job,
    failed_insert_leaves_no_stored_response,
    one_of_many_equal_requests_adds_its_job,
    stored_response_expires,
    schedule_update_is_written_whole,
    outdated_schedule_update_changes_nothing,
    one_of_many_schedule_updates_is_written,
    job_and_its_tick_are_written_together,
    schedules_are_checked_in_order_of_ticks,
    deleted_schedule_keeps_its_generation,
    ledger_is_read_in_pages,
    notification_is_written_with_the_jobs_end,
    postponed_notification_lets_the_next_go_first,
);

async fn insert(store: &Arc<dyn Store>, job: Job) -> Job {
    store.insert(&job).await.expect("it is inserted");
    job
}

async fn get(store: &Arc<dyn Store>, id: JobId) -> Job {
    store.get(id).await.expect("it can be read").expect("it is there")
}

async fn advance(store: &Arc<dyn Store>, before: &Job, state: State) -> Job {
    let after = Job { version: before.version.next(), state, ..before.clone() };
    store.advance(before, &after, at(9_000), &Actor::Scheduler).await.expect("it is advanced");
    after
}

async fn journal(store: &Arc<dyn Store>) -> Vec<Entry> {
    store.journal(Seq(0), 100_000).await.expect("it can be read")
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

async fn job_in_any_state_is_read_as_written(place: &Place) {
    let open = place.open();
    let mut seen = BTreeSet::new();
    let mut jobs = Vec::new();
    for (n, state) in (1..).zip(every_state()) {
        seen.insert(state.status().as_str());
        let spec = json!({"command": ["sh", "-c", "ü'\""], "priority": -3, "start_deadline": "90s", "labels": {"a": "b"}});
        jobs.push(
            insert(&open.store, Job { attempt: Attempt(n), ..with_state(n, spec, state) }).await,
        );
    }
    assert_eq!(seen.len(), Status::ALL.len(), "every status has a state here");
    for job in &jobs {
        assert_eq!(&get(&open.store, job.id).await, job);
    }
    open.close().await;
    let open = place.open();
    for job in &jobs {
        assert_eq!(&get(&open.store, job.id).await, job);
    }
    // The same states are reached by a transition instead of an insert.
    let start = insert(&open.store, job(99, json!({}))).await;
    let mut last = start;
    for state in every_state() {
        last = advance(&open.store, &last, state).await;
        assert_eq!(get(&open.store, last.id).await, last);
    }
    open.close().await;
}

async fn existing_job_is_not_inserted_again(place: &Place) {
    let open = place.open();
    let first = insert(&open.store, job(1, json!({}))).await;
    let other = with_state(1, json!({"priority": 5}), State::Pulling);
    assert!(matches!(open.store.insert(&other).await, Err(StoreError::Failed(_))));
    assert_eq!(get(&open.store, id(1)).await, first);
    assert_eq!(journal(&open.store).await.len(), 1);
    open.close().await;
}

async fn missing_job_is_none(place: &Place) {
    let open = place.open();
    assert_eq!(open.store.get(id(1)).await.expect("it can be read"), None);
    let never = job(1, json!({}));
    let after = Job { version: never.version.next(), ..never.clone() };
    assert!(matches!(
        open.store.advance(&never, &after, at(1), &Actor::Scheduler).await,
        Err(StoreError::Outdated)
    ));
    assert_eq!(journal(&open.store).await, []);
    open.close().await;
}

async fn outdated_transition_changes_nothing(place: &Place) {
    let open = place.open();
    let first = insert(&open.store, job(1, json!({}))).await;
    let second = advance(&open.store, &first, State::Pulling).await;
    let rows = journal(&open.store).await;
    let late = Job { version: first.version.next(), state: State::Starting(None), ..first.clone() };
    assert!(matches!(
        open.store.advance(&first, &late, at(2), &Actor::Scheduler).await,
        Err(StoreError::Outdated)
    ));
    assert_eq!(get(&open.store, id(1)).await, second);
    assert_eq!(journal(&open.store).await, rows);
    open.close().await;
}

async fn one_of_many_concurrent_transitions_wins(place: &Place) {
    let open = place.open();
    let first = insert(&open.store, job(1, json!({}))).await;
    let afters: Vec<Job> = (1..=16)
        .map(|n| Job {
            version: first.version.next(),
            attempt: Attempt(n),
            state: State::Pulling,
            ..first.clone()
        })
        .collect();
    let done = join_all(
        afters.iter().map(|after| open.store.advance(&first, after, at(2), &Actor::Scheduler)),
    )
    .await;
    let won: Vec<&Job> =
        afters.iter().zip(&done).filter(|(_, done)| done.is_ok()).map(|(after, _)| after).collect();
    assert_eq!(won.len(), 1, "{done:?}");
    assert!(
        done.iter().filter(|done| matches!(done, Err(StoreError::Outdated))).count() == 15,
        "{done:?}"
    );
    assert_eq!(&get(&open.store, id(1)).await, won[0]);
    assert_eq!(journal(&open.store).await.len(), 2);
    open.close().await;
}

async fn each_transition_is_one_journal_row(place: &Place) {
    let open = place.open();
    assert_eq!(open.store.last_seq().await.expect("read"), Seq(0));
    let first = insert(&open.store, Job { created_at: at(1), ..job(1, json!({})) }).await;
    let ended = every_state()
        .into_iter()
        .find(|state| state.reason().is_some() && state.status() == Status::Failed)
        .expect("one");
    let after =
        Job { version: first.version.next(), attempt: Attempt(1), state: ended, ..first.clone() };
    open.store.advance(&first, &after, at(2), &Actor::Scheduler).await.expect("it is advanced");
    let rows = journal(&open.store).await;
    let row =
        |seq, ms, from: Option<Status>, to, attempt, reason: Option<Reason>, exit_code, version| {
            Entry::Job(Transition {
                seq,
                at: at(ms),
                by: from.map(|_| Actor::Scheduler),
                schedule: None,
                error: reason.map(|_| "it ended with 3, \"quoted\"\n\u{0}ü".to_owned()),
                job: id(1),
                job_name: "busybox".to_owned(),
                from,
                to,
                attempt,
                reason,
                exit_code,
                version,
            })
        };
    let seqs: Vec<Seq> = rows.iter().map(Entry::seq).collect();
    assert!(seqs.is_sorted() && seqs[0] != seqs[1] && seqs[0] > Seq(0));
    assert_eq!(
        rows,
        [
            row(seqs[0], 1, None, Status::Scheduled, 0, None, None, first.version),
            row(
                seqs[1],
                2,
                Some(Status::Scheduled),
                Status::Failed,
                1,
                Some(Reason::ExitNonzero),
                Some(3),
                after.version
            ),
        ]
    );
    assert_eq!(open.store.last_seq().await.expect("read"), seqs[1]);
    assert_eq!(open.store.journal(seqs[0], 10).await.expect("read"), rows[1..]);
    assert_eq!(open.store.journal(Seq(0), 1).await.expect("read"), rows[..1]);
    open.close().await;
}

async fn journal_continues_after_a_restart(place: &Place) {
    let open = place.open();
    for n in 1..=5 {
        insert(&open.store, job(n, json!({}))).await;
    }
    let rows = journal(&open.store).await;
    let last = open.store.last_seq().await.expect("read");
    open.close().await;
    let open = place.open();
    assert_eq!(open.store.last_seq().await.expect("read"), last);
    insert(&open.store, job(6, json!({}))).await;
    let after = journal(&open.store).await;
    assert_eq!(after[..5], rows);
    assert!(after[5].seq() > last);
    assert!(after.windows(2).all(|pair| pair[0].seq() < pair[1].seq()));
    open.close().await;
}

async fn subscribers_get_every_transition_in_order(place: &Place) {
    let open = place.open();
    insert(&open.store, job(1_000, json!({}))).await;
    let mut news = [open.store.subscribe(), open.store.subscribe()];
    let jobs: Vec<Job> = (1..=200).map(|n| job(n, json!({}))).collect();
    let done = join_all(jobs.iter().map(|job| async {
        open.store.insert(job).await?;
        let after = Job { version: job.version.next(), state: State::Pulling, ..job.clone() };
        open.store.advance(job, &after, at(5), &Actor::Scheduler).await
    }))
    .await;
    assert!(done.iter().all(Result::is_ok));
    let rows = journal(&open.store).await;
    for news in &mut news {
        for row in &rows[1..] {
            assert_eq!(*news.recv().await.expect("it is announced"), *row);
        }
        assert!(news.is_empty());
    }
    open.close().await;
}

async fn thousand_concurrent_inserts_survive_a_restart(place: &Place) {
    let open = place.open();
    let jobs: Vec<Job> =
        (1..=1_000).map(|n| job(n, json!({"env": {"N": n.to_string()}}))).collect();
    let done = join_all(jobs.iter().map(|job| open.store.insert(job))).await;
    assert!(done.iter().all(Result::is_ok));
    open.close().await;
    let open = place.open();
    let stored =
        futures::stream::iter(&jobs).then(|job| get(&open.store, job.id)).collect::<Vec<_>>().await;
    assert_eq!(stored, jobs);
    open.close().await;
}

async fn abandoned_insert_is_still_written(place: &Place) {
    let open = place.open();
    let abandoned = job(1, json!({}));
    let mut insert = open.store.insert(&abandoned);
    assert!(futures::poll!(&mut insert).is_pending());
    drop(insert);
    open.close().await;
    let open = place.open();
    assert_eq!(get(&open.store, id(1)).await, abandoned);
    open.close().await;
}

async fn closed_store_refuses_reads_and_writes(place: &Place) {
    let Open { store, close } = place.open();
    insert(&store, job(1, json!({}))).await;
    close.await;
    assert!(matches!(store.insert(&job(2, json!({}))).await, Err(StoreError::Closed)));
    assert!(matches!(store.get(id(1)).await, Err(StoreError::Closed)));
}

async fn instance_and_engine_ids_are_remembered(place: &Place) {
    let open = place.open();
    let instance = open.store.instance();
    assert_eq!(open.store.engine().await.expect("read"), None);
    let engine = EngineId("ABCD:EFGH".to_owned());
    open.store.remember_engine(&engine).await.expect("it is remembered");
    assert_eq!(open.store.engine().await.expect("read"), Some(engine.clone()));
    open.close().await;
    let open = place.open();
    assert_eq!(open.store.instance(), instance);
    assert_eq!(open.store.engine().await.expect("read"), Some(engine));
    let other = EngineId("other".to_owned());
    open.store.remember_engine(&other).await.expect("it is remembered");
    assert_eq!(open.store.engine().await.expect("read"), Some(other));
    open.close().await;
}
