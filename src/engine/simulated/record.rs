//! Two records of everything that happened. The complete record is the truth and is for tests. The
//! event log is the part that a real engine would still have.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::domain::container::Owner;
use crate::domain::names::id::{ContainerId, InstanceId, Timestamp};
use crate::engine::Started;

/// The number of events that the event log answers for, as in Docker.
const EVENTS_KEPT: usize = 256;
/// The number of events that a stream of container events may fall behind. The stream loses older
/// ones, as on real engines.
const HINTS_KEPT: usize = 4096;

/// The cause of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Caller,
    SomebodyElse,
}

/// An event of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Create,
    /// The container's process was started.
    Start,
    /// The container's process ended with this exit code.
    Die(i32),
    /// The container was removed.
    Destroy,
}

/// An entry of the complete record, which outlives the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The wall-clock time of the event.
    pub at: Timestamp,
    pub container: ContainerId,
    /// The container's name at that time.
    pub name: String,
    /// The owner in the container's labels; `None` without labels.
    pub owner: Option<Owner>,
    pub what: EventKind,
    /// True if the event was caused by something other than the caller of this engine.
    pub by_somebody_else: bool,
}

/// A run of a container's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub container: ContainerId,
    /// The owner in the container's labels; `None` without labels.
    pub owner: Option<Owner>,
    /// True if something other than the caller of this engine started the process.
    pub by_somebody_else: bool,
    /// The wall-clock time of the start.
    pub started_at: Timestamp,
    /// The time of the end and the exit code; `None` while the process runs.
    pub ended: Option<(Timestamp, i32)>,
}

/// The complete record and the event log of one engine.
pub(super) struct Record {
    /// The complete record, if the settings keep it: it never shrinks.
    evidence: Option<Vec<(Instant, RecordedEvent)>>,
    log: VecDeque<RecordedEvent>,
    /// The number of all events so far; the log holds the last of them.
    events: u64,
    /// The number of events before the engine's last restart.
    restarted_at: u64,
}

impl Record {
    pub(super) fn new(keep_record: bool) -> Self {
        Self {
            evidence: keep_record.then(Vec::new),
            log: VecDeque::new(),
            events: 0,
            restarted_at: 0,
        }
    }

    pub(super) fn note(&mut self, at: Instant, what: RecordedEvent) {
        if let Some(evidence) = &mut self.evidence {
            evidence.push((at, what.clone()));
        }
        if self.log.len() == HINTS_KEPT {
            self.log.pop_front();
        }
        self.log.push_back(what);
        self.events += 1;
    }

    /// Notes an event that the engine itself did not see, in the complete record only.
    pub(super) fn note_unseen(&mut self, at: Instant, what: RecordedEvent) {
        if let Some(evidence) = &mut self.evidence {
            evidence.push((at, what));
        }
    }

    /// Returns the complete record; empty where the settings do not keep it.
    pub(super) fn recorded_events(&self) -> impl Iterator<Item = &(Instant, RecordedEvent)> {
        self.evidence.iter().flatten()
    }

    /// Empties the event log, as a restart of the engine does.
    pub(super) fn forget(&mut self) {
        self.restarted_at = self.events;
    }

    /// Returns a container's events in the event log. The first flag says that the log reaches back
    /// to `since` or to the engine's last restart, the second that it reaches back to `since`.
    pub(super) fn of(&self, id: &ContainerId, since: Timestamp) -> (Vec<EventKind>, bool, bool) {
        let from = self.restarted_at.max(self.events.saturating_sub(EVENTS_KEPT as u64));
        let mut kept = self.from(from).peekable();
        let reaches_back = kept.peek().is_some_and(|first| first.at <= since);
        let whole = from == self.restarted_at || reaches_back;
        (kept.filter(|e| e.container == *id).map(|e| e.what).collect(), whole, reaches_back)
    }

    /// Returns the attempts of this instance's containers that the event log has seen start.
    pub(super) fn started(&self, instance: InstanceId, since: Timestamp) -> Started {
        let mut kept = self
            .from(self.restarted_at.max(self.events.saturating_sub(EVENTS_KEPT as u64)))
            .peekable();
        let reaches_back = kept.peek().is_some_and(|first| first.at <= since);
        let mut started = Started { reaches_back, ..Started::default() };
        for event in kept.filter(|event| matches!(event.what, EventKind::Start | EventKind::Die(_)))
        {
            if let Some(owner) = event.owner.filter(|owner| owner.instance == instance) {
                let last = started.attempts.entry(owner.job).or_default();
                *last = owner.attempt.max(*last);
            }
        }
        started
    }

    /// Returns the number of all events so far.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Returns the owners of the containers in the events after the first `seen` ones, as far as
    /// the log has them.
    pub(super) fn owners_since(&self, seen: u64) -> Vec<Owner> {
        self.from(seen).filter_map(|e| e.owner).collect()
    }

    fn from(&self, event: u64) -> impl Iterator<Item = &RecordedEvent> {
        let first = self.events - self.log.len() as u64;
        let skip = usize::try_from(event.saturating_sub(first)).unwrap_or(usize::MAX);
        self.log.iter().skip(skip)
    }
}

/// Extracts the runs from the complete record, ordered by start.
pub(super) fn runs(evidence: &[RecordedEvent]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for e in evidence {
        match e.what {
            EventKind::Start => runs.push(Run {
                container: e.container.clone(),
                owner: e.owner,
                by_somebody_else: e.by_somebody_else,
                started_at: e.at,
                ended: None,
            }),
            EventKind::Die(code) => {
                let open = runs
                    .iter_mut()
                    .rev()
                    .find(|run| run.container == e.container && run.ended.is_none());
                if let Some(run) = open {
                    run.ended = Some((e.at, code));
                }
            }
            EventKind::Create | EventKind::Destroy => {}
        }
    }
    runs
}
