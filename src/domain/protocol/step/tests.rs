//! The recovery table of `docs/semantics.md`, row by row, then properties that hold in every cell of
//! it.
//!
//! Each test of the first part is named after its row. The sweep handles the rows about orphans and
//! about other instances. The test `foreign_containers_are_never_touched` covers the protocol's
//! part in them.
//!
//! [`model`] shows that the rows together keep the start guarantee. This file is longer than usual,
//! because it covers one table.

use super::*;
use crate::domain::container::{Owner, SpecHash};
use crate::domain::job::origin::Origin;
use crate::domain::job::{End, FailedAttempt, Outcome, StopCause, Wait};
use crate::domain::names::id::{Attempt, InstanceId, JobId, Version};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(seconds, 0).expect("small enough for a calendar")
}

pub(crate) fn id(name: &str) -> ContainerId {
    ContainerId(name.to_owned())
}

fn job_id() -> JobId {
    JobId::new(at(0), [7; 10])
}

pub(crate) fn job(state: State) -> Job {
    let waits = matches!(state, State::Scheduled | State::Queued(_));
    Job {
        id: job_id(),
        version: Version(41),
        name: "busybox".parse().expect("a name"),
        spec: serde_json::from_str(r#"{"image":"busybox"}"#).expect("a spec"),
        created_at: at(0),
        due_at: at(0),
        attempt: Attempt(if waits { 0 } else { 1 }),
        state,
        origin: Origin::Api,
        submitted_by: None,
    }
}

fn with(fields: &str, job: Job) -> Job {
    Job { spec: serde_json::from_str(fields).expect("a spec"), ..job }
}

// States on disk.

fn claimed() -> Job {
    job(State::Starting(None))
}

fn intent() -> Intent {
    Intent { container: id("ours"), at: at(10) }
}

fn intended() -> Job {
    job(State::Starting(Some(intent())))
}

fn run() -> Run {
    Run { container: id("ours"), started_at: at(11), image_digest: None }
}

fn runs() -> Job {
    job(State::Running(run()))
}

fn stopping(target: StopTarget) -> Job {
    job(State::Stopping(Stopping { target, why: StopCause::Request, since: at(15), kill_at: None }))
}

fn retrying() -> Job {
    let error = "a sentence".to_owned();
    job(State::Retrying(FailedAttempt { reason: Reason::ExitNonzero, error, exit_code: Some(1) }))
}

fn over(outcome: Outcome) -> Job {
    job(State::Ended(End {
        outcome,
        at: at(30),
        reason: None,
        error: None,
        run: None,
        exit: None,
        usage: None,
    }))
}

// States on the engine.

pub(crate) fn container(name: &str, phase: Phase) -> Observed {
    let owner = Owner { instance: InstanceId::new([1; 16]), job: job_id(), attempt: Attempt(1) };
    Observed::Present(Container {
        id: id(name),
        owner: Some(owner),
        spec_hash: None,
        created_at: at(9),
        image_digest: None,
        phase,
    })
}

pub(crate) fn created() -> Phase {
    Phase::Created { refusal: None }
}

pub(crate) fn refused_with(code: i32) -> Phase {
    Phase::Created { refusal: Some(StartRefusal { code, message: "a sentence".to_owned() }) }
}

fn running() -> Phase {
    Phase::Running { started_at: at(11) }
}

fn exit() -> Exit {
    Exit { code: 0, oom_killed: false, at: at(20) }
}

fn exited() -> Phase {
    Phase::Exited { started_at: at(11), exit: exit() }
}

fn ours(phase: Phase) -> Observed {
    container("ours", phase)
}

// Driver memories.

/// The memory of a process that has just found the job.
const NOTHING: DriverMemory = DriverMemory { start_not_called: false, pulled: false, fenced: None };
/// The memory of the process that has just written the intent.
const WROTE_THE_INTENT: DriverMemory = DriverMemory { start_not_called: true, ..NOTHING };
const HANDS: [DriverMemory; 4] = [
    NOTHING,
    WROTE_THE_INTENT,
    DriverMemory { pulled: true, ..NOTHING },
    DriverMemory { pulled: true, ..WROTE_THE_INTENT },
];

/// Returns the step of a process that has just found the job in this state.
fn found(job: &Job, observed: &Observed) -> Step {
    step(job, observed, NOTHING)
}

/// Returns the name and the reason of the event in a `Record` step.
fn recorded(step: Step) -> (&'static str, Option<Reason>) {
    match step {
        Step::Record(event) => match &event {
            Event::Failed(failure) | Event::Lost(failure) => (event.name(), Some(failure.reason)),
            _ => (event.name(), None),
        },
        other => panic!("nothing is recorded: {other:?}"),
    }
}

const LOST: (&str, Option<Reason>) = ("lost", Some(Reason::ContainerRemoved));

// The table.

#[test]
fn scheduled_with_created_container_does_nothing() {
    let queued =
        job(State::Queued(Wait { reason: Reason::NoSlot, since: at(5), wait_group: None }));
    for waiting in [job(State::Scheduled), queued] {
        assert_eq!(found(&waiting, &ours(created())), Step::Done);
    }
}

#[test]
fn claimed_and_absent_creates_or_pulls() {
    assert_eq!(found(&claimed(), &Observed::Absent), Step::Create);
    assert_eq!(found(&job(State::Pulling), &Observed::Absent), Step::Pull);
}

#[test]
fn claimed_and_created_records_the_intent() {
    assert_eq!(found(&claimed(), &ours(created())), Step::Record(Event::Intend(id("ours"))));
}

#[test]
fn claimed_with_outdated_container_removes_it() {
    let job = claimed();
    let made_by = |spec_hash: SpecHash| match ours(created()) {
        Observed::Present(container) => {
            Observed::Present(Container { spec_hash: Some(spec_hash), ..container })
        }
        other => other,
    };
    assert_eq!(found(&job, &made_by(job.spec_hash())), Step::Record(Event::Intend(id("ours"))));
    let before = Job { due_at: at(8), ..job.clone() };
    assert_eq!(found(&job, &made_by(before.spec_hash())), Step::Remove(id("ours")));
}

#[test]
fn claimed_and_running_or_exited_adopts() {
    for claimed in [claimed(), job(State::Pulling)] {
        assert_eq!(found(&claimed, &ours(running())), Step::Record(Event::Started(run())));
        assert_eq!(found(&claimed, &ours(exited())), Step::Collect(run(), exit()));
    }
}

#[test]
fn intent_and_created_fences() {
    assert_eq!(found(&intended(), &ours(created())), Step::Fence(intent()));
    assert_eq!(
        found(&stopping(StopTarget::Intent(intent())), &ours(created())),
        Step::Fence(intent())
    );
}

#[test]
fn intent_and_running_adopts() {
    assert_eq!(found(&intended(), &ours(running())), Step::Record(Event::Started(run())));
    assert_eq!(
        found(&stopping(StopTarget::Intent(intent())), &ours(running())),
        Step::Record(Event::Started(run()))
    );
}

#[test]
fn intent_and_exited_adopts_the_result() {
    assert_eq!(found(&intended(), &ours(exited())), Step::Collect(run(), exit()));
    assert_eq!(
        found(&stopping(StopTarget::Intent(intent())), &ours(exited())),
        Step::Collect(run(), exit())
    );
}

#[test]
fn intent_and_absent_ends_unknown() {
    assert_eq!(recorded(found(&intended(), &Observed::Absent)), LOST);
    assert_eq!(recorded(found(&stopping(StopTarget::Intent(intent())), &Observed::Absent)), LOST);
}

#[test]
fn running_and_running_resumes_waiting() {
    assert_eq!(found(&runs(), &ours(running())), Step::AwaitExit);
}

#[test]
fn running_and_exited_records_the_engines_result() {
    assert_eq!(found(&runs(), &ours(exited())), Step::Collect(run(), exit()));
}

#[test]
fn running_and_absent_ends_unknown() {
    assert_eq!(recorded(found(&runs(), &Observed::Absent)), LOST);
    assert_eq!(recorded(found(&stopping(StopTarget::Run(run())), &Observed::Absent)), LOST);
}

#[test]
fn no_driver_work_between_or_after_attempts() {
    for over in outcomes().map(over).into_iter().chain([retrying()]) {
        for observed in every_sight() {
            assert_eq!(
                found(&over, &observed),
                Step::Done,
                "what is left is cleared away beside it"
            );
        }
    }
}

// Rows beyond the published table.

#[test]
fn unknown_container_is_inspected_first() {
    let jobs = [
        claimed(),
        job(State::Pulling),
        intended(),
        runs(),
        stopping(StopTarget::Intent(intent())),
    ];
    for job in jobs {
        assert_eq!(found(&job, &Observed::Unknown), Step::Inspect, "{:?}", job.state);
    }
}

#[test]
fn own_intent_and_created_starts() {
    assert_eq!(step(&intended(), &ours(created()), WROTE_THE_INTENT), Step::Start(id("ours")));
}

#[test]
fn own_intent_and_stop_request_does_not_start() {
    let asked = stopping(StopTarget::Intent(intent()));
    assert_eq!(step(&asked, &ours(created()), WROTE_THE_INTENT), Step::Record(Event::NeverStarted));
}

#[test]
fn recorded_start_failure_needs_no_fence() {
    for job in [claimed(), intended(), stopping(StopTarget::Intent(intent()))] {
        let failed = |code| recorded(found(&job, &ours(refused_with(code))));
        assert_eq!(
            failed(127),
            ("failed", Some(Reason::CommandNotFound)),
            "there is no such command"
        );
        assert_eq!(failed(126), ("failed", Some(Reason::CommandNotFound)), "it may not be run");
        assert_eq!(failed(128), ("failed", Some(Reason::StartFailed)));
    }
}

#[test]
fn foreign_container_fails_a_claimed_job() {
    for claimed in [claimed(), job(State::Pulling)] {
        assert_eq!(
            recorded(found(&claimed, &Observed::Foreign)),
            ("failed", Some(Reason::CreateFailed))
        );
    }
}

#[test]
fn foreign_container_means_ours_is_gone() {
    for job in [
        intended(),
        runs(),
        stopping(StopTarget::Intent(intent())),
        stopping(StopTarget::Run(run())),
    ] {
        assert_eq!(recorded(found(&job, &Observed::Foreign)), LOST);
    }
}

#[test]
fn container_with_another_id_is_not_ours() {
    for job in [
        intended(),
        runs(),
        stopping(StopTarget::Intent(intent())),
        stopping(StopTarget::Run(run())),
    ] {
        for phase in [created(), refused_with(127), running(), exited(), Phase::Removing] {
            for memory in HANDS {
                assert_eq!(
                    recorded(step(&job, &container("another", phase.clone()), memory)),
                    LOST
                );
            }
        }
    }
}

#[test]
fn unstarted_container_is_not_the_recorded_run() {
    for job in [runs(), stopping(StopTarget::Run(run()))] {
        assert_eq!(recorded(found(&job, &ours(created()))), LOST);
    }
}

#[test]
fn container_in_removal_is_inspected_again() {
    for job in
        [claimed(), job(State::Pulling), intended(), runs(), stopping(StopTarget::Intent(intent()))]
    {
        assert_eq!(found(&job, &ours(Phase::Removing)), Step::Inspect);
    }
}

#[test]
fn stop_request_and_running_stops() {
    assert_eq!(found(&stopping(StopTarget::Run(run())), &ours(running())), Step::Stop(id("ours")));
}

#[test]
fn pull_always_pulls_once_per_attempt_before_create() {
    let always = with(r#"{"image":"busybox","pull":"always"}"#, claimed());
    assert_eq!(found(&always, &Observed::Absent), Step::Record(Event::Pull));
    assert_eq!(
        step(&always, &Observed::Absent, DriverMemory { pulled: true, ..NOTHING }),
        Step::Create
    );
    assert_eq!(
        found(&always, &ours(created())),
        Step::Record(Event::Intend(id("ours"))),
        "it was pulled for this one"
    );
}

#[test]
fn pull_missing_and_never_create_first() {
    for policy in ["missing", "never"] {
        let job = with(&format!(r#"{{"image":"busybox","pull":"{policy}"}}"#), claimed());
        assert_eq!(found(&job, &Observed::Absent), Step::Create);
    }
}

#[test]
fn only_engine_calls_need_the_engine() {
    let without = [Step::Record(Event::Pull), Step::AwaitExit, Step::Done];
    let on_the_engine = [
        Step::Inspect,
        Step::Pull,
        Step::Create,
        Step::Start(id("ours")),
        Step::Fence(intent()),
        Step::Stop(id("ours")),
        Step::Collect(run(), exit()),
        Step::Remove(id("ours")),
    ];
    assert!(without.iter().all(|step| !step.needs_the_engine()));
    assert!(on_the_engine.iter().all(Step::needs_the_engine));
}

// Properties for every combination of disk, engine and memory.

fn outcomes() -> [Outcome; 7] {
    [
        Outcome::Succeeded,
        Outcome::Failed,
        Outcome::TimedOut,
        Outcome::Stopped,
        Outcome::Canceled,
        Outcome::Missed,
        Outcome::Unknown,
    ]
}

fn every_job() -> Vec<Job> {
    let queued =
        job(State::Queued(Wait { reason: Reason::NoSlot, since: at(5), wait_group: None }));
    let mut all = vec![
        job(State::Scheduled),
        queued,
        retrying(),
        job(State::Pulling),
        claimed(),
        intended(),
        runs(),
    ];
    all.extend([stopping(StopTarget::Intent(intent())), stopping(StopTarget::Run(run()))]);
    all.extend(outcomes().map(over));
    let specs = [r#"{"pull":"always"}"#, r#"{"pull":"never"}"#, r#"{"keep_container":true}"#];
    let others: Vec<_> =
        specs.iter().flat_map(|spec| all.iter().map(|job| with(spec, job.clone()))).collect();
    all.extend(others);
    all
}

fn every_sight() -> Vec<Observed> {
    let mut all = vec![Observed::Unknown, Observed::Absent, Observed::Foreign];
    for phase in
        [created(), refused_with(127), refused_with(128), running(), exited(), Phase::Removing]
    {
        all.extend([ours(phase.clone()), container("another", phase)]);
    }
    all
}

/// Returns every combination of job, observed state and memory, with its step.
fn every_case() -> impl Iterator<Item = (Job, Observed, DriverMemory, Step)> {
    let cases = every_job()
        .into_iter()
        .flat_map(|job| every_sight().into_iter().map(move |observed| (job.clone(), observed)));
    cases.flat_map(|(job, observed)| {
        HANDS
            .map(|memory| (job.clone(), observed.clone(), memory, step(&job, &observed, memory)))
            .into_iter()
    })
}

#[test]
fn start_needs_untouched_container_and_own_intent() {
    let mut starts = 0;
    for (job, observed, memory, next) in every_case() {
        let Step::Start(container) = next else { continue };
        starts += 1;
        assert_eq!(job.state, State::Starting(Some(intent())));
        assert_eq!(
            (observed, memory.start_not_called, container),
            (ours(created()), true, id("ours"))
        );
    }
    assert!(starts > 0);
}

#[test]
fn driver_never_removes_a_container_that_ran() {
    for (job, observed, _, next) in every_case() {
        let never_ran =
            matches!(observed, Observed::Present(Container { phase: Phase::Created { .. }, .. }));
        assert!(never_ran || !matches!(next, Step::Remove(_)), "{:?}", job.state);
    }
}

#[test]
fn only_jobs_asked_to_stop_are_stopped() {
    for (job, _, _, next) in every_case() {
        let asked = matches!(job.state, State::Stopping(_));
        assert!(asked || !matches!(next, Step::Stop(_)), "{:?}", job.state);
    }
}

#[test]
fn foreign_containers_are_never_touched() {
    for (job, _, _, next) in every_case().filter(|(_, observed, ..)| *observed == Observed::Foreign)
    {
        assert!(matches!(next, Step::Record(_) | Step::Done), "{:?}: {next:?}", job.state);
    }
}

#[test]
fn driver_is_done_only_without_running_job() {
    for (job, _, _, next) in every_case() {
        let driven = job.map() == crate::domain::job::Map::Running;
        assert!(!(driven && next == Step::Done), "{:?}", job.state);
    }
}

#[test]
fn empty_driver_memory_never_starts_a_container() {
    for (job, observed, _, _) in every_case() {
        assert!(!matches!(found(&job, &observed), Step::Start(_)));
    }
}

/// Checks that no event to record is refused. An event refused now would be refused later, too, and
/// a driver would retry without end.
fn is_never_refused(cases: impl Iterator<Item = (Job, Observed, DriverMemory, Step)>) {
    for (job, observed, _, next) in cases {
        let Step::Record(event) = next else { continue };
        let name = event.name();
        assert!(
            job.on(event, at(40)).is_ok(),
            "{:?} with {observed:?} cannot take {name}",
            job.state
        );
    }
}

#[test]
fn recorded_events_are_never_refused() {
    is_never_refused(every_case().filter(|(job, ..)| job.state != State::Pulling));
}

#[test]
fn recorded_events_of_pulling_jobs_are_never_refused() {
    is_never_refused(every_case().filter(|(job, ..)| job.state == State::Pulling));
}
