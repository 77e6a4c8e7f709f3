//! Tables of hard cases: the meaning of cron expressions, and due times where clocks change.
//!
//! Each row gives a zone, an expression, an instant, and the wall times (with offset) of the ticks
//! that follow it. The cases are spelled out because each of them is a bug in some cron.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;
use rstest::rstest;

use super::cron::DAY;
use super::*;
use crate::domain::names::id::Timestamp;
use crate::domain::text::units::Span;

fn utc(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn cron(zone: &str, text: &str) -> Recurrence {
    Recurrence::Cron(text.parse().unwrap(), zone.parse().unwrap())
}

/// Returns the ticks after an instant as the zone's wall clock shows them. A `~` marks ticks that a
/// gap put there.
fn walls(zone: &str, text: &str, after: &str, count: usize) -> Vec<String> {
    let tz = zone.parse::<Zone>().unwrap().tz();
    let shown = |tick: Tick| {
        let wall = tick
            .nominal
            .with_timezone(&tz)
            .format("%m-%d %H:%M:%S%z")
            .to_string()
            .replace(":00+", "+");
        wall.replace(":00-", "-") + if tick.shifted { "~" } else { "" }
    };
    cron(zone, text).after(utc(after)).take(count).map(shown).collect()
}

#[track_caller]
fn assert_walls(zone: &str, text: &str, after: &str, expected: &[&str]) {
    assert_eq!(walls(zone, text, after, expected.len()), expected, "{zone} {text} after {after}");
}

const BERLIN: &str = "Europe/Berlin";
const NEW_YORK: &str = "America/New_York";

#[rstest]
#[case::daily("30 2 * * *", &["03-28 02:30+0100", "03-29 03:00+0200~", "03-30 02:30+0200"])]
#[case::list("0,30 2 * * *", &["03-28 02:00+0100", "03-28 02:30+0100", "03-29 03:00+0200~", "03-30 02:00+0200"])]
#[case::list_of_hours("30 1,2,3 * * *", &["03-28 01:30+0100", "03-28 02:30+0100", "03-28 03:30+0100",
    "03-29 01:30+0100", "03-29 03:00+0200~", "03-29 03:30+0200", "03-30 01:30+0200"])]
#[case::swallowed_and_shown("0 2,3 * * *", &["03-28 02:00+0100", "03-28 03:00+0100", "03-29 03:00+0200", "03-30 02:00+0200"])]
#[case::range_is_fixed("0 1-4 * * *", &["03-28 01:00+0100", "03-28 02:00+0100", "03-28 03:00+0100", "03-28 04:00+0100",
    "03-29 01:00+0100", "03-29 03:00+0200", "03-29 04:00+0200"])]
#[case::every_minute_of_a_fixed_hour("*/20 2 * * 0", &["03-29 03:00+0200~", "04-05 02:00+0200", "04-05 02:20+0200"])]
#[case::just_before("59 1 * * 0", &["03-29 01:59+0100", "04-05 01:59+0200"])]
#[case::just_after("0 3 * * 0", &["03-29 03:00+0200", "04-05 03:00+0200"])]
#[case::seconds("59 59 2 * * 0", &["03-29 03:00+0200~", "04-05 02:59:59+0200"])]
fn a_gap_gives_a_fixed_schedule_one_tick(#[case] text: &str, #[case] expected: &[&str]) {
    assert_walls(BERLIN, text, "2026-03-27T12:00:00Z", expected);
}

#[rstest]
#[case::daily("30 2 * * *", &["10-24 02:30+0200", "10-25 02:30+0200", "10-26 02:30+0100"])]
#[case::list("0,30 2 * * *", &["10-24 02:00+0200", "10-24 02:30+0200", "10-25 02:00+0200", "10-25 02:30+0200", "10-26 02:00+0100"])]
#[case::range("0 1-3 * * 0", &["10-25 01:00+0200", "10-25 02:00+0200", "10-25 03:00+0100", "11-01 01:00+0100"])]
#[case::first_after("0 3 * * *", &["10-24 03:00+0200", "10-25 03:00+0100", "10-26 03:00+0100"])]
fn a_fold_runs_a_fixed_schedule_once(#[case] text: &str, #[case] expected: &[&str]) {
    assert_walls(BERLIN, text, "2026-10-23T12:00:00Z", expected);
}

#[rstest]
#[case::gap("*/30 * * * *", "2026-03-29T00:00:00Z", &["03-29 01:30+0100", "03-29 03:00+0200", "03-29 03:30+0200"])]
#[case::fold("*/30 * * * *", "2026-10-25T00:00:00Z",
    &["10-25 02:30+0200", "10-25 02:00+0100", "10-25 02:30+0100", "10-25 03:00+0100"])]
