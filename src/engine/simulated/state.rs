//! The state of one simulated engine: its containers and their processes.
//!
//! Nothing happens by itself. A started container has a plan, and every access computes how far the
//! plan has come. So there is no task to own, and equal seeds give equal runs. Every operation
//! takes the present time as a [`Now`], and callers call [`EngineState::settle`] first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::record::{Cause, EventKind, Record, RecordedEvent};
use super::script::begins;
use super::script::{NotFound, Plan, plan};
use super::time::{Now, instant_after, wall_after};
use crate::domain::container::{Exit, Owner, Phase, SpecHash, StartRefusal};
use crate::domain::job::Reason;
use crate::domain::names::id::{ContainerId, ContainerName, Timestamp};
use crate::domain::names::image::ImageRef;
use crate::domain::output::LogLine;
use crate::domain::spec::command::CommandLine;
use crate::domain::spec::secret::Secret;
use crate::engine::{EngineError, Launch};
use crate::sync::ChangeCounter;

mod looks;

/// The time that a process takes to follow its stop signal.
const STOPS_WITHIN: Duration = Duration::from_millis(10);
/// The distance between lines written at one moment, so no two have the same time.
const LINE_APART: Duration = Duration::from_micros(1);

/// All containers of one engine.
pub(super) struct EngineState {
    /// The part of every container id that differs between engines.
    salt: String,
    containers: BTreeMap<ContainerId, Simulated>,
    names: BTreeMap<String, ContainerId>,
    /// Names that are taken though no container has them, with the end of that time.
    phantoms: BTreeMap<String, Instant>,
    /// The running processes, ordered by the time of their end.
    ends: BTreeSet<(Instant, ContainerId)>,
    /// The containers that died with the engine, to be dated when the engine is back.
    lost: Vec<ContainerId>,
    made: u64,
    pub(super) pulled: BTreeSet<String>,
    pub(super) record: Record,
}

struct Simulated {
    name: String,
    owner: Option<Owner>,
    spec_hash: SpecHash,
    image: String,
    created_at: Timestamp,
    plan: Result<Plan, NotFound>,
    refusal: Option<StartRefusal>,
    process: Option<Process>,
    /// The output of earlier runs.
    written: Vec<LogLine>,
    /// Notified when the process starts or ends, and when the container is removed.
    news: Arc<ChangeCounter>,
}

struct Process {
    started: Instant,
    started_at: Timestamp,
    ends: Instant,
    code: i32,
    /// The wall-clock time of the end; `None` while the process runs.
    ended_at: Option<Timestamp>,
}

/// The output of a container so far.
pub(super) struct Output {
    pub(super) lines: Vec<LogLine>,
    /// True if more may follow.
    pub(super) goes_on: bool,
    /// The time of the next line or of the end, as far as known.
    pub(super) next: Option<Instant>,
}

impl EngineState {
    pub(super) fn new(salt: String, keep_record: bool) -> Self {
        Self {
            salt,
            containers: BTreeMap::new(),
            names: BTreeMap::new(),
            phantoms: BTreeMap::new(),
            ends: BTreeSet::new(),
            lost: Vec::new(),
            made: 0,
            pulled: BTreeSet::new(),
            record: Record::new(keep_record),
        }
    }

    /// Ends the processes that are due to end, in order of their ends.
    pub(super) fn settle(&mut self, now: Now) {
        while self.ends.first().is_some_and(|(at, _)| *at <= now.at) {
            let Some((at, id)) = self.ends.pop_first() else { return };
            self.ended(&id, at, now, true, Cause::Caller);
        }
    }

    pub(super) fn create(
        &mut self,
        launch: &Launch,
        owner: Option<Owner>,
        now: Now,
        who: Cause,
    ) -> Result<ContainerId, EngineError> {
        if !self.has(&launch.image) {
            return Err(EngineError::NoSuchImage);
        }
        let name = launch.name.as_str().to_owned();
        let phantom = self.phantoms.get(&name).is_some_and(|until| now.at < *until);
        if phantom || self.names.contains_key(&name) {
            return Err(EngineError::Conflict(format!("the name {name} is taken")));
        }
        self.phantoms.remove(&name);
        self.made += 1;
        let id = ContainerId(digest(&format!("{}/{}/{name}/{}", self.salt, self.made, now.wall)));
        let fields = launch.spec.fields();
        let mut environment = fields.env.clone().unwrap_or_default().0;
        let secret = |value: &Secret| value.as_variable().unwrap_or_default().to_owned();
        environment
            .extend(launch.secrets.iter().map(|(name, value)| (name.clone(), secret(value))));
        environment.extend(launch.environment.iter().cloned());
        let words = |words: &Option<CommandLine>| words.clone().unwrap_or_default().0;
        let container = Simulated {
            name: name.clone(),
            owner,
            spec_hash: launch.spec_hash.clone(),
            image: launch.image.with_tag(),
            created_at: now.wall,
            plan: plan(&[words(&fields.entrypoint), words(&fields.command)].concat(), &environment),
            refusal: None,
            process: None,
            written: Vec::new(),
            news: Arc::default(),
        };
        self.containers.insert(id.clone(), container);
        self.names.insert(name, id.clone());
        self.note(&id, EventKind::Create, now, who);
        Ok(id)
    }

