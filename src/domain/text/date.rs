//! The `date` of a job: a delay (`30s`, `in 5 minutes`), a time (`20-06-2021 13:25:28`, RFC 3339,
//! `13:25`) or `now`. The module also has the two formats in which instants are written back.
//!
//! A time without an offset is wall-clock time in the zone that the caller passes. A wall time
//! inside a daylight saving gap becomes the first instant after the gap. A wall time that exists
//! twice becomes the first of the two. Fixed schedules follow the same rules.
//!
//! The parser refuses texts that are blank, longer than 64 characters or ambiguous (two-digit
//! years, months as a delay). It also refuses times that do not exist, are past, or are after the
//! year 9999. Each error is a sentence that names a valid date. The module reads no clock: `now` is
//! an argument.

use chrono::offset::LocalResult;
use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, NaiveTime};
use chrono::{SubsecRound, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{GapInfo, Tz};

use super::timestamp::FormattedTime;
use super::units::{Span, UnitError, is_negative, shown};

/// The due time of a job, with a phrase for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The instant, in whole milliseconds.
    pub at: DateTime<Utc>,
    /// The end of the sentence "will be scheduled to run …": `in 30s`, `at 20-06-2021 13:25:28` or
    /// `now`.
    pub phrase: String,
}

/// The error for a text that is no date. Quoted text is escaped and cut, so it is safe to show and
/// to log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// The text is blank, apart from quotes.
    #[error(
        "the date is empty: write a delay such as `30s`, a time such as `20-06-2021 13:25:28`, or `now`"
    )]
    Empty,
    /// The text has more than 64 characters.
    #[error(
        "`{value}` has {chars} characters and a date at most {max}: write a delay such as `30s` or a time such as \
         `20-06-2021 13:25:28`",
        max = MAX_CHARS
    )]
    TooLong {
        /// The beginning of the text.
        value: String,
        /// The length of the text in characters.
        chars: usize,
    },
    /// The text has the shape of no known date.
    #[error(
        "`{0}` is not a date: write a delay such as `30s` or `1h 30m`, or a time such as `20-06-2021 13:25:28` \
         or `2021-06-20T13:25:28Z`"
    )]
    NotADate(String),
    /// The text is a delay with an error that any duration can have.
    #[error(transparent)]
    Delay(#[from] UnitError),
    /// The delay has a minus.
    #[error("`{0}` is a delay into the past: write it without the minus, such as `30s`, or `now`")]
    NegativeDelay(String),
    /// The text has the shape of a time, but no calendar or clock shows it, such as
    /// `31-02-2099 25:00`.
    #[error(
        "`{0}` does not exist: check its day, month and time of day, which are written as in \
         `20-06-2021 13:25:28` (day first) or `2021-06-20T13:25:28Z`"
    )]
    NoSuchDate(String),
    /// The time was more than a minute ago.
    #[error("`{value}` is in the past (it is {now} in {zone}): write a later time, or `now`")]
    Past {
        /// The text as it was written.
        value: String,
        /// The present time, in the classic format of [`classic_format`].
        now: String,
        /// The zone in which `now` is written.
        zone: Tz,
    },
    /// The time is after the year 9999, in UTC or in the zone.
    #[error("`{0}` is after the year 9999: write an earlier time, such as `20-06-2099 13:25:28`")]
    TooFar(String),
}

/// The longest date that is read, in characters: twice the length of the longest sensible date.
const MAX_CHARS: usize = 64;

/// The last year with four digits, which both output formats need.
const LAST_YEAR: i32 = 9999;

/// The age up to which a past time still means "at once": clocks differ, and requests take time.
const PAST_TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// The shapes of a day with a time, with chrono's formats. `9` stands for any digit, and a `T` was
/// replaced by a space before. The shape is checked first, because chrono alone would also accept
/// `1-6-21 1: 2:3`.
const MOMENTS: [(&str, &str); 4] = [
    ("99-99-9999 99:99:99", "%d-%m-%Y %H:%M:%S%.f"),
    ("99-99-9999 99:99", "%d-%m-%Y %H:%M"),
    ("9999-99-99 99:99:99", "%Y-%m-%d %H:%M:%S%.f"),
    ("9999-99-99 99:99", "%Y-%m-%d %H:%M"),
];