#[case::step_in_the_gap("0 */2 * * *", "2026-03-28T23:30:00Z", &["03-29 04:00+0200", "03-29 06:00+0200"])]
#[case::step_in_the_fold("0 */2 * * *", "2026-10-24T22:30:00Z", &["10-25 02:00+0200", "10-25 02:00+0100", "10-25 04:00+0100"])]
#[case::stepped_range("15 1-3/1 * * *", "2026-03-28T23:30:00Z", &["03-29 01:15+0100", "03-29 03:15+0200", "03-30 01:15+0200"])]
#[case::from_with_a_step("0 2/12 * * *", "2026-03-28T23:30:00Z", &["03-29 14:00+0200", "03-30 02:00+0200"])]
#[case::seconds("30 59 * * * *", "2026-03-29T00:00:00Z", &["03-29 01:59:30+0100", "03-29 03:59:30+0200"])]
fn an_interval_schedule_follows_real_time(
    #[case] text: &str,
    #[case] after: &str,
    #[case] expected: &[&str],
) {
    assert_walls(BERLIN, text, after, expected);
}

#[rstest]
#[case("30 2 * * *", "2026-03-07T12:00:00Z", &["03-08 03:00-0400~", "03-09 02:30-0400"])]
#[case("30 1 * * *", "2026-10-31T12:00:00Z", &["11-01 01:30-0400", "11-02 01:30-0500"])]
#[case("30 * * * *", "2026-11-01T05:00:00Z", &["11-01 01:30-0400", "11-01 01:30-0500", "11-01 02:30-0500"])]
#[case("@daily", "2026-03-07T12:00:00Z", &["03-08 00:00-0500", "03-09 00:00-0400"])]
fn new_york_follows_the_same_rules(
    #[case] text: &str,
    #[case] after: &str,
    #[case] expected: &[&str],
) {
    assert_walls(NEW_YORK, text, after, expected);
}

#[rstest]
// Lord Howe changes by half an hour: 02:00 becomes 02:30 in October, and 02:00 becomes 01:30 in
// April.
#[case("Australia/Lord_Howe", "15 2 * * *", "2025-10-04T00:00:00Z", &["10-05 02:30+1100~", "10-06 02:15+1100"])]
#[case("Australia/Lord_Howe", "45 2 * * *", "2025-10-04T00:00:00Z", &["10-05 02:45+1100", "10-06 02:45+1100"])]
#[case("Australia/Lord_Howe", "45 1 * * *", "2025-04-05T00:00:00Z", &["04-06 01:45+1100", "04-07 01:45+1030"])]
#[case("Australia/Lord_Howe", "*/15 * * * *", "2025-04-05T14:15:00Z",
    &["04-06 01:30+1100", "04-06 01:45+1100", "04-06 01:30+1030", "04-06 01:45+1030", "04-06 02:00+1030"])]
// Samoa left out the 30th of December 2011: the run of that day is at the first instant of the
// 31st. An interval schedule has no run for that day, so the last case begins a year later.
#[case("Pacific/Apia", "30 2 * * *", "2011-12-29T00:00:00Z", &["12-29 02:30-1000", "12-31 00:00+1400~", "12-31 02:30+1400"])]
#[case("Pacific/Apia", "0 0 * * *", "2011-12-29T00:00:00Z", &["12-29 00:00-1000", "12-31 00:00+1400", "01-01 00:00+1400"])]
#[case("Pacific/Apia", "0 12 30 * *", "2011-12-01T00:00:00Z", &["12-31 00:00+1400~", "01-30 12:00+1400"])]
#[case("Pacific/Apia", "0 * 30 12 *", "2011-12-01T00:00:00Z", &["12-30 00:00+1400", "12-30 01:00+1400"])]
// Morocco is an hour behind during Ramadan: back on 10 March 2024, forward again on 14 April.
#[case("Africa/Casablanca", "30 2 * * *", "2024-03-09T12:00:00Z", &["03-10 02:30+0100", "03-11 02:30+0000"])]
#[case("Africa/Casablanca", "30 2 * * *", "2024-04-13T12:00:00Z", &["04-14 03:00+0100~", "04-15 02:30+0100"])]
// Troll changes by two hours at once.
#[case("Antarctica/Troll", "0,30 1,2 * * *", "2025-03-29T12:00:00Z", &["03-30 03:00+0200~", "03-31 01:00+0200"])]
#[case("Antarctica/Troll", "30 1,2 * * *", "2025-10-25T12:00:00Z",
    &["10-26 01:30+0200", "10-26 02:30+0200", "10-27 01:30+0000"])]
