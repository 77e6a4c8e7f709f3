//! The due times of a schedule: cron expressions in a time zone, and fixed periods.
//!
//! A recurrence is a function from an instant to the next *tick* after it. No state is kept between
//! calls, so every caller sees the same ticks, however often and whenever it asks. The nominal time
//! of a tick, in UTC, is its name. The name never changes, and jitter is added after it.
//!
//! # Daylight saving
//!
//! A zone's wall clock mostly goes forward second by second. A clock that is set forward leaps over
//! a *gap*. A clock that is set back shows a *fold* of wall times twice. The kind of a cron
//! schedule decides its behaviour there:
//!
//! - An *interval* schedule has `*` or a step in its hour (`*/15 * * * *`, `0 */2 * * *`). The
//!   schedule follows real time: a tick is due whenever the wall clock shows a matching time.
//!   Nothing happens in a gap, and both passes of a fold count.
//! - Any other schedule is *fixed* (`30 2 * * *`, `0,30 1-3 * * *`). A tick is due whenever the
//!   wall clock *reaches or passes* a matching time that it had not reached before. All times that
//!   a gap swallows become one tick, at the first instant after the gap. A fold shows only times
//!   that had been reached, so it adds no tick.
//!
//! The second rule is one line of code, because a zone knows how far its wall clock had come
//! (`Zone::reached`). `tests/virtual_time/recurrence.rs` checks both rules against a Python script that
//! walks through whole years minute by minute.
//!
//! # The modules
//!
//! `field` and `cron` read expressions and match wall times; `zone` knows offsets; `rule` combines
//! them. `timetable` gives a recurrence its bounds, `catch_up` decides missed ticks, and
//! `describe` explains a recurrence in English.

mod catch_up;
mod cron;
mod describe;
mod field;
mod rule;
#[cfg(test)]
mod tests;
mod timetable;
mod zone;

pub use catch_up::{CatchUp, CatchUpRules, ON_TIME, SettledTicks, TickDecision, settle};
pub use cron::{BadCron, CronExpr};
pub use field::BadField;
pub use rule::{BadPeriod, BadRule, Period, Recurrence, Rule, Tick};
pub use timetable::Timetable;
pub use zone::{NotAZone, Zone};