/// The shapes of a time of day, with chrono's formats.
const TIMES_OF_DAY: [(&str, &str); 4] = [
    ("99:99:99", "%H:%M:%S%.f"),
    ("9:99:99", "%H:%M:%S%.f"),
    ("99:99", "%H:%M"),
    ("9:99", "%H:%M"),
];

/// Reads a `date`. White space around the text and one pair of quotes are ignored, and so is the
/// case of letters, except in units of one letter.
///
/// - `now`.
/// - A delay: a [`Span`], also after `in` or `+`.
/// - A day and a time: `20-06-2021 13:25:28` or `2021-06-20 13:25:28`. Seconds are optional and may
///   have a fraction. A `T` may replace the space. An offset may follow (`Z`, `+02:00`, `+0200`);
///   without one the time is in `zone`.
/// - A time of day, `13:25` or `13:25:10`: the next instant after `now` at which the clocks of
///   `zone` show it. At exactly 13:25, `13:25` is tomorrow's. Between the two passes of a repeated
///   hour, the second pass counts if it comes next.
///
/// A time up to a minute ago is accepted and kept as written.
pub fn parse(text: &str, now: DateTime<Utc>, zone: Tz) -> Result<Due, DateError> {
    let text = unquoted(text.trim()).trim();
    let chars = text.chars().count();
    if text.is_empty() {
        return Err(DateError::Empty);
    }
    if chars > MAX_CHARS {
        return Err(DateError::TooLong { value: shown(text), chars });
    }
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.eq_ignore_ascii_case("now") {
        return Ok(Due { at: now.trunc_subsecs(3), phrase: "now".to_owned() });
    }
    match read_time(&words, now, zone)? {
        Some(at) => time_due(&words, at, now, zone),
        None => delay_due(&words, now, zone),
    }
}

/// Writes the instant in the classic format, `DD-MM-YYYY HH:MM:SS` in the zone.
pub fn classic_format(at: DateTime<Utc>, zone: Tz) -> String {
    FormattedTime::classic(at, zone).to_string()
}

/// Writes the instant for machines: RFC 3339 in UTC with milliseconds, `2021-06-20T13:25:28.000Z`.
pub fn rfc3339(at: DateTime<Utc>) -> String {
    FormattedTime::rfc3339(at).to_string()
}

/// Converts a wall time to UTC. The module's documentation explains gaps and times that exist
/// twice. `None` occurs only at the end of chrono's calendar.
pub fn instant_of(wall: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    instants_of(wall, zone).into_iter().flatten().next()
}

