//! The whole service (API, scheduler, store on disk) over the simulated engine, in virtual time, on
//! one thread.
//!
//! The process is killed at every failpoint. The engine misbehaves as real engines did, the disk
//! refuses operations, and the clock is set.
//!
//! Each seed is a random run (`random_run`), reproducible byte by byte. The expectations
//! (`expectations`) are checked after every step, and the checker (`checker`) works at the end,
//! both from the engine's own record. `points` has scripted runs, and kills the scheduler in each
//! of them before and after every call and commit, one after another. `rules` switches off each
//! rule of the start protocol in turn; then the tests must fail.
//!
//! `make simulate SEEDS=100000` runs more; `SEED=7 make simulate` repeats one and prints its trace.

#![expect(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a test may")]

mod checker;
mod disk;
mod expectations;
mod failpoints;
mod harness;
mod instrumented;
mod instrumented_schedules;
mod limits;
mod points;
mod random_run;
mod rules;
mod runner;
mod saved_schedules;
mod schedules;
mod ticks;

use rules::Rule;
use runner::{number, run_all};

/// The default number of random runs; `SEEDS` overrides it.
const SEEDS: u64 = 2_000;
/// The number of random runs in which a switched-off rule is looked for. Rules that few scripted
/// runs exercise need not show in any.
const NOTICED_WITHIN: u64 = 100;

#[test]
fn whatever_goes_wrong_no_job_is_lost_or_doubled() {
    if let Some(seed) = number("SEED") {
        let told = runner::caught(|| random_run::play(seed, None, true));
        println!("{}", told.as_ref().map_or_else(|what| what, |told| &told.trace));
        return assert!(told.is_ok(), "seed {seed}");
    }
    println!(
        "{}",
        run_all(number("SEEDS").unwrap_or(SEEDS), |seed| random_run::play(seed, None, false))
    );
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..24 {
        let [first, second] = [(); 2].map(|()| random_run::play(seed, None, true).unwrap().trace);
        let differs = first.lines().zip(second.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert!(first == second && first.lines().count() > 10, "seed {seed} has two traces");
    }
}

#[test]
fn scripted_runs_survive_a_kill_at_every_failpoint() {
    println!("{}", points::kill_everywhere());
}

#[test]
fn job_runs_once_despite_any_two_kills() {
    println!("{}", points::kill_twice_everywhere());
}

#[test]
fn job_runs_once_despite_any_failing_call() {
    println!("{}", points::fail_everywhere());
}

#[test]
fn every_broken_rule_of_start_protocol_is_noticed() {
    let mut unnoticed = Vec::new();
    for rule in Rule::ALL {
        let in_stories = || {
            let play = |seed| runner::caught(|| random_run::play(seed, Some(rule), false)).err();
            (0..NOTICED_WITHIN).find_map(|seed| Some((seed + 1, play(seed)?)))
        };
        match (points::notice(rule), in_stories()) {
            (None, None) => unnoticed.push(rule),
            (scenes, stories) => {
                println!("{rule:?}: {}; {}", noticed("scene", scenes), noticed("story", stories))
            }
        }
    }
    assert_eq!(unnoticed, [], "no test notices that these rules are broken");
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
