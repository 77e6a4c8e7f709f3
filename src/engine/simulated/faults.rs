//! What can go wrong with a call, as real engines were seen to do it.

use std::time::Duration;

/// The calls that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `describe`
    Describe,
    /// `pull`
    Pull,
    /// `create`
    Create,
    /// `start`
    Start,
    /// `inspect`
    Inspect,
    /// `stop`
    Stop,
    /// `remove`
    Remove,
    /// `logs`
    Logs,
    /// `list`
    List,
    /// `events`
    Events,
    /// `testimony`
    Testimony,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// It is not done, and there is no answer.
    NotDone,
    /// It is done, and there is no answer.
    AnswerLost,
    /// It is done after this time, and answered then. The caller may be gone by then: it is done all the same.
    Late(Duration),
    /// There is no answer; and it is done after this time.
    LostAndLate(Duration),
}

/// Decides which call goes wrong.
pub type Faults = Box<dyn FnMut(Call) -> Fault + Send>;
