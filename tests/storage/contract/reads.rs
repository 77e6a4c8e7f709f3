//! Contract of reads: due jobs, the queue, pages, snapshots.

use std::collections::BTreeSet;

use serde_json::json;
use tidetable::domain::job::origin::{Generation, Origin, ScheduledBy};
use tidetable::domain::job::{Job, Map, State, Status};
use tidetable::domain::names::actor::Actor;
use tidetable::domain::names::id::JobId;
use tidetable::store::Filter;

use crate::contract::fixtures::{at, every_state, id, job, queued, retrying, with_state};
use crate::contract::{Open, Place, advance, ids, insert};

pub(crate) async fn due_jobs_are_returned_earliest_first(place: &Place) {
    let open = place.open();
    let due_at = |n, ms, state| Job { due_at: at(ms), ..with_state(n, json!({}), state) };
    for job in [
        due_at(1, 3_000, State::Scheduled),
        due_at(2, 1_000, retrying()),
        due_at(3, 2_000, State::Scheduled),
        due_at(4, 2_000, State::Scheduled),
        due_at(5, 3_001, State::Scheduled),
        due_at(6, 500, queued()),
        due_at(7, 500, State::Pulling),
        due_at(8, 500, every_state().pop().expect("an end")),
    ] {
        insert(&open.store, job).await;
    }
    let due = |limit| open.store.due(at(3_000), limit);
    assert_eq!(ids(&due(10).await.expect("read")), [id(2), id(3), id(4), id(1)]);
    assert_eq!(ids(&due(2).await.expect("read")), [id(2), id(3)]);
    assert_eq!(ids(&open.store.due(at(999), 10).await.expect("read")), []);
    open.close().await;
}

pub(crate) async fn next_due_time_ignores_queued_and_active_jobs(place: &Place) {
    let open = place.open();
    assert_eq!(open.store.next_due().await.expect("read"), None);
    insert(&open.store, Job { due_at: at(10), ..with_state(1, json!({}), queued()) }).await;
    insert(&open.store, Job { due_at: at(10), ..with_state(2, json!({}), State::Pulling) }).await;
    assert_eq!(open.store.next_due().await.expect("read"), None);
    let waiting = insert(&open.store, Job { due_at: at(5_000), ..job(3, json!({})) }).await;
    insert(&open.store, Job { due_at: at(4_000), ..with_state(4, json!({}), retrying()) }).await;
    assert_eq!(open.store.next_due().await.expect("read"), Some(at(4_000)));
    let moved = Job { due_at: at(3_000), version: waiting.version.next(), ..waiting.clone() };
    open.store.advance(&waiting, &moved, at(1), &Actor::Scheduler).await.expect("it is advanced");
    assert_eq!(open.store.next_due().await.expect("read"), Some(at(3_000)));
    open.close().await;
}

pub(crate) async fn queue_orders_by_priority_due_time_and_id(place: &Place) {
    let open = place.open();
    for (n, priority, ms) in
        [(1, 0, 100), (2, 5, 300), (3, 5, 200), (4, -1, 1), (5, 0, 100), (6, 0, 50)]
    {
        let waiting = with_state(n, json!({ "priority": priority }), queued());
        insert(&open.store, Job { due_at: at(ms), ..waiting }).await;
    }
    insert(&open.store, job(9, json!({"priority": 100}))).await;
    let queue = open.store.queued(10).await.expect("read");
    assert_eq!(ids(&queue), [3, 2, 6, 1, 5, 4].map(id));
    assert_eq!(ids(&open.store.queued(2).await.expect("read")), [3, 2].map(id));
    open.close().await;
}

pub(crate) async fn queued_jobs_past_their_start_deadline_are_found(place: &Place) {
    let open = place.open();
    for (n, spec, state) in [
        (1, json!({"start_deadline": "1s"}), queued()),
        (2, json!({"start_deadline": "500ms"}), queued()),
        (3, json!({"start_deadline": "1h"}), queued()),
        (4, json!({}), queued()),
        (5, json!({"start_deadline": "500ms"}), State::Scheduled),
    ] {
        insert(&open.store, Job { due_at: at(0), ..with_state(n, spec, state) }).await;
    }
    let late = |ms, limit| open.store.queued_past_deadline(at(ms), limit);
    assert_eq!(ids(&late(500, 10).await.expect("read")), []);
    assert_eq!(ids(&late(501, 10).await.expect("read")), [id(2)]);
    assert_eq!(ids(&late(2_000, 10).await.expect("read")), [2, 1].map(id));
    assert_eq!(ids(&late(2_000, 1).await.expect("read")), [id(2)]);
    open.close().await;
}

