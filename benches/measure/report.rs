//! Figures of a series of measurements, and the table that compares them with the limit.

use serde_json::{Value, json};

/// The summary of many measurements, in their unit.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub count: usize,
    pub min: f64,
    pub median: f64,
    pub p99: f64,
    pub max: f64,
}

impl Figures {
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank: the smallest value that at least `percent` of the values do not exceed.
        // The p99 of a hundred values is the second largest.
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Self { count: sorted.len(), min: sorted[0], median: at(50), p99: at(99), max: at(100) }
    }

    pub fn json(&self, limit: &Self) -> Value {
        let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
        json!({
            "count": self.count, "min": rounded(self.min), "median": rounded(self.median), "p99": rounded(self.p99),
            "max": rounded(self.max), "median_beside_limit": rounded(self.median / limit.median),
            "p99_beside_limit": rounded(self.p99 / limit.p99),
        })
    }
}

/// Prints the rows as Markdown, each relative to the first row, which is the limit.
pub fn table(title: &str, rows: &[(String, Figures)]) {
    let Some((_, limit)) = rows.first() else { return };
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(title.chars().count());
    eprintln!(
        "\n| {title:<width$} | {:>5} | {:>9} | {:>9} | {:>9} | {:>9} | {:>7} | {:>7} |",
        "n", "min", "median", "p99", "max", "× p50", "× p99"
    );
    eprintln!(
        "|{}|------:|----------:|----------:|----------:|----------:|--------:|--------:|",
        "-".repeat(width + 2)
    );
    for (name, row) in rows {
        let (median, p99) = (row.median / limit.median, row.p99 / limit.p99);
        let Figures { count, min, median: p50, p99: late, max } = row;
        eprintln!(
            "| {name:<width$} | {count:>5} | {min:>9.2} | {p50:>9.2} | {late:>9.2} | {max:>9.2} | {median:>7.2} | {p99:>7.2} |"
        );
    }
}

/// Prints a Markdown table of cells for a document.
pub fn markdown(what: &str, columns: &[String], rows: &[(String, Vec<String>)]) {
    eprintln!("\n| {what} | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for (name, cells) in rows {
        eprintln!("| {name} | {} |", cells.join(" | "));
    }
}
