//! The time axis: lines at round times of the zone, their labels, and the line of now.

use chrono::{Offset, TimeDelta};
use chrono_tz::Tz;

use super::frame::{Frame, RIGHT, STAIRS};
use super::write::{escaped, number};
use crate::domain::names::id::Timestamp;
use crate::domain::tide::Tide;

/// The lengths between labels, in seconds: the first that gives few enough is taken.
const STEPS: [i64; 16] = [
    1, 5, 15, 60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800,
    604_800,
];
/// The most labels on the axis.
const MOST_LABELS: i64 = 13;
/// The room that a label needs, in units of the picture.
const LABEL: f64 = 52.0;

/// Returns one sentence about the picture.
pub(super) fn describe(tide: &Tide, zone: Tz) -> String {
    let at = |at: Timestamp| at.with_timezone(&zone).format("%d %b %H:%M").to_string();
    let (from, to) = (at(tide.window.from), at(tide.window.to));
    format!("Runs from {from} to {to} ({zone}): {} running now", tide.running)
}

/// Draws a line and a label at round times.
pub(super) fn grid(out: &mut String, frame: &Frame<'_>) {
    let top = number(if frame.look.one_lane { 0.0 } else { STAIRS.1 });
    let bottom = number(frame.bottom);
    let label_y = number(frame.bottom + 16.0);
    let now = frame.shows_now().then(|| frame.x(frame.tide.window.now));
    let mut path = String::new();
    let mut labels = String::new();
    for (at, label) in labels_of(frame) {
        let x = frame.x(at);
        path += &format!("M{} {top}V{bottom}", number(x));
        if now.is_some_and(|now| is_under_now(frame, now, x)) {
            continue;
        }
        let anchor = match x {
            x if x > RIGHT - LABEL / 2.0 => r#" text-anchor="end""#,
            x if x < frame.left + LABEL / 4.0 => "",
            _ => r#" text-anchor="middle""#,
        };
        let x = number(x);
        labels += &format!(r#"<text x="{x}" y="{label_y}"{anchor}>{}</text>"#, escaped(&label));
    }
    *out += &format!(r#"<path class="grid" d="{path}"/><g aria-hidden="true">{labels}</g>"#);
}

/// Returns whether a label at `x` would touch the label of now, which is beside its line at both
/// ends of the axis.
fn is_under_now(frame: &Frame<'_>, now: f64, x: f64) -> bool {
    let (before, after) = match now {
        now if now > RIGHT - LABEL => (2.0 * LABEL, LABEL),
        now if now < frame.left + LABEL => (LABEL, 2.0 * LABEL),
        _ => (LABEL + 14.0, LABEL + 14.0),
    };
    now - before < x && x < now + after
}

/// Draws the line of now with its time.
pub(super) fn now(out: &mut String, frame: &Frame<'_>) {
    if !frame.shows_now() {
        return;
    }
    let now = frame.tide.window.now;
    let (at, bottom, label_y) = (frame.x(now), frame.bottom + 2.0, frame.bottom + 16.0);
    let anchor = match at {
        at if at > RIGHT - LABEL => "end",
        at if at < frame.left + LABEL => "start",
        _ => "middle",
    };
    let top = if frame.look.one_lane { "0" } else { "8" };
    let (x, bottom, label_y) = (number(at), number(bottom), number(label_y));
    let time = now.with_timezone(&frame.look.zone).format("%H:%M");
    *out += &format!(
        r#"<path class="now" d="M{x} {top}V{bottom}"/><text class="now" x="{x}" y="{label_y}" text-anchor="{anchor}">{time} now</text>"#
    );
}

/// Returns the round times inside of the window, each with its label.
fn labels_of(frame: &Frame<'_>) -> Vec<(Timestamp, String)> {
    let window = &frame.tide.window;
    let zone = frame.look.zone;
    let seconds = (window.to - window.from).num_seconds().max(1);
    let step = STEPS.into_iter().find(|step| seconds / step <= MOST_LABELS).unwrap_or(604_800);
    let offset = i64::from(window.from.with_timezone(&zone).offset().fix().local_minus_utc());
    let first = window.from.timestamp() + offset;
    let first = first + (step - first.rem_euclid(step)) % step - offset;
    let mut labels = Vec::new();
    let mut at = Timestamp::from_timestamp(first, 0);
    while let Some(time) = at.filter(|time| *time <= window.to) {
        let local = time.with_timezone(&zone);
        let is_day = local.format("%H:%M").to_string() == "00:00" && seconds > 7_200;
        let format = match step {
            86_400.. => "%a %d %b",
            _ if is_day => "%d %b",
            ..60 => "%H:%M:%S",
            _ => "%H:%M",
        };
        labels.push((time, local.format(format).to_string()));
        at = time.checked_add_signed(TimeDelta::seconds(step));
    }
    labels
}
