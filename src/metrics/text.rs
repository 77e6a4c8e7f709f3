//! The text of a scrape, in the formats OpenMetrics 1.0 and Prometheus 0.0.4.
//!
//! The library writes OpenMetrics. The older format differs in the names of counters' families and
//! in two comments, so it is made from the same text. Families without a series keep their `HELP`
//! and `TYPE`, so a dashboard finds them before anything has happened.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

use super::families::{FAMILIES, base};
use super::gauges::Gauges;
use super::recorder::Metrics;

/// A format of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// Returns the format for an `Accept` header: OpenMetrics if the caller names it, else
    /// Prometheus. A weight of 0 refuses OpenMetrics.
    pub fn accepted(accept: &str) -> Self {
        let takes = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_open = parts
                .next()
                .is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            is_open && weight.and_then(|weight| weight.parse::<f32>().ok()) != Some(0.0)
        });
        if takes { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Returns the value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Returns the text of a scrape: the counters and histograms, and these gauges.
///
/// # Errors
/// None in practice: writing to a text does not fail.
pub fn render(
    metrics: &Metrics,
    gauges: Gauges,
    format: Format,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    gauges.register(&mut registry);
    let mut text = String::new();
    encode_registry(&mut text, metrics.registry())?;
    encode_registry(&mut text, &registry)?;
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut empty = String::new();
    for family in FAMILIES.iter().filter(|family| !shown.contains(base(family))) {
        writeln!(empty, "# HELP {} {}.", base(family), family.help)?;
        writeln!(empty, "# TYPE {} {}", base(family), family.kind.as_str())?;
    }
    text.push_str(&empty);
    match format {
        Format::OpenMetrics => {
            text.push_str("# EOF\n");
            Ok(text)
        }
        Format::Prometheus => Ok(older(&text)),
    }
}

/// Rewrites OpenMetrics text to the format 0.0.4.
fn older(text: &str) -> String {
    let mut older = String::with_capacity(text.len());
    for line in text.lines() {
        let about = line.strip_prefix("# HELP ").map(|rest| ("HELP", rest));
        let about = about.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("TYPE", rest)));
        match about.and_then(|(what, rest)| Some((what, rest.split_once(' ')?))) {
            Some((what, (name, rest))) => {
                let family = FAMILIES.iter().find(|family| base(family) == name);
                let name = family.map_or(name, |family| family.name);
                older.extend(["# ", what, " ", name, " ", rest, "\n"]);
            }
            None if line.starts_with('#') => {}
            None => older.extend([line, "\n"]),
        }
    }
    older
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_given_only_to_callers_that_name_it() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Format::OpenMetrics),
            ("text/plain, Application/OpenMetrics-Text; q=0.3", Format::OpenMetrics),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;version=1.0.0;q=0.0", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn every_family_is_registered_once() {
        let text = render(&Metrics::default(), Gauges::default(), Format::OpenMetrics)
            .expect("text can be written");
        for family in FAMILIES {
            let line = format!("# TYPE {} {}", base(family), family.kind.as_str());
            assert_eq!(text.lines().filter(|other| *other == line).count(), 1, "{line}");
        }
        assert_eq!(text.matches("# TYPE").count(), FAMILIES.len());
    }
}
