//! The fields of forms, with what was typed, a hint, and the error that names the field.
//!
//! The fields of a spec come from the same table as the reference in the docs, so a new field is in
//! the forms at once. A list is written with one entry a line.

use std::collections::BTreeMap;

use axum::extract::Request;
use serde_json::{Map, Value};

use crate::domain::spec::{Form, SpecFields};
use crate::http::body::{add_form_field, bytes, urlencoded};
use crate::http::problem::Problem;

/// The spec fields that a form shows before the fold.
const COMMON: [&str; 3] = ["command", "env", "timeout"];
/// The spec fields that no form of a browser has: the name of the job says the image.
const LEFT_OUT: [&str; 2] = ["image", "env_file"];

/// The kind of a field, as the template draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A text of several lines.
    Lines,
    Choice,
}

/// A choice of a field.
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) text: &'static str,
    pub(super) is_chosen: bool,
}

/// A field of a form.
pub(super) struct Field {
    /// The name, which is also the id.
    pub(super) name: &'static str,
    pub(super) label: String,
    pub(super) value: String,
    pub(super) hint: String,
    pub(super) error: String,
    pub(super) kind: Kind,
    pub(super) choices: Vec<Choice>,
    pub(super) placeholder: &'static str,
    pub(super) is_required: bool,
    /// The id of a list of suggestions; empty without one.
    pub(super) list: &'static str,
}

/// The values of a form, by field.
#[derive(Clone, Debug, Default)]
pub(super) struct Values(BTreeMap<String, String>);

impl Values {
    /// Reads the body of a form.
    ///
    /// # Errors
    /// Returns a [`Problem`] for a body that is no form.
    pub(super) async fn read(request: Request) -> Result<Self, Problem> {
        Ok(Self(urlencoded(&bytes(request).await?)?.into_iter().collect()))
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Returns the fields of the spec that were filled in, as a form of the API would have them.
    pub(super) fn of_spec(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for field in SpecFields::REFERENCE {
            let value = self.get(field.name);
            let name = || field.name.to_owned();
            match field.form {
                Form::None => {}
                Form::List | Form::Pairs => pairs.extend(
                    value
                        .lines()
                        .map(str::trim)
                        .filter(|line| !line.is_empty())
                        .map(|line| (name(), line.to_owned())),
                ),
                Form::Text | Form::Number | Form::Flag if value.is_empty() => {}
                Form::Text | Form::Number | Form::Flag => pairs.push((name(), value.to_owned())),
            }
        }
        pairs
    }

    /// Returns the fields of the spec as JSON, over `base`, which has the fields that no form can
    /// say.
    pub(super) fn spec_json(
        &self,
        base: Map<String, Value>,
    ) -> Result<Map<String, Value>, Problem> {
        let in_forms = |name: &str| {
            SpecFields::REFERENCE.iter().any(|field| field.name == name && field.form != Form::None)
        };
        let mut map: Map<String, Value> =
            base.into_iter().filter(|(name, _)| !in_forms(name)).collect();
        for (field, value) in self.of_spec() {
            add_form_field(&mut map, &field, value)?;
        }
        Ok(map)
    }

    /// Fills in the fields of a spec.
    pub(super) fn fill_spec(&mut self, spec: &Map<String, Value>) {
        for (name, value) in spec {
            self.set(name, written(name, value));
        }
    }
}

/// Returns a value of a spec as it is written in a form.
fn written(name: &str, value: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(entries) if name == "command" || name == "entrypoint" => {
            shell_words::join(entries.iter().map(text))
        }
        Value::Array(entries) => entries.iter().map(text).collect::<Vec<_>>().join("\n"),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| format!("{key}={}", text(value)))
            .collect::<Vec<_>>()
            .join("\n"),
        other => text(other),
    }
}

impl Field {
    pub(super) fn new(name: &'static str, label: &str, values: &Values) -> Self {
        Self {
            name,
            label: label.to_owned(),
            value: values.get(name).to_owned(),
            hint: String::new(),
            error: String::new(),
            kind: Kind::Text,
            choices: Vec::new(),
            placeholder: "",
            is_required: false,
            list: "",
        }
    }

    pub(super) fn is_choice(&self) -> bool {
        self.kind == Kind::Choice
    }