// Some days begin at 01:00.
#[case("America/Sao_Paulo", "0 0 * * *", "2017-10-14T12:00:00Z", &["10-15 01:00-0200~", "10-16 00:00-0200"])]
#[case("America/Sao_Paulo", "30 23 * * *", "2018-02-17T12:00:00Z", &["02-17 23:30-0200", "02-18 23:30-0300"])]
#[case("America/Havana", "@daily", "2025-03-08T12:00:00Z", &["03-09 01:00-0400~", "03-10 00:00-0400"])]
#[case("America/Havana", "@daily", "2025-11-01T12:00:00Z", &["11-02 00:00-0400", "11-03 00:00-0500"])]
#[case("America/Santiago", "15 0 * * *", "2025-09-06T12:00:00Z", &["09-07 01:00-0300~", "09-08 00:15-0300"])]
#[case("America/Santiago", "30 23 * * *", "2025-04-05T12:00:00Z", &["04-05 23:30-0300", "04-06 23:30-0400"])]
// A fold over midnight: 00:01 becomes 23:01 of the day before.
#[case("America/St_Johns", "0 0 * * *", "2010-11-06T12:00:00Z", &["11-07 00:00-0230", "11-08 00:00-0330"])]
#[case("America/St_Johns", "30 * * * *", "2010-11-07T01:30:00Z", &["11-06 23:30-0230", "11-06 23:30-0330", "11-07 00:30-0330"])]
#[case("America/St_Johns", "0 */6 * * *", "2010-11-07T01:30:00Z", &["11-07 00:00-0230", "11-07 00:00-0330", "11-07 06:00-0330"])]
// Offsets of odd minutes, and a quarter of an hour's gap that is no daylight saving.
#[case("Asia/Kathmandu", "0 0 * * *", "2025-01-01T00:00:00Z", &["01-02 00:00+0545", "01-03 00:00+0545"])]
#[case("Asia/Kathmandu", "10 0 * * *", "1985-12-30T20:00:00Z", &["01-01 00:15+0545~", "01-02 00:10+0545"])]
#[case("Pacific/Chatham", "0 3 * * *", "2025-09-27T00:00:00Z", &["09-28 03:45+1345~", "09-29 03:00+1345"])]
#[case("Pacific/Chatham", "0 3 * * *", "2025-04-05T00:00:00Z", &["04-06 03:00+1345", "04-07 03:00+1245"])]
// Changes of law: Pyongyang was half an hour behind for three years, Moscow an hour back for good.
#[case("Asia/Pyongyang", "45 23 * * *", "2015-08-14T12:00:00Z", &["08-14 23:45+0900", "08-15 23:45+0830"])]
#[case("Asia/Pyongyang", "45 23 * * *", "2018-05-04T12:00:00Z", &["05-05 00:00+0900~", "05-05 23:45+0900"])]
#[case("Europe/Moscow", "30 1 * * *", "2014-10-25T12:00:00Z", &["10-26 01:30+0400", "10-27 01:30+0300"])]
fn hard_zones_follow_the_same_rules(
    #[case] zone: &str,
    #[case] text: &str,
    #[case] after: &str,
    #[case] expected: &[&str],
) {
    assert_walls(zone, text, after, expected);
}

#[rstest]
#[case::leap_day("0 0 29 2 *", "2096-01-01T00:00:00Z", &["2096-02-29", "2104-02-29"])]
#[case::no_31st("0 0 31 * *", "2026-01-31T00:00:00Z", &["2026-03-31", "2026-05-31", "2026-07-31", "2026-08-31"])]
#[case::last("0 0 L * *", "2028-01-31T00:00:00Z", &["2028-02-29", "2028-03-31", "2028-04-30"])]
#[case::before_last("0 0 L-3 2 *", "2026-01-01T00:00:00Z", &["2026-02-25", "2027-02-25", "2028-02-26"])]
#[case::last_workday("0 0 LW * *", "2026-01-01T00:00:00Z", &["2026-01-30", "2026-02-27", "2026-03-31"])]
#[case::near_the_15th("0 0 15W * *", "2026-01-01T00:00:00Z", &["2026-01-15", "2026-02-16", "2026-03-16", "2026-04-15"])]
#[case::near_a_saturday_the_15th("0 0 15W 8 *", "2026-01-01T00:00:00Z", &["2026-08-14"])]
#[case::not_in_the_month_before("0 0 1W 8 *", "2026-01-01T00:00:00Z", &["2026-08-03"])]
#[case::not_in_the_month_after("0 0 31W 5 *", "2026-01-01T00:00:00Z", &["2026-05-29"])]
#[case::no_such_day("0 0 31W * *", "2026-01-31T00:00:00Z", &["2026-03-31", "2026-05-29"])]
#[case::second_monday("0 0 * * MON#2", "2026-01-01T00:00:00Z", &["2026-01-12", "2026-02-09", "2026-03-09"])]
#[case::fifth_sunday("0 0 * * 7#5", "2026-01-01T00:00:00Z", &["2026-03-29", "2026-05-31", "2026-08-30"])]
#[case::last_friday("0 0 * * 5L", "2026-01-01T00:00:00Z", &["2026-01-30", "2026-02-27", "2026-03-27"])]
#[case::in_lists("0 0 L,15 * FRIL", "2026-01-01T00:00:00Z", &["2026-01-15", "2026-01-30", "2026-01-31", "2026-02-15"])]
#[case::either("0 0 13 * FRI", "2026-02-01T00:00:00Z", &["2026-02-06", "2026-02-13", "2026-02-20"])]
#[case::both_with_a_star("0 0 */2 * MON", "2026-02-01T00:00:00Z", &["2026-02-09", "2026-02-23", "2026-03-09"])]
#[case::sunday_is_0_and_7("0 0 * * 7", "2026-02-01T00:00:00Z", &["2026-02-08"])]
#[case::over_sunday("0 0 * * SAT-MON", "2026-02-02T00:00:00Z", &["2026-02-07", "2026-02-08", "2026-02-09", "2026-02-14"])]
#[case::friday_to_7("0 0 * * 5-7", "2026-02-02T00:00:00Z", &["2026-02-06", "2026-02-07", "2026-02-08", "2026-02-13"])]
#[case::over_new_year("0 0 1 NOV-FEB/2 ?", "2026-01-02T00:00:00Z", &["2026-11-01", "2027-01-01", "2027-11-01"])]
#[case::over_the_end("0 0 30-2 * *", "2026-02-03T00:00:00Z", &["2026-03-01", "2026-03-02", "2026-03-30", "2026-03-31"])]
#[case::rare("0 0 29 2 */7", "2026-01-01T00:00:00Z", &["2032-02-29", "2060-02-29", "2088-02-29", "2128-02-29"])]
fn days_follow_the_calendar(#[case] text: &str, #[case] after: &str, #[case] expected: &[&str]) {
    let days: Vec<String> = cron("UTC", text)
        .after(utc(after))
        .take(expected.len())
        .map(|tick| tick.nominal.format("%Y-%m-%d").to_string())
        .collect();
    assert_eq!(days, expected);
}

