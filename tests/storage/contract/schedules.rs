//! Contract of schedules: a schedule update is written whole or not at all, and only if its base is
//! unchanged. A tick has one row.

use std::sync::atomic::{AtomicU32, Ordering};

use tidetable::domain::job::transition::Event;
use tidetable::domain::names::actor::Actor;
use tidetable::domain::names::id::{Timestamp, Version};
use tidetable::domain::schedule::record::{Change, ScheduleRecord, ScheduleUpdate};
use tidetable::domain::{job::origin::Generation, schedule::ledger::LedgerRow};
use tidetable::domain::{names::schedule::ScheduleName, schedule::Schedule};
use tidetable::store::Entry;

use super::*;

fn named(name: &str) -> ScheduleName {
    name.parse().expect("a name")
}

fn schedule(more: serde_json::Value) -> Schedule {
    let mut fields = json!({"job_name": "busybox", "every": "10s", "time_zone": "UTC"});
    fields.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
    serde_json::from_value(fields).expect("a schedule")
}

/// Returns the time `n` seconds after 1970.
fn second(n: i64) -> Timestamp {
    at(n * 1_000)
}

fn new_id() -> JobId {
    static NEXT: AtomicU32 = AtomicU32::new(1_000);
    id(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn first_turn(name: &str, more: serde_json::Value, now: Timestamp) -> ScheduleUpdate {
    let record = ScheduleRecord::new(named(name), Generation(1), schedule(more), now);
    ScheduleUpdate::first(&record, now, &mut new_id)
}

/// Puts a schedule at second 0 that is due every ten seconds.
async fn put(store: &Arc<dyn Store>, name: &str, more: serde_json::Value) -> ScheduleRecord {
    store
        .apply_schedule_update(first_turn(name, more, second(0)), second(0), &Actor::Scheduler)
        .await
        .expect("it is written");
    record(store, name).await
}

async fn record(store: &Arc<dyn Store>, name: &str) -> ScheduleRecord {
    store.schedule(&named(name)).await.expect("it can be read").expect("it is there")
}

async fn waiting(store: &Arc<dyn Store>, name: &str) -> Vec<Job> {
    store.jobs_of(&named(name)).await.expect("they can be read")
}

async fn next_update(store: &Arc<dyn Store>, name: &str, now: Timestamp) -> ScheduleUpdate {
    record(store, name).await.advance(&waiting(store, name).await, now, false, &mut new_id)
}

fn is_outdated(written: Result<(), StoreError>) -> bool {
    matches!(written, Err(StoreError::Outdated))
}

async fn ledger(store: &Arc<dyn Store>, name: &str) -> Vec<LedgerRow> {
    store.ledger(&named(name), None, 1_000).await.expect("it can be read")
}

pub(crate) async fn schedule_update_is_written_whole(place: &Place) {
    let open = place.open();
    let put = put(&open.store, "a", json!({"max_runs": 7})).await;
    assert_eq!((put.generation, put.next_check_at), (Generation(1), Some(second(10))));
    let next = next_update(&open.store, "a", second(10)).await;
    open.store
        .apply_schedule_update(next.clone(), second(10), &Actor::Scheduler)
        .await
        .expect("it is written");
    open.close().await;
    let open = place.open();
    assert_eq!(Some(record(&open.store, "a").await), next.after);
    let jobs = waiting(&open.store, "a").await;
    assert_eq!(jobs.iter().map(|job| job.due_at).collect::<Vec<_>>(), [second(10), second(20)]);
    assert_eq!(jobs[1], next.jobs[0]);
    let rows = journal(&open.store).await;
    assert_eq!(rows.iter().filter_map(Entry::job).count(), 2, "each job has a journal row");
    assert_eq!(rows.len(), 3, "the schedule was created");
    assert_eq!(ledger(&open.store, "a").await, [], "nothing is decided yet");
    let said = open
        .store
        .schedule_revision(&named("a"), Generation(1))
        .await
        .expect("read")
        .expect("it said something");
    assert_eq!((said.schedule, said.accepted_at), (schedule(json!({"max_runs": 7})), second(0)));
    open.close().await;
}

pub(crate) async fn outdated_schedule_update_changes_nothing(place: &Place) {
    let open = place.open();
    put(&open.store, "a", json!({})).await;
    let again = open
        .store
        .apply_schedule_update(first_turn("a", json!({}), second(1)), second(1), &Actor::Scheduler)
        .await;
    assert!(is_outdated(again), "there is one already");

    let [first, other] = [
        next_update(&open.store, "a", second(10)).await,
        next_update(&open.store, "a", second(10)).await,
    ];
    open.store
        .apply_schedule_update(first, second(10), &Actor::Scheduler)
        .await
        .expect("it is written");
    let (before, lines) = (record(&open.store, "a").await, journal(&open.store).await.len());
    assert!(is_outdated(
        open.store.apply_schedule_update(other, second(10), &Actor::Scheduler).await
    ));
    assert_eq!((record(&open.store, "a").await, journal(&open.store).await.len()), (before, lines));

    // Another caller canceled a job that the update would cancel.
    let waits = waiting(&open.store, "a").await;
    let deletion =
        record(&open.store, "a").await.change(&Change::Delete, &waits, second(11), &mut new_id);
    let canceled = waits[0].on(Event::Cancel, second(11)).expect("it can be");
    open.store
        .advance(&waits[0], &canceled, second(11), &Actor::Scheduler)
        .await
        .expect("it is written");
    assert!(is_outdated(
        open.store.apply_schedule_update(deletion, second(11), &Actor::Scheduler).await
    ));
    record(&open.store, "a").await;
    assert_eq!(waiting(&open.store, "a").await, waits[1..]);
    open.close().await;
}

pub(crate) async fn one_of_many_schedule_updates_is_written(place: &Place) {
    let open = place.open();
    put(&open.store, "a", json!({})).await;
    let updates = join_all((0..50).map(|_| next_update(&open.store, "a", second(10)))).await;
    let written = join_all(
        updates
            .into_iter()
            .map(|update| open.store.apply_schedule_update(update, second(10), &Actor::Scheduler)),
    )
    .await;
    assert_eq!(written.iter().filter(|written| written.is_ok()).count(), 1);
    assert_eq!(waiting(&open.store, "a").await.len(), 2);
    open.close().await;
}

pub(crate) async fn job_and_its_tick_are_written_together(place: &Place) {
    let open = place.open();
    put(&open.store, "a", json!({"max_runs": 2, "overlap": "allow"})).await;
    for n in 1..=3 {
        let next = next_update(&open.store, "a", second(10 * n)).await;
        open.store
            .apply_schedule_update(next, second(10 * n), &Actor::Scheduler)
            .await
            .expect("it is written");
    }
    let jobs = waiting(&open.store, "a").await;
    for (job, event) in
        [(&jobs[0], Event::Claim(None)), (&jobs[1], Event::Cancel), (&jobs[2], Event::Claim(None))]
    {
        let after = job.on(event, second(30)).expect("it can be");
        open.store
            .advance(job, &after, second(30), &Actor::Scheduler)
            .await
            .expect("it is written");
    }
    let told = |row: &LedgerRow| (row.first, row.outcome.expect("decided").as_str(), row.job);
    let rows: Vec<_> = ledger(&open.store, "a").await.iter().map(told).collect();
    let expected = [("ran", 2), ("skipped", 1), ("ran", 0)]
        .map(|(outcome, n)| (jobs[n].due_at, outcome, Some(jobs[n].id)));
    assert_eq!(rows, expected, "the latest first");
    let record = record(&open.store, "a").await;
    assert_eq!(
        (record.runs, record.next_check_at),
        (2, Some(at(0))),
        "the next job exceeds max_runs, so the schedule is due for a check"
    );
    open.close().await;
}

pub(crate) async fn schedules_are_checked_in_order_of_ticks(place: &Place) {
    let open = place.open();
    for (name, every) in [("slow", "1h"), ("b", "20s"), ("a", "20s"), ("quick", "1s")] {
        put(&open.store, name, json!({"every": every})).await;
    }
    let names = |found: Vec<ScheduleRecord>| {
        found.into_iter().map(|it| it.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(open.store.next_schedule_check().await.expect("read"), Some(second(1)));
    assert_eq!(
        names(open.store.schedules_due(second(0), 10).await.expect("read")),
        Vec::<String>::new()
    );
    assert_eq!(
        names(open.store.schedules_due(second(60), 10).await.expect("read")),
        ["quick", "a", "b"]
    );
    assert_eq!(names(open.store.schedules_due(second(60), 2).await.expect("read")), ["quick", "a"]);
    open.close().await;
}

pub(crate) async fn deleted_schedule_keeps_its_generation(place: &Place) {
    let open = place.open();
    let put_at_first = put(&open.store, "a", json!({})).await;
    let waits = waiting(&open.store, "a").await;
    let change = put_at_first.change(&Change::Delete, &waits, second(5), &mut new_id);
    open.store
        .apply_schedule_update(change, second(5), &Actor::Scheduler)
        .await
        .expect("it is written");
    assert_eq!(open.store.schedule(&named("a")).await.expect("read"), None);
    assert_eq!(waiting(&open.store, "a").await, []);
    assert_eq!(open.store.last_generation(&named("a")).await.expect("read"), Generation(1));
    assert!(
        open.store.schedule_revision(&named("a"), Generation(1)).await.expect("read").is_some()
    );
    assert_eq!(open.store.last_generation(&named("b")).await.expect("read"), Generation(0));
    assert_eq!(get(&open.store, waits[0].id).await.version, Version(1), "its job was taken off");
    open.close().await;
}

pub(crate) async fn ledger_is_read_in_pages(place: &Place) {
    let open = place.open();
    put(&open.store, "a", json!({"catch_up": "all", "overlap": "allow"})).await;
    let next = next_update(&open.store, "a", second(1_000)).await;
    open.store
        .apply_schedule_update(next, second(1_000), &Actor::Scheduler)
        .await
        .expect("it is written");
    let rest = next_update(&open.store, "a", second(1_000)).await;
    open.store
        .apply_schedule_update(rest, second(1_000), &Actor::Scheduler)
        .await
        .expect("it is written");
    for job in waiting(&open.store, "a").await.iter().filter(|job| job.due_at <= second(1_000)) {
        let claimed = job.on(Event::Claim(None), second(1_000)).expect("it can be");
        open.store
            .advance(job, &claimed, second(1_000), &Actor::Scheduler)
            .await
            .expect("it is written");
    }
    let (mut rows, mut before) = (Vec::new(), None);
    loop {
        let page = open.store.ledger(&named("a"), before, 7).await.expect("read");
        let Some(last) = page.last() else { break };
        before = Some((last.first, last.generation));
        rows.extend(page.iter().map(|row| row.first));
    }
    rows.reverse();
    assert_eq!(rows, (1..=100).map(|n| second(10 * n)).collect::<Vec<_>>());
    open.close().await;
}