pub(crate) async fn active_jobs_are_the_running_map(place: &Place) {
    let open = place.open();
    let mut running = BTreeSet::new();
    for (n, state) in (1..).zip(every_state()) {
        let job = insert(&open.store, with_state(n, json!({}), state)).await;
        if job.map() == Map::Running {
            running.insert(job.id);
        }
    }
    let active: BTreeSet<JobId> = open.store.active().await.expect("read").into_iter().collect();
    assert_eq!(active, running);
    open.close().await;
}

pub(crate) async fn ids_are_found_by_their_digits(place: &Place) {
    let open = place.open();
    let named = |hex: &str| Job { id: hex.parse().expect("an id"), ..job(1, json!({})) };
    let (a, b, c) =
        ("00ff".to_owned() + &"0".repeat(28), "00ff1".to_owned() + &"f".repeat(27), "f".repeat(32));
    for hex in [&a, &b, &c] {
        insert(&open.store, named(hex)).await;
    }
    for (prefix, expected) in [
        ("0", vec![&a, &b]),
        ("00ff", vec![&a, &b]),
        ("00ff1", vec![&b]),
        ("00fe", vec![]),
        ("f", vec![&c]),
        (c.as_str(), vec![&c]),
        ("xyz", vec![]),
        (&format!("{c}0"), vec![]),
    ] {
        let found = open.store.ids_with_prefix(prefix, 10).await.expect("read");
        assert_eq!(
            found.iter().map(JobId::to_string).collect::<Vec<_>>().iter().collect::<Vec<_>>(),
            expected,
            "{prefix}"
        );
    }
    assert_eq!(open.store.ids_with_prefix("0", 1).await.expect("read").len(), 1);
    for (suffix, expected) in
        [("0000", vec![&a]), ("f", vec![&b, &c]), (b.as_str(), vec![&b]), ("1", vec![])]
    {
        let found = open.store.ids_with_suffix(suffix, 10).await.expect("read");
        assert_eq!(
            found.iter().map(JobId::to_string).collect::<Vec<_>>().iter().collect::<Vec<_>>(),
            expected,
            "{suffix}"
        );
    }
    assert_eq!(open.store.ids_with_suffix("f", 1).await.expect("read").len(), 1);
    open.close().await;
}

async fn page(
    open: &Open,
    map: Map,
    filter: &Filter,
    after: Option<JobId>,
    limit: usize,
) -> Vec<JobId> {
    let mut snapshot = open.store.snapshot().await.expect("a snapshot");
    ids(&snapshot.page(map, filter, after, limit).await.expect("a page"))
}

pub(crate) async fn page_continues_after_the_last_id(place: &Place) {
    let open = place.open();
    let states = every_state();
    let mut of_map: [Vec<JobId>; 3] = Default::default();
    for n in 1..=90 {
        // Inserts use another order than the ids.
        let n = n * 37 % 91;
        let state = states[usize::try_from(n).expect("small") % states.len()].clone();
        let job = insert(&open.store, with_state(n, json!({}), state)).await;
        of_map[job.map() as usize].push(job.id);
    }
    let mut snapshot = open.store.snapshot().await.expect("a snapshot");
    for map in [Map::Scheduled, Map::Running, Map::History] {
        let expected = &mut of_map[map as usize];
        expected.sort();
        let mut found = Vec::new();
        loop {
            let jobs = snapshot
                .page(map, &Filter::default(), found.last().copied(), 7)
                .await
                .expect("a page");
            found.extend(ids(&jobs));
            if jobs.len() < 7 {
                break;
            }
        }
        assert_eq!(&found, expected);
    }
    drop(snapshot);
    open.close().await;
}

