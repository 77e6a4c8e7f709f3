//! Checks of a schedule at random times, with random changes in between: every tick is accounted
//! for exactly once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::recurrence::CatchUp;

const PERIOD: i64 = 600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(second, 0).expect("a time")
}

fn schedule(more: serde_json::Value) -> Schedule {
    let mut fields = json!({"job_name": "busybox", "every": "10m", "time_zone": "UTC"});
    fields.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
    serde_json::from_value(fields).expect("a schedule")
}

/// The contents of a simulated store.
struct Held {
    record: Option<ScheduleRecord>,
    jobs: BTreeMap<JobId, Job>,
    rows: BTreeMap<(Generation, Timestamp), LedgerRow>,
    ids: u128,
}

impl Held {
    fn new(schedule: Schedule) -> Self {
        let record =
            ScheduleRecord::new("s".parse().expect("a name"), Generation(1), schedule, at(0));
        let mut held = Self { record: None, jobs: BTreeMap::new(), rows: BTreeMap::new(), ids: 0 };
        let update = ScheduleUpdate::first(&record, at(0), &mut held.rng());
        held.write(update);
        held
    }

    fn rng(&mut self) -> impl FnMut() -> JobId {
        // Each update gets a range of ids of its own.
        self.ids += 1_000_000;
        let mut next = self.ids;
        move || {
            next += 1;
            JobId::from_bytes(next.to_be_bytes())
        }
    }

    fn record(&self) -> ScheduleRecord {
        self.record.clone().expect("it is there")
    }

    fn waiting(&self) -> Vec<Job> {
        self.jobs.values().filter(|job| job.state == State::Scheduled).cloned().collect()
    }

    /// Writes an update as the store does.
    fn write(&mut self, update: ScheduleUpdate) {
        assert_eq!(update.from, self.record.as_ref().map(|record| record.version));
        for dropped in &update.dropped {
            let row = self.rows.remove(dropped).expect("a row that is dropped is there");
            assert_eq!(row.outcome, None, "and was not decided");
        }
        for late in &update.late {
            self.rows.get_mut(late).expect("there").late = true;
        }
        for (before, after) in update.ended {
            assert_eq!(self.jobs.insert(before.id, after), Some(before));
        }
        for row in update.rows {
            let key = (row.generation, row.first);
            assert!(self.rows.insert(key, row).is_none(), "a tick has one row");
        }
        for job in update.jobs {
            assert!(self.jobs.insert(job.id, job).is_none(), "an id is used once");
        }
        self.record = update.after;
    }

    fn look(&mut self, now: Timestamp, restored: bool) {
        while self.record().next_check_at.is_some_and(|look_at| look_at <= now) {
            let update = self.record().advance(&self.waiting(), now, restored, &mut self.rng());
            self.write(update);
        }
    }

    fn change(&mut self, change: &Change, now: Timestamp) {
        self.look(now, false);
        let update = self.record().change(change, &self.waiting(), now, &mut self.rng());
        self.write(update);
    }

    /// Starts the jobs that are due.
    fn start(&mut self, now: Timestamp) {
        for job in self.waiting().into_iter().filter(|job| job.due_at <= now) {
            self.jobs.insert(job.id, job.on(Event::Claim(None), now).expect("it can be"));
        }
    }

    /// Returns the ticks up to `now`: the second, and whether the tick has a job of its own.
    fn ticks(&self, now: Timestamp) -> Vec<(i64, bool)> {
        let pause = self.record.as_ref().and_then(|record| record.skipped_in_pause(now));
        let rows = self.rows.values().cloned().chain(pause).filter(|row| row.first <= now);
        let every = |row: LedgerRow| {
            let has_own = row.job.is_some() && !row.covered;
            (row.first.timestamp()..=row.last.timestamp())
                .step_by(600)
                .map(move |second| (second, has_own))
        };
        let mut ticks: Vec<(i64, bool)> = rows.flat_map(every).collect();
        ticks.sort_unstable();
        ticks
    }
}

