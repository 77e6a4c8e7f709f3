//! Named queues: their names, and the number of their jobs that may run at once.
//!
//! A queue is only a name that jobs share. A queue without a limit in the config delays no job.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::text::units::shown;

/// The longest name of a queue, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The name of a queue: 1 to 64 letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(String);

/// The error for a text that cannot name a queue. The field holds the text, escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of a queue: write up to 64 letters, digits, `-`, `_` and `.`, such as `reports`"
)]
pub struct BadQueueName(String);

/// The number of jobs of each queue that may run at once. A queue that is missing here has no
/// limit.
pub type Queues = BTreeMap<QueueName, NonZeroUsize>;

impl QueueName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueName {
    type Err = BadQueueName;
    fn from_str(text: &str) -> Result<Self, BadQueueName> {
        let is_right = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match (1..=MAX_NAME_BYTES).contains(&text.len()) && text.chars().all(is_right) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadQueueName(shown(text))),
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for QueueName {
    type Error = BadQueueName;
    fn try_from(text: String) -> Result<Self, BadQueueName> {
        text.parse()
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_name_is_short_and_plain() {
        for name in ["a", "reports", "-_.", "A-1.b_c", &"x".repeat(64)] {
            assert!(name.parse::<QueueName>().is_ok(), "{name}");
        }
        for name in ["", "a b", "a/b", "ü", "a\n", &"x".repeat(65)] {
            assert!(name.parse::<QueueName>().is_err(), "{name}");
        }
        assert!("a\nb".parse::<QueueName>().expect_err("is wrong").to_string().contains("a\\nb"));
    }
}
