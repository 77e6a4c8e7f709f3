//! The sentences of the chart: one for each mark.

use chrono::TimeDelta;

use super::mark::{Mark, MarkKind};
use crate::domain::job::{Map, Reason, Status};
use crate::domain::names::id::Timestamp;
use crate::domain::schedule::ledger;

/// Returns what happened to the run, runs, or will run, as one sentence without its name.
pub fn says(mark: &Mark, now: Timestamp) -> String {
    let took = || duration(mark.to - mark.from);
    match mark.kind {
        MarkKind::Many => many(mark),
        MarkKind::Running => running(mark, now),
        MarkKind::Planned => planned(mark, now),
        MarkKind::Skipped => format!("skipped: {}", absence(mark)),
        MarkKind::Missed => format!("missed: {}", absence(mark)),
        MarkKind::Run if !mark.has_run => match mark.status {
            Status::Unknown => "no evidence shows whether it ran".to_owned(),
            status => format!("{} before its process ran", word(status)),
        },
        MarkKind::Run => {
            let late = (mark.from - mark.due_at).max(TimeDelta::zero());
            let how = match mark.status {
                Status::Succeeded => format!("succeeded in {}", took()),
                Status::Unknown => format!("ran, and no evidence shows how it ended, {}", took()),
                status => format!("{} after {}", word(status), took()),
            };
            format!("{how}, {} late", duration(late))
        }
    }
}

fn many(mark: &Mark) -> String {
    let each: Vec<String> =
        mark.tally.iter().map(|(status, count)| format!("{count} {}", word(*status))).collect();
    match each.as_slice() {
        [only] => only.clone(),
        _ => format!("{} runs: {}", mark.count(), each.join(", ")),
    }
}

fn running(mark: &Mark, now: Timestamp) -> String {
    let runs = duration((now - mark.from).max(TimeDelta::zero()));
    match mark.expected_to {
        None => format!("{} since {runs}", word(mark.status)),
        Some(end) if end < now => format!(
            "{} since {runs}, longer than the usual {}",
            word(mark.status),
            duration(end - mark.from)
        ),
        Some(end) => format!(
            "{} since {runs}, usually takes {}",
            word(mark.status),
            duration(end - mark.from)
        ),
    }
}

fn planned(mark: &Mark, now: Timestamp) -> String {
    let when = if mark.due_at > now {
        format!("due in {}", duration(mark.due_at - now))
    } else {
        format!("due since {}, waits", duration(now - mark.due_at))
    };
    if mark.to > mark.from {
        return format!("{when}, usually takes {}", duration(mark.to - mark.from));
    }
    when
}

fn absence(mark: &Mark) -> &'static str {
    match (mark.reason, mark.status) {
        (Some(Reason::DeadlinePassed), _) => "it was not started before its deadline",
        (Some(reason), _) => ledger::sentence(reason),
        (None, Status::Missed) => "it was not started in time",
        (None, _) => "it was taken off the schedule",
    }
}

/// Returns the word for a status in a sentence.
pub const fn word(status: Status) -> &'static str {
    match status {
        Status::TimedOut => "timed out",
        Status::Canceled => "skipped",
        Status::Scheduled => "planned",
        other => other.as_str(),
    }
}

/// Writes a length of time with one or two units: `850 ms`, `3.1 s`, `8 min 51 s`, `2 h`.
pub fn duration(length: TimeDelta) -> String {
    let millis = length.num_milliseconds().max(0);
    let seconds = millis / 1_000;
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0 => format!("{millis} ms"),
        1..=9 => format!("{seconds}.{} s", millis / 100 % 10),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..=86_399 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// Returns whether jobs of this status are in the running map.
pub(super) fn is_running(status: Status) -> bool {
    status.map() == Map::Running
}
