//! Fast formatting of instants, without parsing a format string on every call. A listing of a
//! million jobs writes five million instants, and format strings took a third of its time.
//!
//! A [`FormattedTime`] holds its text inline. Instants outside of the plain calendar (a year after
//! 9999, a leap second) are left to chrono.

use std::fmt::{self, Write};

use chrono::{DateTime, Datelike, NaiveDateTime, SecondsFormat, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

/// The size of the text in bytes: more than chrono's longest, `+262142-12-31T23:59:60.999Z`.
const MOST_BYTES: usize = 32;
const CLASSIC_FORMAT: &str = "%d-%m-%Y %H:%M:%S";

/// The text of an instant.
#[derive(Clone, Copy)]
pub struct FormattedTime {
    text: [u8; MOST_BYTES],
    length: usize,
}

impl FormattedTime {
    /// Writes the instant for machines: RFC 3339 in UTC with milliseconds,
    /// `2021-06-20T13:25:28.000Z`.
    pub fn rfc3339(at: DateTime<Utc>) -> Self {
        let wall = at.naive_utc();
        if !is_plain(&wall) {
            return Self::of(format_args!("{}", at.to_rfc3339_opts(SecondsFormat::Millis, true)));
        }
        let mut stamp = Self::empty();
        stamp.year(&wall);
        stamp.after(b'-', wall.month());
        stamp.after(b'-', wall.day());
        stamp.after(b'T', wall.hour());
        stamp.after(b':', wall.minute());
        stamp.after(b':', wall.second());
        let millis = wall.nanosecond() / 1_000_000;
        stamp.push(b'.');
        stamp.push(digit(millis / 100));
        stamp.two(millis % 100);
        stamp.push(b'Z');
        stamp
    }

    /// Writes the instant in the classic format, `DD-MM-YYYY HH:MM:SS` in the zone.
    pub fn classic(at: DateTime<Utc>, zone: Tz) -> Self {
        let wall = at.with_timezone(&zone).naive_local();
        if !is_plain(&wall) {
            return Self::of(format_args!("{}", wall.format(CLASSIC_FORMAT)));
        }
        let mut stamp = Self::empty();
        stamp.two(wall.day());
        stamp.after(b'-', wall.month());
        stamp.push(b'-');
        stamp.year(&wall);
        stamp.after(b' ', wall.hour());
        stamp.after(b':', wall.minute());
        stamp.after(b':', wall.second());
        stamp
    }

    pub fn as_str(&self) -> &str {
        // The buffer holds only ASCII.
        self.text
            .get(..self.length)
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default()
    }

    fn empty() -> Self {
        Self { text: [0; MOST_BYTES], length: 0 }
    }

    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut stamp = Self::empty();
        // The buffer is large enough for everything that chrono can write.
        let _fits = stamp.write_fmt(text);
        stamp
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn two(&mut self, number: u32) {
        self.push(digit(number / 10));
        self.push(digit(number % 10));
    }

    fn after(&mut self, separator: u8, number: u32) {
        self.push(separator);
        self.two(number);
    }

    fn year(&mut self, wall: &NaiveDateTime) {
        let year = wall.year().unsigned_abs();
        self.two(year / 100);
        self.two(year % 100);
    }
}

/// Checks for a year from 0 to 9999 and no leap second.
fn is_plain(wall: &NaiveDateTime) -> bool {
    (0..=9_999).contains(&wall.year()) && wall.nanosecond() < 1_000_000_000
}

/// Returns the last decimal digit as ASCII.
fn digit(number: u32) -> u8 {
    b"0123456789"[(number % 10) as usize]
}

impl Write for FormattedTime {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

impl fmt::Display for FormattedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FormattedTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn as_chrono_writes_it(at: DateTime<Utc>, zone: Tz) {
        assert_eq!(
            FormattedTime::rfc3339(at).to_string(),
            at.to_rfc3339_opts(SecondsFormat::Millis, true)
        );
        assert_eq!(
            FormattedTime::classic(at, zone).to_string(),
            at.with_timezone(&zone).format(CLASSIC_FORMAT).to_string()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))]

        #[test]
        fn instants_match_chronos_format(
            millis in prop_oneof![0_i64..4_102_444_800_000, -70_000_000_000_000_i64..260_000_000_000_000],
            zone in prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::Asia__Kathmandu, Tz::America__St_Johns]),
        ) {
            as_chrono_writes_it(DateTime::from_timestamp_millis(millis).unwrap_or_default(), zone);
        }
    }

    #[test]
    fn calendar_ends_and_leap_second_match_chrono() {
        let leap = "2016-12-31T23:59:60.250Z".parse().expect("a leap second");
        // Chrono has no zone's local time at the very ends of its calendar.
        let day = TimeDelta::days(1);
        for at in [DateTime::<Utc>::MIN_UTC + day, DateTime::<Utc>::MAX_UTC - day, leap] {
            as_chrono_writes_it(at, Tz::Asia__Kathmandu);
        }
    }
}
