//! The removal of finished attempts' containers, as in `scheduler/clear`, beside the driver of the
//! next attempt.
//!
//! The model calls [`next_clearing`], as the real code does. The clearing has no memory: after a
//! crash, it sees the containers again. The disk records whether output is stored.

use super::driver::Seen;
use super::engine::Stage;
use super::{ATTEMPTS, Moves, Rule, number};
use crate::domain::job::Map;
use crate::domain::protocol::remains::{Clearing, Remains, next_clearing};

impl Moves<'_> {
    pub(super) fn of_clearing_away(&mut self) {
        for name in 0..ATTEMPTS {
            let Some(thing) = self.from.engine.named[name].filter(|_| self.is_left_over(name))
            else {
                continue;
            };
            let keep_container =
                self.book.job(self.from.disk).spec.fields().keep_container == Some(true);
            let is_kept = self.from.kept[name] || self.plan.without == Some(Rule::KeepOutputFirst);
            match next_clearing(
                keep_container,
                &Remains::from(&super::observed(Seen::Here(thing))),
                is_kept,
            ) {
                Clearing::Keep(_) => {
                    self.push("scheduler", "keeps its output", true, |w| w.kept[name] = true);
                }
                Clearing::Remove(id) => {
                    let (id, plan) = (number(&id), self.plan);
                    let is_lost = matches!(thing.stage, Stage::Exited(_)) && !self.from.kept[name];
                    if self.from.left.silences > 0 {
                        self.push(
                            "scheduler",
                            "asks to remove it, without an answer",
                            false,
                            |w| {
                                w.left.silences -= 1;
                                w.engine.removals.add(id);
                                w.engine.truth.output_lost |= is_lost;
                            },
                        );
                    }
                    self.push("scheduler", "removes it", true, |w| {
                        let _ = w.engine.remove(id, plan);
                        w.engine.truth.output_lost |= is_lost;
                    });
                }
                Clearing::Inspect | Clearing::Done => {}
            }
        }
    }

    /// Checks for leftovers as `scheduler::reconcile::sweep::is_left_over` does.
    fn is_left_over(&self, name: usize) -> bool {
        let job = self.book.job(self.from.disk);
        let (past, present) =
            (name < self.book.name(self.from.disk), name == self.book.name(self.from.disk));
        let is_present_over = (present && job.map() != Map::Running) || job.is_over();
        past || (is_present_over && self.from.driver.is_none())
    }
}
