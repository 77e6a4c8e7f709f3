//! How many GPUs, or which.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units::shown;

/// GPUs that a container is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpus {
    /// All that there are: `"all"`.
    All,
    /// So many: `2`.
    Count(u32),
    /// These: `["0", "GPU-3a23c669"]`.
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
    fn gpus_are_all_a_number_or_a_list_and_come_back_as_they_were() {
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
