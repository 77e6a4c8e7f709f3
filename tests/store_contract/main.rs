//! What every store has to keep to. A further store is one function that opens it and one line in [`on_every_store`].
//!
//! What only the SQLite store can show (a directory in use, a damaged file, a process that is killed) is in [`directory`].

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tidetable::domain::id::{Attempt, EngineId, InstanceId, JobId, Seq};
use tidetable::domain::job::{Job, Reason, State, Status};
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tidetable::store::{OpenError, Store, StoreError, Transition};

mod answers;
mod definitions;
mod directory;
mod fixtures;
mod holds;
mod outbox;
mod reads;
mod schedules;

use answers::*;
use definitions::*;
use fixtures::{at, every_state, id, job, with_state};
use holds::*;
use outbox::*;
use reads::*;
use schedules::*;

/// A store that is open.
struct Open {
    store: Arc<dyn Store>,
    close: BoxFuture<'static, ()>,
}

impl Open {
    /// Ends as a server does: what was accepted is written.
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

/// An empty place, and how to open a store there.
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
    a_job_in_any_state_comes_back_as_it_went_in,
    a_job_that_exists_is_not_inserted_again,
    a_job_that_is_not_there_is_none,
    an_outdated_transition_changes_nothing_and_leaves_no_row,
    of_many_transitions_at_once_exactly_one_wins,
    what_is_due_comes_earliest_first_and_what_is_not_due_stays_away,
    the_next_due_time_is_that_of_a_job_which_waits_for_it,
    the_queue_is_by_priority_then_due_time_then_id,
    what_is_held_back_is_not_in_the_queue_and_comes_in_the_same_order,
    a_job_that_is_let_go_or_moved_is_no_longer_under_its_hold_also_after_a_restart,
    every_hold_is_found_once_however_many_wait_under_it,
    how_much_of_a_limit_is_taken_is_how_many_are_in_the_running_map,
    how_many_wait_is_counted_with_every_write_and_after_a_restart,
    queued_jobs_past_their_start_deadline_are_found,
    active_jobs_are_those_of_the_running_map,
    an_id_is_found_by_how_it_begins,
    a_page_goes_on_after_the_last_and_keeps_to_its_map,
    a_filter_restricts_by_status_name_schedule_and_label,
    a_job_is_found_by_the_labels_that_it_has_now_in_the_map_that_it_is_in_now,
    a_snapshot_sees_one_moment_while_writers_go_on,
    every_transition_is_one_row_of_the_journal,
    the_journal_goes_on_after_a_restart,
    subscribers_get_every_transition_in_its_order,
    a_thousand_inserts_at_once_are_all_there_after_a_restart,
    a_caller_who_goes_away_does_not_undo_what_was_handed_over,
    a_closed_store_can_be_neither_written_nor_read,
    the_instance_and_the_engine_are_remembered,
    a_definition_comes_back_as_it_went_in_also_after_a_restart,
    a_definition_is_written_only_over_what_was_expected,
    a_definition_that_is_made_again_is_not_taken_for_the_one_that_was_removed,
    of_many_who_write_over_the_same_revision_exactly_one_does,
    definitions_are_listed_by_name_a_page_at_a_time,
    a_request_that_was_answered_adds_no_second_job_also_after_a_restart,
    a_job_that_cannot_be_added_leaves_no_answer,
    of_many_equal_requests_at_once_exactly_one_adds_its_job,
    an_answer_that_is_too_old_is_none,
    a_turn_is_there_whole_also_after_a_restart,
    a_turn_that_was_decided_on_something_else_changes_nothing,
    of_many_turns_at_once_exactly_one_is_written,
    what_a_job_says_of_its_tick_is_written_with_it,
    schedules_are_looked_at_in_the_order_of_their_ticks,
    a_schedule_that_is_deleted_leaves_its_ledger_and_its_generations,
    a_ledger_is_read_a_page_at_a_time,
    a_letter_is_written_with_the_end_that_it_tells_of_and_with_nothing_else,
    letters_of_a_receiver_come_in_order_and_one_that_is_put_off_lets_the_next_go_first,
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
    store.advance(before, &after, at(9_000)).await.expect("it is advanced");
    after
}

