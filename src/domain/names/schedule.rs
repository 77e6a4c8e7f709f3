//! The name of a schedule.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::text::units::shown;

/// The name of a schedule: 1 to 64 ASCII letters, digits, `_`, `.` and `-`, beginning with a letter
/// or a digit. Addresses, labels and values of environment variables contain it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduleName(String);

/// The error for a text that cannot name a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of a schedule: write up to 64 letters, digits, `_`, `.` and `-`, beginning with a letter or \
     a digit, such as `nightly`"
)]
pub struct BadScheduleName(String);

impl ScheduleName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScheduleName {
    type Err = BadScheduleName;
    fn from_str(text: &str) -> Result<Self, BadScheduleName> {
        let is_name = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if is_name { Ok(Self(text.to_owned())) } else { Err(BadScheduleName(shown(text))) }
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ScheduleName {
    type Error = BadScheduleName;
    fn try_from(text: String) -> Result<Self, BadScheduleName> {
        text.parse()
    }
}

impl From<ScheduleName> for String {
    fn from(name: ScheduleName) -> String {
        name.0
    }
}
