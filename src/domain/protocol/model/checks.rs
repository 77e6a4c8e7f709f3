//! The searches: with every kind of fault the promises hold, and without any one rule of the protocol they do not.

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

/// A job with one attempt, and nothing goes wrong.
const CALM: Plan = Plan {
    spec: r#"{"image":"busybox"}"#,
    image: true,
    faults: NONE,
    settle_holds: false,
    as_docker: false,
    without: None,
    strict: false,
};

/// What a second start takes, and nothing else.
const CRASHES_AND_SILENCES: Faults = Faults { crashes: 2, silences: 1, ..NONE };

/// Visits all there is, and finds nothing.
fn holds(what: &str, plan: Plan) -> Search {
    match Search::through(&plan, |_| true) {
        Ok(search) => {
            eprintln!("{what}: {} states", search.states());
            search
        }
        Err((broken, way)) => panic!("{what}: {broken:?}\n{way}"),
    }
}

/// The way to where this promise is broken.
fn way_to(broken: Broken, plan: Plan) -> String {
    match Search::through(&plan, |found| found == broken) {
        Err((found, way)) if found == broken => way,
        Err((found, way)) => panic!("not {broken:?}, but {found:?}\n{way}"),
        Ok(search) => panic!("not {broken:?} in any of {} states", search.states()),
    }
}

// What holds.

#[test]
fn whatever_goes_wrong_a_container_is_started_at_most_once_and_the_job_ends() {
    let faults = Faults { crashes: 2, silences: 1, restarts: 1, removals: 1, requests: 1, ..NONE };
    let search = holds("two crashes, one of each other fault", Plan { faults, ..CALM });
    assert!(search.states() >= 100_000, "{} states", search.states());
}

#[test]
#[ignore = "two million states take a minute"]
fn two_crashes_and_two_lost_answers_among_all_other_faults() {
    let faults = Faults { crashes: 2, silences: 2, restarts: 1, removals: 1, requests: 1, ..NONE };
    holds("two crashes, two lost answers, one of each other fault", Plan { faults, ..CALM });
}

