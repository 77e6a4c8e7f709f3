//! A recurrence and its ticks: the written rule, a period, and the search for the next tick.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::cron::{BadCron, CronExpr};
use super::cron::{DAY, date_of, midnight};
use super::zone::Zone;
use crate::domain::names::id::Timestamp;
use crate::domain::text::units::{Span, UnitError};

/// The last second with a tick: the end of the year 9999 in UTC.
const LAST_SECOND: i64 = 253_402_300_799;

/// The written form of a recurrence, without the zone and the anchor that due times depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rule {
    /// A cron expression or name: `30 2 * * *`, `@daily`.
    Cron(CronExpr),
    /// A fixed period: `@every 90s`, `every 90s`.
    Every(Period),
}

/// A fixed period of real time: at least a second, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Span", into = "Span")]
pub struct Period(Span);

/// The reason why a text or a duration is no period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPeriod {
    /// The text is no duration.
    #[error(transparent)]
    NotADuration(#[from] UnitError),
    /// The duration is shorter than a second.
    #[error("`{0}` is too short for a period: write `1s` or more")]
    TooShort(Span),
    /// The duration has a fraction of a millisecond.
    #[error("`{0}` has a part of a millisecond: write a period such as `90s` or `1500ms`")]
    TooFine(Span),
}

/// The reason why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// The text was read as a cron expression.
    #[error(transparent)]
    Cron(#[from] BadCron),
    /// The text was read as a period.
    #[error("{0}, as in `@every 90s`")]
    Every(#[from] BadPeriod),
}

/// A rule together with the zone or the anchor that makes its due times definite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// Due by the wall clock in this zone.
    Cron(CronExpr, Zone),
    /// Due at the anchor, and whenever another period has passed since.
    Every(Period, Timestamp),
}

/// A single due time of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick {
    /// The due time before jitter. It names the tick, and is the same for every caller.
    pub nominal: Timestamp,
    /// Set when the tick stands in for wall times that a gap swallowed.
    pub shifted: bool,
}

impl Rule {
    /// Binds this rule to clocks in `zone`; a period counts from `anchor` instead.
    pub fn anchored(self, zone: Zone, anchor: Timestamp) -> Recurrence {
        match self {
            Self::Cron(expr) => Recurrence::Cron(expr, zone),
            Self::Every(period) => Recurrence::Every(period, anchor),
        }
    }
}

impl Period {
    pub const fn as_duration(self) -> Duration {
        self.0.as_duration()
    }
}

impl Recurrence {
    /// Returns the first tick after this instant; `None` after the year 9999. A cron schedule has
    /// no tick before 1970.
    pub fn next_after(&self, after: Timestamp) -> Option<Tick> {
        match self {
            Self::Cron(expr, zone) => {
                let (second, shifted) = next_of_cron(expr, *zone, after.timestamp().max(-1))?;
                Some(Tick { nominal: Timestamp::from_timestamp(second, 0)?, shifted })
            }
            Self::Every(period, anchor) => {
                let nominal = next_of_period(*period, *anchor, after)?;
                (nominal.timestamp() <= LAST_SECOND).then_some(Tick { nominal, shifted: false })
            }
        }
    }

    /// Returns the ticks after this instant, in order.
    pub fn after(&self, after: Timestamp) -> impl Iterator<Item = Tick> {
        std::iter::successors(self.next_after(after), |tick| self.next_after(tick.nominal))
    }
}

/// Returns the first second after `after` at which a cron schedule is due, and whether a gap put it
/// there.
fn next_of_cron(expr: &CronExpr, zone: Zone, after: i64) -> Option<(i64, bool)> {
    let mut from = after + 1;
    while from <= LAST_SECOND {
        // No clock is a day or more from UTC. So wall times that the zone shows from here on, or
        // had swallowed just before, are later than two days ago. Whichever day matches next,
        // nothing is due a day or more before that day begins.
        let date = expr.next_date(date_of(from - 2 * DAY)?)?;
        from = from.max(midnight(date) - DAY);
        let until = from + DAY;
        while from < until {
            let change = zone.change_between(from, until).unwrap_or(until);
            if let Some(found) = due_between(expr, zone, from, change) {
                return (found.0 <= LAST_SECOND).then_some(found);
            }
            from = change;
        }
    }
    None
}

/// Returns the first due second at or after `from` and before `until`, and whether a gap put it
/// there. The clocks do not change between the two, but may change at `from`.
fn due_between(expr: &CronExpr, zone: Zone, from: i64, until: i64) -> Option<(i64, bool)> {
    let offset = zone.offset(from);
    let shown = from + offset;
    let first = if expr.is_interval() { shown } else { zone.reached(from) };
    let wall = expr.next_wall(first)?;
    if wall < shown {
        return Some((from, !expr.matches(shown)));
    }
    let at = wall - offset;
    (at < until).then_some((at, false))
}

fn next_of_period(period: Period, anchor: Timestamp, after: Timestamp) -> Option<Timestamp> {
    let millis = i64::try_from(period.as_duration().as_millis()).ok()?;
    let passed = after.signed_duration_since(anchor).num_milliseconds();
    let periods = if after < anchor { 0 } else { passed / millis + 1 };
    anchor.checked_add_signed(TimeDelta::try_milliseconds(periods.checked_mul(millis)?)?)
}

impl TryFrom<Span> for Period {
    type Error = BadPeriod;
    fn try_from(span: Span) -> Result<Self, BadPeriod> {
        let duration = span.as_duration();
        if duration < Duration::from_secs(1) {
            return Err(BadPeriod::TooShort(span));
        }
        if !duration.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(BadPeriod::TooFine(span));
        }
        Ok(Self(span))
    }
}

impl From<Period> for Span {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = BadPeriod;
    fn from_str(text: &str) -> Result<Self, BadPeriod> {
        text.parse::<Span>()?.try_into()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    /// Reads a cron expression, or `@every 90s` with or without its `@`.
    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        if word.trim_start_matches('@').eq_ignore_ascii_case("every") {
            return Ok(Self::Every(rest.parse()?));
        }
        Ok(Self::Cron(text.parse()?))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(expr) => expr.fmt(f),
            Self::Every(period) => write!(f, "@every {period}"),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = BadRule;
    fn try_from(text: String) -> Result<Self, BadRule> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> String {
        rule.to_string()
    }
}