#[rstest]
#[case("0 22-2 * * *", &["22:00:00", "23:00:00", "00:00:00", "01:00:00", "02:00:00", "22:00:00"])]
#[case("5/20 12 * * *", &["12:05:00", "12:25:00", "12:45:00", "12:05:00"])]
#[case("50-10/10 12 * * *", &["12:00:00", "12:10:00", "12:50:00", "12:00:00"])]
#[case("*/20 1 2 * * *", &["02:01:00", "02:01:20", "02:01:40", "02:01:00"])]
#[case("59 59 23 * * *", &["23:59:59", "23:59:59"])]
fn times_of_day_follow_the_fields(#[case] text: &str, #[case] expected: &[&str]) {
    let times: Vec<String> = cron("UTC", text)
        .after(utc("2026-01-01T21:00:00Z"))
        .take(expected.len())
        .map(|tick| tick.nominal.format("%H:%M:%S").to_string())
        .collect();
    assert_eq!(times, expected);
}

#[rstest]
#[case("30 2 * * *", "30 2 * * *")]
#[case("  030   02 * jan,Feb mon-FRI ", "30 2 * 1,2 1-5")]
#[case("0 30 2 * * *", "30 2 * * *")]
#[case("*/1 * ? * ?", "* * * * *")]
#[case("* * * * 7", "* * * * 0")]
#[case("* * * * 7-2", "* * * * 0-2")]
#[case("* * * * 5-7", "* * * * 5-7")]
#[case("*/10 5/15 1-5/2 l,lw,15w,L-2 * monL,3#2", "*/10 5/15 1-5/2 L,LW,15W,L-2 * 1L,3#2")]
#[case("@Hourly", "0 * * * *")]
#[case("@midnight", "0 0 * * *")]
#[case("@weekly", "0 0 * * 0")]
#[case("@monthly", "0 0 1 * *")]
#[case("@annually", "0 0 1 1 *")]
#[case("@every 90s", "@every 1m 30s")]
#[case("every 1h 30m", "@every 1h 30m")]
fn a_rule_is_written_in_its_normal_form(#[case] text: &str, #[case] expected: &str) {
    let rule: Rule = text.parse().unwrap();
    assert_eq!(rule.to_string(), expected);
    assert_eq!(rule.to_string().parse(), Ok(rule));
}

