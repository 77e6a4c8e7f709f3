//! A schedule: the name and spec of a job, the times to run it, and a policy for runs that overlap.
//!
//! [`ScheduleFields`] is the form that `PUT /schedule/{name}` and `[schedules.NAME]` accept. An
//! unknown field is refused by name, and each field's type checks its own syntax. [`Schedule`] is
//! the form after the checks that concern several fields; no other way leads to it. Omitted fields
//! are filled in, so a schedule that is read back shows every value.
//!
//! Two things are elsewhere: `ledger` records the runs and the outcome of each tick, and `overlap`
//! decides about jobs.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::recurrence::{
    CatchUp, CatchUpRules, Period, Rule, SettledTicks, Tick, Timetable, Zone, settle,
};
use crate::domain::spec::{BadSpec, JobSpec, SpecFields};
use crate::domain::text::date::rfc3339;
use crate::domain::text::units::{Span, shown};

/// The default of `catch_up_window`: missed ticks are caught up for a day.
const DEFAULT_CATCH_UP_WINDOW: Duration = Duration::from_secs(86_400);
/// The largest `jitter`: more than a day calls for a schedule of its own.
const MAX_JITTER: Duration = Duration::from_secs(86_400);

/// The fields of a schedule as callers write them, each optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleFields {
    /// The definition or image to run. A schedule without it is refused.
    pub job_name: Option<JobName>,
    /// The due times by the clock. Accepts `@every`, too, which is written back as `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<Rule>,
    /// The period in real time; excludes `cron`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Period>,
    /// The zone of the clock; `None` means the server's zone.
    pub time_zone: Option<Zone>,
    /// The policy for a tick that is due while the run before it is not over.
    pub overlap: Option<Overlap>,
    /// The policy for missed ticks.
    pub catch_up: Option<CatchUp>,
    /// The greatest age at which a missed tick is caught up; a day by default.
    pub catch_up_window: Option<Span>,
    /// The range of the added delay, at most a day. Each tick is delayed by its own part of it.
    pub jitter: Option<Span>,
    /// The earliest instant for a tick, inclusive; `None` means no bound.
    #[serde(with = "instant")]
    pub start_at: Option<Timestamp>,
    /// The latest instant for a tick, inclusive; `None` means no bound.
    #[serde(with = "instant")]
    pub end_at: Option<Timestamp>,
    /// The most runs, at least 1; `None` means no limit.
    pub max_runs: Option<u64>,
    /// Set while ticks are skipped.
    pub paused: Option<bool>,
    /// Set if a failed run pauses the schedule.
    pub pause_on_failure: Option<bool>,
    /// Fields for the job, laid over the fields of its definition.
    pub spec: Option<SpecFields>,
}

/// The policy for a tick that is due while the run before it is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Skip the new tick.
    #[default]
    Skip,
    /// Run the tick once the run before it is over; only one tick waits.
    QueueOne,
    /// Run both at once.
    Allow,
    /// Stop the run before it.
    Replace,
}

/// A checked schedule with read-only fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ScheduleFields", into = "ScheduleFields")]
pub struct Schedule {
    job_name: JobName,
    rule: Rule,
    time_zone: Option<Zone>,
    overlap: Overlap,
    catch_up: CatchUp,
    catch_up_window: Span,
    jitter: Span,
    start_at: Option<Timestamp>,
    end_at: Option<Timestamp>,
    max_runs: Option<u64>,
    paused: bool,
    pause_on_failure: bool,
    spec: JobSpec,
}

impl Schedule {
    /// Returns the definition or image to run.
    pub fn job_name(&self) -> &JobName {
        &self.job_name
    }

    /// Returns the fields for the job, to be laid over the fields of its definition.
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    pub fn overlap(&self) -> Overlap {
        self.overlap
    }

    pub fn catch_up(&self) -> CatchUp {
        self.catch_up
    }

