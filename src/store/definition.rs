//! Named templates that callers keep in the store.

use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::domain::spec::JobSpec;

/// The version of a definition: strictly increasing and never reused, not even by another
/// definition of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A named template for jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub name: JobName,
    pub revision: Revision,
    /// The spec of a job of this name.
    pub spec: JobSpec,
    /// The time of the last write.
    pub changed_at: Timestamp,
}
