//! Parts of a spec with more than one written form. A command is one text or a list; an environment
//! is a map or a list of `K=V` entries.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::text::units::shown;

/// A command: a list of words, or one text that is split like a shell does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CommandLine(pub Vec<String>);

/// Paths: a list, or one path as a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Paths(pub Vec<String>);

/// Environment variables: a map, or a list of `NAME=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Env(pub BTreeMap<String, String>);

/// Labels: a map, or a list of `NAME=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

/// The error for a text that is no command or no entry. Each variant holds the text, escaped and
/// cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// A quote was opened and not closed.
    #[error(
        "`{0}` has a quote that is not closed: write it like in a shell, `sh -c 'echo hi'`, or as a list"
    )]
    Quote(String),
    /// The text has a NUL, which no process can receive.
    #[error("`{0}` holds a NUL character, which no process can be given")]
    Nul(String),
    /// An entry has no name, or a name with `=`.
    #[error("`{0}` has no name before its `=`: write it as `NAME=value`")]
    NoName(String),
}

impl CommandLine {
    /// Splits one text into words like a shell does, without variables and globs.
    ///
    /// # Errors
    /// [`BadEntry::Quote`] when a quote stays open, [`BadEntry::Nul`] when a word has a NUL.
    pub fn split(text: &str) -> Result<Self, BadEntry> {
        let words = shell_words::split(text).map_err(|_| BadEntry::Quote(shown(text)))?;
        Self::checked(words)
    }

    fn checked(words: Vec<String>) -> Result<Self, BadEntry> {
        match words.iter().find(|word| word.contains('\0')) {
            Some(word) => Err(BadEntry::Nul(shown(word))),
            None => Ok(Self(words)),
        }
    }
}

/// Splits `NAME=value` into a pair. A name alone has the value "".
///
/// # Errors
/// [`BadEntry::NoName`] when nothing is before the `=`, [`BadEntry::Nul`] when the text has a NUL.
pub fn entry(text: &str) -> Result<(String, String), BadEntry> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    checked_entry(name, value)
}

pub(crate) fn checked_entry(name: &str, value: &str) -> Result<(String, String), BadEntry> {
    if name.is_empty() || name.contains('=') {
        return Err(BadEntry::NoName(shown(&format!("{name}={value}"))));
    }
    if name.contains('\0') || value.contains('\0') {
        return Err(BadEntry::Nul(shown(name)));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads the variables of an env file like `docker run --env-file`: one `NAME=value` a line, taken
/// as written. Empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// The number of the first invalid line, counted from 1. The content of the line may be
/// confidential, so it is not returned.
pub fn env_file(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut all = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let has_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        match line.split_once('=') {
            Some((name, value)) if has_name(name) && !line.contains('\0') => {
                all.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(number + 1),
        }
    }
    Ok(all)
}

enum TextOrList {
    Text(String),
    List(Vec<String>),
}

pub(crate) enum MapOrList {
    Map(BTreeMap<String, String>),
    List(Vec<String>),
}

/// Reads either form directly. serde's `untagged` would copy the value and try one form after the
/// other, for each job that is read.
impl<'de> Deserialize<'de> for TextOrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TextOrList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text such as \"echo hi\", or a list such as [\"echo\", \"hi\"]")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOrList::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(TextOrList::List)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for MapOrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = MapOrList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an object such as {\"NAME\": \"value\"}, or a list such as [\"NAME=value\"]",
                )
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(MapOrList::Map)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(MapOrList::List)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl MapOrList {
    fn pairs(self) -> Result<BTreeMap<String, String>, BadEntry> {
        match self {
            Self::Map(map) => map.iter().map(|(name, value)| checked_entry(name, value)).collect(),
            Self::List(list) => list.iter().map(|text| entry(text)).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrList::deserialize(deserializer)? {
            TextOrList::Text(text) => Self::split(&text),
            TextOrList::List(words) => Self::checked(words),
        }
        .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match TextOrList::deserialize(deserializer)? {
            TextOrList::Text(path) => Self(vec![path]),
            TextOrList::List(paths) => Self(paths),
        })
    }
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MapOrList::deserialize(deserializer)?.pairs().map(Self).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MapOrList::deserialize(deserializer)?.pairs().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_a_list_or_shell_like_text() {
        let read = |json: &str| serde_json::from_str::<CommandLine>(json).map(|w| w.0);
        assert_eq!(read(r#"["sh","-c","exit 7"]"#).ok(), read(r#""sh -c 'exit 7'""#).ok());
        assert_eq!(read(r#""""#).ok(), Some(vec![]));
        for broken in [r#""sh -c 'exit""#, "7", r#"[1]"#, r#""a\u0000""#] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn env_file_values_are_read_as_written() {
        let read =
            env_file("# ours\n\nA=1\n  B=two words = \"2\" # all of it\r\nC=\n").expect("is right");
        let pairs: Vec<_> =
            read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "two words = \"2\" # all of it"), ("C", "")]);
        for (broken, line) in [("A", 1), ("A=1\n=2", 2), ("export A=1", 1), ("\nA=\0", 2)] {
            assert_eq!(env_file(broken), Err(line), "{broken:?}");
        }
    }

    #[test]
    fn environment_is_a_map_or_entry_list() {
        let read = |json: &str| serde_json::from_str::<Env>(json).map(|e| e.0);
        assert_eq!(read(r#"{"K":"V=W"}"#).ok(), read(r#"["K=V=W"]"#).ok());
        assert_eq!(read(r#"["K"]"#).ok(), read(r#"{"K":""}"#).ok());
        for broken in [r#"["=x"]"#, r#"{"":"x"}"#, r#"{"K":1}"#, "true"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}