    pub(super) fn is_lines(&self) -> bool {
        self.kind == Kind::Lines
    }

    pub(super) fn hint(self, hint: &str) -> Self {
        Self { hint: hint.to_owned(), ..self }
    }

    pub(super) fn placeholder(self, placeholder: &'static str) -> Self {
        Self { placeholder, ..self }
    }

    pub(super) fn list(self, list: &'static str) -> Self {
        Self { list, ..self }
    }

    pub(super) fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    pub(super) fn choices(self, all: &[(&'static str, &'static str)]) -> Self {
        let choices = all
            .iter()
            .map(|(value, text)| Choice { value, text, is_chosen: *value == self.value })
            .collect();
        Self { kind: Kind::Choice, choices, ..self }
    }
}

/// Returns the fields of a spec: the common ones, and the ones behind the fold.
pub(super) fn spec_fields(values: &Values) -> (Vec<Field>, Vec<Field>) {
    let fields = SpecFields::REFERENCE
        .iter()
        .filter(|field| field.form != Form::None && !LEFT_OUT.contains(&field.name));
    let (mut common, mut others) = (Vec::new(), Vec::new());
    for reference in fields {
        let label = reference.name.replace('_', " ");
        let field = Field::new(reference.name, &label, values).hint(&hint_of(
            reference.doc,
            reference.default,
            reference.policy,
            reference.form,
        ));
        let field = match reference.form {
            Form::List | Form::Pairs => Field { kind: Kind::Lines, ..field },
            Form::Flag => field.choices(&[("", "default"), ("true", "yes"), ("false", "no")]),
            Form::Text | Form::Number | Form::None => field,
        };
        match COMMON.contains(&reference.name) {
            true => common.push(field),
            false => others.push(field),
        }
    }
    (common, others)
}

/// Returns the first sentence of a field's doc, the default, and the keys of the policy.
fn hint_of(doc: &str, default: &str, policy: &str, form: Form) -> String {
    let doc = doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "");
    let first = doc.split_inclusive(". ").next().unwrap_or_default().trim();
    let mut hint = match form {
        Form::Pairs => format!("{first} One K=V a line."),
        Form::List => format!("{first} One a line."),
        Form::Text | Form::Number | Form::Flag | Form::None => first.to_owned(),
    };
    if default != "—" {
        hint += &format!(" Default: {}.", default.replace('`', ""));
    }
    if !policy.is_empty() {
        hint += &format!(" Limited by the policy: {policy}.");
    }
    hint
}

/// Puts the sentences of a problem at the fields that they name. Returns the sentence of the whole
/// problem if it names a field that the form does not have, or none.
pub(super) fn point_out(problem: &Problem, groups: &mut [&mut Vec<Field>]) -> Option<String> {
    let mut is_shown = !problem.errors.is_empty();
    for error in &problem.errors {
        let mut fields = groups.iter_mut().flat_map(|group| group.iter_mut());
        match fields.find(|field| field.name == error.field) {
            Some(field) => field.error = error.detail.clone(),
            None => is_shown = false,
        }
    }
    (!is_shown).then(|| problem.detail.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spec_survives_its_form() {
        let spec = json!({
            "command": ["sh", "-c", "echo 'a b'"],
            "env": {"A": "1", "B": "x=y"},
            "memory": "64MiB",
            "init": true,
            "mounts": [{"type": "tmpfs", "target": "/tmp"}]
        });
        let map = spec.as_object().cloned().expect("is an object");
        let mut values = Values::default();
        values.fill_spec(&map);
        let read = values.spec_json(map.clone()).expect("is valid");
        let checked = |json| crate::http::body::read_spec(json, &[]).expect("is a spec");
        assert_eq!(checked(read), checked(map));
    }

    #[test]
    fn error_is_shown_at_its_field() {
        let (mut common, mut others) = spec_fields(&Values::default());
        let problem = Problem::field("memory", "invalid_field", "`memory` is wrong");
        assert_eq!(point_out(&problem, &mut [&mut common, &mut others]), None);
        assert!(others.iter().any(|field| field.name == "memory" && !field.error.is_empty()));
        let problem = Problem::query("elsewhere");
        let said = point_out(&problem, &mut [&mut common, &mut others]);
        assert_eq!(said.as_deref(), Some("elsewhere"));
    }
}
