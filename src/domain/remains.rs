//! What an attempt that is over left on the engine, and what is done with it: one table.
//!
//! The end of the attempt is on disk by then. A container that ran is the only place of its output until that is kept, so
//! the output is kept before the container is removed. One that runs is left alone: somebody else started it.

use super::container::{Container, Phase};
use super::id::ContainerId;
use super::protocol::Sight;

/// What was last seen of the container of an attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Not looked yet, or the last call gave no answer.
    Unseen,
    /// Nothing of ours.
    Gone,
    /// A container that never ran.
    Unstarted(ContainerId),
    /// A container that runs.
    Running(ContainerId),
    /// A container that ran, or may have: one that is being removed says no more.
    Ran(ContainerId),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clearing {
    /// Inspect the container.
    Look,
    /// Keep the output of the container.
    Keep(ContainerId),
    /// Remove the container, without force.
    Remove(ContainerId),
    /// Nothing is left to do.
    Rest,
}

/// The next step for what is left of an attempt whose job says whether its container is to stay, and whose output is kept
/// or not.
pub fn clear_away(keep_container: bool, remains: &Remains, is_kept: bool) -> Clearing {
    match remains {
        Remains::Unseen => Clearing::Look,
        Remains::Gone | Remains::Running(_) => Clearing::Rest,
        Remains::Unstarted(container) => Clearing::Remove(container.clone()),
        Remains::Ran(container) if !is_kept => Clearing::Keep(container.clone()),
        Remains::Ran(_) if keep_container => Clearing::Rest,
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

impl From<&Sight> for Remains {
    fn from(sight: &Sight) -> Self {
        match sight {
            Sight::Unseen => Self::Unseen,
            Sight::Absent | Sight::Foreign => Self::Gone,
            Sight::Present(container) => container.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_before_its_container_is_removed() {
        let id = || ContainerId("ours".to_owned());
        let ran = || Remains::Ran(id());
        let table = [
            (false, Remains::Unseen, false, Clearing::Look),
            (false, Remains::Gone, false, Clearing::Rest),
            (false, Remains::Unstarted(id()), false, Clearing::Remove(id())),
            (true, Remains::Unstarted(id()), false, Clearing::Remove(id())),
            (false, Remains::Running(id()), false, Clearing::Rest),
            (false, Remains::Running(id()), true, Clearing::Rest),
            (false, ran(), false, Clearing::Keep(id())),
            (true, ran(), false, Clearing::Keep(id())),
            (false, ran(), true, Clearing::Remove(id())),
            (true, ran(), true, Clearing::Rest),
        ];
        for (keep_container, remains, is_kept, next) in table {
            assert_eq!(
                clear_away(keep_container, &remains, is_kept),
                next,
                "{keep_container} {remains:?} {is_kept}"
            );
        }
    }
}
