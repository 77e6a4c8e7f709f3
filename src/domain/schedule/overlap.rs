//! The overlap policy: decides whether a tick's job may start while other jobs of its schedule are
//! unfinished, and how many of them may wait.
//!
//! A run causes a skip, or is replaced, only if it was confirmed to be active when the tick was
//! due. A job that the store calls running may have ended unnoticed; [`Admission::Inspect`] names
//! the jobs to inspect first.

use super::spec::{Overlap, Schedule};
use crate::domain::job::{Job, Reason};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::recurrence::CatchUp;

/// The most jobs of one schedule that may wait past their due time.
pub const MAX_BACKLOG: usize = 100;

/// The policy's decision about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Start the job now.
    Go,
    /// Keep the job waiting until the others are over.
    Wait,
    /// Skip the job, for this reason.
    Skip(Reason),
    /// Stop these jobs; the new job waits until they are over.
    Replace(Vec<JobId>),
    /// Inspect these jobs first: they may have ended since they were last observed.
    Inspect(Vec<JobId>),
}

/// The parts of a schedule that the policy needs.
#[derive(Clone, Copy, Debug)]
pub struct OverlapRules {
    /// The policy for a tick that is due while a run is active.
    pub overlap: Overlap,
    /// The policy for missed ticks. With [`CatchUp::All`], missed ticks run one after the other.
    pub catch_up: CatchUp,
    /// Set when a failed run keeps later ticks from running.
    pub pauses_on_failure: bool,
}

impl From<&Schedule> for OverlapRules {
    fn from(schedule: &Schedule) -> Self {
        Self {
            overlap: schedule.overlap(),
            catch_up: schedule.catch_up(),
            pauses_on_failure: schedule.pauses_on_failure(),
        }
    }
}

impl OverlapRules {
    /// Decides about `job`, which is due at `now`. `others` are the unfinished jobs of its
    /// schedule, as stored. `is_current` returns whether a job's stored state is known to be up to
    /// date. A job that a caller triggered always starts.
    pub fn admit(
        self,
        job: &Job,
        others: &[Job],
        now: Timestamp,
        is_current: impl Fn(&Job) -> bool,
    ) -> Admission {
        let Some(mine) = job.nominal() else { return Admission::Go };
        let others = || others.iter().filter(|other| other.id != job.id);
        let begun = || others().filter(|other| other.attempt.0 > 0);
        let waiting = || others().filter(|other| waits(other, now)).filter_map(Job::nominal);
        let ids =
            |jobs: &mut dyn Iterator<Item = &Job>| jobs.map(|other| other.id).collect::<Vec<_>>();
        let in_turn = self.is_in_turn(job, self.last_missed(others().chain([job])));
        let unseen = || ids(&mut begun().filter(|other| !is_current(other)));
        match self.overlap {
            _ if self.pauses_on_failure && !unseen().is_empty() => Admission::Inspect(unseen()),
            Overlap::Allow => Admission::Go,
            _ if in_turn && begun().next().is_some() => Admission::Wait,
            _ if in_turn => Admission::Go,
            // Only the newest tick is wanted.
            Overlap::Replace if waiting().any(|other| other > mine) => {
                Admission::Skip(Reason::Overlap)
            }
            Overlap::Skip | Overlap::QueueOne if waiting().any(|other| other < mine) => {
                Admission::Skip(Reason::StillWaiting)
            }
            _ if begun().next().is_none() => Admission::Go,
            Overlap::QueueOne => Admission::Wait,
            // A missed tick that is caught up runs to its end.
            Overlap::Replace if self.catch_up == CatchUp::All && begun().any(was_made_late) => {
                Admission::Wait
            }
            Overlap::Skip | Overlap::Replace if !unseen().is_empty() => {
                Admission::Inspect(unseen())
            }
            Overlap::Skip => Admission::Skip(Reason::Overlap),
            Overlap::Replace => Admission::Replace(ids(&mut begun())),
        }
    }

