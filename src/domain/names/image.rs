//! Image references and job names: the values of `job_name`.
//!
//! A name is first looked up among the definitions, and otherwise read as an image reference.
//! `JOB_A` can only be a definition, because a repository has no upper case. The parser is
//! oci-spec's. This module also refuses references that oci-spec accepts and an engine would
//! refuse: an upper-case repository, or a path as an image.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;
use serde::{Deserialize, Serialize};

use crate::domain::text::units::shown;

/// The longest job name and the longest image reference, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// A valid image reference, as it was written (`busybox`, `registry:5000/team/app:1.2@sha256:…`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef(String);

/// The error for a text that is no image reference. The field holds the text, escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an image reference: write one like `busybox:latest` or `registry.example:5000/team/app:1.2`, in lower case"
)]
pub struct NotAnImage(String);

impl ImageRef {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the reference with its tag written out: `busybox` is `busybox:latest` to every
    /// engine.
    pub fn with_tag(&self) -> String {
        let last = self.0.rsplit('/').next().unwrap_or(&self.0);
        if last.contains(':') || last.contains('@') {
            self.0.clone()
        } else {
            format!("{}:latest", self.0)
        }
    }

    /// Checks for a bare name such as `busybox`, without a registry, path, tag or digest. A
    /// mistyped name of a definition looks like one.
    pub fn is_bare(&self) -> bool {
        !self.0.contains(['/', ':', '@'])
    }

    /// Checks whether the reference names its registry: the part before the first `/` has a dot or
    /// a port, or is `localhost`.
    pub fn names_registry(&self) -> bool {
        self.0
            .split_once('/')
            .is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost")
    }

    /// Returns registry and repository in full: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        Reference::try_from(self.0.as_str())
            .map_or_else(|_| self.0.clone(), |r| format!("{}/{}", r.registry(), r.repository()))
    }

    /// Returns the registry's host as credentials files name it; `docker.io` if the reference names
    /// none.
    pub fn registry(&self) -> String {
        Reference::try_from(self.0.as_str())
            .map_or_else(|_| "docker.io".to_owned(), |r| r.registry().to_owned())
    }
}

impl FromStr for ImageRef {
    type Err = NotAnImage;
    fn from_str(text: &str) -> Result<Self, NotAnImage> {
        let refused = || NotAnImage(shown(text));
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(refused());
        }
        let parsed = Reference::try_from(text).map_err(|_| refused())?;
        let has_upper = parsed.repository().chars().any(|c| c.is_ascii_uppercase());
        if has_upper { Err(refused()) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ImageRef {
    type Error = NotAnImage;
    fn try_from(text: String) -> Result<Self, NotAnImage> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> String {
        image.0
    }
}

/// A caller's name for a job: 1 to 255 bytes without control characters. Spaces at the ends are
/// cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobName(String);

/// The error for a text that cannot name a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// The text is empty or only white space.
    #[error(
        "a job name is missing: write the name of a definition (`JOB_A`) or an image (`busybox:latest`)"
    )]
    Empty,
    /// The text is longer than [`MAX_NAME_BYTES`]. The field holds its length in bytes.
    #[error("a job name of {0} bytes is too long: the limit is {MAX_NAME_BYTES}")]
    TooLong(usize),
    /// The text has a line break, an escape or another control character.
    #[error(
        "a job name holds the control character U+{0:04X}: write a name such as `JOB_A` or `busybox:latest`"
    )]
    Control(u32),
}

impl JobName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the name as an image reference; `None` if it is none.
    pub fn image(&self) -> Option<ImageRef> {
        self.0.parse().ok()
    }
}

impl FromStr for JobName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let text = text.trim_matches(' ');
        if text.trim().is_empty() {
            return Err(BadName::Empty);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(BadName::TooLong(text.len()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(BadName::Control(c as u32)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for JobName {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<JobName> for String {
    fn from(name: JobName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_references_are_accepted() {
        for text in [
            "busybox",
            "busybox:latest",
            "library/busybox",
            "localhost:5000/a/b:1.2",
            "ghcr.io/o/i@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(text.parse::<ImageRef>().is_ok(), "{text}");
        }
    }

    #[test]
    fn invalid_references_are_refused_and_shown() {
        for text in ["", "JOB_A", "UPPER/x", "a b", "../x", "busybox:", "x\ny", "-x"] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
        assert!(NotAnImage(shown("x\ny")).to_string().contains("x\\ny"));
    }

    #[test]
    fn reference_without_tag_means_latest() {
        let tagged = |t: &str| t.parse::<ImageRef>().map(|i| i.with_tag()).unwrap_or_default();
        assert_eq!(tagged("busybox"), "busybox:latest");
        assert_eq!(tagged("localhost:5000/busybox"), "localhost:5000/busybox:latest");
        assert_eq!(tagged("busybox:1"), "busybox:1");
    }

    #[test]
    fn job_name_is_short_and_printable() {
        assert_eq!("".parse::<JobName>(), Err(BadName::Empty));
        assert_eq!(" \t".parse::<JobName>(), Err(BadName::Empty));
        assert_eq!("a\u{1b}[0m".parse::<JobName>(), Err(BadName::Control(0x1b)));
        assert_eq!("x".repeat(10_000).parse::<JobName>(), Err(BadName::TooLong(10_000)));
        assert_eq!("JOB_A".parse::<JobName>().map(|n| n.image().is_none()), Ok(true));
    }
}
