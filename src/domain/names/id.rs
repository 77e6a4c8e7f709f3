//! Identifiers: every identifier that crosses a module has its own type.
//!
//! A job's id is a UUID of version 7, written as 32 lower-case hex digits, so ids sort by their
//! time of creation. The engine's id of a container (`ContainerId`) and our name for it
//! (`ContainerName`) are different types. We choose only the name, and only the name fences
//! `create`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An instant in UTC. All due times inside the program have this type; time zones exist only at the
/// edges.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// The id of a job. Displayed and parsed as 32 hex digits (`71f6696c08a64a45b3788332e0dc5278`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Uuid);

/// The id of one scheduler state, which is one data directory. Every container of the scheduler
/// carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Uuid);

/// The error for a text that is not 32 hex digits (dashes allowed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 32 hexadecimal digits")]
pub struct NotAnId;

impl JobId {
    /// Builds an id from the instant (whole milliseconds since 1970) and ten random bytes. The
    /// caller passes both, because the domain has neither a clock nor a random number generator.
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Returns the sixteen bytes that the store keeps.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Writes the id's hex digits into `text`, without an allocation.
    pub fn hex<'t>(&self, text: &'t mut [u8; 32]) -> &'t str {
        self.0.as_simple().encode_lower(text)
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl InstanceId {
    /// Builds an id from sixteen random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let plain = text.len() == 32 || text.len() == 36;
        if !plain {
            return Err(NotAnId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| NotAnId)
    }
}

impl TryFrom<String> for JobId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> String {
        id.to_string()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}

impl FromStr for InstanceId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Uuid::try_parse(text).map(Self).map_err(|_| NotAnId)
    }
}

/// The number of a job's attempt: 1 for the first, 0 before the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of changes of a stored job. An update names the version it was based on. The store
/// refuses the update if the job has changed since then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

impl Version {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A position in the journal: strictly increasing, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

text_newtype! {
    /// The engine's id of a container. Engines never reuse an id, so it tells a container from a
    /// later one with the same name.
    ContainerId
}
text_newtype! {
    /// The engine's own id. A different id at the same address stops the dispatch.
    EngineId
}
text_newtype! {
    /// A content digest, written `sha256:…`.
    Digest
}

/// Our name for a container: `tidetable-<job id>-<attempt>`. The name is unique on an engine and
/// derived from job and attempt alone, so the engine itself refuses to create the same container
/// twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(String);

impl ContainerName {
    /// Builds the name for an attempt's container.
    pub fn of(job: JobId, attempt: Attempt) -> Self {
        Self(format!("tidetable-{job}-{attempt}"))
    }

    /// Takes the name of a container that was found on the engine, whatever its origin.
    pub fn found(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_32_hex_digits_and_round_trips() {
        let at = Timestamp::from_timestamp_millis(1_624_195_528_000).unwrap_or_default();
        let id = JobId::new(at, [7; 10]);
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(JobId::from_bytes(*id.as_bytes()), id);
    }

    #[test]
    fn ids_sort_by_creation_time() {
        let at = |ms| Timestamp::from_timestamp_millis(ms).unwrap_or_default();
        assert!(JobId::new(at(1_000), [255; 10]) < JobId::new(at(1_001), [0; 10]));
    }

    #[test]
    fn invalid_ids_are_refused() {
        for text in [
            "",
            "0",
            "zz",
            "71f6696c08a64a45b3788332e0dc527",
            "71f6696c08a64a45b3788332e0dc5278a",
            "{71f6696c-08a6-4a45-b378-8332e0dc5278}",
        ] {
            assert_eq!(text.parse::<JobId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn container_name_contains_job_and_attempt() {
        let id: JobId =
            "71f6696c08a64a45b3788332e0dc5278".parse().unwrap_or(JobId::from_bytes([0; 16]));
        assert_eq!(
            ContainerName::of(id, Attempt(2)).as_str(),
            "tidetable-71f6696c08a64a45b3788332e0dc5278-2"
        );
    }
}
