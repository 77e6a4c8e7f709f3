//! The GPUs of a container: all, a number, or a list of devices.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::text::units::shown;

/// The GPUs that a container gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpus {
    /// All GPUs of the engine: `"all"`.
    All,
    /// A number of GPUs: `2`.
    Count(u32),
    /// Devices by number or id: `["0", "GPU-3a23c669"]`.
    Devices(Vec<String>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"all\", a number such as 1, or a list of devices such as [\"0\", \"1\"]"
)]
enum Written {
    Count(u32),
    Text(String),
    Devices(Vec<String>),
}

impl<'de> Deserialize<'de> for Gpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Count(count) => Ok(Self::Count(count)),
            Written::Devices(devices) => Ok(Self::Devices(devices)),
            Written::Text(text) if text == "all" => Ok(Self::All),
            Written::Text(text) => text.parse().map(Self::Count).map_err(|_| {
                serde::de::Error::custom(format_args!(
                    "`{}` is neither `all`, nor a number such as 1, nor a list of devices such as [\"0\", \"1\"]",
                    shown(&text)
                ))
            }),
        }
    }
}

impl Serialize for Gpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Devices(devices) => devices.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_read_and_survive_a_round_trip() {
        let read = |json: &str| serde_json::from_str::<Gpus>(json);
        assert_eq!(read(r#""2""#).ok(), read("2").ok());
        for gpus in [Gpus::All, Gpus::Count(2), Gpus::Devices(vec!["0".to_owned()])] {
            assert_eq!(read(&serde_json::to_string(&gpus).expect("serializes")).ok(), Some(gpus));
        }
        for wrong in ["-1", "1.5", r#""many""#, "true", "{}"] {
            let refusal = read(wrong).expect_err(wrong).to_string();
            assert!(refusal.contains("all"), "{refusal}");
        }
    }
}
