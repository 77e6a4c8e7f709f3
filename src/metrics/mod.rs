//! Metrics for Prometheus: the table of families, the counters and histograms, and the text of a
//! scrape.
//!
//! Counters and histograms ([`Metrics`]) count where things happen, each kind in one place. A
//! restart sets them to 0. Gauges ([`Gauges`]) are read anew for each scrape, so none can drift.
//! [`FAMILIES`] lists every family, and [`render`] writes the scrape in both formats.
//!
//! Labels are bounded. A name is a label value only up to [`MAX_NAMES`] of its kind, and never an
//! id, an image, an exit code or a path of a request ([`Naming`]).

mod families;
mod gauges;
mod naming;
mod process;
mod recorder;
mod text;
mod ticks;

pub use families::{FAMILIES, Family, Kind};
pub use gauges::Gauges;
pub use naming::{MAX_NAMES, Naming};
pub use process::add_process;
pub use recorder::{Labels, Metrics};
pub use text::{Format, render};
