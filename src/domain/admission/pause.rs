//! The pause of everything: while it holds, no job is started.

use serde::{Deserialize, Serialize};

use crate::domain::names::id::Timestamp;

/// A pause of all starts. Jobs that run go on; jobs that come due wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The end of the pause; `None` until a caller resumes.
    pub until: Option<Timestamp>,
    /// The caller's reason, for people.
    pub why: Option<String>,
    /// The caller's name.
    pub by: String,
    /// The beginning of the pause.
    pub since: Timestamp,
}

impl Pause {
    /// Returns whether the pause is over at `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}
