//! Forecasts of a few jobs and schedules. Times are minutes after a full hour.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::*;
use crate::domain::job::origin::{Generation, Origin, ScheduledBy};
use crate::domain::job::{Job, Run, State};
use crate::domain::names::id::{Attempt, ContainerId, JobId, Timestamp, Version};
use crate::domain::names::queue::Queues;
use crate::domain::schedule::record::{NextTick, ScheduleRecord};

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_timestamp(1_700_002_800, 0).unwrap() + TimeDelta::minutes(minutes)
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

fn job(n: u8, name: &str, due: i64) -> Job {
    Job {
        id: JobId::from_bytes([n; 16]),
        version: Version(0),
        name: name.parse().unwrap(),
        spec: Default::default(),
        created_at: at(-60),
        due_at: at(due),
        attempt: Attempt(0),
        state: State::Scheduled,
        origin: Origin::Api,
        submitted_by: None,
    }
}

fn at_work(n: u8, name: &str, since: i64, schedule: Option<&str>) -> Job {
    let run =
        Run { container: ContainerId("c".to_owned()), started_at: at(since), image_digest: None };
    let origin = |name: &str| {
        Origin::Schedule(ScheduledBy {
            schedule: name.parse().unwrap(),
            generation: Generation(1),
            nominal: None,
        })
    };
    Job {
        state: State::Running(run),
        origin: schedule.map_or(Origin::Api, origin),
        ..job(n, name, since)
    }
}

/// Returns a schedule of `work` every `period` minutes from now on, with these fields besides.
fn every(name: &str, period: u32, more: Value) -> ScheduleRecord {
    let mut fields = json!({"job_name": "work", "every": format!("{period}m"), "time_zone": "UTC"});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let schedule = serde_json::from_value(fields).unwrap();
    ScheduleRecord::new(name.parse().unwrap(), Generation(1), schedule, at(0))
}

fn draft(hours: i64) -> Draft {
    Draft::new(at(0), at(hours * 60), MAX_ENTRIES)
}

/// Completes the forecast: runs of `work` take `takes` minutes, and `most` may run at once.
fn finish(draft: Draft, takes: Option<u64>, most: usize) -> Forecast {
    let known = Known { expected: takes.map(minutes), ..Known::default() };
    draft.finish(&HashMap::from([("work".parse().unwrap(), known)]), most, &Queues::new())
}

/// Returns the due times in minutes.
fn dues(forecast: &Forecast) -> Vec<i64> {
    forecast.entries.iter().map(|entry| (entry.due_at - at(0)).num_minutes()).collect()
}

fn stretches(forecast: &Forecast) -> Vec<(i64, i64, usize)> {
    let minute = |time: Timestamp| (time - at(0)).num_minutes();
    forecast
        .pile_ups
        .iter()
        .map(|pile| (minute(pile.from), minute(pile.until), pile.peak))
        .collect()
}

#[test]
fn waiting_jobs_and_ticks_come_by_due_time() {
    let mut draft = draft(2);
    draft.schedule(&ScheduleRecord {
        next_tick: Some(NextTick { nominal: at(30), job: JobId::from_bytes([9; 16]) }),
        ..every("half", 30, json!({}))
    });
    for waiting in [
        job(1, "other", 75),
        job(9, "work", 30),
        job(2, "late", -5),
        job(3, "far", 121),
        job(4, "edge", 120),
    ] {
        draft.add_waiting(&waiting);
    }
    let forecast = finish(draft, Some(7), 10);
    assert_eq!(dues(&forecast), [-5, 30, 60, 75, 90, 120, 120]);
    let jobs: Vec<bool> = forecast.entries.iter().map(|entry| entry.job.is_some()).collect();
    assert_eq!(
        jobs,
        [true, true, false, true, false, true, false],
        "the next tick has its job, and is there once"
    );
    let expected: Vec<Option<Duration>> =
        forecast.entries.iter().take(3).map(|entry| entry.expected).collect();
    assert_eq!(expected, [None, Some(minutes(7)), Some(minutes(7))]);
    assert_eq!((forecast.truncated, forecast.until), (false, at(120)));
}