    pub(super) fn has(&self, image: &ImageRef) -> bool {
        !begins(image, "no-such-")
            && (!begins(image, "pull-") || self.pulled.contains(&image.with_tag()))
    }

    /// Starts a container as real engines do: an exited container runs again, and a running one is
    /// left alone.
    pub(super) fn start(
        &mut self,
        id: &ContainerId,
        now: Now,
        who: Cause,
    ) -> Result<(), EngineError> {
        let container = self.containers.get_mut(id).ok_or(EngineError::NotFound)?;
        if container.runs() {
            return Ok(());
        }
        let plan = match &container.plan {
            Ok(plan) => plan.clone(),
            Err(NotFound(command)) => {
                let message = format!("exec: \"{command}\": executable file not found in $PATH");
                return Err(container.refuse(127, Reason::CommandNotFound, message));
            }
        };
        let before = container.output(now.at).lines;
        let ends = instant_after(now.at, plan.runs);
        let process = Process {
            started: now.at,
            started_at: now.wall,
            ends,
            code: plan.code,
            ended_at: None,
        };
        container.written = before;
        container.process = Some(process);
        container.news.tell();
        self.ends.insert((ends, id.clone()));
        self.note(id, EventKind::Start, now, who);
        self.settle(now);
        Ok(())
    }

    /// Fails a start and writes the refusal on the container, as an engine does that tried.
    pub(super) fn refuse_start(&mut self, id: &ContainerId, message: String) -> EngineError {
        match self.containers.get_mut(id) {
            Some(container) if container.process.is_none() => {
                container.refuse(128, Reason::StartFailed, message)
            }
            Some(_) => EngineError::Refused { reason: Reason::StartFailed, message },
            None => EngineError::NotFound,
        }
    }

    /// Sends the stop signal, and the kill after the grace period.
    pub(super) fn stop(&mut self, id: &ContainerId, grace: Duration, now: Now) {
        let ignores = self
            .containers
            .get(id)
            .and_then(|c| c.plan.as_ref().ok())
            .is_some_and(|plan| plan.ignores_term);
        let killed = ignores || grace < STOPS_WITHIN;
        let (after, code) = if killed { (grace, 137) } else { (STOPS_WITHIN, 143) };
        self.end_by(id, instant_after(now.at, after), code);
        self.settle(now);
    }

    pub(super) fn kill(&mut self, id: &ContainerId, now: Now, who: Cause) {
        if self.containers.get(id).is_some_and(Simulated::runs) {
            self.end_by(id, now.at, 137);
            self.ends.remove(&(now.at, id.clone()));
            self.ended(id, now.at, now, true, who);
        }
    }

    pub(super) fn remove(
        &mut self,
        id: &ContainerId,
        now: Now,
        who: Cause,
    ) -> Result<(), EngineError> {
        let Some(container) = self.containers.get(id) else { return Ok(()) };
        if container.runs() {
            return Err(EngineError::Conflict("it runs".to_owned()));
        }
        self.note(id, EventKind::Destroy, now, who);
        if let Some(container) = self.containers.remove(id) {
            self.names.remove(&container.name);
            container.news.tell();
        }
        Ok(())
    }

    /// Gives a container another name.
    pub(super) fn rename(&mut self, id: &ContainerId, name: &str) -> Result<(), EngineError> {
        if self.names.contains_key(name) {
            return Err(EngineError::Conflict(format!("the name {name} is taken")));
        }
        let container = self.containers.get_mut(id).ok_or(EngineError::NotFound)?;
        self.names.remove(&container.name);
        name.clone_into(&mut container.name);
        self.names.insert(name.to_owned(), id.clone());
        Ok(())
    }

    /// Makes a name taken until then, without a container.
    pub(super) fn reserve_phantom_name(&mut self, name: &ContainerName, until: Instant) {
        self.phantoms.insert(name.as_str().to_owned(), until);
    }

    /// Ends every process with this code. Dates the ends when the engine is back if `dated_later`:
    /// an engine that was killed itself learns of them then.
    pub(super) fn end_all(&mut self, code: i32, now: Now, dated_later: bool) {
        for (_, id) in std::mem::take(&mut self.ends) {
            if let Some(process) = self.containers.get_mut(&id).and_then(|c| c.process.as_mut()) {
                (process.ends, process.code) = (now.at, code);
            }
            self.ended(&id, now.at, now, false, Cause::SomebodyElse);
            if dated_later {
                self.lost.push(id);
            }
        }
    }

