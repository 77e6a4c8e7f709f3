//! Jobs to store: small numbers as ids and times, and one state of every kind.

use serde_json::Value;
use tidetable::domain::container::Exit;
use tidetable::domain::job::origin::Origin;
use tidetable::domain::job::{
    End, FailedAttempt, Intent, Job, Outcome, Reason, Run, State, StopCause, StopTarget, Stopping,
    Wait,
};
use tidetable::domain::names::id::{Attempt, ContainerId, Digest, JobId, Timestamp, Version};

/// Returns the time `ms` milliseconds after 1970.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_timestamp_millis(ms).expect("a time")
}

/// Returns the id that ends with this number.
pub(crate) fn id(n: u32) -> JobId {
    JobId::from_bytes(u128::from(n).to_be_bytes())
}

/// Returns a scheduled job with this spec.
pub(crate) fn job(n: u32, spec: Value) -> Job {
    with_state(n, spec, State::Scheduled)
}

pub(crate) fn with_state(n: u32, spec: Value, state: State) -> Job {
    Job {
        id: id(n),
        version: Version(0),
        name: "busybox".parse().expect("a name"),
        spec: serde_json::from_value(spec).expect("a spec"),
        created_at: at(1_624_195_528_123),
        due_at: at(1_624_195_588_456),
        attempt: Attempt(0),
        state,
        origin: Origin::Api,
        submitted_by: None,
    }
}

pub(crate) fn queued() -> State {
    State::Queued(Wait { reason: Reason::NoSlot, since: at(7), wait_group: None })
}

pub(crate) fn retrying() -> State {
    State::Retrying(FailedAttempt {
        reason: Reason::ExitNonzero,
        error: "it ended with 3".to_owned(),
        exit_code: Some(3),
    })
}

/// Returns at least one state of every status, with all optional parts and with none.
pub(crate) fn every_state() -> Vec<State> {
    let intent = Intent { container: ContainerId("c0ffee".to_owned()), at: at(11) };
    let image_digest = Some(Digest("sha256:00".to_owned()));
    let started_at = Timestamp::from_timestamp_nanos(1_624_195_528_123_456_789);
    let run = Run { container: ContainerId("c0ffee".to_owned()), started_at, image_digest };
    let bare = Run { image_digest: None, ..run.clone() };
    let stopping = |target, why| {
        State::Stopping(Stopping {
            target,
            why,
            since: at(13),
            kill_at: (why == StopCause::Timeout).then(|| at(14)),
        })
    };
    let end = |outcome| End {
        outcome,
        at: at(17),
        reason: None,
        error: None,
        run: None,
        exit: None,
        usage: None,
    };
    let failed = End {
        reason: Some(Reason::ExitNonzero),
        error: Some("it ended with 3, \"quoted\"\n\u{0}ü".to_owned()),
        run: Some(run.clone()),
        exit: Some(Exit { code: 3, oom_killed: true, at: started_at }),
        ..end(Outcome::Failed)
    };
    vec![
        State::Scheduled,
        queued(),
        retrying(),
        State::Pulling,
        State::Starting(None),
        State::Starting(Some(intent.clone())),
        State::Running(run.clone()),
        State::Running(bare),
        stopping(StopTarget::Intent(intent), StopCause::Request),
        stopping(StopTarget::Run(run), StopCause::Timeout),
        State::Ended(end(Outcome::Succeeded)),
        State::Ended(failed),
        State::Ended(end(Outcome::TimedOut)),
        State::Ended(end(Outcome::Stopped)),
        State::Ended(end(Outcome::Canceled)),
        State::Ended(end(Outcome::Missed)),
        State::Ended(End { reason: Some(Reason::StartAmbiguous), ..end(Outcome::Unknown) }),
    ]
}
