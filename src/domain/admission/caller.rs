//! The callers of the API.

use crate::domain::names::actor::Actor;

/// A caller that was admitted. Every call that changes something names its caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The name of the caller's token, or `anonymous` without one.
    pub name: String,
}

impl Caller {
    /// Returns the caller of a server that knows no tokens.
    pub fn anonymous() -> Self {
        Self { name: "anonymous".to_owned() }
    }

    /// Returns the caller as the journal names it.
    pub fn actor(&self) -> Actor {
        Actor::Caller(self.name.clone())
    }
}
