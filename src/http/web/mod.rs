//! The parts of the pages for a browser.

pub mod ansi;
pub(super) mod chart;