    /// Returns the most runs in all; `None` means no limit.
    pub fn max_runs(&self) -> Option<u64> {
        self.max_runs
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    pub fn pauses_on_failure(&self) -> bool {
        self.pause_on_failure
    }

    #[must_use]
    pub fn with_paused(self, paused: bool) -> Self {
        Self { paused, ..self }
    }

    /// Sets the zone, unless the schedule names one.
    #[must_use]
    pub fn in_zone(self, zone: Zone) -> Self {
        Self { time_zone: self.time_zone.or(Some(zone)), ..self }
    }

    /// Returns the zone of the clock; `None` until [`Self::in_zone`] sets one.
    pub fn time_zone(&self) -> Option<Zone> {
        self.time_zone
    }

    /// Returns the due times: by clocks in the schedule's zone, or else in `server_zone`. A period
    /// counts from `start_at`, or else from `accepted_at`.
    pub fn timetable(&self, server_zone: Zone, accepted_at: Timestamp) -> Timetable {
        let (zone, anchor) =
            (self.time_zone.unwrap_or(server_zone), self.start_at.unwrap_or(accepted_at));
        let recurrence = self.rule.clone().anchored(zone, anchor);
        Timetable { recurrence, start_at: self.start_at, end_at: self.end_at }
    }

    /// Returns the due time of a tick's job: the nominal time plus this tick's part of the jitter.
    pub fn due_at(&self, name: &ScheduleName, tick: Tick) -> Timestamp {
        tick.nominal + part_of_jitter(name, tick.nominal, self.jitter.as_duration())
    }

    /// Decides the ticks after `since` and not after `now`: see [`settle`].
    pub fn settle(
        &self,
        timetable: &Timetable,
        since: Timestamp,
        now: Timestamp,
    ) -> impl Iterator<Item = SettledTicks> {
        let (window, jitter) = (self.catch_up_window.as_duration(), self.jitter.as_duration());
        settle(timetable, since, now, CatchUpRules { catch_up: self.catch_up, window, jitter })
    }
}

/// Returns a delay from zero to just less than `jitter`, evenly spread, in whole milliseconds.
///
/// The delay is computed from a hash of the schedule's name and the tick's nominal time. The same
/// tick gets the same delay on any machine and in any version.
fn part_of_jitter(name: &ScheduleName, nominal: Timestamp, jitter: Duration) -> TimeDelta {
    let mut hash = Sha256::new();
    hash.update(name.as_str().as_bytes());
    hash.update([0]); // no name contains it: `a1` at 2 is not `a` at 12
    hash.update(nominal.timestamp_millis().to_be_bytes());
    let die = hash.finalize().iter().take(8).fold(0_u64, |die, byte| die << 8 | u64::from(*byte));
    let part = (jitter.as_millis() * u128::from(die)) >> u64::BITS;
    i64::try_from(part).ok().and_then(TimeDelta::try_milliseconds).unwrap_or_default()
}

fn bad<T>(field: &'static str, detail: impl Into<String>) -> Result<T, BadSpec> {
    Err(BadSpec { field, detail: detail.into() })
}

impl TryFrom<ScheduleFields> for Schedule {
    type Error = BadSpec;

    fn try_from(fields: ScheduleFields) -> Result<Self, BadSpec> {
        let Some(job_name) = fields.job_name else {
            return bad(
                "job_name",
                "`job_name` is missing: give a definition such as `JOB_A`, or an image such as `busybox`",
            );
        };
        let jitter = fields.jitter.unwrap_or(Span::from(Duration::ZERO));
        if jitter.as_duration() > MAX_JITTER {
            return bad(
                "jitter",
                format!("`jitter` is `{jitter}` and has to be a day or less, such as `5m`"),
            );
        }
        if let (Some(start), Some(end)) = (fields.start_at, fields.end_at)
            && end < start
        {
            let (start, end) = (rfc3339(start), rfc3339(end));
            return bad(
                "end_at",
                format!(
                    "`end_at` is `{end}`, before `start_at`, which is `{start}`: write a later one"
                ),
            );
        }
        if fields.max_runs == Some(0) {
            return bad(
                "max_runs",
                "`max_runs` is 0 and has to be 1 or more: leave it out for no limit",
            );
        }
        let spec = JobSpec::try_from(fields.spec.unwrap_or_default())
            .or_else(|wrong| bad("spec", format!("in `spec`: {}", wrong.detail)))?;
        Ok(Self {
            job_name,
            rule: rule_of(fields.cron, fields.every)?,
            time_zone: fields.time_zone,
            overlap: fields.overlap.unwrap_or_default(),
            catch_up: fields.catch_up.unwrap_or_default(),
            catch_up_window: fields.catch_up_window.unwrap_or(Span::from(DEFAULT_CATCH_UP_WINDOW)),
            jitter,
            start_at: fields.start_at,
            end_at: fields.end_at,
            max_runs: fields.max_runs,
            paused: fields.paused.unwrap_or(false),
            pause_on_failure: fields.pause_on_failure.unwrap_or(false),
            spec,
        })
    }
}

fn rule_of(cron: Option<Rule>, every: Option<Period>) -> Result<Rule, BadSpec> {
    match (cron, every) {
        (Some(rule), None) => Ok(rule),
        (None, Some(period)) => Ok(Rule::Every(period)),
        (None, None) => bad(
            "cron",
            "it is missing when to run: give `cron`, such as `30 2 * * *`, or `every`, such as `90m`",
        ),
        (Some(_), Some(_)) => bad("every", "`cron` and `every` are both given: give one of them"),
    }
}

impl From<Schedule> for ScheduleFields {
    fn from(schedule: Schedule) -> Self {
        let (cron, every) = match schedule.rule {
            Rule::Every(period) => (None, Some(period)),
            rule @ Rule::Cron(_) => (Some(rule), None),
        };
        Self {
            job_name: Some(schedule.job_name),
            cron,
            every,
            time_zone: schedule.time_zone,
            overlap: Some(schedule.overlap),
            catch_up: Some(schedule.catch_up),
            catch_up_window: Some(schedule.catch_up_window),
            jitter: Some(schedule.jitter),
            start_at: schedule.start_at,
            end_at: schedule.end_at,
            max_runs: schedule.max_runs,
            paused: Some(schedule.paused),
            pause_on_failure: Some(schedule.pause_on_failure),
            spec: Some(schedule.spec.into()),
        }
    }
}

/// Serde functions for an optional instant: read as RFC 3339 with any offset, written in UTC.
mod instant {
    use serde::de::Error as _;

