//! The gauges of one scrape.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Series;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::families::{base, find};
use super::recorder::Labels;
use crate::domain::names::id::Timestamp;

type Values = Series<Labels, Gauge<f64, AtomicU64>>;

/// The gauges of one scrape, made anew each time. A series that is not set is not shown.
#[derive(Debug, Default)]
pub struct Gauges {
    families: BTreeMap<&'static str, Values>,
    /// Counters whose value another owner counts, such as the system.
    counters: BTreeMap<&'static str, f64>,
}

impl Gauges {
    /// Sets one series. The family has to be in [`FAMILIES`](super::FAMILIES).
    pub fn set(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        debug_assert!(find(name).is_some(), "{name} is in no table");
        let labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        self.families.entry(name).or_default().get_or_create(&labels).set(value);
    }

    /// Raises one series to `value` if it is lower or not set.
    pub fn raise(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        debug_assert!(find(name).is_some(), "{name} is in no table");
        let labels: Labels =
            labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let family = self.families.entry(name).or_default();
        let gauge = family.get_or_create(&labels);
        gauge.set(gauge.get().max(value));
    }

    /// Sets a series to an instant, in seconds since 1970.
    pub fn set_time(
        &mut self,
        name: &'static str,
        labels: &[(&'static str, &str)],
        at: Option<Timestamp>,
    ) {
        self.set(name, labels, at.map_or(0.0, seconds));
    }

    pub(super) fn set_counter(&mut self, name: &'static str, value: f64) {
        self.counters.insert(name, value);
    }

    /// Registers all series for one scrape.
    pub(super) fn register(self, registry: &mut Registry) {
        for (name, values) in self.families {
            let help = find(name).map_or("", |family| family.help);
            registry.register(name, help, values);
        }
        for (name, value) in self.counters {
            let counter: Counter<f64, AtomicU64> = Counter::default();
            counter.inc_by(value);
            if let Some(family) = find(name) {
                registry.register(base(family), family.help, counter);
            }
        }
    }
}

/// Returns the instant in seconds since 1970.
pub(super) fn seconds(at: Timestamp) -> f64 {
    // Exact for any date of this millennium: milliseconds need 42 of 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "exact, as said above")]
    let millis = at.timestamp_millis() as f64;
    millis / 1_000.0
}
