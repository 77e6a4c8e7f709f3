//! The lanes of the chart: names, and one link for each mark.

use super::frame::{Frame, LANE, LEFT, RIGHT};
use super::write::{escaped, number, segment, short};
use crate::domain::job::Status;
use crate::domain::tide::{Lane, LaneKind, Mark, MarkKind, says};

/// The height of the bars in a lane of one row.
const BAR: f64 = 13.0;
/// The distance of the bars from the top of their lane.
const PAD: f64 = 7.0;
/// The smallest width of a mark.
const NARROWEST: f64 = 2.4;
/// The most characters of a lane's name.
const NAME: usize = 25;

/// The rectangle of a mark.
struct Shape {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Draws every lane.
pub(super) fn draw(out: &mut String, frame: &Frame<'_>) {
    if frame.tide.lanes.is_empty() {
        let (x, y) = (number((frame.left + RIGHT) / 2.0), number(frame.top + LANE / 2.0 + 4.0));
        *out += &format!(
            r#"<text x="{x}" y="{y}" text-anchor="middle" class="faint">Nothing ran here, and nothing will.</text>"#
        );
    }
    for (index, lane) in frame.tide.lanes.iter().enumerate() {
        let top = frame.top + LANE * index as f64;
        *out += "<g>";
        if !frame.look.one_lane {
            name(out, frame, lane, top);
        }
        let mut label_from = frame.left;
        for mark in &lane.marks {
            draw_mark(out, frame, lane, mark, top, &mut label_from);
        }
        *out += "</g>";
    }
}

fn name(out: &mut String, frame: &Frame<'_>, lane: &Lane, top: f64) {
    let (shown, href) = (short(&lane.name.name, NAME), lane_link(frame, lane));
    let title = if shown == lane.name.name {
        String::new()
    } else {
        format!("<title>{}</title>", escaped(&lane.name.name))
    };
    let (y, line) = (number(top + PAD + 10.5), number(top));
    *out += &format!(
        r#"<path class="grid" d="M0 {line}H{}"/><a href="{href}"><text x="0" y="{y}" class="lane">{}{title}</text></a>"#,
        number(LEFT - 12.0),
        escaped(&shown)
    );
}

fn lane_link(frame: &Frame<'_>, lane: &Lane) -> String {
    let (base, name) = (escaped(frame.look.base), segment(&lane.name.name));
    match lane.name.kind {
        LaneKind::Schedule => format!("{base}/schedule/{name}"),
        LaneKind::Job => format!("{base}/jobs?job_name={name}"),
    }
}

fn link(frame: &Frame<'_>, lane: &Lane, mark: &Mark) -> String {
    match mark.job {
        Some(job) if mark.kind != MarkKind::Many => {
            format!("{}/job/{job}", escaped(frame.look.base))
        }
        _ => lane_link(frame, lane),
    }
}

/// Draws a mark as a link with its sentence.
fn draw_mark(
    out: &mut String,
    frame: &Frame<'_>,
    lane: &Lane,
    mark: &Mark,
    top: f64,
    label_from: &mut f64,
) {
    let rows = f64::from(mark.rows);
    let height = if rows > 1.0 { (BAR + 5.0) / rows - 1.0 } else { BAR };
    let y = top + PAD - if rows > 1.0 { 2.0 } else { 0.0 } + f64::from(mark.row) * (height + 1.0);
    let (from, to) = (frame.x(mark.from), frame.x(mark.to));
    let shape = Shape { x: from, y, width: (to - from).max(NARROWEST), height };
    let (href, says) = (link(frame, lane, mark), escaped(&sentence(frame, lane, mark)));
    let class = class(mark);
    *out += &format!(
        r#"<a href="{href}" class="mark {class}" aria-label="{says}"><title>{says}</title>"#
    );
    late(out, frame, mark, &shape);
    body(out, frame, mark, &shape);
    if is_crossed(mark) {
        cross(out, &shape);
        *label_from = label_from.max(shape.x + shape.width / 2.0 + 5.0);
    }
    count(out, mark, &shape, label_from);
    *out += "</a>";
}

/// Returns the sentence of a mark with its name and its time.
pub(super) fn sentence(frame: &Frame<'_>, lane: &Lane, mark: &Mark) -> String {
    let local = mark.from.with_timezone(&frame.look.zone);
    let today = frame.tide.window.now.with_timezone(&frame.look.zone).date_naive();
    let format = if local.date_naive() == today { "%H:%M:%S" } else { "%d %b %H:%M:%S" };
    let says = says(mark, frame.tide.window.now);
    format!("{}, {}: {says}", lane.name.name, local.format(format))
}

/// Returns the class that gives a mark its colour.
fn class(mark: &Mark) -> &'static str {
    match (mark.kind, mark.status) {
        (MarkKind::Planned, _) => "plan",
        (MarkKind::Running, _) => "run",
        (_, Status::Succeeded) => "ok",
        (_, Status::Failed) => "bad",
        (_, Status::TimedOut) => "warn",
        (_, Status::Missed) => "warn hollow",
        (_, Status::Unknown) => "odd",
        (_, Status::Stopped) => "idle",
        (_, Status::Canceled) => "idle hollow",
        (_, Status::Scheduled | Status::Queued | Status::Retrying) => "plan",
        (_, Status::Pulling | Status::Starting | Status::Running | Status::Stopping) => "run",
    }
}