    use super::{
        DateTime, Deserialize, Deserializer, Serialize, Serializer, Timestamp, rfc3339, shown,
    };

    #[expect(clippy::ref_option, reason = "serde's `with` gives a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(rfc3339).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let at = DateTime::parse_from_rfc3339(text.trim()).map_err(|_| {
            let value = shown(&text);
            D::Error::custom(format!(
                "`{value}` is no instant: write one with its offset, such as `2026-03-28T02:30:00+01:00`"
            ))
        })?;
        Ok(Some(at.to_utc()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(json: Value) -> Result<Schedule, String> {
        serde_json::from_value::<Schedule>(json).map_err(|error| error.to_string())
    }

    fn with(field: &str, value: Value) -> Value {
        let mut schedule = json!({"job_name": "JOB_A", "cron": "30 2 * * *"});
        schedule[field] = value;
        schedule
    }

    fn utc(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn reading_a_schedule_back_shows_every_default() {
        let schedule = read(json!({"job_name": "JOB_A", "cron": "30 02 * * mon"})).unwrap();
        let written = serde_json::to_value(&schedule).unwrap();
        let expected = json!({
            "job_name": "JOB_A", "cron": "30 2 * * 1", "time_zone": null, "overlap": "skip", "catch_up": "last",
            "catch_up_window": "1day", "jitter": "0s", "start_at": null, "end_at": null, "max_runs": null, "paused": false,
            "pause_on_failure": false, "spec": {},
        });
        assert_eq!(written, expected);
        assert_eq!(read(written), Ok(schedule));
    }

    #[test]
    fn a_full_schedule_survives_a_round_trip() {
        let full = json!({
            "job_name": "JOB_A", "every": "1h 30m", "time_zone": "Europe/Berlin", "overlap": "queue_one", "catch_up": "all",
            "catch_up_window": "2h", "jitter": "5m", "start_at": "2026-01-01T00:00:00.000Z",
            "end_at": "2027-01-01T00:00:00.000Z", "max_runs": 7, "paused": true, "pause_on_failure": true,
            "spec": {"env": {"NIGHT": "1"}},
        });
        assert_eq!(serde_json::to_value(read(full.clone()).unwrap()).unwrap(), full);
    }

    #[test]
    fn at_every_in_cron_equals_every() {
        let one = read(json!({"job_name": "a", "cron": "@every 90s"})).unwrap();
        assert_eq!(read(json!({"job_name": "a", "every": "90s"})), Ok(one));
    }

    #[test]
    fn invalid_fields_are_refused_by_name() {
        for (json, part) in [
            (json!({"cron": "@daily"}), "`job_name` is missing"),
            (json!({"job_name": "a"}), "`cron`, such as `30 2 * * *`, or `every`, such as `90m`"),
            (with("every", json!("90s")), "both given"),
            (with("cron", json!("61 * * * *")), "minute: `61` is out of range"),
            (with("cron", json!(7)), "expected a string"),
            (json!({"job_name": "a", "every": "10ms"}), "too short"),
            (json!({"job_name": "a", "every": 90}), "\"90s\""),
            (with("time_zone", json!("Berlin")), "`Berlin` is not a time zone"),
            (with("overlap", json!("queue")), "unknown variant `queue`"),
            (with("catch_up", json!("some")), "unknown variant `some`"),
            (with("jitter", json!("2d")), "`2days` and has to be a day or less"),
            (with("start_at", json!("tomorrow")), "`tomorrow` is no instant"),
            (with("start_at", json!("2026-01-01T00:00")), "is no instant"),
            (with("max_runs", json!(0)), "`max_runs` is 0"),
            (with("max_runs", json!(-1)), "-1"),
            (with("spec", json!({"memory": "1MiB"})), "in `spec`: `memory` is 1MiB: it has to be"),
            (with("spec", json!({"memroy": "1GiB"})), "unknown field `memroy`"),
            (with("crno", json!("@daily")), "unknown field `crno`"),
        ] {
            let refusal = read(json).unwrap_err();
            assert!(refusal.contains(part), "{refusal} lacks {part}");
        }
        let mut backwards = with("start_at", json!("2026-01-01T01:00:00+01:00"));
        backwards["end_at"] = json!("2025-12-31T23:59:59Z");
        assert!(
            read(backwards)
                .unwrap_err()
                .contains("before `start_at`, which is `2026-01-01T00:00:00.000Z`")
        );
    }

    #[test]
    fn ticks_follow_the_zone_and_stay_within_bounds() {
        let mut json = with("start_at", json!("2026-07-02T00:00:00Z"));
        json["end_at"] = json!("2026-07-04T00:30:00Z");
        let ticks = |json: Value, zone: Zone| -> Vec<String> {
            let timetable = read(json).unwrap().timetable(zone, utc("2026-07-01T12:00:00Z"));
            timetable
                .after(utc("2026-07-01T00:00:00Z"))
                .map(|tick| rfc3339(tick.nominal))
                .take(2)
                .collect()
        };
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        assert_eq!(
            ticks(json.clone(), berlin),
            ["2026-07-02T00:30:00.000Z", "2026-07-03T00:30:00.000Z"]
        );
        json["time_zone"] = json!("UTC");
        assert_eq!(ticks(json, berlin), ["2026-07-02T02:30:00.000Z", "2026-07-03T02:30:00.000Z"]);
        let every = json!({"job_name": "a", "every": "7h"});
        assert_eq!(
            ticks(every.clone(), berlin),
            ["2026-07-01T12:00:00.000Z", "2026-07-01T19:00:00.000Z"]
        );
        let mut started = every;
        started["start_at"] = json!("2026-07-01T09:00:00Z");
        assert_eq!(
            ticks(started, berlin),
            ["2026-07-01T09:00:00.000Z", "2026-07-01T16:00:00.000Z"]
        );
    }

    #[test]
    fn missed_ticks_follow_the_catch_up_policy() {
        let schedule = read(with("catch_up", json!("none"))).unwrap();
        let timetable = schedule.timetable(Zone::UTC, utc("2026-07-01T00:00:00Z"));
        let decisions =
            schedule.settle(&timetable, utc("2026-07-01T00:00:00Z"), utc("2026-07-01T12:00:00Z"));
        assert_eq!(
            decisions.map(|settled| settled.decision).collect::<Vec<_>>(),
            [crate::domain::recurrence::TickDecision::NotCaughtUp]
        );
    }

    #[test]
    fn a_name_fits_into_addresses_and_labels() {
        for name in ["nightly", "a", "7up", "Back_up.v2-x"] {
            assert_eq!(name.parse::<ScheduleName>().map(String::from).as_deref(), Ok(name));
        }
        for text in ["", "-a", ".", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(
                text.parse::<ScheduleName>().unwrap_err().to_string().contains("such as `nightly`"),
                "{text}"
            );
        }
    }

    /// These numbers are a promise: a tick keeps its due time in every version.
    #[test]
    fn the_jitter_of_a_tick_never_changes() {
        let jitter = |name: &str, at: i64| {
            let at = Timestamp::from_timestamp(at, 0).unwrap();
            part_of_jitter(&name.parse().unwrap(), at, Duration::from_secs(600)).num_milliseconds()
        };
        assert_eq!(
            [jitter("nightly", 0), jitter("nightly", 60), jitter("hourly", 0)],
            [317_968, 353_211, 488_621]
        );
    }

    #[test]
    fn jitter_is_spread_evenly() {
        let name = "nightly".parse().unwrap();
        let mut tenths = [0; 10];
        for minute in 0..10_000 {
            let at = Timestamp::from_timestamp(minute * 60, 0).unwrap();
            let part = part_of_jitter(&name, at, Duration::from_secs(10)).num_milliseconds();
            tenths[usize::try_from(part / 1000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))]

        #[test]
        fn jitter_stays_below_its_limit(at in 0..4_000_000_000_i64, millis in 0..86_400_000_u64) {
            let at = Timestamp::from_timestamp(at, 0).unwrap();
            let part = part_of_jitter(&"a".parse().unwrap(), at, Duration::from_millis(millis)).num_milliseconds();
            prop_assert!(part >= 0 && part.unsigned_abs() < millis.max(1));
        }
    }
}
