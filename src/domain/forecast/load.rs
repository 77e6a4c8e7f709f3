//! The load over time: each run begins when it is due and takes as long as expected.
//!
//! A run may be due while the previous run of its schedule is not over. The schedule's `overlap`
//! then decides about it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::entry::{Entry, OverlapWarning, PileUp};
use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::domain::names::queue::{QueueName, Queues};
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::Overlap;

/// The assumed duration of a run if no earlier run is known.
const UNKNOWN: Duration = Duration::from_secs(1);

/// A limit of runs at once, for all runs, a queue or a name.
pub(super) struct Limit {
    covers: Covers,
    most: usize,
}

enum Covers {
    All,
    Queue(QueueName),
    Name(JobName),
}

/// Returns all limits that apply: the server's, one for each queue, and one for each name. Runs of
/// one name may differ in their `max_parallel`; the smallest counts.
pub(super) fn limits(runs: &[Entry], max_running: usize, queues: &Queues) -> Vec<Limit> {
    let mut of_names: BTreeMap<&JobName, u32> = BTreeMap::new();
    for (name, most) in runs.iter().filter_map(|run| Some((&run.job_name, run.max_parallel?))) {
        of_names.entry(name).and_modify(|smallest| *smallest = most.min(*smallest)).or_insert(most);
    }
    let server = Limit { covers: Covers::All, most: max_running };
    let queues = queues
        .iter()
        .map(|(name, most)| Limit { covers: Covers::Queue(name.clone()), most: most.get() });
    let names = of_names.into_iter().map(|(name, most)| Limit {
        covers: Covers::Name(name.clone()),
        most: usize::try_from(most).unwrap_or(usize::MAX),
    });
    [server].into_iter().chain(queues).chain(names).collect()
}

impl Limit {
    fn covers(&self, entry: &Entry) -> bool {
        match &self.covers {
            Covers::All => true,
            Covers::Queue(queue) => entry.queue.as_ref() == Some(queue),
            Covers::Name(name) => entry.job_name == *name,
        }
    }

    /// Returns the name that a [`PileUp`] shows.
    fn name(&self) -> String {
        match &self.covers {
            Covers::All => "max_running".to_owned(),
            Covers::Queue(queue) => format!("queues.{queue}"),
            Covers::Name(name) => format!("max_parallel of {name}"),
        }
    }
}

/// The active runs over time.
pub(super) struct Load<'a> {
    now: Timestamp,
    until: Timestamp,
    overlaps: &'a HashMap<ScheduleName, Overlap>,
    spans: Vec<Span>,
    /// The index in `spans` of each schedule's last run.
    last: HashMap<ScheduleName, usize>,
    crossings: BTreeMap<ScheduleName, OverlapWarning>,
}

/// The time in which a run is active.
struct Span {
    run: usize,
    from: Timestamp,
    until: Timestamp,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        now: Timestamp,
        until: Timestamp,
        overlaps: &'a HashMap<ScheduleName, Overlap>,
    ) -> Self {
        let (spans, last, crossings) = Default::default();
        Self { now, until, overlaps, spans, last, crossings }
    }

    /// Adds the run with the index `run`, which has been active since its due time.
    pub(super) fn goes_on(&mut self, run: usize, entry: &Entry) {
        let until = after(entry.due_at, entry.expected).max(after(self.now, None));
        self.push(entry, Span { run, from: self.now, until });
    }

    /// Lets the run with the index `run` begin when it is due. Returns whether the previous run of
    /// its schedule is not over then. Runs have to be added in the order of their due times.
    pub(super) fn begin(&mut self, run: usize, entry: &Entry) -> bool {
        let from = entry.due_at.max(self.now);
        let before = entry.schedule.as_ref().and_then(|schedule| self.last.get(schedule).copied());
        let span = Span { run, from, until: after(from, entry.expected) };
        let Some(before) =
            before.and_then(|index| self.spans.get_mut(index)).filter(|before| before.until > from)
        else {
            self.push(entry, span);
            return false;
        };
        let (one_waits, is_over) = (before.from > from, before.until);
        match entry.schedule.as_ref().and_then(|schedule| self.overlaps.get(schedule)) {
            // A job of a deleted schedule runs.
            None | Some(Overlap::Allow) => self.push(entry, span),
            Some(Overlap::Skip) => {}
            Some(Overlap::QueueOne) if one_waits => {}
            Some(Overlap::QueueOne) => {
                self.push(
                    entry,
                    Span { run, from: is_over, until: after(is_over, entry.expected) },
                );
            }
            Some(Overlap::Replace) => {
                before.until = from;
                self.push(entry, span);
            }
        }
        self.cross(entry);
        true
    }

    /// Returns the periods in which this limit is exceeded.
    pub(super) fn pile_ups(&self, limit: &Limit, runs: &[Entry]) -> Vec<PileUp> {
        let covered = self
            .spans
            .iter()
            .filter(|span| runs.get(span.run).is_some_and(|run| limit.covers(run)));
        // An end sorts before a beginning at the same instant.
        let mut changes: Vec<(Timestamp, isize)> = covered
            .flat_map(|span| [(span.from, 1), (span.until, -1)])
            .filter(|(at, _)| *at <= self.until)
            .collect();
        changes.sort();
        let (mut found, mut open, mut running) = (Vec::new(), None::<PileUp>, 0_usize);
        for (at, change) in changes {
            running = running.saturating_add_signed(change);
            if running > limit.most {
                let pile = open.get_or_insert_with(|| PileUp {
                    limit: limit.name(),
                    most: limit.most,
                    peak: running,
                    from: at,
                    until: self.until,
                });
                pile.peak = pile.peak.max(running);
            } else if let Some(pile) = open.take() {
                found.push(PileUp { until: at, ..pile });
            }
        }
        found.extend(open);
        // A pile-up that opens only at the end of the forecast has no length. Adjacent pile-ups
        // stay apart: as many runs begin as end there.
        found.retain(|pile| pile.from < pile.until);
        found
    }

    /// Returns the beginning and the end of each run that is expected to be active.
    pub(super) fn active(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.spans.iter().map(|span| (span.from, span.until))
    }

    /// Returns the schedules with overlapping runs, by name.
    pub(super) fn crossings(self) -> Vec<OverlapWarning> {
        self.crossings.into_values().collect()
    }

    fn push(&mut self, entry: &Entry, span: Span) {
        if let Some(schedule) = &entry.schedule {
            self.last.insert(schedule.clone(), self.spans.len());
        }
        self.spans.push(span);
    }

    fn cross(&mut self, entry: &Entry) {
        let Some((name, overlap)) =
            entry.schedule.as_ref().and_then(|name| self.overlaps.get_key_value(name))
        else {
            return;
        };
        let crossing = self.crossings.entry(name.clone()).or_insert_with(|| OverlapWarning {
            schedule: name.clone(),
            overlap: *overlap,
            first: entry.due_at,
            runs: 0,
            expected: entry.expected,
        });
        crossing.runs += 1;
    }
}

fn after(from: Timestamp, takes: Option<Duration>) -> Timestamp {
    let takes =
        chrono::TimeDelta::from_std(takes.unwrap_or(UNKNOWN)).unwrap_or(chrono::TimeDelta::MAX);
    from.checked_add_signed(takes).unwrap_or(Timestamp::MAX_UTC)
}
