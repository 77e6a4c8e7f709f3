//! Tests of the chart: lanes, merged marks, runs at once, and the edges of a window.

use std::time::Duration;

use chrono::TimeDelta;

use super::at_once::staircase;
use super::*;
use crate::domain::forecast::Entry;
use crate::domain::job::{Reason, Status};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::schedule::ledger::TickOutcome;

/// 12:00 on a day.
const NOW_MS: i64 = 1_790_078_400_000;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_timestamp_millis(NOW_MS + minutes * 60_000).expect("a time")
}

fn id(n: u32) -> JobId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    JobId::from_bytes(bytes)
}

/// Six hours back and six hours ahead: 720 minutes on 1,180 pixels.
fn window() -> Window {
    Window { from: at(-360), to: at(360), now: at(0), px: 1_180 }
}

fn run(n: u32, schedule: &str, status: Status, from: i64, minutes: f64) -> PastRun<'_> {
    let from = at(from).timestamp_millis();
    let ended_at = from + (minutes * 60_000.0) as i64;
    let started_at = Some(from);
    let due_at = from - 32;
    PastRun {
        job: id(n),
        name: "image",
        schedule: Some(schedule),
        status,
        started_at,
        ended_at,
        due_at,
    }
}

fn parts(past: PastRuns) -> Parts {
    Parts {
        past,
        running: Vec::new(),
        absent: Vec::new(),
        planned: Vec::new(),
        active: Vec::new(),
        pile_ups: Vec::new(),
        planned_until: None,
        limit: Some(4),
        lanes: 8,
    }
}

