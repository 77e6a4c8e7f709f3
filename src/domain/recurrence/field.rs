//! A field of a cron expression: a list of numbers, names, ranges and steps, and for days also `L`,
//! `W` and `#`.
//!
//! A field keeps its items as they were written, beside the set of numbers that they mean. So `*/5`
//! stays a step, which decides how a schedule meets daylight saving. Names become numbers, and
//! Sunday is 0. A range may wrap (`22-2`), because that is the obvious meaning.
//!
//! The parser refuses values outside of the field, steps that could match only once, and `L`, `W`,
//! `#` or `?` in fields where they mean nothing. Each error is a sentence.

use std::fmt;

use crate::domain::text::units::shown;

/// The place of a field in an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
}

/// An element of a field's list. Days of the week are 0 to 7, both ends Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Any value: `*` or `?`
    Any,
    /// A step over all values: `*/5`
    AnyStep(u8),
    /// A single number: `5`
    One(u8),
    /// Steps from a number to the end of the field: `5/15`
    From(u8, u8),
    /// A range, which may wrap: `1-5`, `22-2`
    Range(u8, u8),
    /// A range with a step: `1-5/2`
    RangeStep(u8, u8, u8),
    /// The number of days before the month's last: 0 for `L`, 3 for `L-3`
    FromLast(u8),
    /// The last Monday to Friday of the month: `LW`
    LastWorkday,
    /// The Monday to Friday nearest to this day, in the same month: `15W`
    NearestWorkday(u8),
    /// The last such day of the week: `5L`
    LastOf(u8),
    /// The day of the week and its number in the month: `1#2` is the second Monday
    Nth(u8, u8),
}

/// A checked field: the items as written, and the numbers that they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) items: Vec<Item>,
    pub(super) set: Set,
}

/// A set of numbers below 64, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(pub(super) u64);

/// The error in a part of a field. Callers add the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    /// A number is outside of the field's range.
    #[error("`{value}` is out of range: write a number from {first} to {last}")]
    Beyond {
        /// The text as written.
        value: String,
        /// The least number that is right.
        first: u8,
        /// The largest number that is right.
        last: u8,
    },
    /// The text is no number, name, range or step.
    #[error("`{value}` is not understood: write {right}")]
    NotUnderstood {
        /// The text as written.
        value: String,
        /// A description of texts that would be right.
        right: &'static str,
    },
    /// A step is 0 or larger than the field.
    #[error(
        "the step of `{value}` has to be from 1 to {last}: a period that does not fit in this field is written as a \
         schedule's `every`, such as `90m`"
    )]
    Step {
        /// The text as written.
        value: String,
        /// The largest step that is right.
        last: u8,
    },
    /// A `#` is followed by something other than 1 to 5.
    #[error("`{0}` has to end in a number from 1 to 5: `MON#2` is the second Monday of a month")]
    Ordinal(String),
    /// `L` stands alone as a day of the week. Some crons read it as Saturday, others as the last
    /// day of every week.
    #[error(
        "`{0}` does not say which day of the week is to be the last of the month: write `FRIL` for the last Friday"
    )]
    WhichLast(String),
}

impl Set {
    pub(super) const fn has(self, number: u32) -> bool {
        number < u64::BITS && self.0 >> number & 1 == 1
    }

    /// Returns the least number in the set that is `from` or more.
    pub(super) const fn next(self, from: u32) -> Option<u32> {
        if from >= u64::BITS || self.0 >> from == 0 {
            return None;
        }
        Some(from + (self.0 >> from).trailing_zeros())
    }

    /// Returns the numbers in the set, least first.
    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |number| self.has(*number))
    }

    pub(super) const fn len(self) -> u32 {
        self.0.count_ones()
    }
}

impl Field {
    pub(super) fn parse(unit: Unit, text: &str) -> Result<Self, BadField> {
        let items: Vec<Item> =
            text.split(',').map(|item| unit.item(item)).collect::<Result<_, _>>()?;
        let set = Set(items.iter().fold(0, |all, item| all | unit.numbers(*item)));
        Ok(Self { items, set })
    }