/// Returns the pattern over a mark, which tells its outcome without colour.
fn pattern(mark: &Mark) -> Option<&'static str> {
    match mark.status {
        Status::TimedOut => Some("tide-bars"),
        Status::Unknown => Some("tide-dots"),
        _ => None,
    }
}

fn is_crossed(mark: &Mark) -> bool {
    mark.status == Status::Failed
}

/// Draws the bar of a mark, or its diamond.
fn body(out: &mut String, frame: &Frame<'_>, mark: &Mark, shape: &Shape) {
    if mark.kind == MarkKind::Planned && mark.from == mark.to {
        diamond(out, shape);
        return;
    }
    if class(mark).ends_with("hollow") && mark.kind != MarkKind::Many {
        let hollow = Shape { x: shape.x, width: shape.width.max(5.0), ..*shape };
        rect(out, &hollow, "");
        return;
    }
    rect(out, shape, "");
    if let Some(pattern) = pattern(mark) {
        rect(out, shape, &format!(r#" fill="url(#{pattern})" class="over""#));
    }
    let Some(expected) = mark.expected_to else { return };
    let (end, expected) = (shape.x + shape.width, frame.x(expected));
    if expected > end {
        rect(out, &Shape { x: end, width: expected - end, ..*shape }, r#" class="rest""#);
    } else if mark.kind == MarkKind::Running {
        let slow = Shape { x: expected, width: end - expected, ..*shape };
        rect(out, &slow, r#" fill="url(#tide-slow)" class="over""#);
    }
}

fn rect(out: &mut String, shape: &Shape, more: &str) {
    let round = number((shape.width.min(shape.height) / 3.0).min(3.0));
    let (x, y) = (number(shape.x), number(shape.y));
    let (width, height) = (number(shape.width), number(shape.height));
    *out +=
        &format!(r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{round}"{more}/>"#);
}

/// Draws a planned run of unknown length.
fn diamond(out: &mut String, shape: &Shape) {
    let half = shape.height / 2.0;
    let (x, y, half) = (number(shape.x), number(shape.y), number(half.min(5.5)));
    *out += &format!(r#"<path d="M{x} {y}l{half} {half}-{half} {half}-{half}-{half}z"/>"#);
}

/// Draws the gap between the due time and the start, if it can be seen.
fn late(out: &mut String, frame: &Frame<'_>, mark: &Mark, shape: &Shape) {
    let due = frame.x(mark.due_at);
    let is_single = matches!(mark.kind, MarkKind::Run | MarkKind::Running) && mark.has_run;
    if !is_single || shape.x - due < 3.0 || mark.due_at < frame.tide.window.from {
        return;
    }
    let (x, end, middle) = (number(due), number(shape.x), shape.y + shape.height / 2.0);
    let (high, low) = (number(middle - 3.0), number(middle + 3.0));
    *out += &format!(r#"<path class="late" d="M{x} {high}V{low}M{x} {}H{end}"/>"#, number(middle));
}

/// Draws a cross above a failed run, so that narrow ones are found as well.
fn cross(out: &mut String, shape: &Shape) {
    let (x, y) = (shape.x + shape.width / 2.0 - 2.5, shape.y - 7.0);
    *out +=
        &format!(r#"<path class="cross" d="M{} {}l5 5m0-5l-5 5"/>"#, number(x), number(y.max(0.0)));
}

/// Writes the number of merged runs inside of the bar, or above it where there is room.
fn count(out: &mut String, mark: &Mark, shape: &Shape, label_from: &mut f64) {
    let count = mark.count();
    if count < 2 {
        return;
    }
    let text = match count {
        ..10_000 => count.to_string(),
        _ => format!("{}k", count / 1_000),
    };
    let middle = shape.x + shape.width / 2.0;
    let width = 5.4 * text.len() as f64;
    if shape.height >= 10.0 && shape.width >= width + 4.0 {
        let (x, y) = (number(middle), number(shape.y + 9.7));
        *out += &format!(r#"<text class="count" x="{x}" y="{y}">{text}</text>"#);
    } else if middle - width / 2.0 >= *label_from {
        let (x, y) = (number(middle), number(shape.y - 2.0));
        *label_from = middle + width / 2.0 + 3.0;
        *out += &format!(r#"<text class="count above" x="{x}" y="{y}">{text}</text>"#);
    }
}
