//! A cron expression and the wall times that it matches: five fields, six with seconds first, or a
//! name such as `@daily`.
//!
//! Wall times in this file are plain numbers: seconds as if the wall clock were in UTC. Zones and
//! daylight saving are not known here. If day of month and day of week are both restricted, a day
//! matches when *either* field matches; otherwise both have to. Vixie's cron does the same. A field
//! that holds `*`, with or without a step, is not restricted.
//!
//! A library (croner) was tried and dropped. Its own daylight saving layer is wrong for lists, so
//! ours would have been needed around it anyway. `5/15`, `22-2` and `@every` had to be rewritten
//! first, and its search for a time that never comes ran for 46 ms. The library would have saved us
//! only this file.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, NaiveDate};

use super::field::{BadField, Field, Item, Set, Unit};
use crate::domain::text::units::shown;

/// The number of seconds in a day.
pub(super) const DAY: i64 = 86_400;

/// The last year with a due time, the same as for dates.
const LAST_YEAR: i32 = 9999;

/// The longest expression that is read, in characters. An expression that lists every minute, hour
/// and day has about 400.
const MAX_CHARS: usize = 512;

/// A checked cron expression. Its text form is normalized: numbers for names, single spaces, and
/// seconds only if they differ from 0.
///
/// ```
/// use tidetable::domain::recurrence::CronExpr;
///
/// let expr: CronExpr = "30  2 * JAN mon-FRI".parse()?;
/// assert_eq!(expr.to_string(), "30 2 * 1 1-5");
/// assert_eq!("@daily".parse::<CronExpr>()?.to_string(), "0 0 * * *");
/// # Ok::<(), tidetable::domain::recurrence::BadCron>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronExpr {
    pub(super) second: Field,
    pub(super) minute: Field,
    pub(super) hour: Field,
    pub(super) day_of_month: Field,
    pub(super) month: Field,
    pub(super) day_of_week: Field,
}

/// The reason why a text is no cron expression. Quoted text is escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCron {
    /// The text is blank.
    #[error(
        "the cron expression is empty: write one such as `30 2 * * *` (at 02:30 every day) or `@daily`"
    )]
    Empty,
    /// The text has more than 512 characters.
    #[error(
        "the cron expression has {0} characters and may have {MAX_CHARS}: use ranges and steps, such as `*/5`"
    )]
    TooLong(usize),
    /// The text has too few or too many fields.
    #[error(
        "`{0}` has {1} {fields} and a cron expression five (minute, hour, day of month, month, day of week) or six (with \
         seconds first): write one such as `30 2 * * *`",
        fields = if *.1 == 1 { "field" } else { "fields" }
    )]
    FieldCount(String, usize),
    /// The text starts with `@` and goes on with an unknown word.
    #[error(
        "`{0}` is not known: write `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`, or \
         `@every` with a duration, such as `@every 90s`"
    )]
    UnknownName(String),
    /// A field is wrong: its name and the error.
    #[error("{0}: {1}")]
    Field(&'static str, BadField),
    /// The fields are right, but no day in any year matches them all, such as 30 February.
    #[error(
        "`{0}` never comes: no month that it names has such a day of month; check its third and fourth field, as in \
         `0 0 28 2 *` or `0 0 L 2 *` (the last day of February)"
    )]
    Never(String),
}

impl FromStr for CronExpr {
    type Err = BadCron;

