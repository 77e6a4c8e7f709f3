//! Runs many seeds, on as many threads as there are processors, and adds up their results.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::simulation::checker::TICK;
use crate::simulation::random_run::RunResult;

/// Reads a number from the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The sum of the results of many runs.
#[derive(Default)]
pub struct Sum {
    stories: u64,
    points: u64,
    kills: u64,
    faults: u64,
    refusals: u64,
    outages: u64,
    jumps: u64,
    interference: u64,
    ends: BTreeMap<String, u64>,
}

/// Plays the random runs `0..count`.
///
/// # Panics
/// Panics with the lowest failing seed, the command that repeats it, and the other failing seeds.
pub fn run_all(count: u64, play: impl Fn(u64) -> Result<RunResult, String> + Sync) -> Sum {
    let (next, sum, failed) =
        (AtomicU64::new(0), Mutex::new(Sum::default()), Mutex::new(BTreeMap::new()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= count {
            return;
        }
        match caught(|| play(seed)) {
            Ok(told) => sum.lock().unwrap().add(&told),
            Err(what) => drop(failed.lock().unwrap().insert(seed, what)),
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    if let Some((seed, what)) = failed.first_key_value() {
        let others: Vec<_> = failed.keys().skip(1).collect();
        panic!(
            "seed {seed}: {what}\nrepeat it with: SEED={seed} make simulate; others: {others:?}"
        );
    }
    sum.into_inner().unwrap()
}

/// Runs `play` and turns a panic into an error.
pub fn caught<T>(play: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|panic| Err(said(panic.as_ref())))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

impl Sum {
    fn add(&mut self, told: &RunResult) {
        let troubles = &told.troubles;
        self.stories += 1;
        self.points += told.points;
        self.kills += u64::from(troubles.kills);
        self.faults += u64::from(troubles.faults);
        self.refusals += u64::from(troubles.refusals);
        self.outages += u64::from(troubles.outages);
        self.jumps += u64::from(troubles.clock_jumps);
        self.interference += u64::from(troubles.interference);
        for (end, jobs) in &told.tally {
            *self.ends.entry(end.clone()).or_default() += jobs;
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} stories, {} points passed: {} kills, {} faults of the engine, {} outages, {} refusals of the disk, {} jumps of the clock, {} acts of others",
            self.stories,
            self.points,
            self.kills,
            self.faults,
            self.outages,
            self.refusals,
            self.jumps,
            self.interference
        )?;
        // A run that loses a job, or starts one twice, fails before the sum is printed.
        let (mut jobs, mut ticks) = (0, 0);
        self.ends.iter().for_each(|(end, count)| {
            *if end.starts_with(TICK) { &mut ticks } else { &mut jobs } += count
        });
        writeln!(
            f,
            "{jobs} jobs, none lost, none started twice; {ticks} ticks of schedules, each in a ledger once"
        )?;
        self.ends.iter().try_for_each(|(end, jobs)| writeln!(f, "{jobs:>8} {end}"))
    }
}
