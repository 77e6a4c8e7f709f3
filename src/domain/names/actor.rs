//! The names of those who change things: callers, the scheduler, schedules, the config file.

use std::fmt;

use super::schedule::ScheduleName;

/// The party that caused a change. The API shows it as `by`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A caller of the API, by the name of its token.
    Caller(String),
    /// The scheduler itself: a start, an end, a retry, a deadline.
    Scheduler,
    /// A schedule whose tick came.
    Schedule(ScheduleName),
    /// The server's config file, read at a start or a reload.
    Config,
}

const SCHEDULER: &str = "scheduler";
const CONFIG: &str = "config";
const SCHEDULE: &str = "schedule:";

impl Actor {
    /// Reads the text that [`Display`](fmt::Display) writes.
    pub fn from_text(text: &str) -> Self {
        let schedule = text.strip_prefix(SCHEDULE).and_then(|name| name.parse().ok());
        match (text, schedule) {
            (SCHEDULER, _) => Self::Scheduler,
            (CONFIG, _) => Self::Config,
            (_, Some(name)) => Self::Schedule(name),
            (name, None) => Self::Caller(name.to_owned()),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(name) => f.write_str(name),
            Self::Scheduler => f.write_str(SCHEDULER),
            Self::Schedule(name) => write!(f, "{SCHEDULE}{name}"),
            Self::Config => f.write_str(CONFIG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_actor_is_read_back() {
        let nightly = "nightly".parse().expect("a name");
        for actor in [
            Actor::Caller("anonymous".to_owned()),
            Actor::Scheduler,
            Actor::Schedule(nightly),
            Actor::Config,
        ] {
            assert_eq!(Actor::from_text(&actor.to_string()), actor);
        }
    }
}