    /// Returns whether the field holds `*` or `?`, with or without a step: then it restricts
    /// nothing.
    pub(super) fn has_star(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Any | Item::AnyStep(_)))
    }

    pub(super) fn has_step(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item, Item::AnyStep(_) | Item::From(..) | Item::RangeStep(..)))
    }
}

impl Unit {
    /// Returns the name that messages use.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        }
    }

    const fn first(self) -> u8 {
        matches!(self, Self::DayOfMonth | Self::Month) as u8
    }

    /// Returns the largest number that may be written: Sunday is 0 and 7.
    const fn last(self) -> u8 {
        match self {
            Self::Second | Self::Minute => 59,
            Self::Hour => 23,
            Self::DayOfMonth => 31,
            Self::Month => 12,
            Self::DayOfWeek => 7,
        }
    }

    /// Returns the largest number that a set holds: Sunday is only 0.
    const fn top(self) -> u8 {
        match self {
            Self::DayOfWeek => 6,
            _ => self.last(),
        }
    }

    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &[
                "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
            ],
            Self::DayOfWeek => &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
            _ => &[],
        }
    }

    const fn right(self) -> &'static str {
        match self {
            Self::Second | Self::Minute => {
                "a number from 0 to 59, a range such as `0-29`, a step such as `*/15`, or `*`"
            }
            Self::Hour => {
                "a number from 0 to 23, a range such as `9-17`, a step such as `*/6`, or `*`"
            }
            Self::DayOfMonth => {
                "a number from 1 to 31, a range such as `1-7`, a step such as `*/2`, `L` for the last day, `LW` for the \
                 last workday, `15W` for the workday nearest to the 15th, or `*`"
            }
            Self::Month => {
                "a number from 1 to 12, a name such as `JAN`, a range such as `JUN-AUG`, or `*`"
            }
            Self::DayOfWeek => {
                "a number from 0 (Sunday) to 7 (Sunday again), a name such as `MON`, a range such as `MON-FRI`, \
                 `MON#2` for the second Monday, `FRIL` for the last Friday, or `*`"
            }
        }
    }

    fn item(self, text: &str) -> Result<Item, BadField> {
        if let Some(item) = self.special(&text.to_ascii_uppercase())? {
            return Ok(item);
        }
        let (body, step) = match text.split_once('/') {
            Some((body, step)) => (body, Some(self.step(text, step)?)),
            None => (text, None),
        };
        if body == "*" {
            return Ok(step.filter(|step| *step > 1).map_or(Item::Any, Item::AnyStep));
        }
        if let Some((first, last)) = body.split_once('-') {
            let (first, last) = self.ends(self.number(text, first)?, self.number(text, last)?);
            return Ok(
                step.map_or(Item::Range(first, last), |step| Item::RangeStep(first, last, step))
            );
        }
        let first = self.number(text, body)?;
        let first = if first > self.top() { self.first() } else { first };
        Ok(step.map_or(Item::One(first), |step| Item::From(first, step)))
    }

    /// Replaces 7 by 0 where Sunday begins a range, so that `7-2` is Sunday to Tuesday. At the end
    /// of a range Sunday may be 7.
    fn ends(self, first: u8, last: u8) -> (u8, u8) {
        match (first > self.top(), last > self.top()) {
            (true, true) => (self.first(), self.first()),
            (true, false) => (self.first(), last),
            (false, _) => (first, last),
        }
    }

    /// Reads `?` and items with `L`, `W` or `#`; `None` for any other item.
    fn special(self, text: &str) -> Result<Option<Item>, BadField> {
        let ordinal = || BadField::Ordinal(shown(text));
        let item = match self {
            Self::DayOfMonth => match text {
                "?" => Item::Any,
                "L" => Item::FromLast(0),
                "LW" | "WL" => Item::LastWorkday,
                _ => {
                    if let Some(day) = text.strip_suffix('W') {
                        Item::NearestWorkday(self.number(text, day)?)
                    } else if let Some(days) = text.strip_prefix("L-") {
                        let days = self.number(text, days)?;
                        if days == self.last() {
                            return Err(BadField::Beyond {
                                value: shown(text),
                                first: 1,
                                last: 30,
                            });
                        }
                        Item::FromLast(days)
                    } else {
                        return Ok(None);
                    }
                }
            },
            Self::DayOfWeek => match text {
                "?" => Item::Any,
                "L" => return Err(BadField::WhichLast(shown(text))),
                _ => {
                    if let Some((day, nth)) = text.split_once('#') {
                        let nth: u8 = nth.parse().map_err(|_| ordinal())?;
                        if !(1..=5).contains(&nth) {
                            return Err(ordinal());
                        }
                        Item::Nth(self.number(text, day)? % 7, nth)
                    } else if let Some(day) = text.strip_suffix('L') {
                        Item::LastOf(self.number(text, day)? % 7)
                    } else {
                        return Ok(None);
                    }
                }
            },
            Self::Second | Self::Minute | Self::Hour | Self::Month => return Ok(None),
        };
        Ok(Some(item))
    }

    fn step(self, item: &str, step: &str) -> Result<u8, BadField> {
        let number = step.bytes().all(|b| b.is_ascii_digit()).then(|| step.parse().ok()).flatten();
        number
            .filter(|step| (1..=self.last()).contains(step))
            .ok_or_else(|| BadField::Step { value: shown(item), last: self.last() })
    }

    /// Reads a number or a name. `item` is the whole item, for messages.
    fn number(self, item: &str, text: &str) -> Result<u8, BadField> {
        let named = self.names().iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(number) = named.and_then(|at| u8::try_from(at).ok()) {
            return Ok(number + self.first());
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadField::NotUnderstood { value: shown(item), right: self.right() });
        }
        text.parse::<u8>()
            .ok()
            .filter(|number| (self.first()..=self.last()).contains(number))
            .ok_or_else(|| BadField::Beyond {
                value: shown(text),
                first: self.first(),
                last: self.last(),
            })
    }

    /// Returns the numbers that an item means, as bits; no bits for an item that depends on the
    /// month.
    fn numbers(self, item: Item) -> u64 {
        let (first, last, step) = match item {
            Item::Any => (self.first(), self.top(), 1),
            Item::AnyStep(step) => (self.first(), self.top(), step),
            Item::One(number) => (number, number, 1),
            Item::From(first, step) => (first, self.top(), step),
            Item::Range(first, last) => (first, last, 1),
            Item::RangeStep(first, last, step) => (first, last, step),
            Item::FromLast(_)
            | Item::LastWorkday
            | Item::NearestWorkday(_)
            | Item::LastOf(_)
            | Item::Nth(..) => {
                return 0;
            }
        };
        let size = self.top() - self.first() + 1;
        let end = if first <= last { last } else { last + size };
        (first..=end).step_by(usize::from(step)).fold(0, |bits, number| {
            let wrapped = if number > self.top() { number - size } else { number };
            bits | 1 << wrapped
        })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::AnyStep(step) => write!(f, "*/{step}"),
            Self::One(number) => write!(f, "{number}"),
            Self::From(first, step) => write!(f, "{first}/{step}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::RangeStep(first, last, step) => write!(f, "{first}-{last}/{step}"),
            Self::FromLast(0) => f.write_str("L"),
            Self::FromLast(days) => write!(f, "L-{days}"),
            Self::LastWorkday => f.write_str("LW"),
            Self::NearestWorkday(day) => write!(f, "{day}W"),
            Self::LastOf(day) => write!(f, "{day}L"),
            Self::Nth(day, nth) => write!(f, "{day}#{nth}"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{item}")?;
        }
        Ok(())
    }
}