pub(crate) async fn filter_selects_by_status_name_schedule_and_label(place: &Place) {
    let open = place.open();
    let odd = r#"a"b.c'$[0]"#;
    insert(&open.store, job(1, json!({"labels": {"team": "a"}}))).await;
    insert(
        &open.store,
        Job { name: "other".parse().expect("a name"), ..job(2, json!({"labels": {"team": "b"}})) },
    )
    .await;
    insert(&open.store, with_state(3, json!({"labels": {"team": "a"}}), queued())).await;
    insert(&open.store, job(4, json!({"labels": {odd: "x"}}))).await;
    insert(&open.store, with_state(5, json!({}), State::Pulling)).await;
    let nightly = Origin::Schedule(ScheduledBy {
        schedule: "nightly".parse().expect("a name"),
        generation: Generation(1),
        nominal: None,
    });
    insert(&open.store, Job { origin: nightly, ..job(6, json!({"labels": {"team": "c"}})) }).await;
    let schedule = |name: &str| Filter { schedule: Some(name.to_owned()), ..Filter::default() };
    let status = |status| Filter { statuses: vec![status], ..Filter::default() };
    let label = |name: &str, value: &str| Filter {
        labels: vec![(name.to_owned(), Some(value.to_owned()))],
        ..Filter::default()
    };
    let name = Filter { name: Some("other".to_owned()), ..Filter::default() };
    for (filter, expected) in [
        (Filter::default(), vec![1, 2, 3, 4, 6]),
        (status(Status::Queued), vec![3]),
        (status(Status::Pulling), vec![]),
        (name.clone(), vec![2]),
        (label("team", "a"), vec![1, 3]),
        (label("team", "A"), vec![]),
        (label(odd, "x"), vec![4]),
        (label("$", "x"), vec![]),
        (Filter { statuses: vec![Status::Queued], ..label("team", "a") }, vec![3]),
        (
            Filter { labels: vec![("team".to_owned(), Some("a".to_owned()))], ..name.clone() },
            vec![],
        ),
        (Filter { labels: vec![("team".to_owned(), Some("b".to_owned()))], ..name }, vec![2]),
        (schedule("nightly"), vec![6]),
        (schedule("NIGHTLY"), vec![]),
        (Filter { name: Some("busybox".to_owned()), ..schedule("nightly") }, vec![6]),
        (Filter { name: Some("other".to_owned()), ..schedule("nightly") }, vec![]),
        (Filter { schedule: Some("nightly".to_owned()), ..label("team", "c") }, vec![6]),
        (Filter { schedule: Some("nightly".to_owned()), ..label("team", "a") }, vec![]),
        (Filter { statuses: vec![Status::Queued], ..schedule("nightly") }, vec![]),
        (
            Filter {
                name: Some("busybox".to_owned()),
                statuses: vec![Status::Queued],
                ..Filter::default()
            },
            vec![3],
        ),
    ] {
        let expected: Vec<JobId> = expected.into_iter().map(id).collect();
        assert_eq!(page(&open, Map::Scheduled, &filter, None, 10).await, expected, "{filter:?}");
    }
    assert_eq!(page(&open, Map::Scheduled, &label("team", "a"), Some(id(1)), 10).await, [id(3)]);
    assert_eq!(page(&open, Map::Scheduled, &label("team", "a"), None, 1).await, [id(1)]);
    open.close().await;
}

pub(crate) async fn job_is_found_by_current_labels_and_map(place: &Place) {
    let open = place.open();
    let label = |value: &str| Filter {
        labels: vec![("team".to_owned(), Some(value.to_owned()))],
        ..Filter::default()
    };
    let found = async |map, value: &str| page(&open, map, &label(value), None, 10).await;
    let mut job = insert(&open.store, job(1, json!({"labels": {"team": "a", "tier": "1"}}))).await;
    assert_eq!(found(Map::Scheduled, "a").await, [id(1)]);
    let ended = every_state().pop().expect("an end");
    for state in [State::Pulling, State::Starting(None), retrying(), State::Pulling, ended] {
        job = advance(&open.store, &job, state).await;
        for map in [Map::Scheduled, Map::Running, Map::History] {
            let expected = if map == job.map() { vec![id(1)] } else { vec![] };
            assert_eq!(found(map, "a").await, expected, "{map:?} of {:?}", job.state);
        }
    }
    // A definition that is read at the claim may bring other labels.
    let mut other = insert(&open.store, with_state(2, json!({}), queued())).await;
    for (spec, of_a, of_b) in [
        (json!({"labels": {"team": "b"}}), vec![], vec![id(2)]),
        (json!({"labels": {"team": "a"}}), vec![id(2)], vec![]),
    ] {
        let spec = serde_json::from_value(spec).expect("a spec");
        let after = Job { version: other.version.next(), spec, ..other.clone() };
        open.store
            .advance(&other, &after, at(9_000), &Actor::Scheduler)
            .await
            .expect("it is advanced");
        other = after;
        assert_eq!(
            (found(Map::Scheduled, "a").await, found(Map::Scheduled, "b").await),
            (of_a, of_b)
        );
    }
    open.close().await;
}

pub(crate) async fn snapshot_shows_one_moment_despite_later_writes(place: &Place) {
    let open = place.open();
    let mut before = Vec::new();
    for n in 1..=20 {
        before.push(insert(&open.store, job(n, json!({}))).await);
    }
    let mut snapshot = open.store.snapshot().await.expect("a snapshot");
    // The snapshot shows the moment of its creation, not of its first page.
    for (n, old) in (100..).zip(&before) {
        advance(&open.store, old, State::Pulling).await;
        insert(&open.store, job(n, json!({}))).await;
    }
    let first = snapshot.page(Map::Scheduled, &Filter::default(), None, 10).await.expect("a page");
    let second =
        snapshot.page(Map::Scheduled, &Filter::default(), Some(id(10)), 100).await.expect("a page");
    assert_eq!([first, second].concat(), before);
    assert_eq!(
        snapshot.page(Map::Running, &Filter::default(), None, 100).await.expect("a page"),
        []
    );
    drop(snapshot);
    assert_eq!(page(&open, Map::Running, &Filter::default(), None, 100).await.len(), 20);
    assert_eq!(page(&open, Map::Scheduled, &Filter::default(), None, 100).await.len(), 20);
    open.close().await;
}
