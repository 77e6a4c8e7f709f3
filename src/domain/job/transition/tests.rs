//! The state machine as a table, and sentences for behavior that the table cannot show.
//!
//! [`TABLE`] gives the result for every state and every event, so a change of the machine shows as
//! a change of one cell. Two states are split in two, because their data decides. `starting` is
//! `claimed` without an intent, and `intended` with one. `stopping` is `stopping?` while nobody
//! knows whether the container was started.
//!
//! This file is longer than usual: it holds the table, its parts, and the sentences about one
//! function.

use std::time::Duration;

use super::*;
use crate::domain::job::origin::Origin;
use crate::domain::names::id::{Attempt, Digest, JobId, Version};
use crate::domain::names::status::Status;

/// Rows are events, columns are states, a dot is a refusal. The job asks for no retries.
const TABLE: &str = "
              | scheduled queued   retrying pulling   claimed   intended  running   stopping? stopping  ended
queue no_slot | queued    .        queued   .         .         .         .         .         .         .
queue other   | queued    queued   queued   .         .         .         .         .         .         .
hold          | queued    queued   queued   .         .         .         .         .         .         .
claim         | claimed   claimed  claimed  .         .         .         .         .         .         .
cancel        | canceled  canceled canceled .         .         .         .         .         .         .
reschedule    | scheduled scheduled retrying .      .         .         .         .         .         .
miss_deadline | missed    missed   missed   missed    missed    .         .         .         .         .
skip          | canceled  canceled canceled .         .         .         .         .         .         .
reject        | failed    failed   failed   .         .         .         .         .         .         .
pull          | .         .        .        .         pulling   .         .         .         .         .
pulled        | .         .        .        claimed   .         .         .         .         .         .
intend        | .         .        .        intended  intended  .         .         .         .         .
never_started | .         .        .        .         .         claimed   .         stopped   .         .
started       | .         .        .        running   running   running   .         stopping  .         .
exited 0      | .         .        .        succeeded succeeded succeeded succeeded stopped   stopped   .
exited 1      | .         .        .        failed    failed    failed    failed    stopped   stopped   .
failed        | .         .        .        failed    failed    failed    .         stopped   .         .
lost          | .         .        .        .         .         unknown   unknown   unknown   unknown   .
adopt         | intended  intended intended intended  intended  intended  intended  .         .         .
may_have_run  | unknown   unknown  unknown  unknown   unknown   unknown   unknown   .         .         .
stop          | .         .        .        stopped   stopped   stopping? stopping  .         .         .
";

/// The rows that differ if `retry` has an attempt left and covers every failure. All other rows are
/// as in [`TABLE`].
const TABLE_WITH_RETRIES: &str = "
              | scheduled queued   retrying pulling   claimed   intended  running   stopping? stopping  ended
exited 1      | .         .        .        retrying  retrying  retrying  retrying  stopped   stopped   .
failed        | .         .        .        retrying  retrying  retrying  .         stopped   .         .
lost          | .         .        .        .         .         retrying  retrying  unknown   unknown   .
may_have_run  | retrying  retrying retrying retrying  retrying  retrying  retrying  .         .         .
";

const EVERYTHING: &str = r#"{"attempts":9,"on":[1,"start_failed","unknown"]}"#;

const GRACE: Duration = Duration::from_secs(10);

/// Returns an instant at a small number of seconds. `now` is later than all of them.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(seconds, 0).expect("small enough for a calendar")
}

fn now() -> Timestamp {
    at(1_000_000)
}

fn spec(json: &str) -> JobSpec {
    serde_json::from_str(json).expect("a spec")
}

