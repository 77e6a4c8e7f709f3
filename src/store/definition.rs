//! Named templates that callers keep in the store, and what a caller takes to be there when it writes one.

use crate::domain::id::Timestamp;
use crate::domain::image::JobName;
use crate::domain::spec::JobSpec;

/// Which writing of a definition it is: strictly increasing, never given twice, not even to another one of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A named template.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: JobName,
    /// Which writing of it.
    pub revision: Revision,
    /// What a job of this name runs.
    pub spec: JobSpec,
    /// When it was written.
    pub changed_at: Timestamp,
}

/// What has to be there for a write to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever there is.
    Anything,
    /// No definition of that name.
    Nothing,
    /// Some definition of that name.
    Something,
    /// One of these.
    OneOf(Vec<Revision>),
}

impl Expected {
    /// Whether this is what was found.
    pub fn is_met_by(&self, found: Option<Revision>) -> bool {
        match (self, found) {
            (Self::Anything, _) | (Self::Nothing, None) | (Self::Something, Some(_)) => true,
            (Self::OneOf(revisions), Some(found)) => revisions.contains(&found),
            (Self::Nothing, Some(_)) | (Self::Something | Self::OneOf(_), None) => false,
        }
    }
}