    fn from_str(text: &str) -> Result<Self, BadCron> {
        let text = text.trim();
        let chars = text.chars().count();
        if chars > MAX_CHARS {
            return Err(BadCron::TooLong(chars));
        }
        let written: Vec<&str> = match named(text)? {
            Some(expression) => expression.split(' ').collect(),
            None => text.split_whitespace().collect(),
        };
        let (seconds, fields) = match written.as_slice() {
            [] => return Err(BadCron::Empty),
            fields if fields.len() == 5 => ("0", fields),
            [seconds, fields @ ..] if fields.len() == 5 => (*seconds, fields),
            other => return Err(BadCron::FieldCount(shown(text), other.len())),
        };
        let field = |unit: Unit, text: &str| {
            Field::parse(unit, text).map_err(|bad| BadCron::Field(unit.name(), bad))
        };
        let expr = Self {
            second: field(Unit::Second, seconds)?,
            minute: field(Unit::Minute, fields[0])?,
            hour: field(Unit::Hour, fields[1])?,
            day_of_month: field(Unit::DayOfMonth, fields[2])?,
            month: field(Unit::Month, fields[3])?,
            day_of_week: field(Unit::DayOfWeek, fields[4])?,
        };
        if expr.ever_comes() { Ok(expr) } else { Err(BadCron::Never(shown(text))) }
    }
}

/// Returns the expression that a name such as `@daily` stands for; `None` when the text is no name.
fn named(text: &str) -> Result<Option<&'static str>, BadCron> {
    let Some(name) = text.strip_prefix('@') else { return Ok(None) };
    Ok(Some(match name.to_ascii_lowercase().as_str() {
        "hourly" => "0 * * * *",
        "daily" | "midnight" => "0 0 * * *",
        "weekly" => "0 0 * * 0",
        "monthly" => "0 0 1 * *",
        "yearly" | "annually" => "0 0 1 1 *",
        _ => return Err(BadCron::UnknownName(shown(text))),
    }))
}

impl fmt::Display for CronExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has_seconds() {
            write!(f, "{} ", self.second)?;
        }
        write!(
            f,
            "{} {} {} {} {}",
            self.minute, self.hour, self.day_of_month, self.month, self.day_of_week
        )
    }
}

impl CronExpr {
    /// Returns whether the seconds say more than "at the full minute".
    pub(super) fn has_seconds(&self) -> bool {
        self.second.items != [Item::One(0)]
    }

    /// Returns whether the schedule follows real time (its hour holds `*` or a step) rather than
    /// the wall clock.
    pub fn is_interval(&self) -> bool {
        self.hour.has_star() || self.hour.has_step()
    }

    /// Returns the first matching wall time at or after `wall`; `None` after the year 9999.
    pub(super) fn next_wall(&self, wall: i64) -> Option<i64> {
        let date = date_of(wall)?;
        if self.matches_date(date)
            && let Some(time) = self.next_time(u32::try_from(wall.rem_euclid(DAY)).ok()?)
        {
            return Some(wall.div_euclid(DAY) * DAY + i64::from(time));
        }
        let date = self.next_date(date.checked_add_days(Days::new(1))?)?;
        Some(midnight(date) + i64::from(self.next_time(0)?))
    }

    pub(super) fn matches(&self, wall: i64) -> bool {
        self.next_wall(wall) == Some(wall)
    }

    /// Returns the first matching time of day at or after `time`, in seconds; `None` if the day has
    /// no more.
    pub(super) fn next_time(&self, time: u32) -> Option<u32> {
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        if self.hour.set.has(hour) {
            if self.minute.set.has(minute)
                && let Some(second) = self.second.set.next(second)
            {
                return Some(hour * 3600 + minute * 60 + second);
            }
            if let Some(minute) = self.minute.set.next(minute + 1) {
                return Some(hour * 3600 + minute * 60 + self.second.set.next(0)?);
            }
        }
        let hour = self.hour.set.next(hour + 1)?;
        Some(hour * 3600 + self.minute.set.next(0)? * 60 + self.second.set.next(0)?)
    }

    /// Returns the first matching day at or after `date`; `None` after the year 9999. The search
    /// covers at most a hundred years of months, because [`Self::ever_comes`] held when the
    /// expression was read.
    pub(super) fn next_date(&self, date: NaiveDate) -> Option<NaiveDate> {
        let (mut year, mut month) = (date.year(), date.month());
        let mut days = Set(self.days_of(year, month)?.0 & (u64::MAX << date.day()));
        while year <= LAST_YEAR {
            if let Some(day) = days.next(1) {
                return NaiveDate::from_ymd_opt(year, month, day);
            }
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            days = self.days_of(year, month)?;
        }
        None
    }