#[derive(Clone, Debug)]
enum Step {
    Look(i64),
    /// The scheduler is away for so many seconds.
    Sleep(i64),
    /// The clock is set back by so many seconds.
    Back(i64),
    Pause(bool),
    Change(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..2_000_i64).prop_map(Step::Look),
        2 => (1_000..400_000_i64).prop_map(Step::Sleep),
        1 => (1..3_000_i64).prop_map(Step::Back),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => (0..3_u32).prop_map(Step::Change),
    ];
    proptest::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))]

    #[test]
    fn every_tick_always_has_exactly_one_row(
        steps in steps(), which in 0..3_usize, window in 1..100_u32, jitter in 0..1_200_u32
    ) {
        let catch_up = [CatchUp::Last, CatchUp::None, CatchUp::All][which];
        let rules = json!({"catch_up": catch_up, "catch_up_window": format!("{window}h"), "jitter": format!("{jitter}s")});
        let mut held = Held::new(schedule(rules.clone()));
        let (mut now, mut latest) = (0_i64, 0);
        for step in steps {
            match step {
                Step::Back(seconds) => now = (now - seconds).max(0),
                Step::Look(seconds) | Step::Sleep(seconds) => {
                    now += seconds;
                    held.look(at(now), false);
                    held.start(at(now));
                }
                Step::Pause(paused) => {
                    held.look(at(now), false);
                    let schedule = held.record().schedule.with_paused(paused);
                    held.change(&Change::Put(Box::new(schedule)), at(now));
                }
                // A schedule keeps its rhythm only if nothing but the pause changes. Changes are
                // therefore made exactly at a tick, and not before ticks that a fast clock has
                // decided.
                Step::Change(priority) => {
                    now = now.max(latest);
                    now += PERIOD - now % PERIOD;
                    let mut fields = rules.clone();
                    fields["spec"] = json!({"priority": priority});
                    held.change(&Change::Put(Box::new(schedule(fields))), at(now));
                }
            }
            latest = latest.max(now);
        }
        held.look(at(latest), false);
        let ticks: Vec<i64> = held.ticks(at(latest)).iter().map(|(second, _)| *second).collect();
        let expected: Vec<i64> = (1..).map(|n| n * PERIOD).take_while(|second| *second <= latest).collect();
        prop_assert_eq!(ticks, expected);
        let to_come = held.waiting().into_iter().filter(|job| job.nominal() > Some(at(latest))).count();
        prop_assert_eq!(to_come, usize::from(!held.record().schedule.is_paused()), "the next tick is a job, and only that");
    }
}

#[test]
fn a_restored_backup_runs_no_past_tick() {
    let mut held = Held::new(schedule(json!({"catch_up": "all"})));
    held.look(at(3_000), true);
    assert_eq!(
        held.ticks(at(3_000)),
        [(600, true), (1_200, false), (1_800, false), (2_400, false), (3_000, false)]
    );
    let reasons: Vec<_> = held.rows.values().filter_map(|row| row.reason).collect();
    assert!(reasons.iter().all(|reason| *reason == Reason::Restored), "{reasons:?}");
    let waiting: Vec<i64> = held.waiting().iter().map(|job| job.due_at.timestamp()).collect();
    assert_eq!(waiting, [600, 3_600], "the one that was in the backup is looked for on the engine");
}

#[test]
fn a_long_sleep_leads_to_one_run() {
    let mut held = Held::new(schedule(json!({})));
    let year = at(365 * 86_400);
    held.look(year, false);
    assert_eq!(held.rows.values().filter(|row| row.first <= year).count(), 3);
    held.start(year);
    let own: Vec<i64> =
        held.ticks(year).into_iter().filter_map(|(second, own)| own.then_some(second)).collect();
    assert_eq!(own, [365 * 86_400], "the last one stands for all");
}

#[test]
fn a_change_replaces_only_the_next_job() {
    let mut held = Held::new(schedule(json!({})));
    held.look(at(600), false);
    held.change(&Change::Put(Box::new(schedule(json!({"every": "7m"})))), at(700));
    let due =
        |held: &Held| held.waiting().iter().map(|job| job.due_at.timestamp()).collect::<Vec<_>>();
    assert_eq!(due(&held), [600, 700 + 420], "what is due already goes on as it was");
    held.change(&Change::Delete, at(800));
    assert_eq!((due(&held), held.record), (vec![], None));
}

#[test]
fn a_cancelled_tick_has_one_row_after_pausing() {
    let mut held = Held::new(schedule(json!({})));
    let next_tick = held.waiting().remove(0);
    held.jobs.insert(next_tick.id, next_tick.on(Event::Cancel, at(300)).expect("it waits"));
    let paused = held.record().schedule.with_paused(true);
    held.change(&Change::Put(Box::new(paused)), at(400));
    let seconds: Vec<i64> = held.ticks(at(1_900)).into_iter().map(|(second, _)| second).collect();
    assert_eq!(seconds, [600, 1_200, 1_800]);
}

#[test]
fn a_last_run_begun_early_is_decided() {
    let mut held = Held::new(schedule(json!({"max_runs": 1})));
    held.start(at(600));
    let mut record = held.record();
    (record.runs, record.next_check_at) = (1, Some(at(0)));
    held.record = Some(record);
    held.look(at(599), false);
    assert_eq!((held.record().settled_until, held.record().next_tick), (at(600), None));
    held.record.as_mut().expect("it is there").next_check_at = Some(at(0));
    held.look(at(700), false);
    assert_eq!(held.ticks(at(700)), [(600, true)]);
}

#[test]
fn a_failure_noticed_late_starts_nothing() {
    for catch_up in ["last", "all"] {
        let mut held = Held::new(schedule(json!({"pause_on_failure": true, "catch_up": catch_up})));
        held.look(at(600), false);
        held.start(at(600));
        let record = held.record.as_mut().expect("it is there");
        (record.failed, record.next_check_at) = (true, Some(at(0)));
        held.look(at(3_000), false);
        assert!(held.record().schedule.is_paused() && held.waiting().is_empty(), "{catch_up}");
        let seconds: Vec<(i64, bool)> = held.ticks(at(3_000));
        assert_eq!(
            seconds,
            [(600, true), (1_200, false), (1_800, false), (2_400, false), (3_000, false)],
            "{catch_up}"
        );
    }
}
