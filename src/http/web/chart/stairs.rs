//! The staircase on top of the chart: how many runs are active at once, and the limit.

use super::frame::{Frame, LEFT, RIGHT, STAIRS};
use super::write::number;
use crate::domain::names::id::Timestamp;

/// Draws the area before now, the area after it, the limit, and what is above the limit.
pub(super) fn draw(out: &mut String, frame: &Frame<'_>) {
    let tide = frame.tide;
    let most = tide.most.map_or(0, |most| most.count);
    // A limit that is far above shows only in words, so that the steps stay large.
    let limit = tide.limit.filter(|limit| *limit <= most.saturating_mul(2) + 2);
    let top = most.max(limit.unwrap_or(0)).max(1);
    let y = |count: usize| STAIRS.1 - (STAIRS.1 - STAIRS.0) * count as f64 / top as f64;
    let now = tide.window.now.clamp(tide.window.from, tide.window.to);
    let until = tide.planned_until.unwrap_or(tide.window.to).min(tide.window.to);
    for (steps, end, area, line) in [
        (&tide.past, now, "tide-past", "tide-line"),
        (&tide.ahead, until, "tide-next", "tide-line ahead"),
    ] {
        if let Some((first, _)) = steps.first() {
            let d = path(frame, steps, end, &y);
            let (base, from) = (number(STAIRS.1), number(frame.x(*first)));
            *out += &format!(
                r#"<path class="{area}" d="{d}V{base}H{from}Z"/><path class="{line}" d="{d}"/>"#
            );
        }
    }
    if let Some(limit) = limit {
        over(out, frame, limit, until, &y);
        let (x, right, at) = (number(LEFT), number(RIGHT), number(y(limit)));
        *out += &format!(r#"<path class="limit" d="M{x} {at}H{right}"/>"#);
    }
    words(out, frame, limit.map(y));
}

fn path(
    frame: &Frame<'_>,
    steps: &[(Timestamp, usize)],
    end: Timestamp,
    y: &dyn Fn(usize) -> f64,
) -> String {
    let mut d = String::new();
    for (at, count) in steps {
        let (x, height) = (number(frame.x(*at)), number(y(*count)));
        if d.is_empty() {
            d += &format!("M{x} {height}");
        } else {
            d += &format!("H{x}V{height}");
        }
    }
    d + &format!("H{}", number(frame.x(end)))
}

/// Hatches the parts of the staircase that are above the limit.
fn over(
    out: &mut String,
    frame: &Frame<'_>,
    limit: usize,
    until: Timestamp,
    y: &dyn Fn(usize) -> f64,
) {
    let ends = frame.tide.ahead.iter().skip(1).map(|(at, _)| *at).chain([until]);
    let mut d = String::new();
    for ((from, count), to) in frame.tide.ahead.iter().zip(ends) {
        if *count > limit && *from < to {
            let (x, right) = (number(frame.x(*from)), number(frame.x(to)));
            let (base, height) = (number(y(limit)), number(y(*count)));
            d += &format!("M{x} {base}V{height}H{right}V{base}Z");
        }
    }
    if !d.is_empty() {
        *out += &format!(r#"<path fill="url(#tide-over)" d="{d}"/>"#);
    }
}

/// Writes the heading of the staircase, and the limit.
fn words(out: &mut String, frame: &Frame<'_>, limit_y: Option<f64>) {
    let tide = frame.tide;
    let most = tide.most.map(|most| {
        let at = most.at.with_timezone(&frame.look.zone);
        let is_today =
            at.date_naive() == tide.window.now.with_timezone(&frame.look.zone).date_naive();
        let format = if is_today { "%H:%M" } else { "%d %b %H:%M" };
        format!(", most {} at {}", most.count, at.format(format))
    });
    *out += &format!(
        r#"<text x="0" y="30" class="lane">Containers at once</text><text x="0" y="47">now {}{}</text>"#,
        tide.running,
        most.unwrap_or_default()
    );
    if let Some(limit) = tide.limit {
        let text = match limit_y {
            Some(y) => {
                let (x, y) = (number(RIGHT), number((y - 5.0).max(12.0)));
                format!(
                    r#"<text x="{x}" y="{y}" text-anchor="end" class="faint">limit {limit}</text>"#
                )
            }
            None => format!(r#"<text x="0" y="63" class="faint">limit {limit}</text>"#),
        };
        *out += &text;
    }
}
