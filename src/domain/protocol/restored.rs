//! Reconciles a job from a restored backup with the engine, before the scheduler acts on the job.
//!
//! The store says how the job stood when the backup was taken. The original server may have gone on
//! since: begun the next attempt, ended it, removed its container. The engine may have evidence of
//! that: first its containers, by their labels, then its event log. If neither gives an answer, the
//! job is not run again.

use crate::domain::job::transition::{Event, Failure};
use crate::domain::job::{Job, Reason, State};
use crate::domain::names::id::{Attempt, ContainerId};

/// The evidence in the engine's event log about one job since the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedStart {
    /// The newest attempt that was started.
    Started(Attempt),
    /// No attempt was started, and the log reaches back to the backup.
    Nothing,
    /// No answer: the log does not reach back to the backup, or is another engine's.
    Inconclusive,
}

/// Returns the event to apply to the job. `None` means that the store is right, or that the start
/// protocol finds out by itself. `container` is the newest container of the job on the engine, with
/// its attempt.
pub fn reconcile_restored(
    job: &Job,
    container: Option<(Attempt, ContainerId)>,
    logged: LoggedStart,
) -> Option<Event> {
    let unknown = job.first_unknown_attempt()?;
    match (container, logged) {
        (Some((attempt, id)), _) if attempt >= unknown => Some(Event::Adopt(attempt, id)),
        (_, LoggedStart::Started(attempt)) if attempt >= unknown => Some(may_have_run(
            attempt,
            "this store is a restored backup: since it was taken, the job was started, and its container is gone",
        )),
        // A log has no holes: a log that still has an earlier attempt would have a later one, too.
        (_, LoggedStart::Started(_) | LoggedStart::Nothing) => None,
        // The start protocol checks a stored intent or run by itself.
        (_, LoggedStart::Inconclusive)
            if matches!(job.state, State::Starting(Some(_)) | State::Running(_)) =>
        {
            None
        }
        (_, LoggedStart::Inconclusive) => Some(may_have_run(
            unknown,
            "this store is a restored backup: the job may have been started since it was taken; there is no container of \
             it, and the engine's log does not reach back that far",
        )),
    }
}

fn may_have_run(attempt: Attempt, sentence: &str) -> Event {
    Event::MayHaveRun(attempt, Failure::new(Reason::Restored, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::origin::Origin;
    use crate::domain::job::{FailedAttempt, Intent, Run, StopCause, StopTarget, Stopping, Wait};
    use crate::domain::names::id::{JobId, Timestamp, Version};

    fn at() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn id() -> ContainerId {
        ContainerId("c".to_owned())
    }

    fn job(attempt: u32, state: State) -> Job {
        Job {
            id: JobId::new(at(), [7; 10]),
            version: Version(3),
            name: "busybox".parse().expect("a name"),
            spec: serde_json::from_str("{}").expect("a spec"),
            created_at: at(),
            due_at: at(),
            attempt: Attempt(attempt),
            state,
            origin: Origin::Api,
            submitted_by: None,
        }
    }

    fn run() -> Run {
        Run { container: id(), started_at: at(), image_digest: None }
    }

    fn intent() -> Intent {
        Intent { container: id(), at: at() }
    }

    /// Returns the name of the event, and the job's attempt after it.
    fn becomes(
        job: &Job,
        container: Option<u32>,
        logged: LoggedStart,
    ) -> Option<(&'static str, u32)> {
        let event =
            reconcile_restored(job, container.map(|attempt| (Attempt(attempt), id())), logged)?;
        let name = event.name();
        Some((name, job.on(event, at()).expect("it fits").attempt.0))
    }

    /// Returns waiting jobs, and claimed jobs that were certainly not started. The number is the
    /// first attempt that the store does not know.
    fn not_started() -> Vec<(Job, u32)> {
        let failed =
            FailedAttempt { reason: Reason::ExitNonzero, error: String::new(), exit_code: Some(1) };
        vec![
            (job(0, State::Scheduled), 1),
            (
                job(
                    2,
                    State::Queued(Wait { reason: Reason::NoSlot, since: at(), wait_group: None }),
                ),
                3,
            ),
            (job(1, State::Retrying(failed)), 2),
            (job(1, State::Pulling), 1),
            (job(4, State::Starting(None)), 4),
        ]
    }

    #[test]
    fn a_container_of_an_unknown_attempt_is_adopted() {
        for (job, news) in not_started() {
            for logged in [
                LoggedStart::Nothing,
                LoggedStart::Inconclusive,
                LoggedStart::Started(Attempt(news)),
            ] {
                assert_eq!(becomes(&job, Some(news), logged), Some(("adopt", news)), "{job:?}");
                assert_eq!(
                    becomes(&job, Some(news + 2), logged),
                    Some(("adopt", news + 2)),
                    "{job:?}"
                );
            }
        }
    }

    #[test]
    fn a_job_not_started_since_the_backup_runs() {
        for (job, news) in not_started() {
            assert_eq!(becomes(&job, None, LoggedStart::Nothing), None);
            // The container of the previous attempt is known, and only has to be removed.
            assert_eq!(
                becomes(&job, Some(news - 1), LoggedStart::Started(Attempt(news - 1))),
                None
            );
        }
    }

    #[test]
    fn a_possibly_started_job_is_not_run_again() {
        for (job, news) in not_started() {
            assert_eq!(
                becomes(&job, None, LoggedStart::Inconclusive),
                Some(("may_have_run", news))
            );
            for last in [news, news + 3] {
                assert_eq!(
                    becomes(&job, None, LoggedStart::Started(Attempt(last))),
                    Some(("may_have_run", last))
                );
            }
        }
    }

    #[test]
    fn only_a_later_attempt_overtakes_a_started_job() {
        for state in [State::Starting(Some(intent())), State::Running(run())] {
            let job = job(2, state);
            for logged in
                [LoggedStart::Nothing, LoggedStart::Inconclusive, LoggedStart::Started(Attempt(2))]
            {
                assert_eq!(becomes(&job, Some(2), logged), None);
                assert_eq!(becomes(&job, None, logged), None);
                assert_eq!(becomes(&job, Some(3), logged), Some(("adopt", 3)));
            }
            assert_eq!(
                becomes(&job, None, LoggedStart::Started(Attempt(3))),
                Some(("may_have_run", 3))
            );
        }
    }

    #[test]
    fn a_stopping_job_has_no_later_attempt() {
        let stopping = Stopping {
            target: StopTarget::Run(run()),
            why: StopCause::Request,
            since: at(),
            kill_at: None,
        };
        for logged in
            [LoggedStart::Nothing, LoggedStart::Inconclusive, LoggedStart::Started(Attempt(3))]
        {
            assert_eq!(becomes(&job(2, State::Stopping(stopping.clone())), Some(3), logged), None);
        }
    }
}
