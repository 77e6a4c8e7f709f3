//! Schedules that the config file declares: whose a schedule is, and what the file's word makes of what is kept.
//!
//! The file says what such a schedule is, and callers only pause it and let it go on. What they did outlasts a restart and
//! whatever else is changed in the file: an incident is not over because a server was started again. Only where the file
//! changes its own mind about `paused`, that counts.
//!
//! A schedule belongs to one file, by its path. While another file is read, or none, the schedule is *set aside*: paused,
//! with what it was before kept for the day on which its file is read again.

use super::planned::ScheduleRecord;
use super::schedule::Schedule;

/// Whose a schedule is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// A caller put it.
    #[default]
    Api,
    /// The config file declares it.
    Config {
        /// What the file said of `paused` when it was last read.
        paused: bool,
        /// The path of that file; `None` where an earlier version wrote it.
        file: Option<String>,
        /// While it is set aside: whether it was paused before.
        aside: Option<bool>,
    },
}

impl Source {
    /// The source of a schedule that this config file declares like this.
    pub fn declared(schedule: &Schedule, file: &str) -> Self {
        Self::Config { paused: schedule.is_paused(), file: Some(file.to_owned()), aside: None }
    }

    /// The same, set aside from the beginning.
    pub fn declared_aside(schedule: &Schedule, file: &str) -> Self {
        let paused = schedule.is_paused();
        Self::Config { paused, file: Some(file.to_owned()), aside: Some(paused) }
    }

    /// Whether this config file declares it.
    pub fn is_of(&self, file: &str) -> bool {
        matches!(self, Self::Config { file: Some(own), .. } if own == file)
    }

    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Config { .. } => "config",
        }
    }
}

impl ScheduleRecord {
    /// The same, from this source.
    #[must_use]
    pub fn from_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// What it shall say, now that the config file declares it like this; nothing where all stays as it is.
    pub fn redeclared(&self, declared: &Schedule, file: &str) -> Option<Schedule> {
        let source = Source::declared(declared, file);
        let paused = match &self.source {
            Source::Config { paused, aside, .. } if *paused == declared.is_paused() => {
                // Set aside, and let go on by a caller since, it goes on.
                self.schedule.is_paused() && aside.unwrap_or(true)
            }
            Source::Config { .. } | Source::Api => declared.is_paused(),
        };
        let schedule = declared.clone().with_paused(paused);
        (self.source != source || self.schedule != schedule).then_some(schedule)
    }

    /// The same, set aside, and what it says then; nothing for one that is a caller's or set aside already.
    pub fn set_aside(&self) -> Option<(Self, Schedule)> {
        let Source::Config { paused, file, aside: None } = &self.source else { return None };
        let aside = Some(self.schedule.is_paused());
        let source = Source::Config { paused: *paused, file: file.clone(), aside };
        Some((self.clone().from_source(source), self.schedule.clone().with_paused(true)))
    }

    /// Whether it is paused because its config file is not the one that is read.
    pub fn is_aside(&self) -> bool {
        matches!(self.source, Source::Config { aside: Some(_), .. }) && self.schedule.is_paused()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::Timestamp;
    use crate::domain::ledger::Generation;

    fn schedule(every: &str, paused: bool) -> Schedule {
        serde_json::from_value(json!({"job_name": "a", "every": every, "paused": paused}))
            .expect("is right")
    }

    /// A schedule that was declared with this `paused`, and that a caller has since given the other one.
    fn kept(in_file: bool, by_hand: bool) -> ScheduleRecord {
        let name = "a".parse().expect("a name");
        let record = ScheduleRecord::new(
            name,
            Generation(1),
            schedule("1h", by_hand),
            Timestamp::UNIX_EPOCH,
        );
        record.from_source(Source::Config {
            paused: in_file,
            file: Some("/f".to_owned()),
            aside: None,
        })
    }

    #[test]
    fn what_was_set_aside_comes_back_as_it_was() {
        for (in_file, by_hand) in [(false, false), (false, true), (true, false), (true, true)] {
            let (aside, says) = kept(in_file, by_hand).set_aside().expect("it is the file's");
            let aside = ScheduleRecord { schedule: says, ..aside };
            assert!(aside.is_aside() && aside.set_aside().is_none());
            assert_eq!(
                aside.redeclared(&schedule("1h", in_file), "/f"),
                Some(schedule("1h", by_hand))
            );
            assert_eq!(
                aside.redeclared(&schedule("1h", !in_file), "/f"),
                Some(schedule("1h", !in_file))
            );
        }
    }

    #[test]
    fn the_same_word_again_changes_nothing_whatever_a_caller_has_paused() {
        for (in_file, by_hand) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(kept(in_file, by_hand).redeclared(&schedule("1h", in_file), "/f"), None);
        }
    }

    #[test]
    fn a_pause_by_hand_outlasts_a_change_of_anything_but_paused() {
        assert_eq!(
            kept(false, true).redeclared(&schedule("2h", false), "/f"),
            Some(schedule("2h", true))
        );
        assert_eq!(
            kept(true, false).redeclared(&schedule("2h", true), "/f"),
            Some(schedule("2h", false))
        );
        assert_eq!(
            kept(true, true).redeclared(&schedule("1h", false), "/f"),
            Some(schedule("1h", false))
        );
        assert_eq!(
            kept(false, false).redeclared(&schedule("1h", true), "/f"),
            Some(schedule("1h", true))
        );
    }

    #[test]
    fn a_callers_schedule_becomes_the_files_and_says_what_the_file_says() {
        let callers = kept(false, true).from_source(Source::Api);
        assert_eq!(callers.redeclared(&schedule("1h", false), "/f"), Some(schedule("1h", false)));
        assert_eq!(callers.redeclared(&schedule("1h", true), "/f"), Some(schedule("1h", true)));
    }
}
