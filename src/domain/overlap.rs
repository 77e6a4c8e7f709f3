//! What becomes of a tick's job that could be started while others of its schedule are not over.

use super::id::{JobId, Timestamp};
use super::job::Job;
use super::schedule::Overlap;

/// What is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is started.
    Go,
    /// It waits until the others are over.
    Wait,
    /// It is not run.
    Skip,
    /// These are stopped, and it waits for that.
    Replace(Vec<JobId>),
}

/// What becomes of `job`; `others` are the jobs of its schedule that are not over. A job that a caller triggered goes.
pub fn admit(overlap: Overlap, job: &Job, others: &[Job], now: Timestamp) -> Admission {
    let Some(mine) = nominal(job) else { return Admission::Go };
    let others = || others.iter().filter(|other| other.id != job.id);
    let begun: Vec<JobId> = others().filter(|other| other.attempt.0 > 0).map(|other| other.id).collect();
    let waiting = || others().filter(|other| other.attempt.0 == 0 && other.due_at <= now).filter_map(nominal);
    match overlap {
        Overlap::Allow => Admission::Go,
        // The newest is the one that is wanted.
        Overlap::Replace if waiting().any(|other| other > mine) => Admission::Skip,
        _ if begun.is_empty() => Admission::Go,
        Overlap::Skip => Admission::Skip,
        Overlap::QueueOne if waiting().any(|other| other < mine) => Admission::Skip,
        Overlap::QueueOne => Admission::Wait,
        Overlap::Replace => Admission::Replace(begun),
    }
}

fn nominal(job: &Job) -> Option<Timestamp> {
    job.origin.as_ref().and_then(|origin| origin.nominal)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::id::{Attempt, Version};
    use crate::domain::job::State;
    use crate::domain::ledger::{Generation, Origin};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).expect("a time")
    }

    /// The job of the tick at this second; `0` for one that was triggered.
    fn job(second: u8, attempt: u32) -> Job {
        let nominal = (second > 0).then(|| at(second.into()));
        Job {
            id: JobId::from_bytes([second + 1; 16]),
            version: Version(0),
            name: "busybox".parse().expect("a name"),
            spec: Default::default(),
            created_at: at(0),
            due_at: nominal.unwrap_or(at(0)),
            attempt: Attempt(attempt),
            state: State::Scheduled,
            origin: Some(Origin { schedule: "s".parse().expect("a name"), generation: Generation(1), nominal }),
        }
    }

    fn begun(second: u8) -> Job {
        job(second, 1)
    }

    fn waits(second: u8) -> Job {
        job(second, 0)
    }

    #[rstest]
    #[case::nobody_else(vec![], [Admission::Go, Admission::Go, Admission::Go, Admission::Go])]
    #[case::one_runs(
        vec![begun(10)],
        [Admission::Skip, Admission::Wait, Admission::Go, Admission::Replace(vec![begun(10).id])]
    )]
    #[case::a_triggered_one_runs(
        vec![begun(0)],
        [Admission::Skip, Admission::Wait, Admission::Go, Admission::Replace(vec![begun(0).id])]
    )]
    #[case::one_runs_and_an_earlier_one_waits(
        vec![begun(10), waits(15)],
        [Admission::Skip, Admission::Skip, Admission::Go, Admission::Replace(vec![begun(10).id])]
    )]
    #[case::one_runs_and_a_later_one_waits(
        vec![begun(10), waits(25)],
        [Admission::Skip, Admission::Wait, Admission::Go, Admission::Skip]
    )]
    #[case::a_later_one_is_not_due(
        vec![waits(40)],
        [Admission::Go, Admission::Go, Admission::Go, Admission::Go]
    )]
    fn what_becomes_of_a_tick_depends_on_what_is_not_over(#[case] others: Vec<Job>, #[case] expected: [Admission; 4]) {
        let rules = [Overlap::Skip, Overlap::QueueOne, Overlap::Allow, Overlap::Replace];
        let all = [others, vec![waits(20)]].concat();
        assert_eq!(rules.map(|overlap| admit(overlap, &waits(20), &all, at(30))), expected);
        for overlap in rules {
            assert_eq!(admit(overlap, &waits(0), &all, at(30)), Admission::Go, "one that was triggered goes");
        }
    }
}
