//! Contract: jobs that wait in groups, running counts of limits, and the number of waiting jobs.

use serde_json::{Value, json};
use tidetable::domain::job::wait_group::{Limit, Parallel, WaitGroup};
use tidetable::domain::job::{Job, Reason, State, Wait};
use tidetable::domain::names::actor::Actor;

use crate::contract::fixtures::{at, every_state, id, job, queued, with_state};
use crate::contract::{Place, advance, get, ids, insert};

fn by_queue(name: &str) -> WaitGroup {
    WaitGroup { queue: Some(name.parse().expect("a name")), ..WaitGroup::default() }
}

fn by_name(name: &str, most: u32) -> WaitGroup {
    WaitGroup {
        name: Some(Parallel { of: name.parse().expect("a name"), most }),
        ..WaitGroup::default()
    }
}

fn by_schedule(name: &str) -> WaitGroup {
    WaitGroup { schedule: Some(name.parse().expect("a name")), ..WaitGroup::default() }
}

fn waiting_in(wait_group: &WaitGroup) -> State {
    State::Queued(Wait {
        reason: Reason::QueueFull,
        since: at(7),
        wait_group: Some(wait_group.clone()),
    })
}

pub(crate) async fn jobs_in_wait_groups_are_not_queued(place: &Place) {
    let open = place.open();
    let (a, b) = (by_queue("a"), by_name("busybox", 1));
    for (n, wait_group, priority, ms) in [
        (1, &a, 0, 100),
        (2, &a, 5, 300),
        (3, &a, 5, 200),
        (4, &a, 0, 100),
        (5, &b, 5, 250),
        (6, &b, -1, 1),
    ] {
        insert(
            &open.store,
            Job {
                due_at: at(ms),
                ..with_state(n, json!({"priority": priority}), waiting_in(wait_group))
            },
        )
        .await;
    }
    insert(&open.store, with_state(9, json!({"priority": -9}), queued())).await;
    assert_eq!(ids(&open.store.queued(10).await.expect("read")), [id(9)]);
    let first = async |wanted: &[(WaitGroup, usize)], limit| {
        ids(&open.store.waiting_in_groups(wanted, limit).await.expect("read"))
    };
    let many = usize::MAX;
    assert_eq!(first(&[(a.clone(), many)], 10).await, [3, 2, 1, 4].map(id));
    assert_eq!(first(&[(a.clone(), 1)], 10).await, [id(3)]);
    assert_eq!(
        first(&[(a.clone(), many), (b.clone(), many)], 10).await,
        [3, 5, 2, 1, 4, 6].map(id)
    );
    assert_eq!(first(&[(a.clone(), many), (b.clone(), many)], 2).await, [3, 5].map(id));
    assert_eq!(first(&[(b.clone(), 1), (a.clone(), 1)], 10).await, [3, 5].map(id));
    assert_eq!(first(&[(by_queue("other"), many)], 10).await, []);
    assert_eq!(first(&[], 10).await, []);
    open.close().await;
}

pub(crate) async fn released_or_moved_job_leaves_its_wait_group(place: &Place) {
    let open = place.open();
    let (a, b) = (by_queue("a"), by_name("busybox", 2));
    for n in 1..=4 {
        insert(&open.store, with_state(n, json!({}), waiting_in(&a))).await;
    }
    let states = [(1, queued()), (2, State::Scheduled), (3, waiting_in(&b))];
    for (n, state) in states.clone() {
        advance(&open.store, &get(&open.store, id(n)).await, state).await;
    }
    open.close().await;
    let open = place.open();
    let under = async |wait_group: &WaitGroup| {
        ids(&open.store.waiting_in_groups(&[(wait_group.clone(), 9)], 9).await.expect("read"))
    };
    assert_eq!((under(&a).await, under(&b).await), (vec![id(4)], vec![id(3)]));
    assert_eq!(ids(&open.store.queued(10).await.expect("read")), [id(1)]);
    for (n, state) in states {
        assert_eq!(get(&open.store, id(n)).await.state, state);
    }
    open.close().await;
}