#[rstest]
#[case("", "is empty")]
#[case("30 2 * *", "has 4 fields")]
#[case("0 30 2 * * * 2027", "has 7 fields")]
#[case("61 2 * * *", "minute: `61` is out of range: write a number from 0 to 59")]
#[case("0 24 * * *", "hour: `24` is out of range")]
#[case("0 0 0 * *", "day of month: `0` is out of range: write a number from 1 to 31")]
#[case("0 0 * 13 *", "month: `13`")]
#[case("0 0 * * 8", "day of week: `8`")]
#[case("60 0 0 * * *", "second: `60`")]
#[case("0 0 * MOON *", "month: `MOON` is not understood: write a number from 1 to 12")]
#[case("0 0 * * MONDAY", "a name such as `MON`")]
#[case("1,,2 * * * *", "minute: `` is not understood")]
#[case("1- * * * *", "minute: `1-` is not understood")]
#[case("-5 * * * *", "minute: `-5` is not understood")]
#[case("1.5 * * * *", "minute: `1.5` is not understood")]
#[case("? * * * *", "minute: `?` is not understood")]
#[case("* L * * *", "hour: `L` is not understood")]
#[case("*/0 * * * *", "the step of `*/0` has to be from 1 to 59")]
#[case("*/90 * * * *", "a schedule's `every`, such as `90m`")]
#[case("*/+5 * * * *", "the step of `*/+5`")]
#[case("*/ * * * *", "the step of `*/`")]
#[case("0 0 * * L", "write `FRIL` for the last Friday")]
#[case("0 0 * * MON#6", "has to end in a number from 1 to 5")]
#[case("0 0 * * MON#", "has to end in a number from 1 to 5")]
#[case("0 0 L-31 * *", "day of month: `L-31` is out of range: write a number from 1 to 30")]
#[case("0 0 32W * *", "day of month: `32` is out of range")]
#[case("0 0 L/2 * *", "day of month: `L/2` is not understood")]
#[case("0 0 30 2 *", "`0 0 30 2 *` never comes")]
#[case("0 0 31 4,6,9,11 *", "never comes")]
#[case("0 0 L-29 2 *", "never comes")]
#[case("@fortnightly", "`@fortnightly` is not known")]
#[case("@every", "as in `@every 90s`")]
#[case("@every 90", "lacks a unit")]
#[case("@every 500ms", "is too short")]
#[case("@every 1500ms 1ns", "a part of a millisecond")]
#[case("a\u{1b}[31m * * * *", "minute: `a\\u{1b}[31m`")]
fn an_invalid_rule_is_refused_with_a_sentence(#[case] text: &str, #[case] part: &str) {
    let refusal = text.parse::<Rule>().unwrap_err().to_string();
    assert!(refusal.contains(part), "{refusal}");
}

#[test]
fn an_overlong_expression_is_refused() {
    assert!("1,".repeat(400).parse::<Rule>().unwrap_err().to_string().contains("800 characters"));
}

#[test]
fn a_period_counts_from_its_anchor_in_real_time() {
    let every = "every 90m"
        .parse::<Rule>()
        .unwrap()
        .anchored(BERLIN.parse().unwrap(), utc("2026-03-28T23:15:00.250Z"));
    let next = |after: &str| every.next_after(utc(after)).map(|tick| tick.nominal);
    assert_eq!(next("2020-01-01T00:00:00Z"), Some(utc("2026-03-28T23:15:00.250Z")));
    assert_eq!(next("2026-03-28T23:15:00.250Z"), Some(utc("2026-03-29T00:45:00.250Z")));
    assert_eq!(next("2026-03-29T00:45:00.249Z"), Some(utc("2026-03-29T00:45:00.250Z")));
    assert_eq!(next("2026-03-29T00:45:00.250Z"), Some(utc("2026-03-29T02:15:00.250Z")));
}

#[test]
fn nothing_is_due_before_1970_or_after_9999() {
    assert_eq!(cron("UTC", "* * * * *").next_after(utc("9999-12-31T23:59:00Z")), None);
    assert_eq!(cron("Pacific/Kiritimati", "* * * * *").next_after(Timestamp::MAX_UTC), None);
    assert_eq!(cron("UTC", "0 0 29 2 *").next_after(utc("9996-02-29T00:00:00Z")), None);
    assert_eq!(
        cron("UTC", "* * * * *").next_after(Timestamp::MIN_UTC).unwrap().nominal,
        Timestamp::UNIX_EPOCH
    );
    let every = "every 1d".parse::<Rule>().unwrap().anchored(Zone::UTC, Timestamp::UNIX_EPOCH);
    assert_eq!(every.next_after(utc("9999-12-31T00:00:00Z")), None);
    assert_eq!(every.next_after(Timestamp::MAX_UTC), None);
}

#[rstest]
#[case("europe/berlin", "Europe/Berlin")]
#[case(" UTC ", "UTC")]
#[case("america/argentina/ushuaia", "America/Argentina/Ushuaia")]
fn a_zone_is_read_in_any_case(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(text.parse::<Zone>().unwrap().to_string(), expected);
}

#[test]
fn an_unknown_zone_is_refused_with_a_sentence() {
    let refusal = "Mars/Olympus".parse::<Zone>().unwrap_err().to_string();
    assert!(
        refusal.contains("`Mars/Olympus` is not a time zone") && refusal.contains("Europe/Berlin"),
        "{refusal}"
    );
}

