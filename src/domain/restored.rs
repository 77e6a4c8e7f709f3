//! A job that came back with a backup: what it is to be told before anything is done with it.
//!
//! The store says how the job stood when the backup was taken. Since then the server that it was taken from may have gone
//! on: begun the next attempt, ended it, removed its container. What the store does not know of it is looked for on the
//! engine: first among the containers, by their labels, then in the engine's own log. Where neither tells, the job is not
//! run again.

use super::id::{Attempt, ContainerId};
use super::job::{Job, Reason, State};
use super::transition::{Event, Failure};

/// What the engine's log has of one job since the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// Of the attempts that were started, this is the last.
    Started(Attempt),
    /// The log reaches back to the backup, and none was started.
    Nothing,
    /// It does not reach back, or it is another engine's.
    CannotTell,
}

/// What is to become of the job; nothing where the store is right about it, or the start protocol finds out by itself.
/// `container` is that of the latest attempt which is still on the engine.
pub fn overtaken(
    job: &Job,
    container: Option<(Attempt, ContainerId)>,
    logged: Logged,
) -> Option<Event> {
    let unknown = job.first_unknown_attempt()?;
    match (container, logged) {
        (Some((attempt, id)), _) if attempt >= unknown => Some(Event::Adopt(attempt, id)),
        (_, Logged::Started(attempt)) if attempt >= unknown => Some(may_have_run(
            attempt,
            "this store is a restored backup: since it was taken, the job was started, and its container is gone",
        )),
        // A log has no holes: one that still has an earlier attempt would have a later one, too.
        (_, Logged::Started(_) | Logged::Nothing) => None,
        // An intent or a run that is on disk is looked into by the protocol.
        (_, Logged::CannotTell)
            if matches!(job.state, State::Starting(Some(_)) | State::Running(_)) =>
        {
            None
        }
        (_, Logged::CannotTell) => Some(may_have_run(
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
    use crate::domain::id::{JobId, Timestamp, Version};
    use crate::domain::job::{Held, Intent, Run, Setback, StopCause, Stopping, Wait};

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
            origin: None,
        }
    }

    fn run() -> Run {
        Run { container: id(), started_at: at(), image_digest: None }
    }

    fn intent() -> Intent {
        Intent { container: id(), at: at() }
    }

    /// What becomes of the job: the event's name, and the attempt that the job is in afterwards.
    fn becomes(job: &Job, container: Option<u32>, logged: Logged) -> Option<(&'static str, u32)> {
        let event = overtaken(job, container.map(|attempt| (Attempt(attempt), id())), logged)?;
        let name = event.name();
        Some((name, job.on(event, at()).expect("it fits").attempt.0))
    }

    /// Jobs that wait, or are claimed and certainly were not started, and the first attempt that is news to the store.
    fn not_started() -> Vec<(Job, u32)> {
        let setback =
            Setback { reason: Reason::ExitNonzero, error: String::new(), exit_code: Some(1) };
        vec![
            (job(0, State::Scheduled), 1),
            (job(2, State::Queued(Wait { reason: Reason::NoSlot, since: at(), hold: None })), 3),
            (job(1, State::Retrying(setback)), 2),
            (job(1, State::Pulling), 1),
            (job(4, State::Starting(None)), 4),
        ]
    }

    #[test]
    fn a_container_of_an_attempt_that_the_store_does_not_know_of_is_adopted_whatever_the_log_says()
    {
        for (job, news) in not_started() {
            for logged in [Logged::Nothing, Logged::CannotTell, Logged::Started(Attempt(news))] {
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
    fn a_job_that_was_not_started_since_runs_late() {
        for (job, news) in not_started() {
            assert_eq!(becomes(&job, None, Logged::Nothing), None);
            // That of the attempt before is known, and only to be removed.
            assert_eq!(becomes(&job, Some(news - 1), Logged::Started(Attempt(news - 1))), None);
        }
    }

    #[test]
    fn a_job_that_was_started_or_may_have_been_is_not_run_again() {
        for (job, news) in not_started() {
            assert_eq!(becomes(&job, None, Logged::CannotTell), Some(("may_have_run", news)));
            for last in [news, news + 3] {
                assert_eq!(
                    becomes(&job, None, Logged::Started(Attempt(last))),
                    Some(("may_have_run", last))
                );
            }
        }
    }

    #[test]
    fn a_job_that_was_started_before_the_backup_is_left_to_the_protocol_but_for_a_later_attempt() {
        for state in [State::Starting(Some(intent())), State::Running(run())] {
            let job = job(2, state);
            for logged in [Logged::Nothing, Logged::CannotTell, Logged::Started(Attempt(2))] {
                assert_eq!(becomes(&job, Some(2), logged), None);
                assert_eq!(becomes(&job, None, logged), None);
                assert_eq!(becomes(&job, Some(3), logged), Some(("adopt", 3)));
            }
            assert_eq!(becomes(&job, None, Logged::Started(Attempt(3))), Some(("may_have_run", 3)));
        }
    }

    #[test]
    fn a_job_that_was_asked_to_stop_has_no_later_attempt() {
        let stopping = Stopping {
            held: Held::Run(run()),
            why: StopCause::Request,
            since: at(),
            kill_at: None,
        };
        for logged in [Logged::Nothing, Logged::CannotTell, Logged::Started(Attempt(3))] {
            assert_eq!(becomes(&job(2, State::Stopping(stopping.clone())), Some(3), logged), None);
        }
    }
}