    fn matches_date(&self, date: NaiveDate) -> bool {
        date.year() <= LAST_YEAR
            && self.days_of(date.year(), date.month()).is_some_and(|days| days.has(date.day()))
    }

    /// Returns whether any day matches. The calendar repeats after 400 years.
    fn ever_comes(&self) -> bool {
        let mut months = (2000..2400).flat_map(|year| (1..=12).map(move |month| (year, month)));
        months.any(|(year, month)| {
            self.days_of(year, month).is_some_and(|days| days != Set::default())
        })
    }

    /// Returns the days of a month that match; `None` outside of the calendar.
    fn days_of(&self, year: i32, month: u32) -> Option<Set> {
        if !self.month.set.has(month) {
            return Some(Set::default());
        }
        let month = Month::of(year, month)?;
        let by_date = month.days_by_date(&self.day_of_month);
        let by_weekday = month.days_by_weekday(&self.day_of_week);
        let is_free = self.day_of_month.has_star() || self.day_of_week.has_star();
        Some(Set(month.all() & if is_free { by_date & by_weekday } else { by_date | by_weekday }))
    }
}

/// The length of a month, and the day of the week of its first day; Sunday is 0.
struct Month {
    length: u32,
    first: u32,
}

impl Month {
    fn of(year: i32, month: u32) -> Option<Self> {
        let first = NaiveDate::from_ymd_opt(year, month, 1)?;
        Some(Self {
            length: u32::from(first.num_days_in_month()),
            first: first.weekday().num_days_from_sunday(),
        })
    }

    /// Returns all days as bits, beginning with bit 1.
    fn all(&self) -> u64 {
        (1 << (self.length + 1)) - 2
    }

    fn weekday(&self, day: u32) -> u32 {
        (self.first + day - 1) % 7
    }

    /// Returns the first day of the month with this day of the week.
    fn first_of(&self, weekday: u32) -> u32 {
        1 + (weekday + 7 - self.first) % 7
    }

    fn days_by_date(&self, field: &Field) -> u64 {
        field.items.iter().fold(field.set.0, |days, item| {
            let day = match item {
                Item::FromLast(back) => self.length.checked_sub(u32::from(*back)),
                Item::LastWorkday => self.nearest_workday(self.length),
                Item::NearestWorkday(day) => self.nearest_workday(u32::from(*day)),
                _ => None,
            };
            days | day.map_or(0, |day| 1 << day)
        })
    }

    fn days_by_weekday(&self, field: &Field) -> u64 {
        const EVERY_SEVENTH: u64 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;
        let plain = field
            .set
            .iter()
            .fold(0, |days, weekday| days | EVERY_SEVENTH << self.first_of(weekday));
        field.items.iter().fold(plain, |days, item| {
            let day = match item {
                Item::LastOf(weekday) => {
                    let first = self.first_of(u32::from(*weekday));
                    first + (self.length - first) / 7 * 7
                }
                Item::Nth(weekday, nth) => {
                    self.first_of(u32::from(*weekday)) + 7 * (u32::from(*nth) - 1)
                }
                _ => return days,
            };
            days | 1 << day
        })
    }

    /// Returns the Monday to Friday nearest to a day without leaving the month; `None` when the
    /// month has no such day.
    fn nearest_workday(&self, day: u32) -> Option<u32> {
        if day > self.length {
            return None;
        }
        Some(match self.weekday(day) {
            6 if day == 1 => 3,
            6 => day - 1,
            0 if day == self.length => day - 2,
            0 => day + 1,
            _ => day,
        })
    }
}

/// Returns the day of a wall time; `None` outside of the calendar.
pub(super) fn date_of(wall: i64) -> Option<NaiveDate> {
    DateTime::from_timestamp(wall, 0).map(|at| at.date_naive())
}

/// Returns the wall time at which a day begins.
pub(super) fn midnight(date: NaiveDate) -> i64 {
    date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp()
}
