//! Describes a recurrence in one English sentence. `POST /preview` shows it, so that people see the
//! meaning of the text that they wrote.
//!
//! The sentence combines the time of day, the days, the months and the zone, each as short as is
//! right. The effects of clock changes on a fixed schedule are mentioned only if they can meet one
//! of its times.

use super::cron::{CronExpr, DAY};
use super::field::{Field, Item, Set};
use super::rule::Recurrence;
use super::zone::Zone;
use crate::domain::names::id::Timestamp;

/// The most times of day that are listed one by one.
const LISTED_TIMES: u32 = 4;

/// The years that are searched for clock changes: 2020 to 2037. Rules rarely change for the past,
/// and are not known for the far future.
const LOOKED_THROUGH: std::ops::Range<i64> = 1_577_836_800..2_145_916_800;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Recurrence {
    /// Describes the recurrence, such as `at 02:30 every day, Europe/Berlin time; …`.
    ///
    /// ```
    /// use tidetable::domain::recurrence::{Recurrence, Zone};
    ///
    /// let nightly = Recurrence::Cron("15 22 * * MON-FRI".parse()?, Zone::UTC);
    /// assert_eq!(nightly.describe(), "at 22:15 from Monday to Friday, UTC");
    /// # Ok::<(), tidetable::domain::recurrence::BadCron>(())
    /// ```
    pub fn describe(&self) -> String {
        match self {
            Self::Cron(expr, Zone::UTC) => format!("{} {}, UTC", times(expr), days(expr)),
            Self::Cron(expr, zone) => {
                format!(
                    "{} {}, {zone} time{}",
                    times(expr),
                    days(expr),
                    changed_clocks(expr, *zone)
                )
            }
            Self::Every(period, anchor) => {
                format!(
                    "every {period}, counted from {}",
                    Timestamp::to_rfc3339_opts(anchor, SECONDS, true)
                )
            }
        }
    }
}

const SECONDS: chrono::SecondsFormat = chrono::SecondsFormat::AutoSi;

/// Describes the times of day: `at 02:30 and 14:30`, `every 15 minutes from 09:00 to 17:59`,
/// `at minute 5 of every hour`.
fn times(expr: &CronExpr) -> String {
    let (hour, minute, second) = (&expr.hour, &expr.minute, &expr.second);
    let count = hour.set.len() * minute.set.len() * second.set.len();
    if count <= LISTED_TIMES && !is_all(hour) {
        let starts = std::iter::successors(expr.next_time(0), |time| expr.next_time(time + 1));
        return format!(
            "at {}",
            listed(starts.map(|time| clock(time, expr.has_seconds())).collect())
        );
    }
    // "Every second, every 5 minutes" is ambiguous, so the minutes are listed then.
    let minutes = match expr.has_seconds() && !is_all(minute) {
        true => at_each(minute, "minute"),
        false => part(minute, "minute", 60),
    };
    let within = match expr.has_seconds().then(|| part(second, "second", 60)) {
        None => minutes.clone(),
        Some(seconds) if is_all(minute) && seconds.starts_with("every") => seconds,
        Some(seconds) if is_all(minute) => format!("{seconds} of {minutes}"),
        Some(seconds) => format!("{seconds}, {minutes}"),
    };
    match (is_all(hour), hour.set.len()) {
        (true, _) if minutes.starts_with("every") => within,
        (true, _) => format!("{within} of every hour"),
        (false, 1) => format!(
            "{within} in the hour {}",
            listed(ranges(hour.set, |hour| format!("{hour:02}")))
        ),
        (false, _) => format!(
            "{within} in the hours {}",
            listed(ranges(hour.set, |hour| format!("{hour:02}")))
        ),
    }
}

/// Describes a field: `every 5 minutes`, `at minute 5`, `at minutes 5, 10 and 20 to 25`.
fn part(field: &Field, unit: &str, size: u32) -> String {
    match field.items.as_slice() {
        [Item::Any] => format!("every {unit}"),
        [Item::AnyStep(step)] if size.is_multiple_of(u32::from(*step)) => {
            format!("every {step} {unit}s")
        }
        _ => at_each(field, unit),
    }
}

fn at_each(field: &Field, unit: &str) -> String {
    let plural = if field.set.len() == 1 { "" } else { "s" };
    format!("at {unit}{plural} {}", listed(ranges(field.set, |n| n.to_string())))
}

/// Describes the days: `every day`, `on the 1st and the 15th of the month`,
/// `from Monday to Friday in June`.
fn days(expr: &CronExpr) -> String {
    let by_date = (!is_all(&expr.day_of_month)).then(|| dates(&expr.day_of_month));
    let by_weekday = (!is_all(&expr.day_of_week)).then(|| weekdays(&expr.day_of_week));
    let is_free = expr.day_of_month.has_star() || expr.day_of_week.has_star();
    let days = match (by_date, by_weekday) {
        (None, None) => "every day".to_owned(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(dates), Some(weekdays)) if is_free => format!("{dates}, but only {weekdays}"),
        (Some(dates), Some(weekdays)) => format!("{dates} and also {weekdays}"),
    };
    if expr.month.set.len() == 12 {
        return days;
    }
    match ranges(expr.month.set, |month| name(&MONTHS, month - 1)).as_slice() {
        [one] if one.contains(" to ") => format!("{days} from {one}"),
        months => format!("{days} in {}", listed(months.to_vec())),
    }
}

