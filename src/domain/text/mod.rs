//! Values as people write them: sizes and durations, dates, timestamps.

pub mod date;
pub mod timestamp;
pub mod units;
