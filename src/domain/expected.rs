//! What a caller takes to be there when something is changed, so that two who change it do not undo each other's work.

/// What has to be there for a change to be done. `T` says which writing of it it is, and is never given twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected<T> {
    /// Whatever there is.
    Anything,
    /// Nothing of that name.
    Nothing,
    /// Something of that name.
    Something,
    /// One of these.
    OneOf(Vec<T>),
}

impl<T: PartialEq> Expected<T> {
    /// Whether this is what was found.
    pub fn is_met_by(&self, found: Option<T>) -> bool {
        match (self, found) {
            (Self::Anything, _) | (Self::Nothing, None) | (Self::Something, Some(_)) => true,
            (Self::OneOf(known), Some(found)) => known.contains(&found),
            (Self::Nothing, Some(_)) | (Self::Something | Self::OneOf(_), None) => false,
        }
    }
}
