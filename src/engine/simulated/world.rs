//! What there is in the simulated engine: containers, and the record of everything that happened to them.
//!
//! Nothing happens by itself: a container that was started knows what it will do, and every look works out from the
//! clock how far it has come. So there is no task to own, and two runs of one seed are the same.

use std::collections::BTreeMap;
use std::time::Duration;

use super::script::{NotFound, Plan, plan};
use crate::domain::container::{Container, Exit, Owner, Phase, StartRefusal};
use crate::domain::id::{ContainerId, ContainerName, Digest, Timestamp};
use crate::domain::output::LogLine;
use crate::engine::{EngineError, Launch, Listed};

/// How many events the engine's log holds, as Docker's.
const EVENTS_KEPT: usize = 256;

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
    /// When.
    pub at: Timestamp,
    /// To which container.
    pub container: ContainerId,
    /// Under which name.
    pub name: String,
    /// Whose it was.
    pub owner: Owner,
    /// What.
    pub what: Happened,
}

/// All containers, and the record.
#[derive(Default)]
pub(super) struct World {
    containers: BTreeMap<String, Simulated>,
    made: u64,
    evidence: Vec<Evidence>,
    /// How much of the record the engine's own log still has.
    log_from: usize,
}

struct Simulated {
    id: ContainerId,
    name: String,
    owner: Owner,
    image: String,
    created_at: Timestamp,
    plan: Result<Plan, NotFound>,
    refusal: Option<StartRefusal>,
    run: Option<Process>,
    /// What it wrote in runs before that one.
    written: Vec<LogLine>,
}

/// A process that was started.
struct Process {
    started_at: Timestamp,
    ends_at: Timestamp,
    code: i32,
    /// Whether its end is in the record.
    recorded: bool,
}

impl World {
    pub(super) fn create(&mut self, launch: &Launch, now: Timestamp) -> Result<ContainerId, EngineError> {
        let name = launch.name.as_str().to_owned();
        if self.containers.contains_key(&name) {
            return Err(EngineError::Conflict(format!("the name {name} is taken")));
        }
        self.made += 1;
        let id = ContainerId(format!("{:064x}", self.made));
        let fields = launch.spec.fields();
        let environment: BTreeMap<String, String> =
            fields.env.clone().unwrap_or_default().0.into_iter().chain(launch.environment.iter().cloned()).collect();
        let words = |words: &Option<crate::domain::words::Words>| words.clone().unwrap_or_default().0;
        let command = [words(&fields.entrypoint), words(&fields.command)].concat();
        let container = Simulated {
            id: id.clone(),
            name: name.clone(),
            owner: launch.owner,
            image: launch.image.with_tag(),
            created_at: now,
            plan: plan(&command, &environment),
            refusal: None,
            run: None,
            written: Vec::new(),
        };
        self.note(&container.id.clone(), &name, launch.owner, Happened::Create, now);
        self.containers.insert(name, container);
        Ok(id)
    }

    /// As real engines do: a container that has exited runs again, one that runs is left alone.
    pub(super) fn start(&mut self, id: &ContainerId, now: Timestamp) -> Result<(), EngineError> {
        self.settle(now);
        let container = self.containers.values_mut().find(|c| c.id == *id).ok_or(EngineError::NotFound)?;
        if container.run.as_ref().is_some_and(|run| now < run.ends_at) {
            return Ok(());
        }
        let plan = match &container.plan {
            Ok(plan) => plan,
            Err(NotFound(command)) => {
                let message = format!("exec: \"{command}\": executable file not found in $PATH");
                container.refusal = Some(StartRefusal { code: 127, message: message.clone() });
                return Err(EngineError::Refused { reason: crate::domain::job::Reason::CommandNotFound, message });
            }
        };
        let ends_at = later(now, plan.runs);
        let before = container.run.as_ref().map(|run| output_of(plan, run, now)).unwrap_or_default();
        container.written.extend(before);
        container.run = Some(Process { started_at: now, ends_at, code: plan.code, recorded: false });
        let (id, name, owner) = (container.id.clone(), container.name.clone(), container.owner);
        self.note(&id, &name, owner, Happened::Start, now);
        Ok(())
    }

    pub(super) fn stop(&mut self, id: &ContainerId, grace: Duration, now: Timestamp) {
        let Some(container) = self.containers.values_mut().find(|c| c.id == *id) else { return };
        let ignores = container.plan.as_ref().is_ok_and(|plan| plan.ignores_term);
        let (after, code) = if ignores { (grace, 137) } else { (Duration::from_millis(10), 143) };
        end(container, later(now, after), code);
    }

    /// When the container's process ends, if it runs.
    pub(super) fn ends_at(&self, id: &ContainerId) -> Option<Timestamp> {
        self.containers.values().find(|c| c.id == *id)?.run.as_ref().map(|run| run.ends_at)
    }

    pub(super) fn remove(&mut self, id: &ContainerId, now: Timestamp) -> Result<(), EngineError> {
        self.settle(now);
        let Some(container) = self.containers.values().find(|c| c.id == *id) else { return Ok(()) };
        if container.run.as_ref().is_some_and(|run| now < run.ends_at) {
            return Err(EngineError::Conflict("it runs".to_owned()));
        }
        let (id, name, owner) = (container.id.clone(), container.name.clone(), container.owner);
        self.containers.remove(&name);
        self.note(&id, &name, owner, Happened::Destroy, now);
        Ok(())
    }

