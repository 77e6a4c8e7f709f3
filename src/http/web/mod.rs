//! The parts of pages for a browser.

pub(super) mod chart;
