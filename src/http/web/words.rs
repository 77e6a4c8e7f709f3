//! Times, durations, sizes and counts in the words of a page. The script in `static/tide.js` writes
//! the same words while a page is open.

use chrono::Datelike;
use chrono_tz::Tz;

use crate::domain::names::id::Timestamp;
use crate::domain::text::date::rfc3339;

/// An instant for a page: for machines, on the clock, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// RFC 3339 in UTC.
    pub(super) iso: String,
    /// The time of day in the server's zone, with the date if it is another day.
    pub(super) clock: String,
    /// The distance from now: `in 28 s`, `31 min ago`.
    pub(super) words: String,
}

/// The clock of a page: the present time and the zone in which times are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Timestamp,
    pub(super) zone: Tz,
}

impl Clock {
    /// Describes an instant.
    pub(super) fn moment(self, at: Timestamp) -> Moment {
        Moment { iso: rfc3339(at), clock: self.clock(at), words: self.distance(at) }
    }

    /// Returns the time of day, `12:25:58`. Adds the date if it is not today's, and the year if it
    /// is not this year's.
    pub(super) fn clock(self, at: Timestamp) -> String {
        let (at, now) = (at.with_timezone(&self.zone), self.now.with_timezone(&self.zone));
        let format = match () {
            () if at.date_naive() == now.date_naive() => "%H:%M:%S",
            () if at.year() == now.year() => "%-d %b %H:%M:%S",
            () => "%-d %b %Y %H:%M:%S",
        };
        at.format(format).to_string()
    }

    /// Returns the day and the time without seconds: `Sunday 29 November 02:30`.
    pub(super) fn day(self, at: Timestamp) -> String {
        let (at, now) = (at.with_timezone(&self.zone), self.now.with_timezone(&self.zone));
        let year = if at.year() == now.year() { "" } else { " %Y" };
        at.format(&format!("%A %-d %B{year} %H:%M")).to_string()
    }

    /// Returns the time of day if the instant is today, else the day and the time.
    pub(super) fn when(self, at: Timestamp) -> String {
        let day = |at: Timestamp| at.with_timezone(&self.zone).date_naive();
        if day(at) == day(self.now) { self.clock(at) } else { self.day(at) }
    }

    /// Returns the distance from now in words.
    pub(super) fn distance(self, at: Timestamp) -> String {
        let ms = (at - self.now).num_milliseconds();
        match ms {
            -999..=999 => "now".to_owned(),
            1_000.. => format!("in {}", rough(ms)),
            _ => format!("{} ago", rough(-ms)),
        }
    }
}

/// Returns a duration with at most two units: `41 ms`, `6.2 s`, `14 min 2 s`, `3 h 5 min`,
/// `2 d 4 h`.
pub(super) fn took(ms: i64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..=9 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => two(seconds, 60, "min", 1, "s"),
        3_600..=86_399 => two(seconds, 3_600, "h", 60, "min"),
        _ => two(seconds, 86_400, "d", 3_600, "h"),
    }
}

/// Returns a duration with one unit, or with two where the second matters: `28 s`, `6 min`,
/// `3 h 5 min`.
pub(super) fn rough(ms: i64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min", seconds / 60),
        3_600..=86_399 => two(seconds, 3_600, "h", 60, "min"),
        _ => two(seconds, 86_400, "d", 3_600, "h"),
    }
}

fn two(seconds: i64, large: i64, name: &str, small: i64, other: &str) -> String {
    match seconds % large / small {
        0 => format!("{} {name}", seconds / large),
        rest => format!("{} {name} {rest} {other}", seconds / large),
    }
}

/// Returns a phrase as a sentence: with a capital and a full stop.
pub(super) fn sentence(phrase: &str) -> String {
    let mut chars = phrase.trim_end_matches('.').chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", chars.as_str())
}

/// Returns a count with its noun: `1 line`, `48,201 lines`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// Returns a number with a comma between groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns a size: `812 B`, `64 KiB`, `1.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), "B");
    while tenths >= 10_240 {
        let Some(next) = units.next() else { break };
        (tenths, unit) = (tenths / 1_024, next);
    }
    match (tenths % 10, tenths) {
        (0, _) | (_, 1_000..) => format!("{} {unit}", tenths / 10),
        (part, _) => format!("{}.{part} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (ms, words) in [
            (0, "0 ms"),
            (41, "41 ms"),
            (6_290, "6.2 s"),
            (42_000, "42 s"),
            (842_000, "14 min 2 s"),
            (60_000, "1 min"),
            (11_100_000, "3 h 5 min"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(took(ms), words);
        }
    }

    #[test]
    fn distance_from_now_is_in_words() {
        let clock = Clock { now: at("2026-11-28T12:25:00Z"), zone: Tz::Europe__Berlin };
        for (instant, words) in [
            ("2026-11-28T12:25:28Z", "in 28 s"),
            ("2026-11-28T11:54:00Z", "31 min ago"),
            ("2026-11-28T12:25:00.4Z", "now"),
            ("2026-12-01T12:25:00Z", "in 3 d"),
        ] {
            assert_eq!(clock.distance(at(instant)), words);
        }
    }

    #[test]
    fn other_days_show_their_date() {
        let clock = Clock { now: at("2026-11-28T12:25:00Z"), zone: Tz::Europe__Berlin };
        assert_eq!(clock.clock(at("2026-11-28T12:25:58Z")), "13:25:58");
        assert_eq!(clock.clock(at("2026-11-28T23:30:00Z")), "29 Nov 00:30:00");
        assert_eq!(clock.clock(at("2027-03-28T01:00:00Z")), "28 Mar 2027 03:00:00");
        assert_eq!(clock.day(at("2026-11-29T01:30:00Z")), "Sunday 29 November 02:30");
    }

    #[test]
    fn sizes_and_counts_are_readable() {
        assert_eq!(
            [0, 812, 65_536, 1_610_612_736].map(size),
            ["0 B", "812 B", "64 KiB", "1.5 GiB"]
        );
        assert_eq!([count(1, "line"), count(48_201, "line")], ["1 line", "48,201 lines"]);
        assert_eq!([999, 1_000, 1_234_567].map(grouped), ["999", "1,000", "1,234,567"]);
    }
}
