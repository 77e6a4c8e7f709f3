//! The breadth-first search, which visits each state once, nearest first. So the path to the first
//! broken guarantee is a shortest one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hasher};

use super::promise::{Broken, broken, is_at_rest};
use super::{Move, Moves, Plan, World};
use crate::domain::job::transition::{Event, Refused};
use crate::domain::job::{Job, State, Status};
use crate::domain::protocol::step::tests::{at, job};

/// A number of a job in the [`Book`].
pub(super) type JobNo = u16;

/// The numbered list of all jobs ever written. Two jobs with the same attempt, status and detail
/// are the same job.
#[derive(Default)]
pub(super) struct Book {
    jobs: Vec<Job>,
    numbers: HashMap<(u32, Status, Option<String>), JobNo>,
}

impl Book {
    pub(super) fn first(&mut self, spec: &str) -> JobNo {
        let spec = serde_json::from_str(spec).expect("a spec");
        self.write(Job { spec, ..job(State::Scheduled) })
    }

    pub(super) fn job(&self, number: JobNo) -> &Job {
        &self.jobs[usize::from(number)]
    }

    /// Returns the index of the present attempt's container name; before the first attempt, returns
    /// the first index.
    pub(super) fn name(&self, number: JobNo) -> usize {
        self.job(number).attempt.0.saturating_sub(1) as usize
    }

    /// Returns the job after this event, as read back from the disk.
    pub(super) fn on(&mut self, number: JobNo, event: Event) -> Result<JobNo, Refused> {
        let next = self.job(number).on(event, at(100))?;
        Ok(self.write(next))
    }

    fn write(&mut self, job: Job) -> JobNo {
        let detail = job.state.detail().expect("strings, numbers and times");
        let (status, next) =
            (job.state.status(), JobNo::try_from(self.jobs.len()).expect("few are different"));
        match self.numbers.entry((job.attempt.0, status, detail)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                let state =
                    State::from_parts(status, place.key().2.as_deref()).expect("we wrote it");
                self.jobs.push(Job { state, ..job });
                *place.insert(next)
            }
        }
    }
}

/// The result of a search.
pub(super) struct Search {
    book: Book,
    worlds: Vec<World>,
    /// The predecessor of each state on the path that first reached it, and the move taken.
    ways: Vec<(usize, Move)>,
    /// The due moves in reverse: for each state, the states that lead to it.
    due: Vec<Vec<u32>>,
}

impl Search {
    /// Visits every state. Stops at the first broken guarantee that `looks_for` selects, and
    /// returns it with the path to it.
    pub(super) fn through(
        plan: &Plan,
        looks_for: impl Fn(Broken) -> bool,
    ) -> Result<Self, (Broken, String)> {
        let mut book = Book::default();
        let first = World::at_first(plan, &mut book);
        let begin = Move { who: "somebody", does: "submits the job", is_due: true };
        let mut search =
            Self { book, worlds: vec![first], ways: vec![(0, begin)], due: vec![Vec::new()] };
        let mut known: HashMap<World, usize, BuildHasherDefault<Quick>> =
            HashMap::from_iter([(first, 0)]);
        let mut visited = 0;
        while let Some(world) = search.worlds.get(visited).copied() {
            if let Some(broken) =
                broken(&world, &search.book, plan).into_iter().find(|broken| looks_for(*broken))
            {
                return Err((broken, search.way_to(visited)));
            }
            for (step, next) in Moves::of(plan, &mut search.book, world) {
                let number = *known.entry(next).or_insert_with(|| {
                    search.worlds.push(next);
                    search.ways.push((visited, step));
                    search.due.push(Vec::new());
                    search.worlds.len() - 1
                });
                if step.is_due && number != visited {
                    search.due[number]
                        .push(u32::try_from(visited).expect("fewer states than that"));
                }
            }
            visited += 1;
        }
        search.every_state_leads_to_an_end().map(|()| search)
    }

    pub(super) fn states(&self) -> usize {
        self.worlds.len()
    }

    /// Checks whether a visited state matches.
    pub(super) fn saw(&self, what: impl Fn(&World, &Job) -> bool) -> bool {
        self.worlds.iter().any(|world| what(world, self.book.job(world.disk)))
    }

    /// Checks that due moves lead from every visited state to an end. If every state passes, a run
    /// in which each due move gets its turn cannot go on endlessly.
    fn every_state_leads_to_an_end(&self) -> Result<(), (Broken, String)> {
        let at_rest = |number: &usize| is_at_rest(&self.worlds[*number], &self.book);
        let mut leads = vec![false; self.worlds.len()];
        let mut todo: Vec<usize> = (0..self.worlds.len()).filter(at_rest).collect();
        while let Some(number) = todo.pop() {
            if !std::mem::replace(&mut leads[number], true) {
                todo.extend(
                    self.due[number].iter().map(|from| *from as usize).filter(|from| !leads[*from]),
                );
            }
        }
        match leads.iter().position(|leads| !leads) {
            Some(stuck) => Err((Broken::NoEnd, self.way_to(stuck))),
            None => Ok(()),
        }
    }

    /// Formats the moves that led to a state, one per line, each with the disk and the engine after
    /// it.
    fn way_to(&self, mut number: usize) -> String {
        let mut lines = Vec::new();
        while number != 0 {
            let (from, step) = self.ways[number];
            lines.push(self.line(step, &self.worlds[number]));
            number = from;
        }
        lines.reverse();
        lines.join("\n")
    }

    fn line(&self, step: Move, world: &World) -> String {
        let job = self.book.job(world.disk);
        let mut line = format!("{} {}", step.who, step.does);
        let on_disk = if job.state == State::Starting(None) {
            "claimed".to_owned()
        } else {
            job.state.status().to_string()
        };
        let reason = job.state.reason().map(|reason| format!("/{reason}")).unwrap_or_default();
        let engine: Vec<_> = world
            .engine
            .named
            .iter()
            .flatten()
            .map(|t| format!("{} {:?}", t.id, t.stage))
            .collect();
        let _ = write!(line, "  [{on_disk}{reason} | {}]", engine.join(", "));
        line
    }
}

/// FxHash. The standard hasher would take half of the time of a search.
#[derive(Default)]
struct Quick(u64);

impl Quick {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.mix(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word.cast_unsigned() as u64);
    }
}