#[rstest]
#[case("UTC", "30 2 * * *", "at 02:30 every day, UTC")]
#[case(
    BERLIN,
    "30 2 * * *",
    "at 02:30 every day, Europe/Berlin time; when the clock skips 02:30 it runs at the first \
    instant after, and when it shows it twice the first time only"
)]
#[case(
    BERLIN,
    "0,30 2 * * *",
    "at 02:00 and 02:30 every day, Europe/Berlin time; times that the clock skips become one \
    run at the first instant after, and those that it shows twice run the first time only"
)]
#[case(BERLIN, "0 12 * * *", "at 12:00 every day, Europe/Berlin time")]
#[case(
    "America/Havana",
    "@daily",
    "at 00:00 every day, America/Havana time; when the clock skips 00:00 it runs at the \
    first instant after, and when it shows it twice the first time only"
)]
#[case("Asia/Kolkata", "30 2 * * *", "at 02:30 every day, Asia/Kolkata time")]
#[case(BERLIN, "*/30 * * * *", "every 30 minutes every day, Europe/Berlin time")]
#[case("UTC", "* * * * *", "every minute every day, UTC")]
#[case("UTC", "* * * * * *", "every second every day, UTC")]
#[case("UTC", "*/10 * * * * *", "every 10 seconds every day, UTC")]
#[case("UTC", "15 * * * * *", "at second 15 of every minute every day, UTC")]
#[case("UTC", "*/10 5 * * * *", "every 10 seconds, at minute 5 of every hour every day, UTC")]
#[case(
    "UTC",
    "* */20 * * * *",
    "every second, at minutes 0, 20 and 40 of every hour every day, UTC"
)]
#[case("UTC", "15 30 2 * * *", "at 02:30:15 every day, UTC")]
#[case("UTC", "@hourly", "at minute 0 of every hour every day, UTC")]
#[case("UTC", "5,35 * * * *", "at minutes 5 and 35 of every hour every day, UTC")]
#[case(
    "UTC",
    "*/7 * * * *",
    "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour every day, UTC"
)]
#[case("UTC", "0 */6 * * *", "at 00:00, 06:00, 12:00 and 18:00 every day, UTC")]
#[case(
    "UTC",
    "*/15 9-17 * * 1-5",
    "every 15 minutes in the hours 09 to 17 from Monday to Friday, UTC"
)]
#[case("UTC", "* 9 * * *", "every minute in the hour 09 every day, UTC")]
#[case("UTC", "0 22-2 * * *", "at minute 0 in the hours 00 to 02, 22 and 23 every day, UTC")]
#[case("UTC", "@weekly", "at 00:00 on Sundays, UTC")]
#[case("UTC", "0 8 * * MON,THU,SUN", "at 08:00 on Mondays, Thursdays and Sundays, UTC")]
#[case("UTC", "@monthly", "at 00:00 on the 1st of the month, UTC")]
#[case("UTC", "@yearly", "at 00:00 on the 1st of the month in January, UTC")]
#[case(
    "UTC",
    "0 0 1-7,15 JUN-AUG *",
    "at 00:00 on the 1st to the 7th and the 15th of the month from June to August, UTC"
)]
#[case(
    "UTC",
    "0 0 L,LW,12W,L-3 * *",
    "at 00:00 on the last day, the last workday, the workday nearest to the 12th and \
    the day 3 days before the last of the month, UTC"
)]
#[case(
    "UTC",
    "0 0 * * MON#2,5L",
    "at 00:00 on the 2nd Monday of the month and the last Friday of the month, UTC"
)]
#[case("UTC", "0 0 13 * FRI", "at 00:00 on the 13th of the month and also on Fridays, UTC")]
#[case(
    "UTC",
    "0 0 */15 * MON",
    "at 00:00 on the 1st, the 16th and the 31st of the month, but only on Mondays, UTC"
)]
#[case("UTC", "every 90m", "every 1h 30m, counted from 1970-01-01T00:00:00Z")]
fn a_recurrence_is_described_in_english(
    #[case] zone: &str,
    #[case] text: &str,
    #[case] expected: &str,
) {
    let rule: Rule = text.parse().unwrap();
    assert_eq!(rule.anchored(zone.parse().unwrap(), Timestamp::UNIX_EPOCH).describe(), expected);
}

fn timetable(text: &str) -> Timetable {
    text.parse::<Rule>().unwrap().anchored(Zone::UTC, utc("2026-01-01T00:00:00Z")).into()
}

#[test]
fn a_timetable_stays_within_its_bounds() {
    let (start_at, end_at) = (Some(utc("2026-01-02T01:00:00Z")), Some(utc("2026-01-02T03:00:00Z")));
    for text in ["0 * * * *", "every 1h"] {
        let bounded = Timetable { start_at, end_at, ..timetable(text) };
        let hours = |after: &str| -> Vec<u32> {
            bounded.after(utc(after)).map(|tick| chrono::Timelike::hour(&tick.nominal)).collect()
        };
        assert_eq!(hours("2020-01-01T00:00:00Z"), [1, 2, 3]);
        assert_eq!(hours("2026-01-02T01:00:00Z"), [2, 3]);
        assert_eq!(hours("2026-01-02T03:00:00Z"), [0; 0]);
        assert_eq!(
            bounded
                .latest(utc("2020-01-01T00:00:00Z"), utc("2030-01-01T00:00:00Z"))
                .unwrap()
                .nominal,
            end_at.unwrap()
        );
        assert_eq!(bounded.between(start_at.unwrap(), utc("2026-01-02T02:59:59Z")).count(), 2);
    }
}

