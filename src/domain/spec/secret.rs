//! Secrets: a spec holds only their names. A value exists only on the way from its source into a
//! container.
//!
//! A value has no `Display` and no serde, and its `Debug` hides it. A mistake therefore cannot put
//! it into a job, a response, a log or an error.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::command::{BadEntry, MapOrList, checked_entry};
use crate::domain::text::units::shown;

/// The folder of secrets that are files. A spec can make a secret a variable instead.
pub const SECRETS_DIR: &str = "/run/secrets";

/// The secrets of a container: `/run/secrets/NAME` for a file, or a variable's name, mapped to the
/// secret's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secrets(pub BTreeMap<String, String>);

impl Secrets {
    /// Lists the secrets that are variables: the variable's name and the secret's name.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().filter(|(target, _)| !target.starts_with('/'))
    }

    /// Lists the secrets that are files: the file's name in [`SECRETS_DIR`] and the secret's name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().filter_map(|(target, secret)| Some((file_name(target)?, secret)))
    }

    /// Lists the names of all secrets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(target, secret)| (target.as_str(), secret.as_str()))
    }
}

/// Returns the part of a target below [`SECRETS_DIR`]; `None` for any other target.
pub(crate) fn file_name(target: &str) -> Option<&str> {
    target.strip_prefix(SECRETS_DIR)?.strip_prefix('/')
}

/// Reads a map from target to secret, or a list of `NAME` (a file of that name) and `TARGET=NAME`.
impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pair = |target: &str, secret: &str| match secret {
            "" => Err(BadEntry::NoName(shown(&format!("{target}=")))),
            _ => checked_entry(target, secret),
        };
        let pairs: Result<BTreeMap<String, String>, BadEntry> =
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

#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(value: Vec<u8>) -> Self {
        Self(value)
    }

    /// Returns the value. Only the code that passes it to an engine may call this.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the value for a variable: text without a NUL, or `None`. One line end at the end is
    /// cut, because editors and `echo` leave one in a file.
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
    fn secrets_are_read_from_list_or_map() {
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
    fn value_is_hidden_and_variable_drops_line_end() {
        let secret = |text: &[u8]| Secret::new(text.to_vec());
        assert!(!format!("{:?}", Some(secret(b"hunter2"))).contains("hunter2"));
        assert_eq!(secret(b"a b\n\n").as_variable(), Some("a b\n"));
        assert_eq!(secret(b"a\r\n").as_variable(), Some("a"));
        assert_eq!(secret(b"a\0").as_variable(), None);
        assert_eq!(secret(b"\xff").as_variable(), None);
    }
}
