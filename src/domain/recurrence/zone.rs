//! A time zone, as people name it and as schedules meet it: stretches of real time with one offset each.
//!
//! The data is chrono-tz's, in the binary: a schedule means the same on every machine. What is asked of it is only the
//! offset at an instant; changes between two instants are found by bisection. That needs no more of a zone than this:
//! it never changes twice within a day, which holds for every zone in the database.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::super::units::shown;
use super::cron::DAY;

/// A zone of the IANA database. Read in any case, `europe/berlin` too; written as the database does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Tz);

/// Said when there is no zone of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a time zone: write a name of the IANA database, such as `Europe/Berlin`, or `UTC`"
)]
pub struct NotAZone(String);

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(Tz::UTC);

    /// The zone, for showing instants.
    pub const fn tz(self) -> Tz {
        self.0
    }

    /// What the zone's clocks are ahead of UTC at an instant (seconds since 1970), in seconds.
    pub(super) fn offset(self, at: i64) -> i64 {
        let at = DateTime::from_timestamp(at, 0).unwrap_or_default();
        i64::from(self.0.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
    }

    /// The instant after `from` and before `until` at which the clocks are changed; the two are at most a day apart.
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

    /// How far the clock on the wall had come before this instant: the first wall time that it had not shown or passed.
    /// Ahead of the clock at `at` when clocks were set back less than that ago, behind it when they are set forward
    /// right now.
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