/// Checks a time and adds its phrase.
fn time_due(text: &str, at: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> Result<Due, DateError> {
    let at = within_calendar(text, at, zone)?;
    if now.signed_duration_since(at) > PAST_TOLERANCE {
        let now = classic_format(now, zone);
        return Err(DateError::Past { value: shown(text), now, zone });
    }
    Ok(Due { at, phrase: format!("at {}", classic_format(at, zone)) })
}

/// Adds a delay to now: `in 5 minutes`, `+30s` or `1h 30m`. Every text that is no time reaches this
/// function, so a text that is no delay either is refused as no date at all.
fn delay_due(text: &str, now: DateTime<Utc>, zone: Tz) -> Result<Due, DateError> {
    let after_in = text.split_once(' ').filter(|(word, _)| word.eq_ignore_ascii_case("in"));
    let after_sign = || text.strip_prefix('+').map(str::trim_start);
    let marked = after_in.map(|(_, delay)| delay).or_else(after_sign);
    let delay = marked.unwrap_or(text);
    if is_negative(delay) {
        return Err(DateError::NegativeDelay(shown(text)));
    }
    let span: Span = delay.parse().map_err(|error| match error {
        UnitError::NoUnit(..)
        | UnitError::CalendarUnit(..)
        | UnitError::Uneven(_)
        | UnitError::TooLong(_) => error.into(),
        UnitError::UnknownUnit(..) if marked.is_some() => error.into(),
        // `5pm` and `soonish` may have been meant as times. The last three are errors of sizes, so
        // a Span never returns them.
        UnitError::UnknownUnit(..)
        | UnitError::NotADuration(_)
        | UnitError::Negative(_)
        | UnitError::NotASize(_)
        | UnitError::TooLarge(_)
        | UnitError::PartOfAByte(_) => DateError::NotADate(shown(text)),
    })?;
    let at = TimeDelta::from_std(span.as_duration())
        .ok()
        .and_then(|delay| now.checked_add_signed(delay))
        .ok_or_else(|| DateError::TooFar(shown(text)))?;
    Ok(Due { at: within_calendar(text, at, zone)?, phrase: format!("in {delay}") })
}

/// Returns the instant in whole milliseconds, if its year has at most four digits in UTC and in the
/// zone.
fn within_calendar(text: &str, at: DateTime<Utc>, zone: Tz) -> Result<DateTime<Utc>, DateError> {
    // UTC comes first: near the end of chrono's calendar, a change of zone would panic.
    if at.year() > LAST_YEAR || at.with_timezone(&zone).year() > LAST_YEAR {
        return Err(DateError::TooFar(shown(text)));
    }
    Ok(at.trunc_subsecs(3))
}

/// Returns the instant of a text that has the shape of a time; `None` for any other shape.
fn read_time(text: &str, now: DateTime<Utc>, zone: Tz) -> Result<Option<DateTime<Utc>>, DateError> {
    let spaced = text.replace(['T', 't'], " ");
    let (moment, offset) = split_offset(&spaced);
    let at = if let Some(format) = format_of(&spaced, &TIMES_OF_DAY) {
        let time = NaiveTime::parse_from_str(&spaced, format).ok();
        time.filter(is_no_leap_second).and_then(|time| next_time_of_day(time, now, zone))
    } else if let Some(format) = format_of(moment, &MOMENTS) {
        let wall = NaiveDateTime::parse_from_str(moment, format).ok();
        wall.filter(is_no_leap_second).and_then(|wall| match offset {
            Some(offset) => instant_at_offset(wall, offset),
            None => instant_of(wall, zone),
        })
    } else {
        return Ok(None);
    };
    at.map(Some).ok_or_else(|| DateError::NoSuchDate(shown(text)))
}

/// Returns chrono's format for a text, if the table has its shape. A fraction may follow the
/// seconds.
fn format_of(text: &str, table: &[(&str, &'static str)]) -> Option<&'static str> {
    let (head, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let shape = shape_of(head);
    let (_, format) = table.iter().find(|(row, _)| *row == shape)?;
    let fraction_fits = head.len() == text.len() || format.ends_with("%.f");
    let is_digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    (fraction_fits && is_digits).then_some(format)
}

/// Replaces every digit by `9`.
fn shape_of(text: &str) -> String {
    text.replace(|c: char| c.is_ascii_digit(), "9")
}

/// Splits `2021-06-20 13:25Z` or `… 13:25+02:00` into the time and the offset, in the form that
/// chrono reads.
fn split_offset(text: &str) -> (&str, Option<&str>) {
    if let Some(moment) = text.strip_suffix(['Z', 'z']) {
        return (moment.trim_end(), Some("+00:00"));
    }
    let (moment, offset) = text.split_at(text.rfind(['+', '-']).unwrap_or(text.len()));
    match shape_of(offset).get(1..) {
        Some("99:99" | "9999") => (moment.trim_end(), Some(offset)),
        _ => (text, None),
    }
}

/// Checks that the second is not 60. Chrono accepts 60 in any minute, but a typing error is far
/// likelier than a leap second.
fn is_no_leap_second(time: &impl Timelike) -> bool {
    time.nanosecond() < 1_000_000_000
}

fn instant_at_offset(wall: NaiveDateTime, offset: &str) -> Option<DateTime<Utc>> {
    let offset: FixedOffset = offset.parse().ok()?;
    offset.from_local_datetime(&wall).earliest().map(|at| at.to_utc())
}

/// Returns the first instant after `now` at which the zone's clocks show `time`. Yesterday counts
/// too: where midnight exists twice, the second pass of yesterday's last hour may still be ahead.
fn next_time_of_day(time: NaiveTime, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    let today = now.with_timezone(&zone).date_naive();
    (-1..=2)
        .filter_map(|days| today.checked_add_signed(TimeDelta::days(days)))
        .flat_map(|day| instants_of(day.and_time(time), zone))
        .flatten()
        .filter(|at| *at > now)
        .min()
}

/// Returns the one or two instants at which the zone's clocks show `wall`, the earlier one first.
/// For a time in a gap it returns the first instant after the gap.
fn instants_of(wall: NaiveDateTime, zone: Tz) -> [Option<DateTime<Utc>>; 2] {
    let instants = match zone.from_local_datetime(&wall) {
        LocalResult::Single(at) => [Some(at), None],
        LocalResult::Ambiguous(one, other) => [Some(one.min(other)), Some(one.max(other))],
        LocalResult::None => [GapInfo::new(&wall, &zone).and_then(|gap| gap.end), None],
    };
    instants.map(|at| at.map(|at| at.to_utc()))
}

/// Removes one pair of quotes around the text, which `curl --form 'date="30s"'` may leave there.
fn unquoted(text: &str) -> &str {
    let within = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

    use chrono::NaiveDate;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const BERLIN: Tz = chrono_tz::Europe::Berlin;

    /// Zones with gaps of an hour, of half an hour, at midnight and of a whole day, and zones
    /// without gaps.
    const ZONES: [Tz; 8] = [
        Tz::UTC,
        BERLIN,
        chrono_tz::America::New_York,
        chrono_tz::America::St_Johns,
        chrono_tz::Africa::Cairo,
        chrono_tz::Asia::Kathmandu,
        chrono_tz::Australia::Lord_Howe,
        chrono_tz::Pacific::Apia,
    ];

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    /// A Sunday in summer: 15:24:58 in Berlin.
    fn now() -> DateTime<Utc> {
        utc("2021-06-20T13:24:58Z")
    }

    fn refusal(text: &str) -> DateError {
        parse(text, now(), BERLIN).unwrap_err()
    }

    #[rstest]
    #[case("30s", 30_000, "in 30s")]
    #[case("1h 30m", 5_400_000, "in 1h 30m")]
    #[case("1h30m", 5_400_000, "in 1h30m")]
    #[case("in 5 minutes", 300_000, "in 5 minutes")]
    #[case("In  5\tMinutes", 300_000, "in 5 Minutes")]
    #[case("+30s", 30_000, "in 30s")]
    #[case("+ 30s", 30_000, "in 30s")]
    #[case(" \"30s\"\n", 30_000, "in 30s")]
    #[case("' 30s '", 30_000, "in 30s")]
    #[case("2w", 1_209_600_000, "in 2w")]
    #[case("0s", 0, "in 0s")]
    #[case("1ms 999us", 1, "in 1ms 999us")]
    #[case("now", 0, "now")]
    #[case("\"NOW\"", 0, "now")]
    fn delay_counts_from_now_and_phrase_repeats_it(
        #[case] text: &str,
        #[case] millis: i64,
        #[case] phrase: &str,
    ) {
        let at = now() + TimeDelta::milliseconds(millis);
        assert_eq!(parse(text, now(), BERLIN), Ok(Due { at, phrase: phrase.to_owned() }));
    }

    #[rstest]
    #[case("20-06-2021 15:25:28", "2021-06-20T13:25:28Z")]
    #[case("20-06-2021 15:26", "2021-06-20T13:26:00Z")]
    #[case("20-06-2021T15:26", "2021-06-20T13:26:00Z")]
    #[case("'20-06-2021  15:25:28'", "2021-06-20T13:25:28Z")]
    #[case("2021-06-20 15:25:28", "2021-06-20T13:25:28Z")]
    #[case("2021-06-20T15:25", "2021-06-20T13:25:00Z")]
    #[case("2021-06-20T15:25:28.1239", "2021-06-20T13:25:28.123Z")]
    #[case("2021-06-20T13:25:28Z", "2021-06-20T13:25:28Z")]
    #[case("2021-06-20t13:25:28.5z", "2021-06-20T13:25:28.500Z")]
    #[case("2021-06-20T13:25:28-00:00", "2021-06-20T13:25:28Z")]
    #[case("2021-06-20T18:55:28+05:30", "2021-06-20T13:25:28Z")]
    #[case("2021-06-20 09:25:28 -0400", "2021-06-20T13:25:28Z")]
    #[case("2021-06-20T13:26Z", "2021-06-20T13:26:00Z")]
    #[case("2021-12-20 13:25:28", "2021-12-20T12:25:28Z")]
    #[case("29-02-2024 00:00:00", "2024-02-28T23:00:00Z")]
    #[case("15:25", "2021-06-20T13:25:00Z")]
    #[case("15:24:58.5", "2021-06-20T13:24:58.500Z")]
    #[case("15:24:58", "2021-06-21T13:24:58Z")] // exactly now: tomorrow
    #[case("15:24", "2021-06-21T13:24:00Z")]
    #[case("9:05", "2021-06-21T07:05:00Z")]
    #[case("9:05:10", "2021-06-21T07:05:10Z")]
    #[case("00:00", "2021-06-20T22:00:00Z")]
    #[case("31-12-9999 12:00", "9999-12-31T11:00:00Z")]
    fn times_are_read_in_the_zone_or_offset(#[case] text: &str, #[case] expected: &str) {
        let at = utc(expected);
        let phrase = format!("at {}", classic_format(at, BERLIN));
        assert_eq!(parse(text, now(), BERLIN), Ok(Due { at, phrase }));
    }

    #[test]
    fn time_phrase_uses_classic_format_and_zone() {
        let due = parse("2021-06-20T13:25:28.25Z", now(), BERLIN).unwrap();
        assert_eq!(due.phrase, "at 20-06-2021 15:25:28");
        assert_eq!(rfc3339(due.at), "2021-06-20T13:25:28.250Z");
        assert_eq!(rfc3339(now()), "2021-06-20T13:24:58.000Z");
    }

    #[rstest]
    #[case("28-03-2027 02:30", BERLIN, "2027-03-28T01:00:00Z")]
    #[case("28-03-2027 02:00", BERLIN, "2027-03-28T01:00:00Z")]
    #[case("2027-03-28 02:59:59.999", BERLIN, "2027-03-28T01:00:00Z")]
    #[case("28-03-2027 03:00", BERLIN, "2027-03-28T01:00:00Z")]
    #[case("03-10-2027 02:15", chrono_tz::Australia::Lord_Howe, "2027-10-02T15:30:00Z")]
    #[case("30-12-2011 10:00", chrono_tz::Pacific::Apia, "2011-12-30T10:00:00Z")]
    fn time_in_a_gap_becomes_end_of_gap(
        #[case] text: &str,
        #[case] zone: Tz,
        #[case] expected: &str,
    ) {
        let before = utc(expected) - TimeDelta::days(1);
        assert_eq!(parse(text, before, zone).unwrap().at, utc(expected));
    }

    #[rstest]
    #[case("31-10-2027 02:30", BERLIN, "2027-10-31T00:30:00Z")]
    #[case("07-11-2027 01:30:00", chrono_tz::America::New_York, "2027-11-07T05:30:00Z")]
    fn repeated_time_means_its_first_pass(
        #[case] text: &str,
        #[case] zone: Tz,
        #[case] expected: &str,
    ) {
        assert_eq!(parse(text, now(), zone).unwrap().at, utc(expected));
    }

    #[rstest]
    // Cases: before the repeated hour; first pass, before and after the time; second pass, before
    // and after the time.
    #[case("2027-10-30T23:00:00Z", "02:30", BERLIN, "2027-10-31T00:30:00Z")]
    #[case("2027-10-31T00:10:00Z", "02:30", BERLIN, "2027-10-31T00:30:00Z")]
    #[case("2027-10-31T00:40:00Z", "02:30", BERLIN, "2027-10-31T01:30:00Z")]
    #[case("2027-10-31T01:10:00Z", "02:30", BERLIN, "2027-10-31T01:30:00Z")]
    #[case("2027-10-31T01:40:00Z", "02:30", BERLIN, "2027-11-01T01:30:00Z")]
    // A gap on the same day.
    #[case("2027-03-28T00:30:00Z", "02:30", BERLIN, "2027-03-28T01:00:00Z")]
    #[case("2027-03-28T01:00:00Z", "02:30", BERLIN, "2027-03-29T00:30:00Z")]
    // St. John's set 00:01 of 7 November back to 23:01 of the 6th, so yesterday's 23:30 is still
    // ahead.
    #[case("2010-11-07T02:30:30Z", "23:30", chrono_tz::America::St_Johns, "2010-11-07T03:00:00Z")]
    fn time_of_day_is_its_next_occurrence(
        #[case] now: &str,
        #[case] text: &str,
        #[case] zone: Tz,
        #[case] expected: &str,
    ) {
        assert_eq!(parse(text, utc(now), zone).unwrap().at, utc(expected));
    }

    #[rstest]
    #[case("2021-06-20T13:24:58Z")]
    #[case("2021-06-20T13:23:58Z")] // a minute ago
    #[case("20-06-2021 15:24")]
    fn time_up_to_a_minute_ago_is_accepted(#[case] text: &str) {
        assert!(parse(text, now(), BERLIN).unwrap().at <= now());
    }

    #[rstest]
    #[case("20-06-2021 15:23:57")]
    #[case("2021-06-20T13:23:57.999Z")]
    #[case("20-06-2020 15:24:58")]
    #[case("0001-01-01T00:00:00Z")]
    #[case("0000-01-01 00:00")]
    fn time_over_a_minute_ago_is_past(#[case] text: &str) {
        assert!(matches!(refusal(text), DateError::Past { .. }), "{:?}", refusal(text));
    }

    #[rstest]
    #[case("31-02-2099 10:00:00")]
    #[case("29-02-2100 10:00")]
    #[case("06-20-2099 13:25:28")] // month first
    #[case("2099-13-01T00:00:00Z")]
    #[case("2099-00-10 00:00")]
    #[case("01-01-2099 24:00")]
    #[case("01-01-2099 10:60")]
    #[case("01-01-2099 10:00:60")]
    #[case("25:00")]
    #[case("13:25:60")]
    #[case("2099-01-01T00:00:00+24:00")]
    #[case("2099-01-01T00:00:00+01:60")]
    fn impossible_date_has_its_own_error(#[case] text: &str) {
        assert_eq!(refusal(text), DateError::NoSuchDate(text.to_owned()));
    }

    #[rstest]
    #[case("soonish")]
    #[case("in")]
    #[case("+")]
    #[case("in in 5 minutes")]
    #[case("in tomorrow")]
    #[case("5pm")]
    #[case("20-06-2099")]
    #[case("20-06-99 13:25:28")]
    #[case("1-6-2099 13:25:28")]
    #[case("20.06.2099 13:25")]
    #[case("20/06/2099 13:25")]
    #[case("20-06-209913:25:28")]
    #[case("20-06-2099 13:25.5")]
    #[case("20-06-2099 13:25:28.")]
    #[case("20-06-2099 13:25:28.5.5")]
    #[case("+20-06-2099 13:25")]
    #[case("13:25Z")]
    #[case("13:25+02:00")]
    #[case("\"'30s'\"")]
    #[case("\"30s")]
    #[case("٢٠-٠٦-٢٠٩٩ ١٣:٢٥")]
    fn nonsense_is_refused_with_valid_examples(#[case] text: &str) {
        let refusal = refusal(text);
        assert!(matches!(refusal, DateError::NotADate(_)), "{refusal:?}");
        assert!(refusal.to_string().contains("`30s` or `1h 30m`"), "{refusal}");
    }

    #[rstest]
    #[case("", "the date is empty")]
    #[case(" \t ", "the date is empty")]
    #[case("\" \"", "the date is empty")]
    #[case("-30s", "`-30s` is a delay into the past")]
    #[case("in -5 minutes", "`in -5 minutes` is a delay into the past")]
    #[case("+-5m", "is a delay into the past")]
    #[case("90", "write `90s` for seconds")]
    #[case("in 90", "write `90s` for seconds")]
    #[case("1M", "a small `m` for minutes")]
    #[case("in 3 months", "`3 months` counts in months or years")]
    #[case("in 5 fortnights", "the unknown unit `fortnights`")]
    #[case("36526 days", "longer than 100 years")]
    #[case("99999999999999999999 weeks", "longer than 100 years")]
    #[case("31-12-9999 23:59:59-01:00", "is after the year 9999")]
    #[case("2020-01-01T10:00", "is in the past (it is 20-06-2021 15:24:58 in Europe/Berlin)")]
    #[case("31-02-2099 10:00", "`31-02-2099 10:00` does not exist")]
    #[case("soon\u{1b}[2J", "`soon\\u{1b}[2J` is not a date")]
    fn error_names_the_cause(#[case] text: &str, #[case] part: &str) {
        let refusal = refusal(text).to_string();
        assert!(refusal.contains(part), "{refusal}");
    }

    #[test]
    fn date_over_64_characters_is_refused_and_cut() {
        let longest = format!("{}30s", "0".repeat(61));
        assert!(parse(&longest, now(), BERLIN).is_ok());
        let refusal = refusal(&format!("\"{longest}ä\""));
        assert_eq!(refusal, DateError::TooLong { value: "0".repeat(40) + "…", chars: 65 });
    }

    #[test]
    fn year_limit_applies_in_the_zone_too() {
        let zone = chrono_tz::Pacific::Kiritimati;
        let refusal = parse("9999-12-31T23:00:00Z", now(), zone).unwrap_err();
        assert!(matches!(refusal, DateError::TooFar(_)), "{refusal:?}");
        let late = utc("9999-12-31T00:00:00Z");
        assert!(matches!(parse("2w", late, Tz::UTC), Err(DateError::TooFar(_))));
        assert!(matches!(parse("30s", DateTime::<Utc>::MAX_UTC, zone), Err(DateError::TooFar(_))));
    }

    /// Checks a result of `instant_of` with only the zone's offsets: the clocks show `wall` for the
    /// first time, or have just jumped over it.
    fn is_right_instant(wall: NaiveDateTime, at: DateTime<Utc>, zone: Tz) -> bool {
        let shows = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
        let no_earlier_pass = || (1..=4 * 4).all(|n| shows(at - TimeDelta::minutes(15 * n)) < wall);
        match shows(at) == wall {
            true => no_earlier_pass(),
            false => shows(at) > wall && shows(at - TimeDelta::milliseconds(1)) < wall,
        }
    }

    #[test]
    fn each_quarter_hour_of_a_year_converts_correctly() {
        for (zone, year) in ZONES.into_iter().zip([2027, 2027, 2027, 2027, 2027, 2027, 2027, 2011])
        {
            let first = NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_time(NaiveTime::MIN);
            for quarter in 0..366 * 24 * 4 {
                let wall = first + TimeDelta::minutes(15 * quarter);
                let at = instant_of(wall, zone).unwrap();
                assert!(is_right_instant(wall, at, zone), "{wall} in {zone}: {at}");
            }
        }
    }

    fn any_instant() -> impl Strategy<Value = DateTime<Utc>> {
        // The years 1970 to 9990, in milliseconds.
        (0..253_086_000_000_000_i64).prop_map(|ms| DateTime::from_timestamp_millis(ms).unwrap())
    }

    fn any_zone() -> impl Strategy<Value = Tz> {
        prop_oneof![
            proptest::sample::select(&ZONES[..]),
            proptest::sample::select(&chrono_tz::TZ_VARIANTS[..])
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))]

        #[test]
        fn parser_never_panics_on_any_text(text in "(?s).{0,80}", now in any_instant(), zone in any_zone()) {
            let _ = parse(&text, now, zone);
        }

        #[test]
        fn parser_never_panics_on_date_like_text(
            text in "(in |\\+|-)?[0-9]{0,4}[-:smhT ]?[0-9]{0,4}[-: ]?[0-9]{0,4}([ T][0-9:]{0,8})?(\\.[0-9]{0,12})?(Z|[+-][0-9:]{0,6})?",
            now in any_instant(),
            zone in any_zone(),
        ) {
            if let Ok(due) = parse(&text, now, zone) {
                prop_assert!(due.at >= now - PAST_TOLERANCE - TimeDelta::milliseconds(1));
                prop_assert!(due.at.year() <= LAST_YEAR);
                prop_assert_eq!(due.at, due.at.trunc_subsecs(3));
            }
        }

        #[test]
        fn error_is_one_short_printable_line(text in "(?s).{0,200}") {
            if let Err(refusal) = parse(&text, now(), BERLIN) {
                let refusal = refusal.to_string();
                prop_assert!(!refusal.contains(char::is_control));
                prop_assert!(refusal.chars().count() < 400);
            }
        }

        #[test]
        fn classic_format_round_trips_to_same_wall_time(
            at in any_instant(), zone in any_zone()
        ) {
            let written = classic_format(at, zone);
            let due = parse(&written, at - TimeDelta::days(2), zone).unwrap();
            prop_assert_eq!(classic_format(due.at, zone), written.clone());
            prop_assert_eq!(due.phrase, format!("at {written}"));
        }

        #[test]
        fn rfc3339_round_trips_to_same_instant(at in any_instant(), zone in any_zone()) {
            prop_assert_eq!(parse(&rfc3339(at), at, zone).unwrap().at, at);
        }

        #[test]
        fn time_of_day_is_within_fifty_hours(
            now in any_instant(), zone in any_zone(), seconds in 0..86_400_u32
        ) {
            let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, 0).unwrap();
            let at = parse(&time.format("%H:%M:%S").to_string(), now, zone).unwrap().at;
            prop_assert!(at > now - TimeDelta::milliseconds(1) && at <= now + TimeDelta::hours(50));
        }

        #[test]
        fn any_wall_time_converts_correctly(at in any_instant(), zone in any_zone()) {
            let wall = at.naive_utc();
            prop_assert!(is_right_instant(wall, instant_of(wall, zone).unwrap(), zone));
        }
    }
}
