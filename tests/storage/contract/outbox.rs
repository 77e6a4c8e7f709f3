//! Contract of the outbox: a notification is written together with the end of its job, and removed
//! after its delivery.

use serde_json::json;
use tidetable::domain::job::transition::Event;
use tidetable::domain::names::actor::Actor;
use tidetable::store::outbox::Notification;

use super::*;

const HERE: &str = "https://a.example";

/// Returns a job that notifies two receivers of its cancellation, and one URL of its failure.
fn told(n: u32) -> Job {
    let notify = json!([
        {"url": "https://a.example/x", "on": ["canceled"]},
        {"url": "https://b.example/x", "on": ["canceled"]},
        {"url": "https://a.example/y", "on": ["failed"]},
    ]);
    job(n, json!({"notify": notify}))
}

async fn first(store: &Arc<dyn Store>) -> Option<Notification> {
    store.next_notification(HERE, at(1_000)).await.expect("read")
}

pub(crate) async fn notification_is_written_with_the_jobs_end(place: &Place) {
    let open = place.open();
    insert(&open.store, told(1)).await;
    assert_eq!(open.store.receivers().await.expect("read"), []);
    let canceled = told(1).on(Event::Cancel, at(5)).expect("it waits");
    open.store.advance(&told(1), &canceled, at(5), &Actor::Scheduler).await.expect("written");
    assert!(
        open.store.advance(&told(1), &canceled, at(6), &Actor::Scheduler).await.is_err(),
        "it is over already"
    );
    open.close().await;
    let open = place.open();
    let receivers = open.store.receivers().await.expect("read");
    assert_eq!(receivers, [(HERE.to_owned(), at(5)), ("https://b.example".to_owned(), at(5))]);
    let notification = first(&open.store).await.expect("there is one");
    let seq = journal(&open.store).await.last().expect("a transition").seq();
    assert_eq!(
        (notification.job, notification.seq, notification.url.as_str()),
        (id(1), seq, "https://a.example/x")
    );
    open.store.remove_notification(notification.id).await.expect("written");
    assert_eq!(first(&open.store).await, None, "each receiver had one notification");
    open.close().await;
}

pub(crate) async fn postponed_notification_lets_the_next_go_first(place: &Place) {
    let open = place.open();
    for n in 1..=3 {
        insert(&open.store, told(n)).await;
        let canceled = told(n).on(Event::Cancel, at(5)).expect("it waits");
        open.store.advance(&told(n), &canceled, at(5), &Actor::Scheduler).await.expect("written");
    }
    let notification = first(&open.store).await.expect("there is one");
    assert_eq!((notification.job, notification.tries), (id(1), 0));
    open.store.postpone_notification(notification.id, at(10)).await.expect("written");
    assert_eq!(first(&open.store).await.map(|notification| notification.job), Some(id(2)));
    assert_eq!(
        open.store.next_notification(HERE, at(4)).await.expect("read"),
        None,
        "nothing is due yet"
    );
    for _ in 0..2 {
        let next = first(&open.store).await.expect("there is one");
        open.store.remove_notification(next.id).await.expect("written");
    }
    let last = first(&open.store).await.expect("there is one");
    assert_eq!((last.job, last.tries, last.made_at), (id(1), 1, at(5)));
    open.close().await;
}
