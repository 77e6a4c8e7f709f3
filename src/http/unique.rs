//! A JSON object in which no key is written twice.

use crate::domain::text::units::shown;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The largest whole number that a float holds without loss.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Turns each number without a fraction into a whole number, because JSON does not tell `2.0` from
/// `2`, and some languages write every number with a fraction.
fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            let whole = float.filter(|float| float.fract() == 0.0 && float.abs() <= LARGEST_WHOLE);
            whole.map_or(Value::Number(number), |whole| Value::from(whole as i64))
        }
        Value::Array(list) => list.into_iter().map(whole_numbers).collect(),
        Value::Object(map) => map.into_iter().map(|(key, v)| (key, whole_numbers(v))).collect(),
        other => other,
    }
}

/// A JSON object without repeated fields.
pub(super) struct Unique(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Unique;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "an object such as {\"job_name\": \"busybox:latest\", \"date\": \"30s\"}",
                )
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
                let mut map = Map::new();
                while let Some((field, value)) = access.next_entry::<String, Value>()? {
                    if map.contains_key(&field) {
                        return Err(serde::de::Error::custom(format_args!(
                            "`{}` is given twice",
                            shown(&field)
                        )));
                    }
                    map.insert(field, whole_numbers(value));
                }
                Ok(Unique(map))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_fraction_are_whole() {
        let Unique(map) =
            serde_json::from_str(r#"{"a": 2.0, "b": [{"c": -1e3}], "d": 0.5, "e": 1e99}"#)
                .expect("is an object");
        let text = Value::Object(map).to_string();
        assert_eq!(text, r#"{"a":2,"b":[{"c":-1000}],"d":0.5,"e":1e+99}"#);
    }
}