#[rstest]
#[case(
    "* * * * * *",
    "2025-01-01T00:00:00Z",
    "2026-01-01T00:00:00.5Z",
    Some("2026-01-01T00:00:00Z")
)]
#[case("0 0 29 2 *", "1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z", Some("2024-02-29T00:00:00Z"))]
#[case("30 2 * * *", "2026-01-01T02:30:00Z", "2026-01-02T02:30:00Z", Some("2026-01-02T02:30:00Z"))]
#[case("30 2 * * *", "2026-01-01T02:30:00Z", "2026-01-02T02:29:59Z", None)]
#[case("every 1s", "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", Some("2026-01-01T00:00:02Z"))]
#[case(
    "every 1500ms",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:03.2Z",
    Some("2026-01-01T00:00:03Z")
)]
#[case("30 2 * * *", "2026-01-03T00:00:00Z", "2026-01-02T00:00:00Z", None)]
fn the_latest_tick_lies_within_the_range(
    #[case] text: &str,
    #[case] after: &str,
    #[case] until: &str,
    #[case] expected: Option<&str>,
) {
    assert_eq!(
        timetable(text).latest(utc(after), utc(until)).map(|tick| tick.nominal),
        expected.map(utc)
    );
}

/// Decides an hourly schedule from 00:00 to `now`, and returns the fates in short form.
fn decisions(catch_up: CatchUp, window: &str, now: &str) -> String {
    let window = window.parse::<Span>().unwrap().as_duration();
    let rules = CatchUpRules { catch_up, window, jitter: Duration::ZERO };
    let hour = |at: Timestamp| at.format("%-H");
    let said = |settled: SettledTicks| {
        let decision = match settled.decision {
            TickDecision::Runs => "runs".to_owned(),
            TickDecision::CaughtUp => "late".to_owned(),
            TickDecision::CaughtUpBy(by) => format!("by {}", hour(by)),
            TickDecision::OutsideWindow => "old".to_owned(),
            TickDecision::NotCaughtUp => "no".to_owned(),
        };
        format!("{}-{} {decision}", hour(settled.first), hour(settled.last))
    };
    let hourly = timetable("0 * * * *");
    let all = settle(&hourly, utc("2026-03-01T00:00:00Z"), utc(now), rules).map(said);
    all.collect::<Vec<_>>().join(", ")
}

#[rstest]
#[case::nothing_was_missed(CatchUp::Last, "24h", "2026-03-01T00:59:59Z", "")]
#[case::looked_at_in_time(CatchUp::Last, "24h", "2026-03-01T01:00:00.4Z", "1-1 runs")]
#[case::none_is_no_reason_to_be_late(CatchUp::None, "24h", "2026-03-01T01:01:00Z", "1-1 runs")]
#[case::a_little_late(CatchUp::None, "24h", "2026-03-01T01:01:01Z", "1-1 no")]
#[case::last(CatchUp::Last, "24h", "2026-03-01T05:30:00Z", "1-4 by 5, 5-5 late")]
#[case::none(CatchUp::None, "24h", "2026-03-01T05:30:00Z", "1-4 no, 5-5 no")]
#[case::all(CatchUp::All, "24h", "2026-03-01T03:30:00Z", "1-1 late, 2-2 late, 3-3 late")]
#[case::last_and_the_next_is_due_now(
    CatchUp::Last,
    "24h",
    "2026-03-01T05:00:00Z",
    "1-4 by 5, 5-5 runs"
)]
#[case::none_and_the_next_is_due_now(
    CatchUp::None,
    "24h",
    "2026-03-01T05:00:00Z",
    "1-4 no, 5-5 runs"
)]
#[case::window_of_last(CatchUp::Last, "2h", "2026-03-01T05:30:00Z", "1-3 old, 4-4 by 5, 5-5 late")]
#[case::window_of_all(CatchUp::All, "2h", "2026-03-01T05:30:00Z", "1-3 old, 4-4 late, 5-5 late")]
#[case::window_of_none(CatchUp::None, "2h", "2026-03-01T05:30:00Z", "1-3 old, 4-4 no, 5-5 no")]
#[case::the_windows_edge_is_within(
    CatchUp::All,
    "2h",
    "2026-03-01T05:00:00Z",
    "1-2 old, 3-3 late, 4-4 late, 5-5 runs"
)]
#[case::outside_of_a_short_window(CatchUp::Last, "10m", "2026-03-01T05:30:00Z", "1-4 old, 5-5 old")]
#[case::no_window_at_all(CatchUp::All, "0s", "2026-03-01T05:00:00Z", "1-4 old, 5-5 runs")]
#[case::a_clock_that_was_set_back(CatchUp::All, "24h", "2026-02-01T05:00:00Z", "")]
fn each_missed_tick_gets_one_decision(
    #[case] catch_up: CatchUp,
    #[case] window: &str,
    #[case] now: &str,
    #[case] expected: &str,
) {
    assert_eq!(decisions(catch_up, window, now), expected);
}

