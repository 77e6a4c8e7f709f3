//! The searches. With every kind of fault the guarantees hold; without any one rule of the protocol
//! they don't.

use super::promise::Broken;
use super::search::Search;
use super::{Faults, Plan, Rule};
use crate::domain::job::{Outcome, Reason, State};

const NONE: Faults = Faults {
    crashes: 0,
    silences: 0,
    restarts: 0,
    forgets: 0,
    removals: 0,
    full_disks: 0,
    requests: 0,
    deadlines: 0,
    timeouts: 0,
};

/// A plan with one attempt and no faults.
const CALM: Plan = Plan {
    spec: r#"{"image":"busybox"}"#,
    image: true,
    faults: NONE,
    settle_holds: false,
    as_docker: false,
    without: None,
    strict: false,
};

/// The faults that a second start takes, and no others.
const CRASHES_AND_SILENCES: Faults = Faults { crashes: 2, silences: 1, ..NONE };

/// Visits every state and expects no broken guarantee.
fn holds(what: &str, plan: Plan) -> Search {
    match Search::through(&plan, |_| true) {
        Ok(search) => {
            eprintln!("{what}: {} states", search.states());
            search
        }
        Err((broken, way)) => panic!("{what}: {broken:?}\n{way}"),
    }
}

/// Returns the path to a state that breaks this guarantee.
fn way_to(broken: Broken, plan: Plan) -> String {
    match Search::through(&plan, |found| found == broken) {
        Err((found, way)) if found == broken => way,
        Err((found, way)) => panic!("not {broken:?}, but {found:?}\n{way}"),
        Ok(search) => panic!("not {broken:?} in any of {} states", search.states()),
    }
}

// Guarantees that hold.

#[test]
fn every_container_starts_at_most_once_under_faults() {
    let faults = Faults { crashes: 2, silences: 1, restarts: 1, removals: 1, requests: 1, ..NONE };
    let search = holds("two crashes, one of each other fault", Plan { faults, ..CALM });
    assert!(search.states() >= 100_000, "{} states", search.states());
}

#[test]
#[ignore = "two million states take a minute"]
fn guarantees_hold_with_two_crashes_and_lost_answers() {
    let faults = Faults { crashes: 2, silences: 2, restarts: 1, removals: 1, requests: 1, ..NONE };
    holds("two crashes, two lost answers, one of each other fault", Plan { faults, ..CALM });
}

#[test]
fn guarantees_hold_with_disk_log_and_time_faults() {
    let faults = Faults {
        crashes: 1,
        silences: 1,
        forgets: 1,
        full_disks: 1,
        deadlines: 1,
        timeouts: 1,
        ..NONE
    };
    holds("disk, log, deadline, timeout", Plan { faults, ..CALM });
    holds("two of each", Plan { faults: Faults { crashes: 2, silences: 2, ..NONE }, ..CALM });
}

#[test]
fn each_attempt_of_a_retried_job_starts_once() {
    let spec = r#"{"image":"busybox","retry":{"attempts":1}}"#;
    let faults = Faults { crashes: 2, silences: 1, ..NONE };
    holds("two attempts", Plan { spec, faults, ..CALM });
}

#[test]
fn retry_after_unknown_gets_its_own_container() {
    let spec = r#"{"image":"busybox","retry":{"attempts":1,"on":["unknown"]}}"#;
    let faults = Faults { crashes: 1, silences: 1, forgets: 1, removals: 1, ..NONE };
    holds("retried when unknown", Plan { spec, faults, ..CALM });
}

#[test]
fn output_is_stored_after_the_end_despite_faults() {
    let spec = r#"{"image":"busybox","retry":{"attempts":1}}"#;
    let faults = Faults { crashes: 1, silences: 1, ..NONE };
    let search = holds("kept output", Plan { spec, faults, ..CALM });
    // The next attempt does not wait for the output.
    assert!(
        search.saw(|world, job| !world.kept[0] && job.attempt.0 == 2 && world.driver.is_some())
    );
    assert!(
        search.saw(|world, job| job.is_over() && !world.kept[0] && world.engine.named[0].is_some())
    );
}

