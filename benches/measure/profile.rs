//! Shows how the service spends its time. The driver logs each step when the step begins, and a
//! step lasts until the next.

use std::collections::{BTreeMap, HashMap};

use chrono::DateTime;
use serde_json::{Value, json};

use crate::engine_probe::EngineProbe;
use crate::report::Figures;
use crate::subjects::Tidetable;

/// The duration of each step in milliseconds, in the order of the steps.
pub type Steps = Vec<(String, Figures)>;

/// Returns the steps between the due time and the engine's own start event.
pub fn to_start(probe: &EngineProbe, service: &Tidetable) -> Steps {
    let said = said(service);
    let mut took = Took::default();
    for (id, key, due) in service.jobs.lock().unwrap().iter() {
        let (Some(steps), Some(started)) = (said.get(id), probe.life(key).started) else {
            continue;
        };
        let mut since = *due;
        let mut what = "due → claimed".to_owned();
        for (at, step) in steps.iter().take_while(|(at, _)| *at < started) {
            took.add(&what, at - since);
            (since, what) = (*at, step.clone());
        }
        took.add(&format!("{what} → start event"), started - since);
    }
    took.steps()
}

/// Returns all steps, between the claim and the end.
pub fn all(service: &Tidetable) -> Steps {
    let mut took = Took::default();
    for steps in said(service).values() {
        for pair in steps.windows(2) {
            took.add(&pair[0].1, pair[1].0 - pair[0].0);
        }
    }
    took.steps()
}

pub fn print(title: &str, steps: &Steps) {
    let width = steps
        .iter()
        .map(|(step, _)| step.chars().count())
        .max()
        .unwrap_or(0)
        .max(title.chars().count());
    eprintln!("\n| {title:<width$} | {:>5} | {:>9} | {:>9} | {:>9} |", "n", "median", "p99", "max");
    eprintln!("|{}|------:|----------:|----------:|----------:|", "-".repeat(width + 2));
    for (step, took) in steps {
        eprintln!(
            "| {step:<width$} | {:>5} | {:>9.2} | {:>9.2} | {:>9.2} |",
            took.count, took.median, took.p99, took.max
        );
    }
}

pub fn json(steps: &Steps) -> Value {
    let of = |took: &Figures| json!({"count": took.count, "median": took.median, "p99": took.p99, "max": took.max});
    Value::Object(steps.iter().map(|(step, took)| (step.clone(), of(took))).collect())
}

#[derive(Default)]
struct Took {
    order: Vec<String>,
    values: BTreeMap<String, Vec<f64>>,
}

impl Took {
    fn add(&mut self, step: &str, nanos: i64) {
        if !self.values.contains_key(step) {
            self.order.push(step.to_owned());
        }
        self.values.entry(step.to_owned()).or_default().push(nanos as f64 / 1e6);
    }

    fn steps(self) -> Steps {
        self.order
            .into_iter()
            .map(|step| (step.clone(), Figures::of(&self.values[&step])))
            .collect()
    }
}

/// Reads each job's steps from the log, with the time at which each began.
fn said(service: &Tidetable) -> HashMap<String, Vec<(i64, String)>> {
    let mut said: HashMap<String, Vec<(i64, String)>> = HashMap::new();
    for line in service.server.log().lines() {
        let Some((head, rest)) = line.split_once("next step job=") else { continue };
        let at = head.split(' ').next().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        let (Some(at), Some((job, step))) =
            (at.and_then(|at| at.timestamp_nanos_opt()), rest.split_once(" step="))
        else {
            continue;
        };
        said.entry(job.to_owned()).or_default().push((at, name(step)));
    }
    said
}

/// Shortens a step: `Record(Intend(ContainerId("…")))` becomes `Record Intend`.
fn name(step: &str) -> String {
    let words: Vec<&str> = step
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    words[..if words[0] == "Record" { 2.min(words.len()) } else { 1 }].join(" ")
}