    pub(super) fn inspect(&mut self, name: &ContainerName, now: Timestamp) -> Option<Container> {
        self.settle(now);
        let container = self.containers.get(name.as_str())?;
        let digest = Digest(format!("sha256:{:064x}", fingerprint(&container.image)));
        let phase = match &container.run {
            None => Phase::Created { refusal: container.refusal.clone() },
            Some(run) if now < run.ends_at => Phase::Running { started_at: run.started_at },
            Some(run) => Phase::Exited {
                started_at: run.started_at,
                exit: Exit { code: run.code, oom_killed: false, at: run.ends_at },
            },
        };
        Some(Container {
            id: container.id.clone(),
            owner: Some(container.owner),
            created_at: container.created_at,
            image_digest: Some(digest),
            phase,
        })
    }

    pub(super) fn list(&mut self, now: Timestamp) -> Vec<Listed> {
        self.settle(now);
        let listed = |c: &Simulated| {
            let running = c.run.as_ref().is_some_and(|run| now < run.ends_at);
            Listed {
                id: c.id.clone(),
                name: c.name.clone(),
                owner: Some(c.owner),
                created_at: c.created_at,
                running,
                exited: c.run.is_some() && !running,
            }
        };
        self.containers.values().map(listed).collect()
    }

    /// What the container has written until now, and whether it will write more.
    pub(super) fn output(&self, id: &ContainerId, now: Timestamp) -> Option<(Vec<LogLine>, bool)> {
        let container = self.containers.values().find(|c| c.id == *id)?;
        let (Some(run), Ok(plan)) = (&container.run, &container.plan) else {
            return Some((Vec::new(), container.refusal.is_none()));
        };
        let mut lines = container.written.clone();
        lines.extend(output_of(plan, run, now));
        Some((lines, now < run.ends_at))
    }

    /// Kills what runs, as an engine's restart without live-restore does, and forgets the engine's log.
    pub(super) fn restart(&mut self, kill: bool, now: Timestamp) {
        self.settle(now);
        if kill {
            for container in
                self.containers.values_mut().filter(|c| c.run.as_ref().is_some_and(|run| now < run.ends_at))
            {
                end(container, now, 137);
                // Nobody was there to see it die.
                if let Some(run) = &mut container.run {
                    run.recorded = true;
                }
            }
        }
        self.log_from = self.evidence.len();
    }

    /// The engine's own log of a container, as far as it still has it; whether that is all since `since` or since the
    /// engine's own start; and whether it reaches back to `since`.
    pub(super) fn log(&mut self, id: &ContainerId, since: Timestamp, now: Timestamp) -> (Vec<Happened>, bool, bool) {
        self.settle(now);
        let from = self.log_from.max(self.evidence.len().saturating_sub(EVENTS_KEPT));
        let kept = &self.evidence[from..];
        let reaches_back = kept.first().is_some_and(|first| first.at <= since);
        let whole = from == self.log_from || reaches_back;
        let its = kept.iter().filter(|e| e.container == *id).map(|e| e.what).collect();
        (its, whole, reaches_back)
    }

    /// Everything that ever happened.
    pub(super) fn evidence(&mut self, now: Timestamp) -> Vec<Evidence> {
        self.settle(now);
        self.evidence.clone()
    }

    /// How much has happened; and what since then.
    pub(super) fn since(&mut self, seen: usize, now: Timestamp) -> &[Evidence] {
        self.settle(now);
        self.evidence.get(seen..).unwrap_or_default()
    }

    /// The next end of a process, for those who wait for news.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.containers.values().filter_map(|c| c.run.as_ref().filter(|run| !run.recorded).map(|run| run.ends_at)).min()
    }

    pub(super) fn forget_all(&mut self) {
        self.containers.clear();
        self.log_from = self.evidence.len();
    }

    /// Writes down the ends that the clock has passed, in the order in which they came.
    fn settle(&mut self, now: Timestamp) {
        let mut ended: Vec<_> = self
            .containers
            .values_mut()
            .filter_map(|c| {
                let run = c.run.as_mut().filter(|run| !run.recorded && run.ends_at <= now)?;
                run.recorded = true;
                Some((run.ends_at, c.id.clone(), c.name.clone(), c.owner, run.code))
            })
            .collect();
        ended.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (at, id, name, owner, code) in ended {
            self.note(&id, &name, owner, Happened::Die(code), at);
        }
    }

    fn note(&mut self, id: &ContainerId, name: &str, owner: Owner, what: Happened, at: Timestamp) {
        self.evidence.push(Evidence { at, container: id.clone(), name: name.to_owned(), owner, what });
    }
}

/// What a run has written until now.
fn output_of(plan: &Plan, run: &Process, now: Timestamp) -> Vec<LogLine> {
    let until = now.min(run.ends_at);
    let line = |w: &super::script::Written| LogLine {
        at: later(run.started_at, w.after),
        channel: w.channel,
        text: w.text.clone().into_bytes(),
        complete: w.complete,
    };
    plan.output.iter().map(line).filter(|line| line.at <= until).collect()
}

/// Ends a process then, unless it has ended by itself before.
fn end(container: &mut Simulated, at: Timestamp, code: i32) {
    if let Some(run) = container.run.as_mut().filter(|run| !run.recorded && at < run.ends_at) {
        (run.ends_at, run.code) = (at, code);
    }
}

fn later(at: Timestamp, after: Duration) -> Timestamp {
    chrono::Duration::from_std(after).ok().and_then(|after| at.checked_add_signed(after)).unwrap_or(Timestamp::MAX_UTC)
}

/// A number that stands for a text: the same each time.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