#[test]
fn paused_ended_and_exhausted_schedules_have_no_ticks() {
    let ticks = |record: &ScheduleRecord| {
        let mut draft = draft(3);
        draft.schedule(record);
        dues(&finish(draft, None, 10))
    };
    assert_eq!(ticks(&every("a", 60, json!({}))), [60, 120, 180]);
    assert!(ticks(&every("a", 60, json!({"paused": true}))).is_empty());
    assert_eq!(ticks(&every("a", 60, json!({"end_at": at(120).to_rfc3339()}))), [60, 120]);
    assert_eq!(
        ticks(&ScheduleRecord { runs: 3, ..every("a", 60, json!({"max_runs": 5})) }),
        [60, 120]
    );
    assert!(
        ticks(&ScheduleRecord { runs: 5, ..every("a", 60, json!({"max_runs": 5})) }).is_empty()
    );
    let next_tick = Some(NextTick { nominal: at(60), job: JobId::from_bytes([9; 16]) });
    let last_but_one =
        ScheduleRecord { runs: 3, next_tick, ..every("a", 60, json!({"max_runs": 5})) };
    assert_eq!(ticks(&last_but_one), [120], "the job that is there counts");
}

#[test]
fn forecast_ticks_include_their_jitter() {
    let record = every("a", 60, json!({"jitter": "30m"}));
    let mut draft = draft(3);
    draft.schedule(&record);
    let forecast = finish(draft, None, 10);
    let due = |nominal| {
        record
            .schedule
            .due_at(&record.name, super::super::recurrence::Tick { nominal, shifted: false })
    };
    let expected: Vec<Timestamp> =
        [at(60), at(120), at(180)].map(due).into_iter().filter(|due| *due <= at(180)).collect();
    assert_eq!(forecast.entries.iter().map(|entry| entry.due_at).collect::<Vec<_>>(), expected);
    assert!(expected[0] > at(60));
}

