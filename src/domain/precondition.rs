//! A caller's precondition for a change, so that two callers who change the same thing don't undo
//! each other's work.

/// The precondition of a change. `T` is a version tag; a value is never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition<T> {
    Anything,
    /// Met if the thing does not exist.
    Nothing,
    /// Met if the thing exists, in any version.
    Something,
    /// Met if the thing exists in one of these versions.
    OneOf(Vec<T>),
}

impl<T: PartialEq> Precondition<T> {
    /// Checks the precondition against the version found; `None` means that the thing does not
    /// exist.
    pub fn is_met_by(&self, found: Option<T>) -> bool {
        match (self, found) {
            (Self::Anything, _) | (Self::Nothing, None) | (Self::Something, Some(_)) => true,
            (Self::OneOf(known), Some(found)) => known.contains(&found),
            (Self::Nothing, Some(_)) | (Self::Something | Self::OneOf(_), None) => false,
        }
    }
}