async fn journal(store: &Arc<dyn Store>) -> Vec<Transition> {
    store.journal(Seq(0), 100_000).await.expect("it can be read")
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

async fn a_job_in_any_state_comes_back_as_it_went_in(place: &Place) {
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
    // And by a transition instead of an insert.
    let start = insert(&open.store, job(99, json!({}))).await;
    let mut last = start;
    for state in every_state() {
        last = advance(&open.store, &last, state).await;
        assert_eq!(get(&open.store, last.id).await, last);
    }
    open.close().await;
}

async fn a_job_that_exists_is_not_inserted_again(place: &Place) {
    let open = place.open();
    let first = insert(&open.store, job(1, json!({}))).await;
    let other = with_state(1, json!({"priority": 5}), State::Pulling);
    assert!(matches!(open.store.insert(&other).await, Err(StoreError::Failed(_))));
    assert_eq!(get(&open.store, id(1)).await, first);
    assert_eq!(journal(&open.store).await.len(), 1);
    open.close().await;
}

async fn a_job_that_is_not_there_is_none(place: &Place) {
    let open = place.open();
    assert_eq!(open.store.get(id(1)).await.expect("it can be read"), None);
    let never = job(1, json!({}));
    let after = Job { version: never.version.next(), ..never.clone() };
    assert!(matches!(open.store.advance(&never, &after, at(1)).await, Err(StoreError::Outdated)));
    assert_eq!(journal(&open.store).await, []);
    open.close().await;
}

async fn an_outdated_transition_changes_nothing_and_leaves_no_row(place: &Place) {
    let open = place.open();
    let first = insert(&open.store, job(1, json!({}))).await;
    let second = advance(&open.store, &first, State::Pulling).await;
    let rows = journal(&open.store).await;
    let late = Job { version: first.version.next(), state: State::Starting(None), ..first.clone() };
    assert!(matches!(open.store.advance(&first, &late, at(2)).await, Err(StoreError::Outdated)));
    assert_eq!(get(&open.store, id(1)).await, second);
    assert_eq!(journal(&open.store).await, rows);
    open.close().await;
}

async fn of_many_transitions_at_once_exactly_one_wins(place: &Place) {
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
    let done = join_all(afters.iter().map(|after| open.store.advance(&first, after, at(2)))).await;
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

async fn every_transition_is_one_row_of_the_journal(place: &Place) {
    let open = place.open();
    assert_eq!(open.store.last_seq().await.expect("read"), Seq(0));
    let first = insert(&open.store, Job { created_at: at(1), ..job(1, json!({})) }).await;
    let ended = every_state()
        .into_iter()
        .find(|state| state.reason().is_some() && state.status() == Status::Failed)
        .expect("one");
    let after =
        Job { version: first.version.next(), attempt: Attempt(1), state: ended, ..first.clone() };
    open.store.advance(&first, &after, at(2)).await.expect("it is advanced");
    let rows = journal(&open.store).await;
    let row = |seq, ms, from, to, attempt, reason, exit_code, version| Transition {
        seq,
        at: at(ms),
        job: id(1),
        job_name: "busybox".to_owned(),
        from,
        to,
        attempt,
        reason,
        exit_code,
        version,
    };
    let seqs: Vec<Seq> = rows.iter().map(|row| row.seq).collect();
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

async fn the_journal_goes_on_after_a_restart(place: &Place) {
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
    assert!(after[5].seq > last);
    assert!(after.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    open.close().await;
}

async fn subscribers_get_every_transition_in_its_order(place: &Place) {
    let open = place.open();
    insert(&open.store, job(1_000, json!({}))).await;
    let mut news = [open.store.subscribe(), open.store.subscribe()];
    let jobs: Vec<Job> = (1..=200).map(|n| job(n, json!({}))).collect();
    let done = join_all(jobs.iter().map(|job| async {
        open.store.insert(job).await?;
        let after = Job { version: job.version.next(), state: State::Pulling, ..job.clone() };
        open.store.advance(job, &after, at(5)).await
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

async fn a_thousand_inserts_at_once_are_all_there_after_a_restart(place: &Place) {
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

async fn a_caller_who_goes_away_does_not_undo_what_was_handed_over(place: &Place) {
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

async fn a_closed_store_can_be_neither_written_nor_read(place: &Place) {
    let Open { store, close } = place.open();
    insert(&store, job(1, json!({}))).await;
    close.await;
    assert!(matches!(store.insert(&job(2, json!({}))).await, Err(StoreError::Closed)));
    assert!(matches!(store.get(id(1)).await, Err(StoreError::Closed)));
}

async fn the_instance_and_the_engine_are_remembered(place: &Place) {
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