fn retrying(retry: &str) -> JobSpec {
    spec(&format!(r#"{{"image":"busybox","retry":{retry}}}"#))
}

/// Returns a job in this state. The first attempt is claimed if the state implies a claim.
fn job(state: State) -> Job {
    let attempt = if matches!(state, State::Scheduled | State::Queued(_)) { 0 } else { 1 };
    Job {
        id: JobId::new(at(0), [7; 10]),
        version: Version(41),
        name: "busybox".parse().expect("a name"),
        spec: spec(r#"{"image":"busybox"}"#),
        created_at: at(0),
        due_at: at(0),
        attempt: Attempt(attempt),
        state,
        origin: Origin::Api,
        submitted_by: None,
    }
}

fn with(spec: JobSpec, state: State) -> Job {
    Job { spec, ..job(state) }
}

fn container() -> ContainerId {
    ContainerId("c1".to_owned())
}

fn intent() -> Intent {
    Intent { container: container(), at: at(10) }
}

fn run() -> Run {
    Run {
        container: container(),
        started_at: at(11),
        image_digest: Some(Digest("sha256:1".to_owned())),
    }
}

fn exit(code: i32) -> Exit {
    Exit { code, oom_killed: false, at: at(20) }
}

fn ending(code: i32) -> Ending {
    Ending {
        run: run(),
        exit: exit(code),
        by_engine_restart: false,
        stop_was_called: false,
        usage: None,
    }
}

fn exited(code: i32) -> Event {
    Event::Exited(ending(code))
}

fn failure(reason: Reason) -> Failure {
    Failure::new(reason, "a sentence")
}

fn stopping(target: StopTarget, why: StopCause) -> State {
    State::Stopping(Stopping { target, why, since: at(15), kill_at: Some(at(25)) })
}

fn wait_group() -> WaitGroup {
    WaitGroup { queue: Some("etl".parse().expect("a name")), ..WaitGroup::default() }
}

/// Returns one state per column of the table, in order.
fn states() -> [State; 10] {
    [
        State::Scheduled,
        State::Queued(Wait { reason: Reason::NoSlot, since: at(5), wait_group: None }),
        State::Retrying(FailedAttempt {
            reason: Reason::ExitNonzero,
            error: "a sentence".to_owned(),
            exit_code: Some(1),
        }),
        State::Pulling,
        State::Starting(None),
        State::Starting(Some(intent())),
        State::Running(run()),
        stopping(StopTarget::Intent(intent()), StopCause::Request),
        stopping(StopTarget::Run(run()), StopCause::Request),
        over(Outcome::Stopped, at(30), None),
    ]
}

/// Returns one event per row of the table, in order.
fn events() -> [Event; 21] {
    [
        Event::Queue(Reason::NoSlot),
        Event::Queue(Reason::EngineUnreachable),
        Event::WaitInGroup(Reason::QueueFull, wait_group()),
        Event::Claim(None),
        Event::Cancel,
        Event::Reschedule(at(2_000_000)),
        Event::MissDeadline,
        Event::Skip(failure(Reason::Overlap)),
        Event::Reject(failure(Reason::NoSuchJob)),
        Event::Pull,
        Event::Pulled,
        Event::Intend(container()),
        Event::NeverStarted,
        Event::Started(run()),
        exited(0),
        exited(1),
        Event::Failed(failure(Reason::StartFailed)),
        Event::Lost(failure(Reason::ContainerRemoved)),
        Event::Adopt(Attempt(2), container()),
        Event::MayHaveRun(Attempt(2), failure(Reason::Restored)),
        Event::Stop(StopCause::Request, GRACE),
    ]
}

/// Returns the column's word for a state. The match has no `_` arm, so a new state needs a column.
fn column(state: &State) -> String {
    match state {
        State::Starting(None) => "claimed".to_owned(),
        State::Starting(Some(_)) => "intended".to_owned(),
        State::Stopping(Stopping { target: StopTarget::Intent(_), .. }) => "stopping?".to_owned(),
        State::Stopping(Stopping { target: StopTarget::Run(_), .. })
        | State::Scheduled
        | State::Queued(_)
        | State::Retrying(_)
        | State::Pulling
        | State::Running(_)
        | State::Ended(_) => state.status().to_string(),
    }
}

/// Returns the row's words for an event. The match has no `_` arm, so a new event needs a row.
fn row(event: &Event) -> String {
    match event {
        Event::Queue(Reason::NoSlot) => "queue no_slot".to_owned(),
        Event::Queue(_) => "queue other".to_owned(),
        Event::Exited(ending) => format!("exited {}", ending.exit.code),
        Event::WaitInGroup(..)
        | Event::Claim(_)
        | Event::Cancel
        | Event::Reschedule(_)
        | Event::MissDeadline
        | Event::Skip(_)
        | Event::Reject(_)
        | Event::Pull
        | Event::Pulled
        | Event::Intend(_)
        | Event::NeverStarted
        | Event::Started(_)
        | Event::Failed(_)
        | Event::Lost(_)
        | Event::Adopt(..)
        | Event::MayHaveRun(..)
        | Event::Stop(..) => event.name().to_owned(),
    }
}

/// Parses a table into rows: the event's words, and a cell for each state.
fn rows(table: &str) -> Vec<(String, Vec<String>)> {
    let words = |cells: &str| cells.split_whitespace().map(str::to_owned).collect();
    let lines = table.lines().filter_map(|line| line.split_once('|'));
    lines.map(|(event, cells)| (event.trim().to_owned(), words(cells))).collect()
}

/// Applies the event to a job with this spec in every state, and returns the resulting words.
fn becomes(spec: &JobSpec, event: &Event) -> Vec<String> {
    let after = |state| with(spec.clone(), state).on(event.clone(), now());
    states().map(|state| after(state).map_or(".".to_owned(), |next| column(&next.state))).to_vec()
}

#[test]
fn every_transition_matches_the_table() {
    let mut expected = rows(TABLE);
    let (_, columns) = expected.remove(0);
    let ended = columns.len() - 1;
    assert_eq!(
        columns[..ended],
        states().map(|state| column(&state))[..ended],
        "the columns are the states"
    );
    let no_retries = spec("{}");
    let actual = events().map(|event| (row(&event), becomes(&no_retries, &event)));
    for (actual, expected) in actual.iter().zip(&expected) {
        assert_eq!(actual, expected);
    }
    assert_eq!(actual.len(), expected.len(), "every event has a row");
}

#[test]
fn every_retryable_failure_matches_the_retry_table() {
    let spec = retrying(EVERYTHING);
    let with_retries = rows(TABLE_WITH_RETRIES).split_off(1);
    for event in events() {
        let name = row(&event);
        let expected =
            with_retries.iter().chain(&rows(TABLE)).find(|(row, _)| *row == name).cloned();
        assert_eq!(Some((name, becomes(&spec, &event))), expected);
    }
}

#[test]
fn finished_jobs_refuse_every_event() {
    for outcome in outcomes() {
        for event in events() {
            let name = event.name();
            let refused = job(over(outcome, at(30), None)).on(event, now());
            assert_eq!(refused, Err(Refused { status: outcome.status(), event: name }));
        }
    }
}

#[test]
fn refusal_names_the_state_and_the_event() {
    let refused = job(State::Running(run())).on(Event::Cancel, now()).expect_err("it runs");
    assert_eq!(refused.to_string(), "a job that is running cannot take the event cancel");
}

#[test]
fn every_change_raises_the_version_by_one() {
    for spec in [spec("{}"), retrying(EVERYTHING)] {
        for (state, event) in
            states().iter().flat_map(|state| events().map(|event| (state.clone(), event)))
        {
            let before = with(spec.clone(), state);
            let Ok(after) = before.on(event, now()) else { continue };
            assert_eq!(after.version, Version(before.version.0 + 1));
            assert_eq!(
                (after.id, &after.name, &after.spec),
                (before.id, &before.name, &before.spec)
            );
            assert_eq!(after.created_at, before.created_at);
        }
    }
}

#[test]
fn only_expected_events_change_attempt_or_due_time() {
    for (state, event) in
        states().iter().flat_map(|state| events().map(|event| (state.clone(), event)))
    {
        let before = with(retrying(EVERYTHING), state);
        let learned =
            matches!(event, Event::Adopt(..) | Event::MayHaveRun(..)).then_some(Attempt(2));
        let claims = matches!(event, Event::Claim(_));
        let is_asked_to = matches!(event, Event::Reschedule(_));
        let Ok(after) = before.on(event, now()) else { continue };
        assert_eq!(after.attempt, learned.unwrap_or(Attempt(before.attempt.0 + u32::from(claims))));
        let is_moved = is_asked_to || after.state.status() == Status::Retrying;
        assert_eq!(after.due_at != before.due_at, is_moved, "{:?}", after.state);
    }
}

#[test]
fn known_attempts_are_not_adopted_again() {
    let known = [
        (State::Scheduled, 0),
        (states()[2].clone(), 1),
        (State::Starting(Some(intent())), 1),
        (State::Running(run()), 1),
    ];
    for (state, attempt) in known {
        for event in [
            Event::Adopt(Attempt(attempt), container()),
            Event::MayHaveRun(Attempt(attempt), failure(Reason::Restored)),
        ] {
            assert!(job(state.clone()).on(event, now()).is_err(), "attempt {attempt} of {state:?}");
        }
    }
    let present = Event::Adopt(Attempt(1), container());
    assert!(
        job(State::Starting(None)).on(present, now()).is_ok(),
        "claimed, and of what came then nothing is known"
    );
}

#[test]
fn only_waiting_jobs_name_their_wait_group() {
    let wait_group = Event::WaitInGroup(Reason::QueueFull, wait_group());
    let held = job(State::Scheduled).on(wait_group.clone(), at(9)).expect("it waits");
    assert_eq!(
        (held.state.wait_group(), held.state.reason()),
        (Some(&self::wait_group()), Some(Reason::QueueFull))
    );
    assert!(held.on(wait_group, at(10)).is_err(), "nothing would change");
    let moved = held
        .on(Event::WaitInGroup(Reason::MaxParallel, WaitGroup::default()), at(10))
        .expect("by something else");
    assert_eq!(moved.state.wait_group(), Some(&WaitGroup::default()));
    for event in
        [Event::Queue(Reason::NoSlot), Event::Claim(None), Event::Cancel, Event::Reschedule(at(77))]
    {
        assert_eq!(held.on(event, at(11)).expect("it waits").state.wait_group(), None);
    }
}

#[test]
fn reschedule_moves_due_time_and_keeps_last_failure() {
    let moved = |state| job(state).on(Event::Reschedule(at(77)), now()).expect("it waits");
    for state in states().into_iter().take(3) {
        assert_eq!(moved(state).due_at, at(77));
    }
    let [scheduled, queued, retrying, ..] = states();
    assert_eq!(
        (moved(scheduled.clone()).state, moved(queued).state),
        (scheduled.clone(), scheduled)
    );
    assert_eq!(moved(retrying.clone()).state, retrying);
}

#[test]
fn claim_can_bring_the_resolved_spec() {
    let resolved = spec(r#"{"image":"busybox:1"}"#);
    let claimed = job(State::Scheduled)
        .on(Event::Claim(Some(Box::new(resolved.clone()))), now())
        .expect("it waits");
    assert_eq!(claimed.spec, resolved);
}

#[test]
fn intent_names_the_container_and_the_time() {
    let intended =
        job(State::Starting(None)).on(Event::Intend(container()), at(10)).expect("it is claimed");
    assert_eq!(intended.state, State::Starting(Some(intent())));
}

// Ends of attempts.

/// Returns the state of a running job after this ending.
fn after(spec: &JobSpec, ending: Ending) -> State {
    with(spec.clone(), State::Running(run()))
        .on(Event::Exited(ending), now())
        .expect("it ran")
        .state
}

/// Returns the outcome, reason and sentence of an end.
fn verdict_of(ending: Ending) -> (Outcome, Option<Reason>, String) {
    match after(&spec("{}"), ending) {
        State::Ended(end) => (end.outcome, end.reason, end.error.unwrap_or_default()),
        other => panic!("not over: {other:?}"),
    }
}

#[test]
fn exit_code_0_succeeds_without_a_reason() {
    assert_eq!(verdict_of(ending(0)), (Outcome::Succeeded, None, String::new()));
}

#[test]
fn other_exit_codes_fail_and_name_the_code() {
    let said = (
        Outcome::Failed,
        Some(Reason::ExitNonzero),
        "the process ended with exit code 1".to_owned(),
    );
    assert_eq!(verdict_of(ending(1)), said);
}

#[test]
fn code_137_with_oom_flag_means_oom() {
    let killed = Ending { exit: Exit { oom_killed: true, ..exit(137) }, ..ending(137) };
    let (outcome, reason, error) = verdict_of(killed);
    assert_eq!((outcome, reason), (Outcome::Failed, Some(Reason::OomKilled)));
    assert!(error.contains("memory"), "{error}");
}

#[test]
fn code_137_without_oom_flag_is_a_signal() {
    let (outcome, reason, error) = verdict_of(ending(137));
    assert_eq!((outcome, reason), (Outcome::Failed, Some(Reason::Signaled)));
    assert!(error.contains("signal 9"), "{error}");
}

#[test]
fn engine_restart_differs_from_own_failure() {
    let (outcome, reason, _) = verdict_of(Ending { by_engine_restart: true, ..ending(137) });
    assert_eq!((outcome, reason), (Outcome::Failed, Some(Reason::EngineRestarted)));
}

#[test]
fn oom_of_a_child_keeps_own_exit_code() {
    let survived = |code| Ending { exit: Exit { oom_killed: true, ..exit(code) }, ..ending(code) };
    assert_eq!(verdict_of(survived(0)).0, Outcome::Succeeded);
    assert_eq!(verdict_of(survived(1)).1, Some(Reason::ExitNonzero));
}

#[test]
fn exit_keeps_run_exit_and_engine_time() {
    for code in [0, 1] {
        let State::Ended(end) = after(&spec("{}"), ending(code)) else {
            panic!("no retries were asked for")
        };
        assert_eq!((end.run, end.exit, end.at), (Some(run()), Some(exit(code)), at(20)));
    }
}

#[test]
fn end_without_evidence_keeps_the_known_run() {
    for held in [State::Running(run()), stopping(StopTarget::Run(run()), StopCause::Timeout)] {
        let lost = job(held)
            .on(Event::Lost(failure(Reason::ContainerRemoved)), now())
            .expect("it ran")
            .state;
        let State::Ended(end) = lost else { panic!("no retries were asked for") };
        assert_eq!((end.outcome, end.reason), (Outcome::Unknown, Some(Reason::ContainerRemoved)));
        assert_eq!((end.run, end.exit, end.at), (Some(run()), None, now()));
    }
}

// Stopping.

#[test]
fn stop_before_the_intent_ends_at_once() {
    for state in [State::Pulling, State::Starting(None)] {
        let stopped = job(state)
            .on(Event::Stop(StopCause::Request, GRACE), now())
            .expect("it is claimed")
            .state;
        assert_eq!(stopped, over(Outcome::Stopped, now(), None));
    }
}

#[test]
fn stop_with_an_intent_still_adopts_a_start() {
    let asked = job(State::Starting(Some(intent())))
        .on(Event::Stop(StopCause::Request, GRACE), at(15))
        .expect("it starts");
    assert_eq!(asked.state, stopping(StopTarget::Intent(intent()), StopCause::Request));
    let adopted = asked.on(Event::Started(run()), now()).expect("the start took effect");
    assert_eq!(
        adopted.state,
        stopping(StopTarget::Run(run()), StopCause::Request),
        "since when it stops is kept"
    );
    let over = adopted.on(exited(143), now()).expect("it ended").state;
    assert_eq!(
        (over.status(), over.exit_code(), over.run()),
        (Status::Stopped, Some(143), Some(&run()))
    );
}

#[test]
fn second_stop_can_only_bring_the_kill_nearer() {
    for held in [StopTarget::Intent(intent()), StopTarget::Run(run())] {
        // The second request comes at second 17; the first one set the kill to second 25.
        for (grace_s, kill_at) in [(0, Some(17)), (3, Some(20)), (8, None), (600, None)] {
            let grace = Duration::from_secs(grace_s);
            for why in [StopCause::Request, StopCause::Timeout] {
                let again = job(stopping(held.clone(), why))
                    .on(Event::Stop(StopCause::Request, grace), at(17));
                let kill = again.ok().map(|job| match job.state {
                    State::Stopping(Stopping { kill_at, since, why: kept, .. }) => {
                        (kill_at, since, kept)
                    }
                    other => panic!("{other:?}"),
                });
                assert_eq!(
                    kill,
                    kill_at.map(|kill_at| (Some(at(kill_at)), at(15), why)),
                    "{grace_s}"
                );
            }
        }
    }
}

#[test]
fn old_stop_record_gains_kill_time_when_repeated() {
    let before: State = State::from_parts(
        Status::Stopping,
        Some(r#"{"held":{"run":{"container":"c","started_at":"2026-11-28T10:00:00Z"}},"why":"request","since":"2026-11-28T10:01:00Z"}"#),
    )
    .expect("what was written before is read");
    let again = job(before)
        .on(Event::Stop(StopCause::Request, Duration::ZERO), now())
        .expect("nearer than none");
    assert!(
        matches!(again.state, State::Stopping(Stopping { kill_at: Some(at), .. }) if at == now())
    );
}

#[test]
fn stop_of_unstarted_container_ends_without_a_run() {
    let held = || stopping(StopTarget::Intent(intent()), StopCause::Request);
    for event in [Event::NeverStarted, Event::Failed(failure(Reason::StartFailed))] {
        let over = job(held()).on(event, now()).expect("it never ran").state;
        assert_eq!((over.status(), over.exit_code(), over.run()), (Status::Stopped, None, None));
    }
}

#[test]
fn stop_of_a_vanished_container_ends_unknown() {
    let held = stopping(StopTarget::Intent(intent()), StopCause::Request);
    let lost = job(held)
        .on(Event::Lost(failure(Reason::StartAmbiguous)), now())
        .expect("it vanished")
        .state;
    assert_eq!((lost.status(), lost.reason()), (Status::Unknown, Some(Reason::StartAmbiguous)));
}

#[test]
fn timeout_outranks_retries_for_any_exit_code() {
    for code in [0, 1, 137] {
        let held = stopping(StopTarget::Run(run()), StopCause::Timeout);
        let over = with(retrying(r#"{"attempts":9}"#), held)
            .on(exited(code), now())
            .expect("it ended")
            .state;
        assert_eq!((over.status(), over.reason()), (Status::TimedOut, Some(Reason::Timeout)));
        assert_eq!(over.exit_code(), Some(code));
    }
}

#[test]
fn process_ended_before_the_stop_keeps_its_outcome() {
    let early = |code| Ending { exit: Exit { at: at(14), ..exit(code) }, ..ending(code) };
    let after = |why, ending| {
        let held = stopping(StopTarget::Run(run()), why);
        with(retrying(r#"{"attempts":9}"#), held)
            .on(Event::Exited(ending), now())
            .expect("it ended")
            .state
    };
    for why in [StopCause::Request, StopCause::Timeout] {
        assert_eq!(after(why, early(0)).status(), Status::Succeeded);
        assert_eq!(
            after(why, Ending { by_engine_restart: true, ..early(137) }).reason(),
            Some(Reason::EngineRestarted)
        );
    }
    let failed = after(StopCause::Request, early(3));
    assert_eq!(
        (failed.status(), failed.exit_code()),
        (Status::Failed, Some(3)),
        "and is not tried again"
    );
    assert_eq!(after(StopCause::Timeout, early(3)).status(), Status::Retrying);
}

#[test]
fn run_stopped_by_us_is_stopped_despite_clocks() {
    let early =
        Ending { exit: Exit { at: at(14), ..exit(143) }, stop_was_called: true, ..ending(143) };
    let over = job(stopping(StopTarget::Run(run()), StopCause::Request))
        .on(Event::Exited(early), now())
        .expect("it ended");
    assert_eq!(over.state.status(), Status::Stopped);
}

#[test]
fn stop_request_outranks_retries() {
    let held = stopping(StopTarget::Run(run()), StopCause::Request);
    let over =
        with(retrying(r#"{"attempts":9}"#), held).on(exited(1), now()).expect("it ended").state;
    assert_eq!((over.status(), over.reason()), (Status::Stopped, None));
}

// Retrying.

/// Returns the job after attempt number `attempt` has exited with code 1.
fn failed_once_more(spec: &JobSpec, id: JobId, attempt: u32) -> Job {
    let runs = Job { id, attempt: Attempt(attempt), ..with(spec.clone(), State::Running(run())) };
    runs.on(exited(1), now()).expect("it ran")
}

/// Returns the wait of the job after attempt number `attempt`.
fn wait(spec: &JobSpec, id: JobId, attempt: u32) -> Duration {
    (failed_once_more(spec, id, attempt).due_at - now())
        .to_std()
        .expect("the next attempt is later")
}

fn id(random: u8) -> JobId {
    JobId::new(at(0), [random; 10])
}

#[test]
fn retry_wait_doubles_up_to_six_minutes() {
    let spec = retrying(r#"{"attempts":1000}"#);
    for (attempt, seconds) in
        [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 320), (7, 360), (8, 360), (1000, 360)]
    {
        let (shortest, waited) = (Duration::from_secs(seconds), wait(&spec, id(7), attempt));
        assert!(
            shortest <= waited && waited <= shortest * 11 / 10,
            "attempt {attempt}: {waited:?}"
        );
    }
}

#[test]
fn first_wait_above_six_minutes_stays_constant() {
    let spec = retrying(r#"{"attempts":9,"delay":"1h"}"#);
    let hour = Duration::from_secs(3_600);
    for attempt in [1, 2, 9] {
        let waited = wait(&spec, id(7), attempt);
        assert!(hour <= waited && waited <= hour * 11 / 10, "attempt {attempt}: {waited:?}");
    }
}

#[test]
fn retry_spread_is_the_same_in_every_replay() {
    let spec = retrying(r#"{"attempts":9}"#);
    for attempt in 1..=9 {
        assert_eq!(
            failed_once_more(&spec, id(7), attempt),
            failed_once_more(&spec, id(7), attempt)
        );
    }
}

#[test]
fn jobs_failing_together_retry_at_different_times() {
    let spec = retrying(r#"{"attempts":9}"#);
    let waits: std::collections::BTreeSet<_> =
        (0..=99).map(|random| wait(&spec, id(random), 1)).collect();
    assert!(waits.len() > 30, "100 jobs come back at {} moments", waits.len());
    let (first, last) = (waits.first().expect("some"), waits.last().expect("some"));
    assert!(
        *last - *first > Duration::from_millis(800),
        "{first:?} to {last:?}: a tenth of 10 s is to be used"
    );
}

#[test]
fn retrying_job_keeps_its_last_failure() {
    let next = failed_once_more(&retrying(r#"{"attempts":1}"#), id(7), 1);
    let error = "the process ended with exit code 1".to_owned();
    assert_eq!(
        next.state,
        State::Retrying(FailedAttempt { reason: Reason::ExitNonzero, error, exit_code: Some(1) })
    );
    assert_eq!(next.attempt, Attempt(1), "the next attempt begins with its claim");
}

#[test]
fn job_fails_once_retries_are_used_up() {
    let spec = retrying(r#"{"attempts":2}"#);
    let status = |attempt| failed_once_more(&spec, id(7), attempt).state.status();
    assert_eq!(
        [1, 2, 3, 4].map(status),
        [Status::Retrying, Status::Retrying, Status::Failed, Status::Failed]
    );
}

/// Checks whether a job with this `on` of its `retry` is retried after the event.
fn is_retried(on: &str, event: Event) -> bool {
    let spec = retrying(&format!(r#"{{"attempts":1{on}}}"#));
    let next = with(spec, State::Starting(Some(intent()))).on(event, now()).expect("it starts");
    next.state.status() == Status::Retrying
}

#[test]
fn retry_on_an_exit_code_covers_that_code_only() {
    let on = r#","on":[7]"#;
    assert!(is_retried(on, exited(7)));
    assert!(!is_retried(on, exited(1)));
    assert!(!is_retried(on, Event::Failed(failure(Reason::StartFailed))), "no process, no code");
}

#[test]
fn retry_on_a_reason_covers_any_exit_code() {
    let on = r#","on":["exit_nonzero"]"#;
    assert!(is_retried(on, exited(1)) && is_retried(on, exited(7)));
    assert!(!is_retried(on, exited(137)), "that is `signaled`");
    assert!(!is_retried(on, Event::Failed(failure(Reason::StartFailed))));
}

#[test]
fn unknown_is_retried_only_if_listed() {
    let lost = || Event::Lost(failure(Reason::StartAmbiguous));
    assert!(is_retried(r#","on":["unknown"]"#, lost()));
    assert!(!is_retried(r#","on":["unknown"]"#, exited(1)));
    assert!(!is_retried("", lost()), "not by default");
    assert!(
        !is_retried(r#","on":["start_ambiguous"]"#, lost()),
        "its reason alone is not consent to run twice"
    );
}

#[test]
fn default_retries_exclude_failures_that_would_repeat() {
    let hopeless =
        [Reason::InvalidSpec, Reason::PolicyDenied, Reason::ImageNotFound, Reason::NoSuchJob];
    for reason in Reason::ALL {
        assert_eq!(
            is_retried("", Event::Failed(failure(*reason))),
            !hopeless.contains(reason),
            "{reason}"
        );
    }
    assert!(!is_retried(r#","on":[]"#, exited(1)), "an empty list covers nothing");
}

// Storage.

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

/// Returns the table's states, and variants of them with different data.
fn every_shape_of_state() -> Vec<State> {
    let mut all = states().to_vec();
    for why in [StopCause::Request, StopCause::Timeout] {
        all.extend([
            stopping(StopTarget::Intent(intent()), why),
            stopping(StopTarget::Run(run()), why),
        ]);
    }
    all.push(State::Running(Run { image_digest: None, ..run() }));
    all.push(State::Retrying(FailedAttempt {
        reason: Reason::PullFailed,
        error: String::new(),
        exit_code: None,
    }));
    all.push(State::Queued(Wait {
        reason: Reason::QueueFull,
        since: at(5),
        wait_group: Some(wait_group()),
    }));
    all.extend(
        Reason::ALL
            .iter()
            .map(|reason| State::Queued(Wait { reason: *reason, since: at(5), wait_group: None })),
    );
    for outcome in outcomes() {
        let killed = Ending { exit: Exit { oom_killed: true, ..exit(137) }, ..ending(137) };
        all.push(over(outcome, at(30), None));
        all.push(over(outcome, at(30), Some(failure(Reason::OomKilled))));
        all.push(ended(outcome, at(30), Some(failure(Reason::OomKilled)), Some(killed)));
    }
    all
}

#[test]
fn every_state_round_trips_through_status_and_detail() {
    for state in every_shape_of_state() {
        let detail = state.detail().expect("strings, numbers and times");
        let again = State::from_parts(state.status(), detail.as_deref()).expect("we wrote it");
        assert_eq!(again, state);
    }
}

#[test]
fn detail_not_matching_its_status_is_an_error() {
    assert!(State::from_parts(Status::Running, None).is_err());
    assert!(State::from_parts(Status::Succeeded, None).is_err());
    assert!(State::from_parts(Status::Stopping, Some("{}")).is_err());
    assert!(State::from_parts(Status::Starting, Some(r#"{"at":"yesterday"}"#)).is_err());
}
