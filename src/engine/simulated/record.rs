//! What is written down of what happened: the evidence, which is the truth and is for tests, and the engine's own log,
//! which is what a real engine would still have of it.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::domain::container::Owner;
use crate::domain::id::{ContainerId, InstanceId, Timestamp};
use crate::engine::Started;

/// How many events the engine can be asked about, as Docker's.
const EVENTS_KEPT: usize = 256;
/// How many events a stream of hints may be behind. What is older is lost to it, as hints may be.
const HINTS_KEPT: usize = 4096;

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Caller,
    SomebodyElse,
}

/// Something that happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was created.
    Create,
    /// Its process was started.
    Start,
    /// Its process ended, with this code.
    Die(i32),
    /// It was removed.
    Destroy,
}

/// A line of the record, which outlives the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// To which container.
    pub container: ContainerId,
    /// Under which name.
    pub name: String,
    /// Whose it was, by its labels.
    pub owner: Option<Owner>,
    /// What.
    pub what: Happened,
    /// Whether somebody other than the caller of this engine did it.
    pub by_somebody_else: bool,
}

/// One run of a container's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Of which container.
    pub container: ContainerId,
    /// Whose it was, by its labels.
    pub owner: Option<Owner>,
    /// Whether somebody other than the caller of this engine started it.
    pub by_somebody_else: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended and with what code; `None` while it runs.
    pub ended: Option<(Timestamp, i32)>,
}

/// The record of one engine.
pub(super) struct Record {
    /// Everything, where tests want it: it grows for ever.
    evidence: Option<Vec<(Instant, Evidence)>>,
    log: VecDeque<Evidence>,
    /// How many events there ever were; the last of them are in the log.
    events: u64,
    /// The first event that the engine, as it runs now, was there to see.
    restarted_at: u64,
}

impl Record {
    pub(super) fn new(keep_evidence: bool) -> Self {
        Self {
            evidence: keep_evidence.then(Vec::new),
            log: VecDeque::new(),
            events: 0,
            restarted_at: 0,
        }
    }

    pub(super) fn note(&mut self, at: Instant, what: Evidence) {
        if let Some(evidence) = &mut self.evidence {
            evidence.push((at, what.clone()));
        }
        if self.log.len() == HINTS_KEPT {
            self.log.pop_front();
        }
        self.log.push_back(what);
        self.events += 1;
    }

    /// What the engine did not live to see.
    pub(super) fn note_unseen(&mut self, at: Instant, what: Evidence) {
        if let Some(evidence) = &mut self.evidence {
            evidence.push((at, what));
        }
    }

    /// Everything that ever happened.
    pub(super) fn evidence(&self) -> impl Iterator<Item = &(Instant, Evidence)> {
        self.evidence.iter().flatten()
    }

    /// A new process of the engine has an empty log.
    pub(super) fn forget(&mut self) {
        self.restarted_at = self.events;
    }

    /// The engine's own log of a container, as far as it still has it; whether that is all since `since` or since the
    /// engine's own start; and whether it reaches back to `since`.
    pub(super) fn of(&self, id: &ContainerId, since: Timestamp) -> (Vec<Happened>, bool, bool) {
        let from = self.restarted_at.max(self.events.saturating_sub(EVENTS_KEPT as u64));
        let mut kept = self.from(from).peekable();
        let reaches_back = kept.peek().is_some_and(|first| first.at <= since);
        let whole = from == self.restarted_at || reaches_back;
        (kept.filter(|e| e.container == *id).map(|e| e.what).collect(), whole, reaches_back)
    }

    /// What the engine's own log has of starts of this instance's containers.
    pub(super) fn started(&self, instance: InstanceId, since: Timestamp) -> Started {
        let mut kept = self
            .from(self.restarted_at.max(self.events.saturating_sub(EVENTS_KEPT as u64)))
            .peekable();
        let reaches_back = kept.peek().is_some_and(|first| first.at <= since);
        let mut started = Started { reaches_back, ..Started::default() };
        for event in kept.filter(|event| matches!(event.what, Happened::Start | Happened::Die(_))) {
            if let Some(owner) = event.owner.filter(|owner| owner.instance == instance) {
                let last = started.attempts.entry(owner.job).or_default();
                *last = owner.attempt.max(*last);
            }
        }
        started
    }

    /// How many events there ever were.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Whose containers the events after that many were about, as far as the log has them.
    pub(super) fn owners_since(&self, seen: u64) -> Vec<Owner> {
        self.from(seen).filter_map(|e| e.owner).collect()
    }

    fn from(&self, event: u64) -> impl Iterator<Item = &Evidence> {
        let first = self.events - self.log.len() as u64;
        let skip = usize::try_from(event.saturating_sub(first)).unwrap_or(usize::MAX);
        self.log.iter().skip(skip)
    }
}

/// The runs that the evidence shows, in the order in which they began.
pub(super) fn runs(evidence: &[Evidence]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for e in evidence {
        match e.what {
            Happened::Start => runs.push(Run {
                container: e.container.clone(),
                owner: e.owner,
                by_somebody_else: e.by_somebody_else,
                started_at: e.at,
                ended: None,
            }),
            Happened::Die(code) => {
                let open = runs
                    .iter_mut()
                    .rev()
                    .find(|run| run.container == e.container && run.ended.is_none());
                if let Some(run) = open {
                    run.ended = Some((e.at, code));
                }
            }
            Happened::Create | Happened::Destroy => {}
        }
    }
    runs
}