    /// Returns the jobs that are too many at `now`, each with the reason. `waiting` are the jobs
    /// that wait for their first attempt.
    pub fn surplus(self, waiting: &[Job], now: Timestamp) -> Vec<(&Job, Reason)> {
        let mut due: Vec<&Job> =
            waiting.iter().filter(|job| job.nominal().is_some() && waits(job, now)).collect();
        due.sort_by_key(|job| job.nominal());
        let last_missed = self.last_missed(waiting.iter());
        let (in_turn, other): (Vec<&Job>, Vec<&Job>) =
            due.into_iter().partition(|job| self.is_in_turn(job, last_missed));
        let (kept, reason) = match self.overlap {
            Overlap::Allow => (MAX_BACKLOG, Reason::Backlog),
            Overlap::Skip | Overlap::QueueOne => {
                (usize::from(in_turn.is_empty()), Reason::StillWaiting)
            }
            Overlap::Replace => {
                let older = other.len().saturating_sub(1);
                return other.into_iter().take(older).map(|job| (job, Reason::Overlap)).collect();
            }
        };
        other.into_iter().skip(kept).map(|job| (job, reason)).collect()
    }

    /// Returns the nominal time of the newest missed tick that has yet to run: its job was created
    /// after the tick and has not begun. `None` unless each missed tick runs by itself.
    fn last_missed<'a>(self, jobs: impl Iterator<Item = &'a Job>) -> Option<Timestamp> {
        if self.catch_up != CatchUp::All || self.overlap == Overlap::Allow {
            return None;
        }
        jobs.filter(|job| job.attempt.0 == 0 && was_made_late(job)).filter_map(Job::nominal).max()
    }

    /// Returns whether the job takes its turn among the missed ticks.
    fn is_in_turn(self, job: &Job, last_missed: Option<Timestamp>) -> bool {
        last_missed.is_some_and(|last| job.nominal().is_some_and(|nominal| nominal <= last))
    }
}

/// Returns whether the job was created after its tick's nominal time.
fn was_made_late(job: &Job) -> bool {
    job.nominal().is_some_and(|nominal| job.created_at > nominal)
}