#[test]
fn a_full_disk_a_forgotten_log_a_deadline_and_a_timeout_change_nothing_of_that() {
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
fn each_attempt_of_a_job_with_retries_is_started_at_most_once() {
    let spec = r#"{"image":"busybox","retry":{"attempts":1}}"#;
    let faults = Faults { crashes: 2, silences: 1, ..NONE };
    holds("two attempts", Plan { spec, faults, ..CALM });
}

#[test]
fn a_job_that_wants_another_attempt_after_unknown_gets_a_container_of_its_own_for_it() {
    let spec = r#"{"image":"busybox","retry":{"attempts":1,"on":["unknown"]}}"#;
    let faults = Faults { crashes: 1, silences: 1, forgets: 1, removals: 1, ..NONE };
    holds("retried when unknown", Plan { spec, faults, ..CALM });
}

#[test]
fn output_is_kept_after_the_end_whatever_comes_between() {
    let spec = r#"{"image":"busybox","retry":{"attempts":1}}"#;
    let faults = Faults { crashes: 1, silences: 1, ..NONE };
    let search = holds("kept output", Plan { spec, faults, ..CALM });
    // The next attempt does not wait for it.
    assert!(
        search.saw(|world, job| !world.kept[0] && job.attempt.0 == 2 && world.driver.is_some())
    );
    assert!(
        search.saw(|world, job| job.is_over() && !world.kept[0] && world.engine.named[0].is_some())
    );
}

#[test]
fn a_container_that_is_to_be_kept_is_kept_and_no_other_is() {
    let spec = r#"{"image":"busybox","keep_container":true}"#;
    let faults = Faults { crashes: 1, silences: 1, requests: 1, ..NONE };
    let search = holds("kept", Plan { spec, faults, ..CALM });
    assert!(search.saw(|world, job| job.is_over()
        && world.driver.is_none()
        && world.engine.named[0].is_some()));
}

#[test]
fn an_image_that_has_to_be_pulled_changes_nothing_of_that() {
    // With crashes and lost answers: `a_create_that_arrives_while_the_image_is_pulled_does_not_hold_the_job_up`.
    let faults =
        Faults { restarts: 1, removals: 1, full_disks: 1, requests: 1, deadlines: 1, ..NONE };
    holds("pull missing", Plan { image: false, faults, ..CALM });
    holds("pull always", Plan { spec: r#"{"image":"busybox","pull":"always"}"#, faults, ..CALM });
    let never = Plan { spec: r#"{"image":"busybox","pull":"never"}"#, image: false, ..CALM };
    holds("pull never", Plan { faults: Faults { crashes: 2, silences: 2, ..NONE }, ..never });
}

#[test]
fn where_the_settle_time_holds_only_a_log_with_a_gap_leaves_it_open_whether_it_ran() {
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
fn with_a_log_as_docker_is_asked_it_is_the_settle_time_that_prevents_a_second_start() {
    for faults in [
        Faults { forgets: 1, ..CRASHES_AND_SILENCES },
        Faults { restarts: 1, ..CRASHES_AND_SILENCES },
    ] {
        let plan = Plan { as_docker: true, settle_holds: true, faults, ..CALM };
        assert!(Search::through(&plan, |broken| broken == Broken::SecondStart).is_ok());
    }
}

#[test]
fn the_search_comes_to_every_end_that_a_driven_job_can_have() {
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

// What each rule is for.

fn without(rule: Rule) -> Plan {
    Plan { without: Some(rule), faults: CRASHES_AND_SILENCES, ..CALM }
}

#[test]
fn without_the_intent_a_second_start_is_found() {
    way_to(Broken::SecondStart, without(Rule::IntendBeforeStarting));
}

#[test]
fn without_the_intent_a_container_runs_of_which_the_disk_knows_nothing() {
    way_to(Broken::RunsUnseen, Plan { faults: NONE, ..without(Rule::IntendBeforeStarting) });
}

#[test]
fn without_the_fence_a_start_that_got_no_answer_is_repeated_and_both_take_effect() {
    way_to(Broken::SecondStart, without(Rule::FenceBeforeStartingAgain));
}

#[test]
fn without_the_removal_a_start_that_outlives_the_fence_is_the_second_one() {
    way_to(Broken::SecondStart, without(Rule::RemoveInTheFence));
}

#[test]
fn asking_before_removing_misses_the_start_between_the_two() {
    way_to(Broken::SecondStart, without(Rule::RemoveBeforeAsking));
}

#[test]
fn a_removal_by_force_ends_a_process_that_nobody_asked_to_stop() {
    way_to(Broken::Murder, without(Rule::NeverForce));
}

#[test]
fn no_answer_taken_for_a_failure_is_a_failed_job_whose_container_runs() {
    way_to(Broken::WrongEnd, without(Rule::NoAnswerIsNoFailure));
    way_to(Broken::RunsUnseen, without(Rule::NoAnswerIsNoFailure));
}

#[test]
fn a_hand_that_is_not_marked_before_the_call_starts_again_what_got_no_answer() {
    way_to(Broken::SecondStart, without(Rule::MarkBeforeCalling));
}

#[test]
fn a_hand_that_never_knows_that_start_was_not_called_fences_for_ever_and_starts_nothing() {
    way_to(Broken::OneAfterTheOther, Plan { faults: NONE, ..without(Rule::KnowWhatWasNotCalled) });
}

#[test]
fn adopting_by_name_without_comparing_ids_a_second_start_is_found() {
    way_to(Broken::SecondStart, without(Rule::CompareIds));
}

#[test]
fn a_container_that_is_removed_before_its_output_is_kept_takes_it_along() {
    way_to(Broken::OutputLost, Plan { faults: NONE, ..without(Rule::KeepOutputFirst) });
}

#[test]
fn an_engine_that_was_killed_over_a_start_does_not_know_of_it_and_a_second_one_is_found() {
    let faults = Faults { restarts: 1, silences: 1, ..NONE };
    let plan =
        Plan { as_docker: true, settle_holds: true, faults, ..without(Rule::AskWhoCreatedIt) };
    way_to(Broken::SecondStart, plan);
}

// What was found. Each of these says what ought to hold.

#[test]
fn a_create_that_arrives_while_the_image_is_pulled_does_not_hold_the_job_up() {
    let faults = Faults { crashes: 1, silences: 1, ..NONE };
    holds("pull missing", Plan { image: false, faults, ..CALM });
    holds("pull always", Plan { spec: r#"{"image":"busybox","pull":"always"}"#, faults, ..CALM });
}

#[test]
fn with_a_log_as_docker_is_asked_nothing_is_started_twice() {
    for faults in
        [Faults { silences: 1, forgets: 1, ..NONE }, Faults { silences: 1, restarts: 1, ..NONE }]
    {
        holds("a log with the removal", Plan { as_docker: true, faults, ..CALM });
    }
}

#[test]
fn a_fence_that_asks_twice_for_the_removal_waits_for_it_before_it_asks_the_log() {
    holds(
        "a removal under way",
        Plan { as_docker: true, faults: Faults { crashes: 1, silences: 1, ..NONE }, ..CALM },
    );
}

#[test]
fn a_stop_while_the_fence_is_at_work_ends_stopped() {
    let faults = Faults { crashes: 1, requests: 1, ..NONE };
    holds("a stop during the fence", Plan { strict: true, faults, ..CALM });
}

#[test]
fn a_full_disk_while_the_fence_is_at_work_is_waited_for() {
    let faults = Faults { crashes: 1, full_disks: 1, ..NONE };
    holds("a full disk during the fence", Plan { strict: true, faults, ..CALM });
}

#[test]
fn a_process_that_ended_before_its_time_was_up_is_not_timed_out() {
    holds("a timeout", Plan { strict: true, faults: Faults { timeouts: 1, ..NONE }, ..CALM });
}
