//! The owner of a schedule: a caller of the API, or a config file.

use super::spec::Schedule;

/// The owner of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Created by a caller.
    #[default]
    Api,
    /// Declared in the config file.
    Config {
        /// The value of `paused` in the file when it was last read.
        paused: bool,
        /// The path of the file; `None` in records that an earlier version wrote.
        file: Option<String>,
        /// The former value of `paused` while the schedule is set aside; `None` if it is not.
        aside: Option<bool>,
    },
}

impl Source {
    /// Returns the source of a schedule as `file` declares it.
    pub fn declared(schedule: &Schedule, file: &str) -> Self {
        Self::Config { paused: schedule.is_paused(), file: Some(file.to_owned()), aside: None }
    }

    /// Returns the same source as [`Self::declared`], set aside from the beginning.
    pub fn declared_aside(schedule: &Schedule, file: &str) -> Self {
        let paused = schedule.is_paused();
        Self::Config { paused, file: Some(file.to_owned()), aside: Some(paused) }
    }

    /// Returns whether this config file declares the schedule.
    pub fn is_of(&self, file: &str) -> bool {
        matches!(self, Self::Config { file: Some(own), .. } if own == file)
    }

    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Config { .. } => "config",
        }
    }
}
