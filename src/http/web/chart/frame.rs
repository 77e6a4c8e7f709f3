//! The measures of the picture, and the scale of its time axis.

use chrono_tz::Tz;

use crate::domain::names::id::Timestamp;
use crate::domain::tide::Tide;

/// The width of the picture in units of its `viewBox`.
pub(super) const WIDTH: f64 = 1180.0;
/// The end of the names of the lanes, where the time axis begins.
pub(super) const LEFT: f64 = 176.0;
pub(super) const RIGHT: f64 = 1172.0;
/// The top and the bottom of the staircase.
pub(super) const STAIRS: (f64, f64) = (20.0, 92.0);
/// The height of a lane.
pub(super) const LANE: f64 = 32.0;
/// The height of the axis with its labels.
pub(super) const AXIS: f64 = 24.0;

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
pub(super) struct Frame<'a> {
    pub(super) tide: &'a Tide,
    pub(super) look: Look<'a>,
    pub(super) left: f64,
    /// The top of the first lane.
    pub(super) top: f64,
    /// The bottom of the last lane.
    pub(super) bottom: f64,
}

impl Frame<'_> {
    /// Returns the horizontal position of an instant, inside of the axis.
    pub(super) fn x(&self, at: Timestamp) -> f64 {
        let window = &self.tide.window;
        let length = (window.to - window.from).num_milliseconds().max(1);
        let passed = (at - window.from).num_milliseconds().clamp(0, length);
        self.left + (RIGHT - self.left) * passed as f64 / length as f64
    }

    /// Returns whether now is inside of the window.
    pub(super) fn shows_now(&self) -> bool {
        let window = &self.tide.window;
        window.from < window.now && window.now < window.to
    }
}
