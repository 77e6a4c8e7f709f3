//! The schedules that callers requested, with times: an outside record of the revision in force at
//! a time. A request without an answer may or may not be in force.

use std::collections::BTreeMap;

use serde_json::Value;
use tidetable::domain::names::id::Timestamp;

/// Every `PUT` of a schedule, by name, in the order of the calls.
#[derive(Debug, Default)]
pub struct SavedSchedules(BTreeMap<String, Vec<Put>>);

#[derive(Debug)]
struct Put {
    asked_at: Timestamp,
    /// The time of the acknowledgment; `None` without one.
    heard_at: Option<Timestamp>,
    fields: Value,
}

impl SavedSchedules {
    /// Notes that a caller requests these fields.
    pub fn asks(&mut self, name: &str, fields: &Value, now: Timestamp) {
        let put = Put { asked_at: now, heard_at: None, fields: fields.clone() };
        self.0.entry(name.to_owned()).or_default().push(put);
    }

    /// Notes that the last request for this name was acknowledged.
    pub fn was_heard(&mut self, name: &str, now: Timestamp) {
        if let Some(put) = self.0.get_mut(name).and_then(|puts| puts.last_mut()) {
            put.heard_at = Some(now);
        }
    }

    /// Returns all revisions that may have been in force between `from` and `until`: at least one,
    /// if the schedule existed.
    pub fn in_force(&self, name: &str, from: Timestamp, until: Timestamp) -> Vec<&Value> {
        let puts = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        let was_heard = |put: &Put| put.heard_at.is_some_and(|at| at <= from);
        let first = puts.iter().rposition(was_heard).unwrap_or(0);
        puts[first..].iter().filter(|put| put.asked_at <= until).map(|put| &put.fields).collect()
    }

    /// Returns the revision in force at `from`, unless another was requested, with or without an
    /// answer, that may have replaced it until `until`.
    pub fn unchanged(&self, name: &str, from: Timestamp, until: Timestamp) -> Option<&Value> {
        match self.in_force(name, from, until).as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}
