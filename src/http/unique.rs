//! A JSON object in which no key is written twice.

use crate::domain::text::units::shown;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

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
                    map.insert(field, value);
                }
                Ok(Unique(map))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
