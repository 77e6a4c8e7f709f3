//! Reads the query of a call into a type, and refuses every parameter that the type does not have.
//!
//! The known names come from the type itself, so no list of them can be out of date. Every error
//! names the parameter at fault.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::problem::Problem;
use crate::domain::text::units::shown;

/// A query in which each parameter is one of the fields of `T`.
pub(in crate::http) struct KnownQuery<T>(pub(in crate::http) T);

/// The query of a call without parameters.
#[derive(Deserialize)]
pub(in crate::http) struct NoQuery {}

/// The query of a change that has no other parameters.
#[derive(Deserialize)]
pub(in crate::http) struct ChangeQuery {
    #[serde(default)]
    pub(in crate::http) dry_run: Flag,
}

/// A parameter that is `true`, `false`, `1`, `0`, or given without a value, which means `true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::http) struct Flag(pub(in crate::http) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" | "1" | "true" => Ok(Self(true)),
            "0" | "false" => Ok(Self(false)),
            _ => Err(D::Error::custom("write `true` or `false`")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for KnownQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = || form_urlencoded::parse(query.as_bytes());
    let known = fields_of::<T>();
    if let Some((name, _)) = pairs().find(|(name, _)| !known.contains(&name.as_ref())) {
        return Err(unknown(&name, known));
    }
    let deserializer = serde_html_form::Deserializer::new(pairs());
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let name = path.split('[').next().unwrap_or_default();
        let values: Vec<_> = pairs().filter(|(given, _)| given == name).collect();
        let detail = match values.as_slice() {
            [(_, value)] => {
                format!("`{name}` is `{}`: {}", shown(value), wish(&error.inner().to_string()))
            }
            [] => format!("the query cannot be read: {}", error.inner()),
            _ => format!("`{name}` is given {} times: give it once", values.len()),
        };
        Problem::field(name, "invalid_query", detail)
    })
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let name = shown(name);
    let others = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let detail = match known {
        [] => format!("there is no query parameter `{name}` here: this call takes none"),
        [_] => format!("there is no query parameter `{name}` here: there is {others}"),
        _ => format!("there is no query parameter `{name}` here: there are {others}"),
    };
    Problem::field(&name, "invalid_query", detail)
}

/// Returns the correction for a value that could not be read.
fn wish(message: &str) -> String {
    let is_number = ["invalid digit", "cannot parse integer", "number too"];
    match is_number.iter().any(|beginning| message.starts_with(beginning)) {
        true => "write a whole number that is not too large".to_owned(),
        false => message.to_owned(),
    }
}

/// Returns the names of the fields of a struct, from its own `Deserialize`.
fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The attempt ends with an error as soon as the names are known.
    let _ended = T::deserialize(FieldNames(&mut names));
    names
}

/// A deserializer without data, which notes the names of the fields that are asked for.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

/// The end of an attempt that only notes names.
#[derive(Debug, thiserror::Error)]
#[error("there is no data")]
struct NoData;

impl Error for NoData {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = NoData;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, NoData> {
        Err(NoData)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, NoData> {
        *self.0 = fields;
        Err(NoData)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Sample {
        limit: Option<usize>,
        #[serde(default)]
        label: Vec<String>,
        #[serde(default)]
        dry_run: Flag,
    }

    #[test]
    fn known_parameters_are_read() {
        let sample: Sample = read("limit=3&label=a&label=b%3D1&dry_run").expect("is right");
        let label = vec!["a".to_owned(), "b=1".to_owned()];
        assert_eq!(sample, Sample { limit: Some(3), label, dry_run: Flag(true) });
    }

    #[test]
    fn faulty_parameter_is_named() {
        for (query, field, said) in [
            ("force=true", "force", "`limit`, `label`, `dry_run`"),
            ("limit=many", "limit", "`many`"),
            ("limit=-1", "limit", "whole number"),
            ("limit=1&limit=2", "limit", "2 times"),
            ("dry_run=maybe", "dry_run", "`true` or `false`"),
        ] {
            let problem = read::<Sample>(query).expect_err(query);
            assert_eq!((problem.field.as_deref(), problem.status), (Some(field), 400));
            assert!(problem.detail.contains(said), "{}", problem.detail);
            assert_eq!(problem.errors[0].pointer, None);
        }
        let problem = read::<NoQuery>("a=1").err().expect("is refused");
        assert!(problem.detail.contains("takes none"), "{}", problem.detail);
    }
}