fn dates(field: &Field) -> String {
    let mut dates: Vec<String> = ranges(field.set, |day| format!("the {}", ordinal(day)));
    for item in &field.items {
        match item {
            Item::FromLast(0) => dates.push("the last day".to_owned()),
            Item::FromLast(1) => dates.push("the last day but one".to_owned()),
            Item::FromLast(days) => dates.push(format!("the day {days} days before the last")),
            Item::LastWorkday => dates.push("the last workday".to_owned()),
            Item::NearestWorkday(day) => {
                dates.push(format!("the workday nearest to the {}", ordinal(u32::from(*day))))
            }
            _ => {}
        }
    }
    format!("on {} of the month", listed(dates))
}

fn weekdays(field: &Field) -> String {
    if let [Item::Range(..)] = field.items.as_slice()
        && let [one] = ranges(field.set, |day| name(&WEEKDAYS, day)).as_slice()
        && one.contains(" to ")
    {
        return format!("from {one}");
    }
    let mut days: Vec<String> = field.set.iter().map(|day| name(&WEEKDAYS, day) + "s").collect();
    let sunday_last = usize::from(field.set.has(0));
    days.rotate_left(sunday_last);
    for item in &field.items {
        match item {
            Item::LastOf(day) => {
                days.push(format!("the last {} of the month", name(&WEEKDAYS, u32::from(*day))))
            }
            Item::Nth(day, nth) => {
                days.push(format!(
                    "the {} {} of the month",
                    ordinal(u32::from(*nth)),
                    name(&WEEKDAYS, u32::from(*day))
                ));
            }
            _ => {}
        }
    }
    format!("on {}", listed(days))
}

/// Describes the effect of the zone's clock changes on a fixed schedule. The text is empty if no
/// change can meet one of its times.
fn changed_clocks(expr: &CronExpr, zone: Zone) -> String {
    if expr.is_interval() {
        return String::new();
    }
    let (mut skipped, mut doubled) = (None, None);
    for day in LOOKED_THROUGH.step_by(86_400) {
        let Some(change) = zone.change_between(day, day + DAY) else { continue };
        let (old, new) = (change + zone.offset(change - 1), change + zone.offset(change));
        let met = if old < new { &mut skipped } else { &mut doubled };
        *met = met.or_else(|| time_between(expr, old.min(new), old.max(new)));
    }
    let is_one = expr.next_time(0).is_some_and(|time| expr.next_time(time + 1).is_none());
    let said = |time: u32| clock(time, expr.has_seconds());
    match (skipped, doubled, is_one) {
        (None, None, _) => String::new(),
        (Some(time), None, true) => {
            format!("; when the clock skips {} it runs at the first instant after", said(time))
        }
        (Some(time), Some(_), true) => format!(
            "; when the clock skips {} it runs at the first instant after, and when it shows it twice the first time only",
            said(time)
        ),
        (None, Some(time), _) => {
            format!("; when the clock shows {} twice it runs the first time only", said(time))
        }
        (Some(_), None, false) => {
            "; times that the clock skips become one run at the first instant after".to_owned()
        }
        (Some(_), Some(_), false) => {
            "; times that the clock skips become one run at the first instant after, and those \
                                      that it shows twice run the first time only"
                .to_owned()
        }
    }
}

/// Returns the first matching time of day that a wall clock shows from `from` on, and before
/// `until`.
fn time_between(expr: &CronExpr, from: i64, until: i64) -> Option<u32> {
    let start = from.rem_euclid(DAY);
    let time = expr.next_time(u32::try_from(start).ok()?);
    let tomorrow = || expr.next_time(0).map(|time| (i64::from(time) + DAY, time));
    let (wall, time) = time.map(|time| (i64::from(time), time)).or_else(tomorrow)?;
    (wall - start < until - from).then_some(time)
}

fn is_all(field: &Field) -> bool {
    field.items.iter().any(|item| matches!(item, Item::Any))
}

/// Returns the numbers of a set in words, three and more in a row as `… to …`.
fn ranges(set: Set, word: impl Fn(u32) -> String) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = set.next(0);
    while let Some(first) = rest {
        let last = (first..).find(|number| !set.has(number + 1)).unwrap_or(first);
        if last >= first + 2 {
            words.push(format!("{} to {}", word(first), word(last)));
        } else {
            words.extend((first..=last).map(&word));
        }
        rest = set.next(last + 1);
    }
    words
}

/// Joins words as `a`, `a and b`, `a, b and c`.
fn listed(mut words: Vec<String>) -> String {
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} and {last}", words.join(", ")) }
}

fn name(names: &[&str], number: u32) -> String {
    usize::try_from(number)
        .ok()
        .and_then(|at| names.get(at))
        .copied()
        .unwrap_or_default()
        .to_owned()
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn clock(time: u32, seconds: bool) -> String {
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    if seconds {
        format!("{hour:02}:{minute:02}:{second:02}")
    } else {
        format!("{hour:02}:{minute:02}")
    }
}