fn past(runs: &[PastRun<'_>]) -> PastRuns {
    let mut past = PastRuns::new(window(), None);
    runs.iter().for_each(|run| past.add(run));
    past
}

fn entry(schedule: &str, due: i64, expected: Option<u64>) -> Entry {
    Entry {
        due_at: at(due),
        job_name: "image".parse().expect("a name"),
        schedule: Some(schedule.parse().expect("a name")),
        job: None,
        expected: expected.map(|minutes| Duration::from_secs(minutes * 60)),
        overlaps: false,
        queue: None,
        max_parallel: None,
    }
}

#[test]
fn empty_window_gives_empty_chart() {
    let tide = parts(past(&[])).chart();
    assert_eq!((tide.lanes.len(), tide.more_lanes, tide.most), (0, 0, None));
    assert_eq!(tide.past, [(at(-360), 0)]);
    assert_eq!(tide.ahead, [(at(0), 0)]);
}

#[test]
fn run_becomes_a_mark_with_its_times() {
    let tide = parts(past(&[run(1, "backup", Status::Succeeded, -60, 9.0)])).chart();
    let mark = &tide.lanes[0].marks[0];
    assert_eq!(tide.lanes[0].name, LaneName { kind: LaneKind::Schedule, name: "backup".into() });
    assert_eq!((mark.kind, mark.from, mark.to), (MarkKind::Run, at(-60), at(-51)));
    assert_eq!((mark.job, mark.count()), (Some(id(1)), 1));
    assert_eq!(says(mark, at(0)), "succeeded in 9 min, 32 ms late");
}

#[test]
fn runs_outside_of_the_window_are_left_out() {
    let tide = parts(past(&[
        run(1, "before", Status::Succeeded, -500, 9.0),
        run(2, "into", Status::Succeeded, -365, 9.0),
        run(3, "after", Status::Succeeded, 500, 9.0),
    ]))
    .chart();
    let names: Vec<&str> = tide.lanes.iter().map(|lane| lane.name.name.as_str()).collect();
    assert_eq!(names, ["into"]);
}

#[test]
fn short_runs_close_together_become_one_mark() {
    let runs: Vec<_> =
        (0..5).map(|n| run(n, "often", Status::Succeeded, -60 + i64::from(n), 0.1)).collect();
    let tide = parts(past(&runs)).chart();
    let marks = &tide.lanes[0].marks;
    assert_eq!((marks.len(), marks[0].kind, marks[0].count()), (1, MarkKind::Many, 5));
    assert_eq!(says(&marks[0], at(0)), "5 succeeded");
}

#[test]
fn merged_mark_has_the_worst_status() {
    let tide = parts(past(&[
        run(1, "a", Status::Succeeded, -60, 0.1),
        run(2, "a", Status::Failed, -60, 0.2),
        run(3, "a", Status::Succeeded, -59, 0.1),
    ]))
    .chart();
    let mark = &tide.lanes[0].marks[0];
    assert_eq!((mark.status, mark.job), (Status::Failed, Some(id(2))));
    assert_eq!(says(mark, at(0)), "3 runs: 1 failed, 2 succeeded");
}

#[test]
fn long_runs_that_overlap_are_in_rows() {
    let tide = parts(past(&[
        run(1, "a", Status::Succeeded, -100, 50.0),
        run(2, "a", Status::Failed, -80, 50.0),
        run(3, "a", Status::Succeeded, -49, 9.0),
        run(4, "a", Status::Succeeded, -20, 9.0),
    ]))
    .chart();
    let rows: Vec<_> = tide.lanes[0].marks.iter().map(|mark| (mark.row, mark.rows)).collect();
    assert_eq!(rows, [(0, 2), (1, 2), (0, 2), (0, 1)]);
}

#[test]
fn ten_thousand_runs_become_few_marks() {
    let names: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
    let runs: Vec<_> = (0..10_000_u32)
        .map(|n| {
            let status = if n % 97 == 0 { Status::Failed } else { Status::Succeeded };
            let schedule = &names[n as usize % 20];
            run(n, schedule, status, -360 + i64::from(n * 359 / 10_000), f64::from(n % 40))
        })
        .collect();
    let tide = parts(past(&runs)).chart();
    let marks: usize = tide.lanes.iter().map(|lane| lane.marks.len()).sum();
    let counted: u64 = tide.lanes.iter().flat_map(|lane| &lane.marks).map(super::Mark::count).sum();
    assert_eq!((tide.lanes.len(), tide.more_lanes, counted), (8, 12, 4_000));
    assert!(marks <= 640, "{marks}");
    assert!(tide.past.len() <= 590);
}

#[test]
fn lanes_with_trouble_come_before_busier_ones() {
    let mut runs: Vec<_> =
        (0..9).map(|n| run(n, "busy", Status::Succeeded, -300 + 20 * i64::from(n), 1.0)).collect();
    runs.push(run(20, "bad", Status::Unknown, -30, 1.0));
    runs.push(run(21, "calm", Status::Succeeded, -30, 1.0));
    let tide = Parts { lanes: 2, ..parts(past(&runs)) }.chart();
    let names: Vec<&str> = tide.lanes.iter().map(|lane| lane.name.name.as_str()).collect();
    assert_eq!((names, tide.more_lanes), (vec!["bad", "busy"], 1));
}

#[test]
fn schedule_and_job_name_are_different_lanes() {
    let own = PastRun { schedule: None, name: "a", ..run(1, "a", Status::Succeeded, -60, 9.0) };
    let tide = parts(past(&[own, run(2, "a", Status::Succeeded, -60, 9.0)])).chart();
    let kinds: Vec<LaneKind> = tide.lanes.iter().map(|lane| lane.name.kind).collect();
    assert_eq!(kinds, [LaneKind::Schedule, LaneKind::Job]);
}

#[test]
fn one_schedule_hides_all_others() {
    let mut past = PastRuns::new(window(), Some("a".to_owned()));
    past.add(&run(1, "a", Status::Succeeded, -60, 9.0));
    past.add(&run(2, "b", Status::Succeeded, -60, 9.0));
    let tide = parts(past).chart();
    assert_eq!((tide.lanes.len(), tide.most.map(|most| most.count)), (1, Some(1)));
}

#[test]
fn job_that_never_started_is_not_counted_at_once() {
    let failed = PastRun { started_at: None, ..run(1, "a", Status::Failed, -60, 9.0) };
    let tide = parts(past(&[failed])).chart();
    let mark = &tide.lanes[0].marks[0];
    assert_eq!((mark.from, mark.to, tide.most), (at(-51), at(-51), None));
    assert_eq!(says(mark, at(0)), "failed before its process ran");
}

#[test]
fn canceled_job_shows_when_it_was_due() {
    let canceled = PastRun {
        started_at: None,
        due_at: at(-60).timestamp_millis(),
        ..run(1, "a", Status::Canceled, -70, 0.0)
    };
    let early = PastRun { due_at: at(60).timestamp_millis(), job: id(2), ..canceled };
    let tide = parts(past(&[canceled, early])).chart();
    let marks = &tide.lanes[0].marks;
    assert_eq!((marks.len(), marks[0].kind, marks[0].from), (1, MarkKind::Skipped, at(-60)));
}

#[test]
fn running_job_grows_to_now() {
    let lane = LaneName { kind: LaneKind::Job, name: "report".to_owned() };
    let job = RunningJob {
        expected: Some(Duration::from_secs(3_600)),
        ..RunningJob::new(id(1), lane, Status::Running, at(-20))
    };
    let slow = RunningJob { job: id(2), from: at(-90), ..job.clone() };
    let tide = Parts { running: vec![job, slow], ..parts(past(&[])) }.chart();
    let marks = &tide.lanes[0].marks;
    assert_eq!((marks[1].to, marks[1].expected_to), (at(0), Some(at(40))));
    assert_eq!(says(&marks[1], at(0)), "running since 20 min, usually takes 1 h");
    assert_eq!(says(&marks[0], at(0)), "running since 1 h 30 min, longer than the usual 1 h");
    assert_eq!((tide.running, tide.most.map(|most| most.count)), (2, Some(2)));
}

#[test]
fn planned_runs_are_ahead_and_counted() {
    let active = vec![(at(30), at(40)), (at(35), at(45))];
    let planned = vec![entry("a", 30, Some(10)), entry("b", 35, None), entry("b", -5, None)];
    let tide = Parts { planned, active, ..parts(past(&[])) }.chart();
    let [busy, other] = &tide.lanes[..] else { panic!("two lanes") };
    assert_eq!((busy.name.name.as_str(), other.name.name.as_str()), ("b", "a"));
    assert_eq!((other.marks[0].from, other.marks[0].to), (at(30), at(40)));
    assert_eq!(says(&other.marks[0], at(0)), "due in 30 min, usually takes 10 min");
    assert_eq!(says(&busy.marks[0], at(0)), "due since 5 min, waits");
    assert_eq!(tide.most, Some(Busiest { count: 2, at: at(35) }));
}

#[test]
fn absent_ticks_are_marks_with_a_reason() {
    let ticks = |outcome, reason, first, last, count| AbsentTicks {
        schedule: "a".to_owned(),
        first: at(first),
        last: at(last),
        count,
        outcome,
        reason: Some(reason),
    };
    let absent = vec![
        ticks(TickOutcome::Skipped, Reason::Overlap, -60, -60, 1),
        ticks(TickOutcome::Missed, Reason::NotCaughtUp, -50, -20, 4),
    ];
    let tide = Parts { absent, ..parts(past(&[])) }.chart();
    let marks = &tide.lanes[0].marks;
    assert_eq!(says(&marks[0], at(0)), "skipped: the run before it was not over");
    assert_eq!((marks[1].kind, marks[1].status), (MarkKind::Many, Status::Missed));
    assert_eq!(says(&marks[1], at(0)), "4 missed");
    assert_eq!(tide.lanes[0].trouble(), 4);
}

#[test]
fn staircase_counts_runs_at_once() {
    let (steps, most) = staircase(vec![10, 20, 40], vec![30, 25, 50], 0, 60, 10);
    assert_eq!(steps, [(0, 0), (10, 1), (20, 2), (30, 0), (40, 1), (50, 0)]);
    assert_eq!(most, Some((20, 2)));
}

#[test]
fn short_peak_stays_in_the_staircase() {
    let (steps, most) = staircase(vec![101, 103], vec![104, 105], 0, 300, 100);
    assert_eq!(steps, [(0, 0), (100, 2), (200, 0)]);
    assert_eq!(most, Some((103, 2)));
}

#[test]
fn run_before_the_window_counts_from_its_start() {
    let (steps, _) = staircase(vec![-50], vec![20], 0, 40, 10);
    assert_eq!(steps, [(0, 1), (20, 0)]);
}

#[test]
fn window_of_one_instant_draws() {
    let window = Window { from: at(-1), to: at(-1), now: at(0), px: 200 };
    let mut past = PastRuns::new(window, None);
    past.add(&run(1, "a", Status::Succeeded, -2, 2.0));
    assert_eq!(parts(past).chart().lanes[0].marks.len(), 1);
}

#[test]
fn durations_have_at_most_two_units() {
    for (ms, text) in [
        (0, "0 ms"),
        (850, "850 ms"),
        (3_140, "3.1 s"),
        (42_000, "42 s"),
        (531_000, "8 min 51 s"),
        (7_200_000, "2 h"),
        (93_600_000, "1 d 2 h"),
    ] {
        assert_eq!(duration(TimeDelta::milliseconds(ms)), text);
    }
}
