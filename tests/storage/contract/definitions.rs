//! Definitions: a definition is read back as written, and a write succeeds only if its precondition
//! holds.

use serde_json::{Value, json};
use tidetable::domain::names::actor::Actor;
use tidetable::domain::names::change::Change;
use tidetable::domain::names::image::JobName;
use tidetable::domain::precondition::Precondition;
use tidetable::domain::spec::JobSpec;
use tidetable::store::Entry;
use tidetable::store::{Definition, Revision};

use super::*;

fn name(text: &str) -> JobName {
    text.parse().expect("a name")
}

fn spec(json: Value) -> JobSpec {
    serde_json::from_value(json).expect("a spec")
}

async fn define(
    store: &Arc<dyn Store>,
    text: &str,
    precondition: Precondition<Revision>,
) -> Result<Revision, StoreError> {
    store
        .define(
            &name(text),
            &spec(json!({"image": "busybox"})),
            precondition,
            at(5),
            &Actor::Scheduler,
        )
        .await
}

pub(crate) async fn definition_is_read_back_as_written(place: &Place) {
    let open = place.open();
    assert_eq!(open.store.definition(&name("JOB_A")).await.expect("read"), None);
    let (first, second) = (
        spec(json!({"image": "busybox", "env": {"K": "ü'\""}})),
        spec(json!({"image": "a", "priority": 3})),
    );
    let one = open
        .store
        .define(&name("JOB_A"), &first, Precondition::Anything, at(5), &Actor::Scheduler)
        .await
        .expect("written");
    let two = open
        .store
        .define(&name("JOB_A"), &second, Precondition::Anything, at(6), &Actor::Scheduler)
        .await
        .expect("written");
    assert!(two > one);
    let kept = Definition { name: name("JOB_A"), revision: two, spec: second, changed_at: at(6) };
    assert_eq!(open.store.definition(&name("JOB_A")).await.expect("read"), Some(kept.clone()));
    open.close().await;
    let open = place.open();
    assert_eq!(open.store.definition(&name("JOB_A")).await.expect("read"), Some(kept));
    let told: Vec<Change> = journal(&open.store)
        .await
        .iter()
        .map(|entry| match entry {
            Entry::Other(change) => change.change,
            Entry::Job(transition) => panic!("no job changed: {transition:?}"),
        })
        .collect();
    assert_eq!(told, [Change::Created, Change::Changed]);
    open.close().await;
}

pub(crate) async fn definition_is_written_only_if_precondition_holds(place: &Place) {
    let open = place.open();
    let store = &open.store;
    let outdated = |written: Result<Revision, StoreError>| {
        assert!(matches!(written, Err(StoreError::Outdated)))
    };
    outdated(define(store, "a", Precondition::Something).await);
    outdated(define(store, "a", Precondition::OneOf(vec![Revision(1)])).await);
    let one = define(store, "a", Precondition::Nothing).await.expect("there was none");
    outdated(define(store, "a", Precondition::Nothing).await);
    let two = define(store, "a", Precondition::OneOf(vec![Revision(77), one]))
        .await
        .expect("it was that one");
    outdated(define(store, "a", Precondition::OneOf(vec![one])).await);
    outdated(define(store, "a", Precondition::OneOf(vec![])).await);
    assert_eq!(store.definition(&name("a")).await.expect("read").expect("kept").revision, two);
    assert!(matches!(
        store.undefine(&name("a"), Precondition::OneOf(vec![one]), at(9), &Actor::Scheduler).await,
        Err(StoreError::Outdated)
    ));
    assert!(
        store
            .undefine(&name("a"), Precondition::OneOf(vec![two]), at(9), &Actor::Scheduler)
            .await
            .expect("removed")
    );
    assert!(
        !store
            .undefine(&name("a"), Precondition::Anything, at(9), &Actor::Scheduler)
            .await
            .expect("nothing to remove")
    );
    assert!(matches!(
        store.undefine(&name("a"), Precondition::Something, at(9), &Actor::Scheduler).await,
        Err(StoreError::Outdated)
    ));
    open.close().await;
}

pub(crate) async fn recreated_definition_has_a_new_revision(place: &Place) {
    let open = place.open();
    let first = define(&open.store, "a", Precondition::Anything).await.expect("written");
    open.store
        .undefine(&name("a"), Precondition::Anything, at(9), &Actor::Scheduler)
        .await
        .expect("removed");
    open.close().await;
    let open = place.open();
    let again = define(&open.store, "a", Precondition::Nothing).await.expect("written");
    assert_ne!(first, again);
    open.close().await;
}

pub(crate) async fn one_of_many_writes_over_a_revision_wins(place: &Place) {
    let open = place.open();
    let first = define(&open.store, "a", Precondition::Anything).await.expect("written");
    let done =
        join_all((0..16).map(|_| define(&open.store, "a", Precondition::OneOf(vec![first])))).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
    open.close().await;
}

pub(crate) async fn definitions_are_paged_by_name(place: &Place) {
    let open = place.open();
    for text in ["b", "Z", "a", "ü", "a b"] {
        define(&open.store, text, Precondition::Anything).await.expect("written");
    }
    let mut seen = Vec::new();
    loop {
        let page = open.store.definitions(seen.last(), 2).await.expect("read");
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|definition| definition.name));
    }
    assert_eq!(seen, ["Z", "a", "a b", "b", "ü"].map(name));
    open.close().await;
}