#[test]
fn a_truncated_forecast_keeps_the_earliest_entries() {
    let mut draft = Draft::new(at(0), at(24 * 60), 10);
    draft.schedule(&every("a", 10, json!({})));
    draft.schedule(&every("b", 1, json!({})));
    draft.schedule(&every("c", 600, json!({})));
    draft.add_waiting(&job(1, "soon", 3));
    let forecast = finish(draft, None, 10);
    assert_eq!(dues(&forecast), [1, 2, 3, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((forecast.truncated, forecast.until), (true, at(9)));
    let mut draft = Draft::new(at(0), at(60), 10);
    (0..10).for_each(|n| draft.add_waiting(&job(n, "work", n.into())));
    assert!(!finish(draft, None, 10).truncated, "as many as there may be");
}

#[test]
fn runs_beyond_a_limit_are_a_pile_up() {
    let mut draft = draft(4);
    for (n, due) in [(1, 10), (2, 20), (3, 30), (4, 40), (5, 100), (6, 120), (7, 200)] {
        draft.add_waiting(&job(n, "work", due));
    }
    // 10–35, 20–45, 30–55, 40–65, 100–125, 120–145, 200–225
    assert_eq!(stretches(&finish(draft, Some(25), 1)), [(20, 55, 3), (120, 125, 2)]);
}

#[test]
fn back_to_back_runs_do_not_overlap() {
    let mut draft = draft(4);
    for (n, due) in [(1, 0), (2, 30), (3, 60)] {
        draft.add_waiting(&job(n, "work", due));
    }
    let forecast = finish(draft, Some(30), 1);
    assert_eq!((stretches(&forecast), forecast.crossings), (vec![], vec![]));
}

#[test]
fn running_jobs_add_load_but_no_entry() {
    let mut draft = draft(4);
    draft.add_running(&at_work(1, "work", -10, None));
    draft.add_running(&at_work(2, "work", -600, None));
    draft.add_waiting(&job(3, "work", 5));
    draft.add_waiting(&job(4, "work", 20));
    let forecast = finish(draft, Some(25), 1);
    // -10–15, and one that is overdue; 5–30; 20–45
    assert_eq!(stretches(&forecast), [(0, 0, 2), (5, 15, 2), (20, 30, 2)]);
    assert_eq!(forecast.entries.len(), 2);
}

#[test]
fn jobs_of_unknown_duration_pile_up_too() {
    let mut draft = draft(4);
    (0..5).for_each(|n| draft.add_waiting(&job(n, "work", 10)));
    let forecast = finish(draft, None, 4);
    assert_eq!((forecast.pile_ups.len(), forecast.pile_ups[0].peak), (1, 5));
    assert_eq!(forecast.pile_ups[0].until - forecast.pile_ups[0].from, TimeDelta::seconds(1));
}

#[test]
fn queue_and_name_limits_apply_from_definitions_too() {
    let mut draft = draft(4);
    let with = |n, name, spec: Value| Job {
        spec: serde_json::from_value(spec).unwrap(),
        ..job(n, name, 10)
    };
    for (n, name, spec) in [
        (1, "other", json!({"queue": "batch"})),
        (2, "work", json!({})),
        (3, "work", json!({})),
        (4, "work", json!({"queue": "free", "max_parallel": 1})),
    ] {
        draft.add_waiting(&with(n, name, spec));
    }
    let definition = serde_json::from_value(json!({"queue": "batch", "max_parallel": 2})).unwrap();
    let known = HashMap::from([(
        "work".parse().unwrap(),
        Known { definition, expected: Some(minutes(5)) },
    )]);
    let queues = Queues::from([("batch".parse().unwrap(), 2.try_into().unwrap())]);
    let forecast = draft.finish(&known, 3, &queues);
    let found: Vec<_> =
        forecast.pile_ups.iter().map(|pile| (pile.limit.as_str(), pile.most, pile.peak)).collect();
    assert_eq!(
        found,
        [("max_running", 3, 4), ("queues.batch", 2, 3), ("max_parallel of work", 1, 3)]
    );
}

/// Forecasts a schedule every 30 minutes for two hours; each run takes 40 minutes. Returns which
/// entries overlap, the number of overlapping runs, and the pile-ups.
fn in_its_own_way(overlap: &str) -> (Vec<bool>, usize, Vec<(i64, i64, usize)>) {
    let mut draft = draft(2);
    draft.schedule(&every("tight", 30, json!({"overlap": overlap})));
    let forecast = finish(draft, Some(40), 1);
    let crossing = &forecast.crossings[0];
    assert_eq!((crossing.first, crossing.expected), (at(60), Some(minutes(40))));
    let runs = usize::try_from(crossing.runs).unwrap();
    (forecast.entries.iter().map(|entry| entry.overlaps).collect(), runs, stretches(&forecast))
}

#[test]
fn overlapping_runs_are_counted_by_the_overlap_policy() {
    // 30–70, 60 is skipped; 90–130, 120 is skipped.
    assert_eq!(in_its_own_way("skip"), (vec![false, true, false, true], 2, vec![]));
    // 30–70, 70–110, 110–150; the run at 120 waits until 150.
    assert_eq!(in_its_own_way("queue_one"), (vec![false, true, true, true], 3, vec![]));
    assert_eq!(in_its_own_way("replace"), (vec![false, true, true, true], 3, vec![]));
    assert_eq!(
        in_its_own_way("allow"),
        (vec![false, true, true, true], 3, vec![(60, 70, 2), (90, 100, 2)])
    );
}

#[test]
fn a_current_run_overlaps_the_schedules_next_run() {
    let mut draft = draft(2);
    draft.schedule(&every("tight", 30, json!({})));
    draft.add_running(&at_work(1, "work", 0, Some("tight")));
    let forecast = finish(draft, Some(40), 1);
    let overlaps: Vec<bool> = forecast.entries.iter().map(|entry| entry.overlaps).collect();
    assert_eq!(overlaps, [true, false, true, false]);
}

#[test]
fn the_typical_duration_is_the_median() {
    let typical = |runs: &[u64]| typical(runs.iter().copied().map(minutes).collect());
    assert_eq!(typical(&[]), None);
    assert_eq!(typical(&[5]), Some(minutes(5)));
    assert_eq!(typical(&[5, 900, 1]), Some(minutes(5)));
    assert_eq!(typical(&[2, 4]), Some(minutes(3)));
}
