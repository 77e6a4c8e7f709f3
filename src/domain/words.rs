//! The parts of a spec that people write in more than one way: a command as one text or as a list, an
//! environment as a map or as `K=V` lines.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::units::shown;

/// A command: a list of words, or one text that is split like a shell does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Words(pub Vec<String>);

/// Paths: a list, or one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Paths(pub Vec<String>);

/// Environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Env(pub BTreeMap<String, String>);

/// Labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

/// Said when a text cannot be read as a command or an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWords {
    /// A quote was opened and not closed.
    #[error(
        "`{0}` has a quote that is not closed: write it like in a shell, `sh -c 'echo hi'`, or as a list"
    )]
    Quote(String),
    /// There is a NUL, which no process can be given.
    #[error("`{0}` holds a NUL character, which no process can be given")]
    Nul(String),
    /// An entry has no name.
    #[error("`{0}` has no name before its `=`: write it as `NAME=value`")]
    NoName(String),
}

impl Words {
    /// The words of one text, split like a shell does; no variables, no globs.
    ///
    /// # Errors
    /// [`BadWords::Quote`] when a quote stays open.
    pub fn split(text: &str) -> Result<Self, BadWords> {
        let words = shell_words::split(text).map_err(|_| BadWords::Quote(shown(text)))?;
        Self::checked(words)
    }

    fn checked(words: Vec<String>) -> Result<Self, BadWords> {
        match words.iter().find(|word| word.contains('\0')) {
            Some(word) => Err(BadWords::Nul(shown(word))),
            None => Ok(Self(words)),
        }
    }
}

/// `NAME=value` as a pair; a name alone has the value "".
///
/// # Errors
/// [`BadWords::NoName`] when nothing is before the `=`.
pub fn entry(text: &str) -> Result<(String, String), BadWords> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    checked_entry(name, value)
}

pub(super) fn checked_entry(name: &str, value: &str) -> Result<(String, String), BadWords> {
    if name.is_empty() || name.contains('=') {
        return Err(BadWords::NoName(shown(&format!("{name}={value}"))));
    }
    if name.contains('\0') || value.contains('\0') {
        return Err(BadWords::Nul(shown(name)));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The variables of an env file, as `docker run --env-file` reads one: a `NAME=value` a line, taken as it is written;
/// empty lines and those that begin with `#` are left out.
///
/// # Errors
/// The number of the first line that is none of these; what is on it may be nobody's business.
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

pub(super) enum MapOrList {
    Map(BTreeMap<String, String>),
    List(Vec<String>),
}

/// Reads either as it comes. (serde's `untagged` keeps a copy of it, and tries one after the other: for each job that is read.)
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
    fn pairs(self) -> Result<BTreeMap<String, String>, BadWords> {
        match self {
            Self::Map(map) => map.iter().map(|(name, value)| checked_entry(name, value)).collect(),
            Self::List(list) => list.iter().map(|text| entry(text)).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Words {
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
    fn a_command_is_a_list_or_a_text_split_like_a_shell_does() {
        let read = |json: &str| serde_json::from_str::<Words>(json).map(|w| w.0);
        assert_eq!(read(r#"["sh","-c","exit 7"]"#).ok(), read(r#""sh -c 'exit 7'""#).ok());
        assert_eq!(read(r#""""#).ok(), Some(vec![]));
        for broken in [r#""sh -c 'exit""#, "7", r#"[1]"#, r#""a\u0000""#] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn an_env_file_is_read_as_it_is_written() {
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
    fn an_environment_is_a_map_or_a_list_of_entries() {
        let read = |json: &str| serde_json::from_str::<Env>(json).map(|e| e.0);
        assert_eq!(read(r#"{"K":"V=W"}"#).ok(), read(r#"["K=V=W"]"#).ok());
        assert_eq!(read(r#"["K"]"#).ok(), read(r#"{"K":""}"#).ok());
        for broken in [r#"["=x"]"#, r#"{"":"x"}"#, r#"{"K":1}"#, "true"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}
