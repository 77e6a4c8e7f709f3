//! The tide chart as SVG, and as a table for those who do not see it.
//!
//! The picture has no inline style and no script: colours come from classes (`static/chart.css`)
//! and geometry from attributes, so a strict Content-Security-Policy holds. Every mark is a link
//! with a sentence. Shape and pattern tell the outcome as well as the colour does.

mod axis;
mod lanes;
mod stairs;
mod table;
#[cfg(test)]
mod tests;
mod write;

use chrono_tz::Tz;

use crate::domain::names::id::Timestamp;
use crate::domain::tide::Tide;
pub(in crate::http) use table::table;
use write::{escaped, number};

/// The width of the picture in units of its `viewBox`.
const WIDTH: f64 = 1180.0;
/// The end of the names of the lanes, where the time axis begins.
const LEFT: f64 = 176.0;
const RIGHT: f64 = 1172.0;
/// The top and the bottom of the staircase.
const STAIRS: (f64, f64) = (20.0, 92.0);
/// The height of a lane.
const LANE: f64 = 32.0;
/// The height of the axis with its labels.
const AXIS: f64 = 24.0;

/// The settings of a picture.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Look<'a> {
    /// The zone of the labels.
    pub(in crate::http) zone: Tz,
    /// The path before every link, such as `/tidetable`; empty without a base path.
    pub(in crate::http) base: &'a str,
    /// Set for one lane without its name and without the staircase, for a schedule's own page.
    pub(in crate::http) one_lane: bool,
}

/// The scale of a picture.
struct Frame<'a> {
    tide: &'a Tide,
    look: Look<'a>,
    left: f64,
    /// The top of the first lane.
    top: f64,
    /// The bottom of the last lane.
    bottom: f64,
}

impl Frame<'_> {
    /// Returns the horizontal position of an instant, inside of the axis.
    fn x(&self, at: Timestamp) -> f64 {
        let window = &self.tide.window;
        let length = (window.to - window.from).num_milliseconds().max(1);
        let passed = (at - window.from).num_milliseconds().clamp(0, length);
        self.left + (RIGHT - self.left) * passed as f64 / length as f64
    }

    /// Returns whether now is inside of the window.
    fn shows_now(&self) -> bool {
        let window = &self.tide.window;
        window.from < window.now && window.now < window.to
    }
}

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
