//! Turns names of schedules, queues and definitions into label values: at most [`MAX_NAMES`] of a
//! kind, and pseudonyms where the config hides names.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::domain::names::id::InstanceId;

/// The most names of one kind that become label values. Further names become `other`.
pub const MAX_NAMES: usize = 1_000;

/// The rule for names in labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// Names are shown.
    #[default]
    Shown,
    /// Each name becomes a pseudonym: a hash of the name and the id of the store. The pseudonym
    /// stays the same over restarts, so alerts work as with names.
    Hidden(InstanceId),
}

/// The names of one kind that are label values already.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Mutex<BTreeSet<String>>,
}

impl Names {
    /// Returns the label value of a name. Names come first, first served.
    pub(super) fn label(&self, naming: Naming, name: &str) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(name) {
            if known.len() >= MAX_NAMES {
                return "other".to_owned();
            }
            known.insert(name.to_owned());
        }
        match naming {
            Naming::Shown => name.to_owned(),
            Naming::Hidden(store) => pseudonym(store, name),
        }
    }
}

fn pseudonym(store: InstanceId, name: &str) -> String {
    let hash = Sha256::new().chain_update(store.to_string()).chain_update(name).finalize();
    let digits: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("hidden-{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_cap_share_one_label() {
        let names = Names::default();
        let labels: BTreeSet<String> =
            (0..5_000).map(|n| names.label(Naming::Shown, &format!("s{n}"))).collect();
        assert_eq!(labels.len(), MAX_NAMES + 1);
        assert!(labels.contains("other"));
        assert_eq!(names.label(Naming::Shown, "s0"), "s0");
    }

    #[test]
    fn pseudonyms_are_stable_and_hide_the_name() {
        let hidden = |id| Naming::Hidden(InstanceId::new([id; 16]));
        let label = |id| Names::default().label(hidden(id), "payroll");
        assert_eq!(label(1), label(1));
        assert_ne!(label(1), label(2));
        assert!(!label(1).contains("payroll"));
    }
}