/// Returns whether the job is due and has not begun.
fn waits(job: &Job, now: Timestamp) -> bool {
    job.attempt.0 == 0 && job.due_at <= now
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::job::State;
    use crate::domain::job::origin::{Generation, Origin, ScheduledBy};
    use crate::domain::names::id::{Attempt, Version};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).expect("a time")
    }

    /// Returns the job of the tick at this second; `0` for a triggered job.
    fn job(second: u8, attempt: u32) -> Job {
        let nominal = (second > 0).then(|| at(second.into()));
        Job {
            id: JobId::from_bytes([second.wrapping_add(1); 16]),
            version: Version(0),
            name: "busybox".parse().expect("a name"),
            spec: Default::default(),
            created_at: at(0),
            due_at: nominal.unwrap_or(at(0)),
            attempt: Attempt(attempt),
            state: State::Scheduled,
            origin: Origin::Schedule(ScheduledBy {
                schedule: "s".parse().expect("a name"),
                generation: Generation(1),
                nominal,
            }),
            submitted_by: None,
        }
    }

    fn begun(second: u8) -> Job {
        job(second, 1)
    }

    fn waits(second: u8) -> Job {
        job(second, 0)
    }

    const ALL: [Overlap; 4] = [Overlap::Skip, Overlap::QueueOne, Overlap::Allow, Overlap::Replace];
    const OVERLAP: Admission = Admission::Skip(Reason::Overlap);
    const STILL_WAITING: Admission = Admission::Skip(Reason::StillWaiting);

    fn rules(overlap: Overlap) -> OverlapRules {
        OverlapRules { overlap, catch_up: CatchUp::Last, pauses_on_failure: false }
    }

    /// Returns each policy's decision at second 30 about the tick of second 20, beside `others`.
    fn admissions(others: &[Job], is_current: bool) -> [Admission; 4] {
        let all = [others, &[waits(20)]].concat();
        ALL.map(|overlap| rules(overlap).admit(&waits(20), &all, at(30), |_| is_current))
    }

    #[rstest]
    #[case::nobody_else(vec![], [Admission::Go, Admission::Go, Admission::Go, Admission::Go])]
    #[case::one_runs(
        vec![begun(10)],
        [OVERLAP, Admission::Wait, Admission::Go, Admission::Replace(vec![begun(10).id])]
    )]
    #[case::a_triggered_one_runs(
        vec![begun(0)],
        [OVERLAP, Admission::Wait, Admission::Go, Admission::Replace(vec![begun(0).id])]
    )]
    #[case::one_runs_and_an_earlier_one_waits(
        vec![begun(10), waits(15)],
        [STILL_WAITING, STILL_WAITING, Admission::Go, Admission::Replace(vec![begun(10).id])]
    )]
    #[case::one_runs_and_a_later_one_waits(
        vec![begun(10), waits(25)],
        [OVERLAP, Admission::Wait, Admission::Go, OVERLAP]
    )]
    #[case::an_earlier_one_waits(vec![waits(15)], [STILL_WAITING, STILL_WAITING, Admission::Go, Admission::Go])]
    #[case::a_later_one_is_not_due(
        vec![waits(40)],
        [Admission::Go, Admission::Go, Admission::Go, Admission::Go]
    )]
    fn each_policy_decides_by_the_unfinished_jobs(
        #[case] others: Vec<Job>,
        #[case] expected: [Admission; 4],
    ) {
        assert_eq!(admissions(&others, true), expected);
        let all = [others, vec![waits(20)]].concat();
        for overlap in ALL {
            let triggered = rules(overlap).admit(&waits(0), &all, at(30), |_| true);
            assert_eq!(triggered, Admission::Go, "one that was triggered goes");
        }
    }

    #[test]
    fn unconfirmed_runs_are_inspected_before_skip_or_replace() {
        let look = Admission::Inspect(vec![begun(10).id]);
        assert_eq!(
            admissions(&[begun(10)], false),
            [look.clone(), Admission::Wait, Admission::Go, look]
        );
    }

    #[test]
    fn a_run_that_may_have_failed_is_inspected() {
        let careful = OverlapRules { pauses_on_failure: true, ..rules(Overlap::Allow) };
        let look = Admission::Inspect(vec![begun(10).id]);
        assert_eq!(careful.admit(&waits(20), &[begun(10)], at(30), |_| false), look);
        assert_eq!(careful.admit(&waits(20), &[begun(10)], at(30), |_| true), Admission::Go);
    }

    #[test]
    fn missed_ticks_run_one_after_the_other() {
        let late = |second| Job { created_at: at(100), ..job(second, 0) };
        for overlap in [Overlap::Skip, Overlap::QueueOne, Overlap::Replace] {
            let all = OverlapRules { catch_up: CatchUp::All, ..rules(overlap) };
            let decide = |job: Job, others: &[Job]| all.admit(&job, others, at(100), |_| true);
            assert_eq!(
                decide(late(20), &[late(10), late(30)]),
                Admission::Go,
                "whoever comes first goes first"
            );
            assert_eq!(decide(late(20), &[begun(10), late(30)]), Admission::Wait);
            assert_eq!(
                decide(waits(20), &[begun(10), late(30)]),
                Admission::Wait,
                "its job was there before"
            );
            let runs = Job { attempt: Attempt(1), ..late(10) };
            assert_ne!(
                decide(waits(20), std::slice::from_ref(&runs)),
                Admission::Replace(vec![runs.id])
            );
            assert_eq!(all.surplus(&[late(10), late(20), late(30)], at(100)), []);
            let next = [late(10), waits(99), waits(101)];
            let surplus: Vec<_> =
                all.surplus(&next, at(100)).into_iter().map(|(job, _)| job.due_at).collect();
            let expected = if overlap == Overlap::Replace { vec![] } else { vec![at(99)] };
            assert_eq!(surplus, expected, "a tick on time does not wait behind them");
        }
    }

    #[test]
    fn surplus_waiting_jobs_are_skipped() {
        let waiting: Vec<Job> = [30, 10, 40, 20].map(waits).to_vec();
        let surplus = |overlap| -> Vec<(i64, Reason)> {
            let all = rules(overlap).surplus(&waiting, at(30)).into_iter();
            all.map(|(job, reason)| (job.due_at.timestamp(), reason)).collect()
        };
        let later = vec![(20, Reason::StillWaiting), (30, Reason::StillWaiting)];
        assert_eq!(
            surplus(Overlap::Skip),
            later,
            "the first stays, and so does one that is not due"
        );
        assert_eq!(surplus(Overlap::QueueOne), later);
        assert_eq!(
            surplus(Overlap::Replace),
            [(10, Reason::Overlap), (20, Reason::Overlap)],
            "the newest stays"
        );
        assert_eq!(surplus(Overlap::Allow), []);
        let many: Vec<Job> = (1..=u8::MAX).map(waits).collect();
        assert_eq!(rules(Overlap::Allow).surplus(&many, at(1_000)).len(), many.len() - MAX_BACKLOG);
    }
}
