//! The container that a finished attempt left on the engine, and the steps that clear it away: one
//! table.
//!
//! The end of the attempt is already stored. A container that ran is the only place of its output,
//! so the output is kept before the container is removed. A container that still runs is left
//! alone: somebody else started it.

use super::step::Observed;
use crate::domain::container::{Container, Phase};
use crate::domain::names::id::ContainerId;

/// The observed state of the container of a finished attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remains {
    /// The container was not inspected yet, or the last call gave no answer.
    Unknown,
    /// No container of this attempt exists.
    Gone,
    /// A container that never ran.
    Unstarted(ContainerId),
    /// A container that runs.
    Running(ContainerId),
    /// A container that ran or may have run. A container that is being removed does not show which.
    Ran(ContainerId),
}

/// The next step for such a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clearing {
    /// Inspect the container, because its state is unknown.
    Inspect,
    /// Keep the output of the container.
    Keep(ContainerId),
    /// Remove the container, without force.
    Remove(ContainerId),
    /// Nothing is left to do.
    Done,
}

/// Decides the next step. `keep_container` is the job's setting to leave the container on the
/// engine; `is_kept` says that the output is kept.
pub fn next_clearing(keep_container: bool, remains: &Remains, is_kept: bool) -> Clearing {
    match remains {
        Remains::Unknown => Clearing::Inspect,
        Remains::Gone | Remains::Running(_) => Clearing::Done,
        Remains::Unstarted(container) => Clearing::Remove(container.clone()),
        Remains::Ran(container) if !is_kept => Clearing::Keep(container.clone()),
        Remains::Ran(_) if keep_container => Clearing::Done,
        Remains::Ran(container) => Clearing::Remove(container.clone()),
    }
}

impl From<&Container> for Remains {
    fn from(container: &Container) -> Self {
        let id = container.id.clone();
        match container.phase {
            Phase::Created { .. } => Self::Unstarted(id),
            Phase::Running { .. } => Self::Running(id),
            Phase::Exited { .. } | Phase::Removing => Self::Ran(id),
        }
    }
}

impl From<&Observed> for Remains {
    fn from(observed: &Observed) -> Self {
        match observed {
            Observed::Unknown => Self::Unknown,
            Observed::Absent | Observed::Foreign => Self::Gone,
            Observed::Present(container) => container.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_before_container_is_removed() {
        let id = || ContainerId("ours".to_owned());
        let ran = || Remains::Ran(id());
        let table = [
            (false, Remains::Unknown, false, Clearing::Inspect),
            (false, Remains::Gone, false, Clearing::Done),
            (false, Remains::Unstarted(id()), false, Clearing::Remove(id())),
            (true, Remains::Unstarted(id()), false, Clearing::Remove(id())),
            (false, Remains::Running(id()), false, Clearing::Done),
            (false, Remains::Running(id()), true, Clearing::Done),
            (false, ran(), false, Clearing::Keep(id())),
            (true, ran(), false, Clearing::Keep(id())),
            (false, ran(), true, Clearing::Remove(id())),
            (true, ran(), true, Clearing::Done),
        ];
        for (keep_container, remains, is_kept, next) in table {
            assert_eq!(
                next_clearing(keep_container, &remains, is_kept),
                next,
                "{keep_container} {remains:?} {is_kept}"
            );
        }
    }
}
