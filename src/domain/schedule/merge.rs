//! Schedules in the config file: the merge of a changed file into the stored schedule.
//!
//! The file defines such a schedule; callers may only pause and resume it. A caller's pause
//! outlasts a restart and any other change in the file: restarting a server does not end an
//! incident. Only a change of `paused` in the file itself overrides the caller.
//!
//! A schedule belongs to one file, by its path. While another file is read, or none, the schedule
//! is *set aside*: paused, with its former state kept until its own file is read again.

use super::record::ScheduleRecord;
use super::source::Source;
use super::spec::Schedule;

impl ScheduleRecord {
    #[must_use]
    pub fn from_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// Merges the declaration in `file` into the stored schedule. Returns the new schedule, or
    /// `None` if nothing changes.
    pub fn merge_config(&self, declared: &Schedule, file: &str) -> Option<Schedule> {
        let source = Source::declared(declared, file);
        let paused = match &self.source {
            Source::Config { paused, aside, .. } if *paused == declared.is_paused() => {
                // A schedule that a caller resumed while it was set aside stays resumed.
                self.schedule.is_paused() && aside.unwrap_or(true)
            }
            Source::Config { .. } | Source::Api => declared.is_paused(),
        };
        let schedule = declared.clone().with_paused(paused);
        (self.source != source || self.schedule != schedule).then_some(schedule)
    }

    /// Sets the schedule aside: returns the record with its new source, and the paused schedule.
    /// Returns `None` for a caller's schedule and for one that is set aside already.
    pub fn set_aside(&self) -> Option<(Self, Schedule)> {
        let Source::Config { paused, file, aside: None } = &self.source else { return None };
        let aside = Some(self.schedule.is_paused());
        let source = Source::Config { paused: *paused, file: file.clone(), aside };
        Some((self.clone().from_source(source), self.schedule.clone().with_paused(true)))
    }

    /// Returns whether the schedule is paused because its config file is not the one in use.
    pub fn is_aside(&self) -> bool {
        matches!(self.source, Source::Config { aside: Some(_), .. }) && self.schedule.is_paused()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::job::origin::Generation;
    use crate::domain::names::id::Timestamp;

    fn schedule(every: &str, paused: bool) -> Schedule {
        serde_json::from_value(json!({"job_name": "a", "every": every, "paused": paused}))
            .expect("is right")
    }

    /// Returns a schedule that was declared with `in_file` as `paused`, and that a caller then set
    /// to `by_hand`.
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
    fn a_schedule_set_aside_comes_back_unchanged() {
        for (in_file, by_hand) in [(false, false), (false, true), (true, false), (true, true)] {
            let (aside, says) = kept(in_file, by_hand).set_aside().expect("it is the file's");
            let aside = ScheduleRecord { schedule: says, ..aside };
            assert!(aside.is_aside() && aside.set_aside().is_none());
            assert_eq!(
                aside.merge_config(&schedule("1h", in_file), "/f"),
                Some(schedule("1h", by_hand))
            );
            assert_eq!(
                aside.merge_config(&schedule("1h", !in_file), "/f"),
                Some(schedule("1h", !in_file))
            );
        }
    }

    #[test]
    fn an_unchanged_declaration_keeps_a_callers_pause() {
        for (in_file, by_hand) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(kept(in_file, by_hand).merge_config(&schedule("1h", in_file), "/f"), None);
        }
    }

    #[test]
    fn only_a_change_of_paused_overrides_a_caller() {
        assert_eq!(
            kept(false, true).merge_config(&schedule("2h", false), "/f"),
            Some(schedule("2h", true))
        );
        assert_eq!(
            kept(true, false).merge_config(&schedule("2h", true), "/f"),
            Some(schedule("2h", false))
        );
        assert_eq!(
            kept(true, true).merge_config(&schedule("1h", false), "/f"),
            Some(schedule("1h", false))
        );
        assert_eq!(
            kept(false, false).merge_config(&schedule("1h", true), "/f"),
            Some(schedule("1h", true))
        );
    }

    #[test]
    fn the_file_takes_over_a_callers_schedule() {
        let callers = kept(false, true).from_source(Source::Api);
        assert_eq!(callers.merge_config(&schedule("1h", false), "/f"), Some(schedule("1h", false)));
        assert_eq!(callers.merge_config(&schedule("1h", true), "/f"), Some(schedule("1h", true)));
    }
}
