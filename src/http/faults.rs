//! Collects all faults of a body, so that a caller learns of them in one answer.
//!
//! serde stops at the first fault. So a body that cannot be read as a whole is read again, field by
//! field: each faulty field gives one problem.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::problem::{Problem, pointer};

/// The largest number of faults in one answer.
const MOST: usize = 20;

/// The faults that were found so far.
#[derive(Default)]
pub(super) struct Faults(Vec<Problem>);

impl Faults {
    /// Keeps the problem of a failed step. Returns the value of a successful one.
    pub(super) fn note<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    pub(super) fn add(&mut self, problem: Problem) {
        if self.0.len() < MOST {
            self.0.push(problem);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all faults as one problem; `Ok` without faults.
    pub(super) fn settle(self) -> Result<(), Problem> {
        let mut problems = self.0.into_iter();
        problems.next().map_or(Ok(()), |first| Err(first.and(problems)))
    }
}

/// Reads an object. `unknown` makes the problem for a field that the type does not have, from the
/// name and serde's message.
///
/// # Errors
/// Returns one [`Problem`] that names all fields at fault.
pub(super) fn read<T: DeserializeOwned>(
    object: Map<String, Value>,
    unknown: impl Fn(&str, &str) -> Problem,
) -> Result<T, Problem> {
    let whole = Value::Object(object);
    let error = match serde_path_to_error::deserialize(&whole) {
        Ok(value) => return Ok(value),
        Err(error) => fault(&error, &unknown),
    };
    let mut faults = Faults::default();
    for part in parts(&whole) {
        if let Err(error) = serde_path_to_error::deserialize::<_, T>(&part) {
            faults.add(fault(&error, &unknown));
        }
    }
    // A fault that no single field has, such as a missing field, is only seen in the whole.
    faults.settle().and(Err(error))
}

/// Returns the object's fields as objects of their own. A field that is an object itself is divided
/// as well.
fn parts(whole: &Value) -> Vec<Value> {
    let alone = |key: &str, value: Value| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    let fields = whole.as_object().into_iter().flatten();
    fields
        .flat_map(|(key, value)| match (key.as_str(), value.as_object()) {
            ("spec", Some(inner)) if !inner.is_empty() => {
                inner.iter().map(|(k, v)| alone(key, alone(k, v.clone()))).collect()
            }
            _ => vec![alone(key, value.clone())],
        })
        .collect()
}

/// Returns the problem for a value that serde refused.
fn fault(
    error: &serde_path_to_error::Error<serde_json::Error>,
    unknown: &impl Fn(&str, &str) -> Problem,
) -> Problem {
    let message = error.inner().to_string();
    let path = error.path();
    let mut place = keys(path);
    let name = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    if let Some(name) = name {
        if place.last().is_none_or(|last| last != name) {
            place.push(name.to_owned());
        }
        let problem = unknown(name, &message);
        let field = problem.field.clone().unwrap_or_else(|| name.to_owned());
        return problem.at(&field, Some(pointer(place.iter().map(String::as_str))));
    }
    let field = place.first().cloned().unwrap_or_else(|| ".".to_owned());
    Problem::field(&field, "invalid_field", format!("`{path}` is not right: {message}"))
        .at(&field, Some(pointer(place.iter().map(String::as_str))))
}

fn keys(path: &Path) -> Vec<String> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}
