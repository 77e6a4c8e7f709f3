//! A time zone: a name for people, and stretches of real time with one offset each for schedules.
//!
//! The data is chrono-tz's, compiled into the binary: a schedule means the same on every machine.
//! This file asks chrono-tz only for the offset at an instant, and finds changes between two
//! instants by bisection. Bisection needs a single property, which holds for every zone in the
//! database: no zone changes twice within a day.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::cron::DAY;
use crate::domain::text::units::shown;

/// A zone of the IANA database. Names are read in any case, such as `europe/berlin`, and written as
/// in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Tz);

/// The error for a text that names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a time zone: write a name of the IANA database, such as `Europe/Berlin`, or `UTC`"
)]
pub struct NotAZone(String);

impl Zone {
    pub const UTC: Self = Self(Tz::UTC);

    /// Returns the zone in the form that formats instants.
    pub const fn tz(self) -> Tz {
        self.0
    }

    /// Returns the offset of the zone's clocks at an instant (seconds since 1970), in seconds ahead
    /// of UTC.
    pub(super) fn offset(self, at: i64) -> i64 {
        let at = DateTime::from_timestamp(at, 0).unwrap_or_default();
        i64::from(self.0.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
    }

    /// Returns the instant after `from` and before `until` at which the clocks change; `None` if
    /// they do not. The two are at most a day apart.
    pub(super) fn change_between(self, from: i64, until: i64) -> Option<i64> {
        let before = self.offset(from);
        if self.offset(until - 1) == before {
            return None;
        }
        let (mut same, mut changed) = (from, until - 1);
        while changed - same > 1 {
            let middle = same + (changed - same) / 2;
            if self.offset(middle) == before { same = middle } else { changed = middle }
        }
        Some(changed)
    }

    /// Returns the progress of the wall clock before this instant: the first wall time that it had
    /// not shown or passed. The result is ahead of the clock at `at` while a fold is being shown
    /// for the second time. The result is behind the clock if clocks are set forward at `at`.
    pub(super) fn reached(self, at: i64) -> i64 {
        let now = at + self.offset(at - 1);
        match self.change_between(at - DAY, at) {
            Some(change) => now.max(change + self.offset(change - 1)),
            None => now,
        }
    }
}

impl From<Tz> for Zone {
    fn from(zone: Tz) -> Self {
        Self(zone)
    }
}

impl FromStr for Zone {
    type Err = NotAZone;
    fn from_str(text: &str) -> Result<Self, NotAZone> {
        let name = text.trim();
        let found = name.parse().ok();
        let in_any_case = || {
            chrono_tz::TZ_VARIANTS.into_iter().find(|zone| zone.name().eq_ignore_ascii_case(name))
        };
        found.or_else(in_any_case).map(Self).ok_or_else(|| NotAZone(shown(text)))
    }
}

impl TryFrom<String> for Zone {
    type Error = NotAZone;
    fn try_from(text: String) -> Result<Self, NotAZone> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.0.name().to_owned()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}
