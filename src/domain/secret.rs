//! Secrets: in a spec only by name; as a value only on the way from its source into a container.
//!
//! A value has no `Display` and no serde, and its `Debug` does not show it, so it cannot get into a job, an answer, a
//! log or an error by an oversight.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::units::shown;
use super::words::{BadWords, MapOrList, checked_entry};

/// Where secrets are as files, unless the spec says that one is a variable.
pub const SECRETS_DIR: &str = "/run/secrets";

/// What is given to a container, and under which name: `/run/secrets/NAME` for a file, else a variable's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secrets(pub BTreeMap<String, String>);

impl Secrets {
    /// Those that are variables: the variable's name and the secret's.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().filter(|(target, _)| !target.starts_with('/'))
    }

    /// Those that are files: the file's name in [`SECRETS_DIR`] and the secret's.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().filter_map(|(target, secret)| Some((file_name(target)?, secret)))
    }

    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(target, secret)| (target.as_str(), secret.as_str()))
    }
}

/// The name of a file right in [`SECRETS_DIR`].
pub(super) fn file_name(target: &str) -> Option<&str> {
    target.strip_prefix(SECRETS_DIR)?.strip_prefix('/')
}

/// A map of where to what, or a list of `NAME` (a file of that name) and `WHERE=NAME`.
impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pair = |target: &str, secret: &str| match secret {
            "" => Err(BadWords::NoName(shown(&format!("{target}=")))),
            _ => checked_entry(target, secret),
        };
        let pairs: Result<BTreeMap<String, String>, BadWords> =
            match MapOrList::deserialize(deserializer)? {
                MapOrList::Map(map) => {
                    map.iter().map(|(target, secret)| pair(target, secret)).collect()
                }
                MapOrList::List(list) => list
                    .iter()
                    .map(|text| match text.split_once('=') {
                        Some((target, secret)) => pair(target, secret),
                        None => pair(&format!("{SECRETS_DIR}/{text}"), text),
                    })
                    .collect(),
            };
        pairs.map(Self).map_err(serde::de::Error::custom)
    }
}

/// A secret's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// This value.
    pub fn new(value: Vec<u8>) -> Self {
        Self(value)
    }

    /// The value, to hand it to an engine and for nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as a variable's: text without a NUL. A line's end behind it, as editors and `echo` leave one in a file,
    /// is not part of it.
    pub fn as_variable(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok().filter(|text| !text.contains('\0'))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Some(text.strip_suffix('\r').unwrap_or(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_a_list_of_files_and_variables_or_a_map_of_where_to_what() {
        let read = |json: &str| serde_json::from_str::<Secrets>(json).ok();
        let both = read(r#"["pw", "DB_PASSWORD=db-password", "/run/secrets/key=tls-key"]"#)
            .expect("is right");
        assert_eq!(
            Some(&both),
            read(r#"{"/run/secrets/pw":"pw","DB_PASSWORD":"db-password","/run/secrets/key":"tls-key"}"#).as_ref()
        );
        assert_eq!(both.variables().collect::<Vec<_>>(), [("DB_PASSWORD", "db-password")]);
        assert_eq!(both.files().collect::<Vec<_>>(), [("key", "tls-key"), ("pw", "pw")]);
        for broken in
            [r#"["=x"]"#, r#"["A="]"#, r#"{"A":""}"#, r#"{"":"x"}"#, r#"["a\u0000"]"#, r#""pw""#]
        {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_value_shows_nowhere_and_as_a_variable_has_no_line_end() {
        let secret = |text: &[u8]| Secret::new(text.to_vec());
        assert!(!format!("{:?}", Some(secret(b"hunter2"))).contains("hunter2"));
        assert_eq!(secret(b"a b\n\n").as_variable(), Some("a b\n"));
        assert_eq!(secret(b"a\r\n").as_variable(), Some("a"));
        assert_eq!(secret(b"a\0").as_variable(), None);
        assert_eq!(secret(b"\xff").as_variable(), None);
    }
}