pub(crate) async fn each_wait_group_is_listed_once(place: &Place) {
    let open = place.open();
    let both = WaitGroup { queue: by_queue("a").queue, ..by_name("library/x:1 y", 3) };
    let all = [
        by_queue("a"),
        by_queue("a-b"),
        by_name("busybox", 1),
        by_name("busybox", 2),
        by_schedule("a"),
        both,
    ];
    assert_eq!(open.store.wait_groups(None, 10).await.expect("read"), []);
    for (n, wait_group) in (1..).zip(all.iter().chain(&all)) {
        insert(&open.store, with_state(n, json!({}), waiting_in(wait_group))).await;
    }
    insert(&open.store, with_state(99, json!({}), queued())).await;
    let (mut found, mut last) = (Vec::new(), None);
    loop {
        let page = open.store.wait_groups(last.as_ref(), 4).await.expect("read");
        found.extend(page.clone());
        match page.last() {
            Some(wait_group) => last = Some(wait_group.clone()),
            None => break,
        }
    }
    found.sort();
    let mut expected = all.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    open.close().await;
}

pub(crate) async fn running_counts_match_the_running_map(place: &Place) {
    let open = place.open();
    let in_queue = |queue: &str| json!({ "queue": queue });
    let running =
        every_state().iter().filter(|state| state.status().map().as_str() == "running").count();
    for (n, state) in (1..).zip(every_state()) {
        insert(&open.store, with_state(n, in_queue("a"), state)).await;
    }
    let named = |n, name: &str, spec: Value| Job {
        name: name.parse().expect("a name"),
        ..with_state(n, spec, State::Starting(None))
    };
    insert(&open.store, named(90, "JOB_A", in_queue("b"))).await;
    insert(&open.store, named(91, "JOB_A", json!({}))).await;
    let queue = |name: &str| Limit::Queue(name.parse().expect("a name"));
    let name = |name: &str| Limit::Name(name.parse().expect("a name"));
    let limits =
        [queue("a"), queue("b"), queue("c"), name("busybox"), name("JOB_A"), name("JOB_B")];
    let taken = open.store.taken(&limits).await.expect("read");
    assert_eq!(taken, [running, 1, 0, running, 2, 0]);
    assert!(open.store.taken(&[]).await.expect("read").is_empty());
    // A name without a definition until the claim belongs to the queue of the definition that it
    // got.
    let late = insert(&open.store, named(92, "JOB_C", json!({}))).await;
    let after = Job { version: late.version.next(), ..named(92, "JOB_C", in_queue("c")) };
    open.store.advance(&late, &after, at(1), &Actor::Scheduler).await.expect("it is advanced");
    assert_eq!(open.store.taken(&[queue("c"), name("JOB_C")]).await.expect("read"), [1, 1]);
    open.close().await;
}

pub(crate) async fn waiting_jobs_are_counted_with_every_write(place: &Place) {
    let open = place.open();
    assert_eq!(open.store.waiting(), 0);
    let first = insert(&open.store, job(1, json!({}))).await;
    insert(&open.store, with_state(2, json!({}), waiting_in(&by_queue("a")))).await;
    insert(&open.store, with_state(3, json!({}), State::Pulling)).await;
    assert!(open.store.insert(&first).await.is_err());
    assert_eq!(open.store.waiting(), 2);
    let second = advance(&open.store, &first, queued()).await;
    assert_eq!(open.store.waiting(), 2);
    let third = advance(&open.store, &second, State::Pulling).await;
    assert!(
        open.store.advance(&second, &third, at(1), &Actor::Scheduler).await.is_err(),
        "it was decided on an older version"
    );
    assert_eq!(open.store.waiting(), 1);
    open.close().await;
    let open = place.open();
    assert_eq!(open.store.waiting(), 1);
    let running = get(&open.store, id(3)).await;
    advance(&open.store, &running, crate::contract::fixtures::retrying()).await;
    assert_eq!(open.store.waiting(), 2);
    open.close().await;
}