    /// Empties the event log and dates the ends that happened while the engine was down.
    pub(super) fn come_back(&mut self, now: Now) {
        self.record.forget();
        for id in std::mem::take(&mut self.lost) {
            if let Some(process) = self.containers.get_mut(&id).and_then(|c| c.process.as_mut()) {
                process.ended_at = Some(now.wall);
            }
        }
    }

    pub(super) fn output(&self, id: &ContainerId, now: Now) -> Option<Output> {
        self.containers.get(id).map(|container| container.output(now.at))
    }

    /// Returns the count of changes of a container so far, the value to wait on for more, and the
    /// end of its running process. `None` for an unknown container.
    pub(super) fn news_of(
        &self,
        id: &ContainerId,
    ) -> Option<(u64, Arc<ChangeCounter>, Option<Instant>)> {
        let container = self.containers.get(id)?;
        let ends = container
            .process
            .as_ref()
            .filter(|process| process.ended_at.is_none())
            .map(|process| process.ends);
        let seen = *container.news.look();
        Some((seen, container.news.clone(), ends))
    }

    /// Returns the time at which the next process ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Wakes all waiters for a container.
    pub(super) fn wake_all(&self) {
        self.containers.values().for_each(|container| {
            container.news.tell();
        });
    }

    /// Moves the end of a running process to `at`, unless it ends earlier by itself.
    fn end_by(&mut self, id: &ContainerId, at: Instant, code: i32) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(process) =
            container.process.as_mut().filter(|p| p.ended_at.is_none() && at < p.ends)
        else {
            return;
        };
        self.ends.remove(&(process.ends, id.clone()));
        (process.ends, process.code) = (at, code);
        self.ends.insert((at, id.clone()));
        container.news.tell();
    }

    fn ended(&mut self, id: &ContainerId, at: Instant, now: Now, seen: bool, who: Cause) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(process) = container.process.as_mut() else { return };
        let wall = now.dated(at, process.started_at, at.saturating_duration_since(process.started));
        process.ended_at = Some(wall);
        let code = process.code;
        container.news.tell();
        let evidence = container.evidence(id, EventKind::Die(code), wall, who);
        if seen { self.record.note(at, evidence) } else { self.record.note_unseen(at, evidence) }
    }

    fn note(&mut self, id: &ContainerId, what: EventKind, now: Now, who: Cause) {
        if let Some(container) = self.containers.get(id) {
            self.record.note(now.at, container.evidence(id, what, now.wall, who));
        }
    }
}

impl Simulated {
    fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ended_at.is_none())
    }

    fn phase(&self) -> Phase {
        match &self.process {
            None => Phase::Created { refusal: self.refusal.clone() },
            Some(Process { started_at, ended_at: None, .. }) => {
                Phase::Running { started_at: *started_at }
            }
            Some(Process { started_at, ended_at: Some(at), code, .. }) => Phase::Exited {
                started_at: *started_at,
                exit: Exit { code: *code, oom_killed: false, at: *at },
            },
        }
    }

    fn refuse(&mut self, code: i32, reason: Reason, message: String) -> EngineError {
        self.refusal = Some(StartRefusal { code, message: message.clone() });
        EngineError::Refused { reason, message }
    }

    fn evidence(
        &self,
        id: &ContainerId,
        what: EventKind,
        at: Timestamp,
        who: Cause,
    ) -> RecordedEvent {
        let by_somebody_else = who == Cause::SomebodyElse;
        RecordedEvent {
            at,
            container: id.clone(),
            name: self.name.clone(),
            owner: self.owner,
            what,
            by_somebody_else,
        }
    }

    /// Returns the lines as an engine has them: complete ones, and after the end of the process
    /// also an incomplete last one.
    fn output(&self, now: Instant) -> Output {
        let mut lines = self.written.clone();
        let (Some(process), Ok(plan)) = (&self.process, &self.plan) else {
            return Output { lines, goes_on: self.refusal.is_none(), next: None };
        };
        let ended = process.ended_at.is_some();
        let lasted = now.min(process.ends).saturating_duration_since(process.started);
        for (n, w) in (0..).zip(&plan.output) {
            if w.after <= lasted && (w.complete || ended) {
                let at = wall_after(process.started_at, w.after + LINE_APART * n);
                let text = w.text.clone().into_bytes();
                lines.push(LogLine { at, channel: w.channel, text, complete: w.complete });
            }
        }
        let coming = plan.output.iter().map(|w| w.after).find(|after| *after > lasted);
        let next = coming
            .map_or(process.ends, |after| instant_after(process.started, after).min(process.ends));
        Output { lines, goes_on: !ended, next: (!ended).then_some(next) }
    }
}

/// Returns a hash of a text, the same in every run.
fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
