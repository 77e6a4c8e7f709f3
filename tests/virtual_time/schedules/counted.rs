//! The counter of decided ticks agrees with the ledger, for each policy and after a gap.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidetable::metrics::{Format, Gauges, render};
use tidetable::scheduler::Handle;

use super::{BEGIN, HOUR, ledger, put, sleep};
use crate::support::virtual_time::World;

/// Returns the counted ticks, by outcome and reason as [`ledger`] shows them.
fn counted(handle: &Handle) -> BTreeMap<String, usize> {
    let text = render(handle.metrics(), Gauges::default(), Format::Prometheus).unwrap();
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("tidetable_schedule_ticks_total{schedule=\"a\",outcome=\"")?;
        let (outcome, rest) = rest.split_once("\",reason=\"")?;
        let (reason, value) = rest.split_once("\"} ")?;
        Some((format!("{outcome} {reason}").trim().to_owned(), value.parse().unwrap()))
    });
    lines.collect()
}

/// Returns the ticks of the ledger, by outcome and reason.
async fn listed(handle: &Handle) -> BTreeMap<String, usize> {
    let mut ticks = BTreeMap::new();
    for tick in ledger(handle).await {
        *ticks.entry(tick).or_default() += 1;
    }
    ticks
}

async fn compare(fields: Value, away: u64) -> BTreeMap<String, usize> {
    let mut world = World::new(BEGIN);
    world.live(async |handle| put(&handle, fields.clone()).await).await;
    sleep(away).await;
    world
        .live(async |handle| {
            sleep(1_250).await;
            let listed = listed(&handle).await;
            assert_eq!(counted(&handle), listed, "{fields}");
            listed
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn counted_ticks_agree_with_the_ledger() {
    for catch_up in ["last", "none", "all"] {
        let window = json!({"cron": "*/10 * * * *", "catch_up": catch_up, "catch_up_window": "25m",
            "overlap": "allow"});
        let ticks = compare(window, 3_300).await;
        assert_eq!(ticks.values().sum::<usize>(), 7, "{ticks:?}");
    }
    let long = json!({"command": "sleep 900"});
    for overlap in ["skip", "queue_one", "allow", "replace"] {
        compare(json!({"cron": "*/10 * * * *", "overlap": overlap, "spec": long}), 60).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_missed_ticks_are_counted_by_estimate() {
    let mut world = World::new(BEGIN);
    let each_minute = json!({"cron": "* * * * *", "catch_up": "none"});
    world.live(async |handle| put(&handle, each_minute).await).await;
    sleep(100 * HOUR).await;
    let ticks = world
        .live(async |handle| {
            sleep(30).await;
            counted(&handle)
        })
        .await;
    // The last of them may be caught in its own minute, and then it runs.
    assert_eq!(ticks.values().sum::<usize>(), 6_000, "{ticks:?}");
    assert!(ticks.get("ran").is_none_or(|ran| *ran <= 1), "{ticks:?}");
}