#[test]
fn a_year_of_missed_seconds_is_three_stretches() {
    let (since, now) = (utc("2025-01-01T00:00:00Z"), utc("2026-01-01T00:00:00Z"));
    let rules = CatchUpRules {
        catch_up: CatchUp::Last,
        window: Duration::from_secs(86_400),
        jitter: Duration::ZERO,
    };
    let timetable = timetable("* * * * * *");
    let settled: Vec<SettledTicks> = settle(&timetable, since, now, rules).collect();
    let decisions: Vec<TickDecision> = settled.iter().map(|settled| settled.decision).collect();
    assert_eq!(
        decisions,
        [TickDecision::OutsideWindow, TickDecision::CaughtUpBy(now), TickDecision::Runs]
    );
    assert_eq!(settled[0].last + TimeDelta::seconds(1), settled[1].first);
    assert_eq!(timetable.between(settled[1].first, settled[1].last).count(), 86_400);
}

#[test]
fn a_tick_delayed_by_jitter_is_on_time() {
    let rules = CatchUpRules {
        catch_up: CatchUp::None,
        window: Duration::ZERO,
        jitter: Duration::from_secs(600),
    };
    let at = |now: &str| {
        settle(&timetable("0 * * * *"), utc("2026-03-01T00:00:00Z"), utc(now), rules)
            .last()
            .unwrap()
            .decision
    };
    assert_eq!(at("2026-03-01T01:11:00Z"), TickDecision::Runs);
    assert_eq!(at("2026-03-01T01:11:01Z"), TickDecision::OutsideWindow);
}

/// Checks the property that `Zone::change_between` relies on, and that no clock is a day from UTC.
#[test]
fn no_zone_changes_its_clocks_twice_within_a_day() {
    for zone in chrono_tz::TZ_VARIANTS.into_iter().map(Zone::from) {
        let (mut last, mut offset) = (-3 * DAY, zone.offset(0));
        for at in (0..1_900_000_000).step_by(16 * 3600) {
            let now = zone.offset(at);
            if now != offset {
                assert!(at - last > 2 * DAY, "{zone} at {at}");
                (last, offset) = (at, now);
            }
            assert!(now.abs() < DAY);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))]

    #[test]
    fn decisions_cover_every_missed_tick_once(
        minutes in 1..200_i64, window in 0..200_u64, slept in 0..12_000_i64, policy in 0..3_usize, jitter in 0..9_u64,
    ) {
        let timetable = timetable(&format!("every {minutes}m"));
        let since = utc("2026-01-05T00:00:00Z");
        let now = since + TimeDelta::seconds(slept * 30);
        let catch_up = [CatchUp::Last, CatchUp::None, CatchUp::All][policy];
        let (window, jitter) = (Duration::from_secs(window * 600), Duration::from_secs(jitter * 20));
        let settled: Vec<SettledTicks> = settle(&timetable, since, now, CatchUpRules { catch_up, window, jitter }).collect();
        let told: Vec<Tick> =
            settled.iter().flat_map(|settled| timetable.between(settled.first, settled.last)).collect();
        let all: Vec<Tick> = timetable.after(since).take_while(|tick| tick.nominal <= now).collect();
        prop_assert_eq!(told, all);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,60}|[0-9*/,#LW?@a-z -]{0,60}") {
        if let Ok(rule) = text.parse::<Rule>() {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }

    #[test]
    fn the_next_tick_is_later_and_reproducible(
        at in 0..4_102_444_800_i64, ahead in 1..200_000_i64, zone in 0..chrono_tz::TZ_VARIANTS.len(),
        minute in 0..60, hour in prop::sample::select(vec!["*", "*/3", "2", "0,1,2,23", "22-3"]),
    ) {
        let zone = Zone::from(chrono_tz::TZ_VARIANTS[zone]);
        let recurrence = Recurrence::Cron(format!("{minute} {hour} * * *").parse().unwrap(), zone);
        let at = Timestamp::from_timestamp(at, 0).unwrap();
        let tick = recurrence.next_after(at).unwrap();
        prop_assert!(tick.nominal > at);
        let between = at + TimeDelta::seconds(ahead);
        let again = recurrence.next_after(between).unwrap();
        if between < tick.nominal {
            prop_assert_eq!(tick, again);
        } else {
            prop_assert!(again.nominal > between);
        }
    }
}
