//! The streams of the simulated engine: output as it is written, and container events as they
//! happen.
//!
//! A stream owns no task: it reads the engine's state, yields everything new, and waits for
//! changes. A followed output lacks a last line without an end, as with Docker (moby 43860).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::engine::SimulatedEngine;
use super::faults::{Call, Fault};
use super::time::instant_after;
use super::transport::{lost, no_answer, pass, wait_until};
use crate::domain::names::id::{ContainerId, InstanceId, JobId};
use crate::domain::output::{Lines, LogLine};
use crate::engine::{ContainerEvent, EngineError, LogStream};
use crate::sync::ChangeCounter;

impl SimulatedEngine {
    /// Streams lines as they are written, until the process ends.
    pub(super) fn followed(&self, container: ContainerId) -> LogStream {
        let connection = self.look().0.connections;
        let lines = Followed {
            engine: self.clone(),
            connection,
            container,
            given: 0,
            ready: VecDeque::new(),
            over: false,
        };
        futures::stream::unfold(lines, |mut lines| async move {
            lines.next().await.map(|line| (line, lines))
        })
        .boxed()
    }

    /// Streams container events as they happen, until the connection breaks.
    pub(super) fn hints(
        &self,
        instance: InstanceId,
        (connection, seen): (u64, u64),
    ) -> BoxStream<'static, Result<ContainerEvent, EngineError>> {
        let hints = EventStream {
            engine: self.clone(),
            heard: *self.news.look(),
            connection,
            instance,
            seen,
            ready: VecDeque::new(),
            late: BTreeSet::new(),
            over: false,
        };
        futures::stream::unfold(hints, |mut hints| async move {
            hints.next().await.map(|job| (Ok(ContainerEvent { job }), hints))
        })
        .boxed()
    }
}

struct Followed {
    engine: SimulatedEngine,
    connection: u64,
    container: ContainerId,
    /// The number of lines that the stream has yielded or holds in `ready`.
    given: usize,
    ready: VecDeque<LogLine>,
    over: bool,
}

/// The result of reading a container's output.
enum Found {
    Ready,
    Wait(u64, Arc<ChangeCounter>, Option<Instant>),
    Over,
    Broken,
}

impl Followed {
    async fn next(&mut self) -> Option<Result<Lines, EngineError>> {
        if self.over {
            return None;
        }
        while self.ready.is_empty() {
            match self.look() {
                Found::Ready => {}
                Found::Wait(seen, news, next) => wait_until(next, news.since(seen)).await,
                Found::Over => return None,
                Found::Broken => return self.broken(no_answer("the connection broke")),
            }
        }
        match self.engine.decision(Call::Line) {
            Ok(Fault::None) => {}
            Ok(Fault::Late(late)) => pass(late).await,
            Ok(Fault::Ends) => return None,
            Ok(_) => return self.broken(lost()),
            Err(error) => return self.broken(error),
        }
        self.ready.pop_front().map(|line| Ok([line.as_line()].into_iter().collect()))
    }

    fn broken(&mut self, error: EngineError) -> Option<Result<Lines, EngineError>> {
        self.over = true;
        Some(Err(error))
    }

    fn look(&mut self) -> Found {
        let (mut inner, now) = self.engine.look();
        if inner.connections != self.connection {
            return Found::Broken;
        }
        let paused = inner.paused;
        let state = inner.state();
        let Some((output, (seen, news, _))) =
            state.output(&self.container, now).zip(state.news_of(&self.container))
        else {
            return Found::Over;
        };
        if paused {
            return Found::Wait(seen, news, None);
        }
        let whole = output.lines.into_iter().filter(|line| line.complete);
        self.ready = whole.skip(self.given).collect();
        self.given += self.ready.len();
        match (self.ready.is_empty(), output.goes_on) {
            (false, _) => Found::Ready,
            (true, true) => Found::Wait(seen, news, output.next),
            (true, false) => Found::Over,
        }
    }
}

struct EventStream {
    engine: SimulatedEngine,
    /// The count of changes that the stream has seen.
    heard: u64,
    connection: u64,
    instance: InstanceId,
    /// The number of events that the stream has read.
    seen: u64,
    ready: VecDeque<JobId>,
    late: BTreeSet<(Instant, JobId)>,
    over: bool,
}

impl EventStream {
    async fn next(&mut self) -> Option<JobId> {
        loop {
            if let Some(job) = self.ready.pop_front() {
                return Some(job);
            }
            self.heard = *self.engine.news.look();
            if self.over {
                return None;
            }
            let next = self.look()?;
            if self.ready.is_empty() && !self.over {
                wait_until(next, self.engine.news.since(self.heard)).await;
            }
        }
    }

    /// Takes the new events and returns the time of the next one that comes by itself. `None` when
    /// the connection is broken. Both results come from one access: an end between two accesses
    /// would be reported late or never.
    fn look(&mut self) -> Option<Option<Instant>> {
        let (mut inner, now) = self.engine.look();
        if inner.connections != self.connection {
            return None;
        }
        if inner.paused {
            return Some(None);
        }
        let owners = inner.state().record.owners_since(self.seen);
        self.seen = inner.state().record.events();
        for owner in owners.into_iter().filter(|owner| owner.instance == self.instance) {
            match inner.faults.as_mut().map_or(Fault::None, |faults| faults(Call::ContainerEvent)) {
                Fault::None => self.ready.push_back(owner.job),
                Fault::Twice => self.ready.extend([owner.job, owner.job]),
                Fault::Late(late) => {
                    let _ = self.late.insert((instant_after(now.at, late), owner.job));
                }
                Fault::Ends => {
                    self.over = true;
                    return Some(None);
                }
                Fault::NotDone
                | Fault::AnswerLost
                | Fault::LostAndLate(_)
                | Fault::Hang(_)
                | Fault::DoneThenHang(_)
                | Fault::Phantom(_)
                | Fault::DiskFull => {}
            }
        }
        while self.late.first().is_some_and(|(at, _)| *at <= now.at) {
            self.ready.extend(self.late.pop_first().map(|(_, job)| job));
        }
        Some(inner.next().into_iter().chain(self.late.first().map(|(at, _)| *at)).min())
    }
}
