//! Tests of the simulated engine in virtual time, each with one or two containers. The behaviour
//! that it shares with real engines is tested in `tests/engines/contract.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::*;
use crate::clock::Clock;
use crate::domain::container::{Evidence, EvidenceQuery, Owner, Phase, SpecHash};
use crate::domain::job::Reason;
use crate::domain::names::id::{Attempt, ContainerId, ContainerName, InstanceId, JobId, Timestamp};
use crate::engine::{ContainerEvent, Engine, EngineError, Launch};

mod calls;
mod outages;

/// Virtual time, and a wall clock that can be set.
struct TestClock {
    began: tokio::time::Instant,
    set_by_seconds: AtomicI64,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let began = Timestamp::from_timestamp(1_800_000_000, 0).expect("a time");
        began
            + self.began.elapsed()
            + chrono::Duration::seconds(self.set_by_seconds.load(Ordering::Relaxed))
    }
}

struct Bench {
    engine: SimulatedEngine,
    clock: Arc<TestClock>,
}

fn bench() -> Bench {
    with(Settings::default())
}

fn with(settings: Settings) -> Bench {
    let clock = Arc::new(TestClock {
        began: tokio::time::Instant::now(),
        set_by_seconds: AtomicI64::new(0),
    });
    Bench { engine: SimulatedEngine::new(clock.clone(), settings), clock }
}

/// Makes an engine on which the first of these calls fails.
fn first(call: Call, fault: Fault) -> Bench {
    with(Settings { faults: Some(nth(call, 0, fault)), ..Settings::default() })
}

fn ours() -> InstanceId {
    InstanceId::new([9; 16])
}

fn launch(job: u8, command: &str) -> Launch {
    let job = JobId::from_bytes([job; 16]);
    let spec = serde_json::from_value(serde_json::json!({"command": ["sh", "-c", command]}))
        .expect("a spec");
    Launch {
        name: ContainerName::of(job, Attempt(1)),
        owner: Owner { instance: ours(), job, attempt: Attempt(1) },
        spec_hash: SpecHash("r".to_owned()),
        schedule: None,
        image: "busybox".parse().expect("an image"),
        spec,
        environment: Vec::new(),
        secrets: Vec::new(),
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

impl Bench {
    async fn create(&self, job: u8, command: &str) -> ContainerId {
        self.engine.create(&launch(job, command)).await.expect("it is created")
    }

    async fn run(&self, job: u8, command: &str) -> ContainerId {
        let id = self.create(job, command).await;
        self.engine.start(&id).await.expect("it is started");
        id
    }

    async fn phase(&self, job: u8) -> Option<Phase> {
        self.engine
            .named(&launch(job, "true").name)
            .await
            .expect("an answer")
            .map(|container| container.phase)
    }

    /// Returns `created`, `refused` or `exited` with the exit code, `running`, `removing`, or
    /// `gone`.
    async fn stands(&self, job: u8) -> String {
        match self.phase(job).await {
            None => "gone".to_owned(),
            Some(Phase::Created { refusal: None }) => "created".to_owned(),
            Some(Phase::Created { refusal: Some(refusal) }) => format!("refused {}", refusal.code),
            Some(Phase::Running { .. }) => "running".to_owned(),
            Some(Phase::Exited { exit, .. }) => format!("exited {}", exit.code),
            Some(Phase::Removing) => "removing".to_owned(),
        }
    }

    fn happened(&self) -> Vec<EventKind> {
        self.engine.recorded_events().into_iter().map(|evidence| evidence.what).collect()
    }

    /// Returns the jobs of the container events that arrive within a second.
    async fn hints_within_a_second(
        &self,
        hints: &mut BoxStream<'static, Result<ContainerEvent, EngineError>>,
    ) -> Vec<u8> {
        let mut jobs = Vec::new();
        let until = tokio::time::Instant::now() + ms(1_000);
        while let Ok(Some(event)) = tokio::time::timeout_at(until, hints.next()).await {
            jobs.push(event.expect("a hint").job.as_bytes()[0]);
        }
        jobs
    }
}

fn unanswered<T: std::fmt::Debug>(answer: Result<T, EngineError>) {
    assert!(matches!(answer, Err(EngineError::NoAnswer(_))), "{answer:?}");
}

fn conflicts<T: std::fmt::Debug>(answer: Result<T, EngineError>) {
    assert!(matches!(answer, Err(EngineError::Conflict(_))), "{answer:?}");
}

fn refused<T: std::fmt::Debug>(answer: Result<T, EngineError>, with: Reason) {
    assert!(
        matches!(&answer, Err(EngineError::Refused { reason, .. }) if *reason == with),
        "{answer:?}"
    );
}
