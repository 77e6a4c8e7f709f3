//! The whole service (API, scheduler, store on disk) over the simulated engine, in virtual time, on one thread: killed at
//! every point, on an engine that misbehaves as real ones were seen to, with a disk that refuses and a clock that is set.
//!
//! Each seed is a story (`story`), the same each time, byte for byte. What has to hold is held after every step (`books`)
//! and at the end (`judge`), by the engine's own record. `points` kills the scheduler before and after every call and
//! commit, one after another. `rules` switches off each rule of the start protocol in turn: then the tests have to fail.
//!
//! `make simulate SEEDS=100000` runs more; `SEED=7 make simulate` repeats one and prints its trace.

#![expect(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a test may")]

mod books;
mod clock;
mod disk;
mod judge;
mod limits;
mod points;
mod rules;
mod runner;
mod said;
mod schedule_taps;
mod schedules;
mod story;
mod tap;
mod taps;
mod ticks;
mod universe;

use rules::Rule;
use runner::{number, run_all};

/// How many stories are told unless `SEEDS` says otherwise.
const SEEDS: u64 = 700;
/// In how many stories it is looked for whether a rule is switched off; what few scenes show need not be in any.
const NOTICED_WITHIN: u64 = 100;

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_is_started_twice() {
    if let Some(seed) = number("SEED") {
        let told = runner::caught(|| story::tell(seed, None, true));
        println!("{}", told.as_ref().map_or_else(|what| what, |told| &told.trace));
        return assert!(told.is_ok(), "seed {seed}");
    }
    println!(
        "{}",
        run_all(number("SEEDS").unwrap_or(SEEDS), |seed| story::tell(seed, None, false))
    );
}

#[test]
fn one_seed_is_one_trace_byte_for_byte() {
    for seed in 0..24 {
        let [first, second] = [(); 2].map(|()| story::tell(seed, None, true).unwrap().trace);
        let differs = first.lines().zip(second.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert!(first == second && first.lines().count() > 10, "seed {seed} has two traces");
    }
}

#[test]
fn killed_before_and_after_every_call_and_commit_every_scene_ends_well() {
    println!("{}", points::kill_everywhere());
}

#[test]
fn killed_twice_at_every_pair_of_points_a_job_runs_once() {
    println!("{}", points::kill_twice_everywhere());
}

#[test]
fn whichever_call_goes_wrong_in_whichever_way_a_job_runs_once() {
    println!("{}", points::fail_everywhere());
}

#[test]
fn every_rule_of_the_start_protocol_that_is_switched_off_is_noticed() {
    let mut unnoticed = Vec::new();
    for rule in Rule::ALL {
        let in_stories = || {
            let tell = |seed| runner::caught(|| story::tell(seed, Some(rule), false)).err();
            (0..NOTICED_WITHIN).find_map(|seed| Some((seed + 1, tell(seed)?)))
        };
        match (points::notice(rule), in_stories()) {
            (None, None) => unnoticed.push(rule),
            (scenes, stories) => {
                println!("{rule:?}: {}; {}", noticed("scene", scenes), noticed("story", stories))
            }
        }
    }
    assert_eq!(unnoticed, [], "these rules can be broken, and nobody notices");
}

fn noticed(what: &str, notice: Option<(u64, String)>) -> String {
    notice.map_or_else(
        || format!("in no {what}"),
        |(n, why)| format!("in {what} {n} ({})", first_line(&why)),
    )
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(100).collect()
}
