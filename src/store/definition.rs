//! Named templates that callers keep in the store.

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
