//! Schedules that the config file declares: whose a schedule is, and what the file's word makes of what is kept.
//!
//! The file says what such a schedule is, and callers only pause it and let it go on. What they did outlasts a restart and
//! whatever else is changed in the file: an incident is not over because a server was started again. Only where the file
//! changes its own mind about `paused`, that counts.

use super::planned::ScheduleRecord;
use super::schedule::Schedule;

/// Whose a schedule is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// A caller put it.
    #[default]
    Api,
    /// The config file declares it.
    Config {
        /// What the file said of `paused` when it was last read.
        paused: bool,
    },
}

impl Source {
    /// The source of a schedule that the config file declares like this.
    pub fn declared(schedule: &Schedule) -> Self {
        Self::Config { paused: schedule.is_paused() }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
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
    pub fn redeclared(&self, declared: &Schedule) -> Option<Schedule> {
        let source = Source::declared(declared);
        let paused = if self.source == source { self.schedule.is_paused() } else { declared.is_paused() };
        let schedule = declared.clone().with_paused(paused);
        (self.source != source || self.schedule != schedule).then_some(schedule)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::Timestamp;
    use crate::domain::ledger::Generation;

    fn schedule(every: &str, paused: bool) -> Schedule {
        serde_json::from_value(json!({"job_name": "a", "every": every, "paused": paused})).expect("is right")
    }

    /// A schedule that was declared with this `paused`, and that a caller has since given the other one.
    fn kept(in_file: bool, by_hand: bool) -> ScheduleRecord {
        let name = "a".parse().expect("a name");
        let record = ScheduleRecord::new(name, Generation(1), schedule("1h", by_hand), Timestamp::UNIX_EPOCH);
        record.from_source(Source::Config { paused: in_file })
    }

    #[test]
    fn the_same_word_again_changes_nothing_whatever_a_caller_has_paused() {
        for (in_file, by_hand) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(kept(in_file, by_hand).redeclared(&schedule("1h", in_file)), None);
        }
    }

    #[test]
    fn a_pause_by_hand_outlasts_a_change_of_anything_but_paused() {
        assert_eq!(kept(false, true).redeclared(&schedule("2h", false)), Some(schedule("2h", true)));
        assert_eq!(kept(true, false).redeclared(&schedule("2h", true)), Some(schedule("2h", false)));
        assert_eq!(kept(true, true).redeclared(&schedule("1h", false)), Some(schedule("1h", false)));
        assert_eq!(kept(false, false).redeclared(&schedule("1h", true)), Some(schedule("1h", true)));
    }

    #[test]
    fn a_callers_schedule_becomes_the_files_and_says_what_the_file_says() {
        let callers = kept(false, true).from_source(Source::Api);
        assert_eq!(callers.redeclared(&schedule("1h", false)), Some(schedule("1h", false)));
        assert_eq!(callers.redeclared(&schedule("1h", true)), Some(schedule("1h", true)));
    }
}
