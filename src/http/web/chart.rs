//! The tide chart as SVG, and as a table for those who do not see it.
//!
//! The picture has no inline style and no script: colours come from classes (`static/chart.css`)
//! and geometry from attributes, so a strict Content-Security-Policy holds. Every mark is a link
//! with a sentence. Shape and pattern tell the outcome as well as the colour does.

mod axis;
mod frame;
mod lanes;
mod stairs;
mod table;
#[cfg(test)]
mod tests;
mod write;

use crate::domain::tide::Tide;
pub(in crate::http) use frame::Look;
use frame::{AXIS, Frame, LANE, LEFT, STAIRS, WIDTH};
#[allow(unused_imports, reason = "the pages use it, beside the picture")]
pub(in crate::http) use table::table;
use write::{escaped, number};

/// Draws the chart as an SVG element that is valid XML.
pub(in crate::http) fn svg(tide: &Tide, look: &Look<'_>) -> String {
    let (left, top) = if look.one_lane { (8.0, 6.0) } else { (LEFT, STAIRS.1 + 12.0) };
    let heights: f64 = tide.lanes.iter().map(|_| LANE).sum();
    let bottom = top + heights.max(LANE);
    let frame = Frame { tide, look: *look, left, top, bottom };
    let mut out = String::with_capacity(64 * 1024);
    let (width, height) = (number(WIDTH), number(bottom + AXIS));
    let label = escaped(&axis::describe(tide, look.zone));
    out += &format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="tide-chart" viewBox="0 0 {width} {height}" role="group" aria-label="{label}">"#
    );
    out += PATTERNS;
    axis::grid(&mut out, &frame);
    if !look.one_lane {
        stairs::draw(&mut out, &frame);
    }
    lanes::draw(&mut out, &frame);
    axis::now(&mut out, &frame);
    out += "</svg>";
    out
}

/// Draws the chart as a picture of its own, with its colours for light and dark.
pub(in crate::http) fn picture(tide: &Tide, look: &Look<'_>) -> String {
    let svg = svg(tide, look);
    let (colours, style) = (
        include_str!("../../../static/chart-colours.css"),
        include_str!("../../../static/chart.css"),
    );
    svg.replacen("<defs>", &format!("<style>{colours}{style}</style><defs>"), 1)
}

/// The patterns that tell outcomes apart without colour.
const PATTERNS: &str = concat!(
    r#"<defs>"#,
    r#"<pattern id="tide-over" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="ink-bad" width="1.6" height="5"/></pattern>"#,
    r#"<pattern id="tide-bars" width="4" height="4" patternUnits="userSpaceOnUse"><rect class="ink-panel" width="1.4" height="4"/></pattern>"#,
    r#"<pattern id="tide-dots" width="5" height="5" patternUnits="userSpaceOnUse"><circle class="ink-panel" cx="2.5" cy="2.5" r="1.2"/></pattern>"#,
    r#"<pattern id="tide-slow" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="ink-panel" width="1.4" height="5"/></pattern>"#,
    r#"</defs>"#
);