#[test]
fn only_containers_to_keep_are_kept() {
    let spec = r#"{"image":"busybox","keep_container":true}"#;
    let faults = Faults { crashes: 1, silences: 1, requests: 1, ..NONE };
    let search = holds("kept", Plan { spec, faults, ..CALM });
    assert!(search.saw(|world, job| job.is_over()
        && world.driver.is_none()
        && world.engine.named[0].is_some()));
}

#[test]
fn guarantees_hold_when_the_image_is_pulled() {
    // Crashes and lost answers have their own test:
    // `create_during_pull_does_not_block_the_job`.
    let faults =
        Faults { restarts: 1, removals: 1, full_disks: 1, requests: 1, deadlines: 1, ..NONE };
    holds("pull missing", Plan { image: false, faults, ..CALM });
    holds("pull always", Plan { spec: r#"{"image":"busybox","pull":"always"}"#, faults, ..CALM });
    let never = Plan { spec: r#"{"image":"busybox","pull":"never"}"#, image: false, ..CALM };
    holds("pull never", Plan { faults: Faults { crashes: 2, silences: 2, ..NONE }, ..never });
}

#[test]
fn with_settle_time_only_log_gaps_are_ambiguous() {
    let faults = Faults { crashes: 2, silences: 2, requests: 1, ..NONE };
    let ambiguous =
        |job: &crate::domain::job::Job| job.state.reason() == Some(Reason::StartAmbiguous);
    let whole = holds("settled", Plan { settle_holds: true, faults, ..CALM });
    assert!(!whole.saw(|_, job| ambiguous(job)));
    let with_a_gap =
        Plan { settle_holds: true, faults: Faults { crashes: 1, forgets: 1, ..NONE }, ..CALM };
    assert!(holds("settled, and a log with a gap", with_a_gap).saw(|_, job| ambiguous(job)));
}

#[test]
fn settle_time_prevents_second_start_with_docker_log() {
    for faults in [
        Faults { forgets: 1, ..CRASHES_AND_SILENCES },
        Faults { restarts: 1, ..CRASHES_AND_SILENCES },
    ] {
        let plan = Plan { as_docker: true, settle_holds: true, faults, ..CALM };
        assert!(Search::through(&plan, |broken| broken == Broken::SecondStart).is_ok());
    }
}

#[test]
fn search_reaches_every_end_of_a_driven_job() {
    let faults = Faults { crashes: 1, silences: 1, restarts: 1, removals: 1, requests: 1, ..NONE };
    let all = holds("one of each", Plan { faults, ..CALM });
    let late = holds("late", Plan { faults: Faults { deadlines: 1, timeouts: 1, ..NONE }, ..CALM });
    let ends = |search: &Search, outcome, reason| {
        search.saw(|_, job| matches!(&job.state, State::Ended(end) if (end.outcome, end.reason) == (outcome, reason)))
    };
    for (outcome, reason) in [
        (Outcome::Succeeded, None),
        (Outcome::Failed, Some(Reason::ExitNonzero)),
        (Outcome::Failed, Some(Reason::StartFailed)),
        (Outcome::Failed, Some(Reason::EngineRestarted)),
        (Outcome::Stopped, None),
        (Outcome::Canceled, None),
        (Outcome::Unknown, Some(Reason::ContainerRemoved)),
        (Outcome::Unknown, Some(Reason::StartAmbiguous)),
    ] {
        assert!(ends(&all, outcome, reason), "{outcome:?} {reason:?}");
    }
    assert!(ends(&late, Outcome::Missed, Some(Reason::DeadlinePassed)));
    assert!(ends(&late, Outcome::TimedOut, Some(Reason::Timeout)));
}

// The purpose of each rule.

fn without(rule: Rule) -> Plan {
    Plan { without: Some(rule), faults: CRASHES_AND_SILENCES, ..CALM }
}

#[test]
fn without_intent_a_second_start_happens() {
    way_to(Broken::SecondStart, without(Rule::IntendBeforeStarting));
}

#[test]
fn without_intent_a_container_runs_unknown_to_disk() {
    way_to(Broken::RunsUnseen, Plan { faults: NONE, ..without(Rule::IntendBeforeStarting) });
}

#[test]
fn without_fence_an_unanswered_start_happens_twice() {
    way_to(Broken::SecondStart, without(Rule::FenceBeforeStartingAgain));
}

#[test]
fn without_removal_a_late_start_is_the_second() {
    way_to(Broken::SecondStart, without(Rule::RemoveInTheFence));
}

#[test]
fn asking_before_removing_misses_a_start_in_between() {
    way_to(Broken::SecondStart, without(Rule::RemoveBeforeAsking));
}

#[test]
fn forced_removal_kills_a_process_nobody_stopped() {
    way_to(Broken::Murder, without(Rule::NeverForce));
}

#[test]
fn treating_no_answer_as_failure_leaves_container_running() {
    way_to(Broken::WrongEnd, without(Rule::NoAnswerIsNoFailure));
    way_to(Broken::RunsUnseen, without(Rule::NoAnswerIsNoFailure));
}

#[test]
fn unmarked_driver_memory_repeats_an_unanswered_start() {
    way_to(Broken::SecondStart, without(Rule::MarkBeforeCalling));
}

#[test]
fn without_knowing_the_intent_fencing_never_ends() {
    way_to(Broken::OneAfterTheOther, Plan { faults: NONE, ..without(Rule::KnowWhatWasNotCalled) });
}

#[test]
fn adopting_by_name_allows_a_second_start() {
    way_to(Broken::SecondStart, without(Rule::CompareIds));
}

#[test]
fn removing_before_storing_output_loses_the_output() {
    way_to(Broken::OutputLost, Plan { faults: NONE, ..without(Rule::KeepOutputFirst) });
}

#[test]
fn trusting_a_restarted_engine_allows_second_start() {
    let faults = Faults { restarts: 1, silences: 1, ..NONE };
    let plan =
        Plan { as_docker: true, settle_holds: true, faults, ..without(Rule::AskWhoCreatedIt) };
    way_to(Broken::SecondStart, plan);
}

// Regressions: defects that the search found. Each test names the correct behavior.

#[test]
fn create_during_pull_does_not_block_the_job() {
    let faults = Faults { crashes: 1, silences: 1, ..NONE };
    holds("pull missing", Plan { image: false, faults, ..CALM });
    holds("pull always", Plan { spec: r#"{"image":"busybox","pull":"always"}"#, faults, ..CALM });
}

#[test]
fn docker_log_allows_no_second_start() {
    for faults in
        [Faults { silences: 1, forgets: 1, ..NONE }, Faults { silences: 1, restarts: 1, ..NONE }]
    {
        holds("a log with the removal", Plan { as_docker: true, faults, ..CALM });
    }
}

#[test]
fn fence_waits_for_removal_before_asking_the_log() {
    holds(
        "a removal under way",
        Plan { as_docker: true, faults: Faults { crashes: 1, silences: 1, ..NONE }, ..CALM },
    );
}

#[test]
fn stop_during_the_fence_ends_stopped() {
    let faults = Faults { crashes: 1, requests: 1, ..NONE };
    holds("a stop during the fence", Plan { strict: true, faults, ..CALM });
}

#[test]
fn full_disk_during_the_fence_is_waited_out() {
    let faults = Faults { crashes: 1, full_disks: 1, ..NONE };
    holds("a full disk during the fence", Plan { strict: true, faults, ..CALM });
}

#[test]
fn process_ended_in_time_is_not_timed_out() {
    holds("a timeout", Plan { strict: true, faults: Faults { timeouts: 1, ..NONE }, ..CALM });
}
