//! The contract of every engine, checked against Docker, Podman and the simulated engine.
//!
//! A test that finds no engine fails: `make test` provides Docker and Podman. Each case creates
//! containers under its own instance id, and removes them however it ends.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use std::time::Duration;

use crate::support::clock::VirtualClock;
use crate::support::daemon::Daemon;
use futures::StreamExt;
use tidetable::clock::{Clock, Rng, SystemClock};
use tidetable::domain::container::{Container, Evidence, EvidenceQuery, Owner, Phase, SpecHash};
use tidetable::domain::job::Reason;
use tidetable::domain::names::id::{Attempt, ContainerId, ContainerName, InstanceId, JobId};
use tidetable::domain::output::{Channel, Lines, LogLine};
use tidetable::domain::spec::JobSpec;
use tidetable::engine::docker::{Address, connect};
use tidetable::engine::simulated::SimulatedEngine;
use tidetable::engine::{Engine, EngineError, Launch};

/// An engine under test, with the means to use it.
struct Bench {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    renamer: Renamer,
    instance: InstanceId,
    rng: Rng,
    /// A folder that containers of a real engine mount: containers started by `run_until_let_go`
    /// end only after a file appears in it. `None` for the simulated engine.
    folder: Option<tempfile::TempDir>,
    /// The daemon, if this test alone uses it.
    _daemon: Option<Daemon>,
}

/// A way to rename a container from outside the project.
#[derive(Clone)]
enum Renamer {
    /// The command line of the engine, and the engine's address.
    Program(&'static str, String),
    Simulated(SimulatedEngine),
}

impl Bench {
    fn real(host: &str, daemon: Option<Daemon>) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let (rng, folder) = (Rng::from_system(), tempfile::tempdir().unwrap());
        let instance = InstanceId::new(rng.bytes());
        // `make test` finds the containers of a killed run by this file.
        std::fs::write(folder.path().join("log"), format!("instance={instance}\n")).unwrap();
        Self {
            engine: Arc::new(connect(Address::find(Some(host), None, None).unwrap())),
            clock: Arc::new(SystemClock),
            renamer: Renamer::Program("docker", host.to_owned()),
            instance,
            rng,
            folder: Some(folder),
            _daemon: daemon,
        }
    }

    /// Renames the container to a name that is unrelated to its job.
    async fn rename(&self, id: &ContainerId) {
        let name = format!("renamed-{}", &id.0[..16]);
        match &self.renamer {
            Renamer::Simulated(engine) => engine.rename(id, &name).expect("it is renamed"),
            Renamer::Program(program, host) => {
                let mut command = tokio::process::Command::new(program);
                command.env("DOCKER_HOST", host).args(["rename", &id.0, &name]);
                let said = command.output().await.expect("it runs");
                assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            }
        }
    }

    fn docker() -> Self {
        Self::real(&crate::support::docker_host(), None)
    }

    /// Returns an engine that no other test uses, since its event log is short.
    fn docker_alone() -> Self {
        let daemon = Daemon::start();
        Self::real(&daemon.host(), Some(daemon))
    }

    fn podman() -> Self {
        let host = std::env::var("TIDETABLE_TEST_PODMAN")
            .expect("TIDETABLE_TEST_PODMAN says where Podman is: run `make test`");
        Self::real(&host, None)
    }

    /// Returns a simulated engine in virtual time.
    fn simulated() -> Self {
        let (clock, rng) =
            (Arc::new(VirtualClock::starting_at(1_790_000_000_000)), Rng::from_system());
        let engine = SimulatedEngine::new(clock.clone(), Default::default());
        let (instance, renamer) =
            (InstanceId::new(rng.bytes()), Renamer::Simulated(engine.clone()));
        Self {
            engine: Arc::new(engine),
            clock,
            renamer,
            instance,
            rng,
            folder: None,
            _daemon: None,
        }
    }

    /// Runs a container that exits with this code, two seconds later and not before
    /// [`Bench::let_go`].
    async fn run_until_let_go(&self, code: i32) -> Launch {
        let Some(folder) = &self.folder else {
            return self.run(&format!("sleep 2; exit {code}")).await.0;
        };
        let script = format!("until [ -e /go/on ]; do sleep 0.1; done; exit {code}");
        let launch = self.launch(serde_json::json!({"command": ["sh", "-c", script],
            "mounts": [{"type": "bind", "source": folder.path(), "target": "/go"}]}));
        let id = self.engine.create(&launch).await.expect("it can be created");
        self.engine.start(&id).await.expect("it can be started");
        launch
    }

    async fn let_go(&self) {
        if let Some(folder) = &self.folder {
            tokio::time::sleep(Duration::from_secs(2)).await;
            std::fs::write(folder.path().join("on"), "").unwrap();
        }
    }

    /// Waits until the container has written this line.
    async fn until_said(&self, id: &ContainerId, line: &str) {
        let end = tokio::time::Instant::now() + crate::support::PATIENCE;
        while !self.output(id, false).await.iter().any(|said| said.text == line.as_bytes()) {
            assert!(tokio::time::Instant::now() < end, "it does not say {line}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn launch(&self, spec: serde_json::Value) -> Launch {
        let spec: JobSpec = serde_json::from_value(spec).expect("a right spec");
        let job = JobId::new(self.clock.now(), self.rng.bytes());
        let attempt = Attempt(1);
        let image =
            spec.fields().image.clone().unwrap_or_else(|| crate::support::IMAGE.parse().unwrap());
        let environment = vec![("TIDETABLE_JOB_ID".to_owned(), job.to_string())];
        Launch {
            name: ContainerName::of(job, attempt),
            owner: Owner { instance: self.instance, job, attempt },
            spec_hash: SpecHash("r".to_owned()),
            schedule: None,
            image,
            spec,
            environment,
            secrets: Vec::new(),
        }
    }

    async fn create(&self, command: &str) -> (Launch, ContainerId) {
        let launch =
            self.launch(serde_json::json!({"command": ["sh", "-c", command], "stop_grace": "1s"}));
        let id = self.engine.create(&launch).await.expect("it can be created");
        (launch, id)
    }

    async fn run(&self, command: &str) -> (Launch, ContainerId) {
        let (launch, id) = self.create(command).await;
        self.engine.start(&id).await.expect("it can be started");
        (launch, id)
    }

    async fn look(&self, launch: &Launch) -> Container {
        self.engine.find(&launch.owner).await.expect("an answer").expect("it is there")
    }

    /// Waits until the process of the container has ended, and returns the container.
    async fn ended(&self, launch: &Launch) -> Container {
        let end = tokio::time::Instant::now() + crate::support::PATIENCE;
        loop {
            let container = self.look(launch).await;
            if matches!(container.phase, Phase::Exited { .. }) {
                return container;
            }
            assert!(tokio::time::Instant::now() < end, "it does not end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn output(&self, id: &ContainerId, follow: bool) -> Vec<LogLine> {
        let blocks = self
            .engine
            .logs(id, follow)
            .await
            .expect("an answer")
            .map(|lines| lines.expect("lines"));
        let blocks: Vec<Lines> = blocks.collect().await;
        blocks.iter().flat_map(|lines| lines.iter().map(|line| line.to_line())).collect()
    }

    async fn clear(&self) {
        for listed in self.engine.list(self.instance).await.unwrap_or_default() {
            let _ = self.engine.stop(&listed.id, Duration::from_secs(1)).await;
            let _ = self.engine.remove(&listed.id).await;
        }
    }
}

/// Runs a case, removes its containers, and then reports its result.
async fn hold<F: Future<Output = ()> + Send + 'static>(
    bench: Bench,
    case: impl FnOnce(Arc<Bench>) -> F,
) {
    let bench = Arc::new(bench);
    let went = tokio::spawn(case(bench.clone())).await;
    bench.clear().await;
    if let Err(failure) = went {
        std::panic::resume_unwind(failure.into_panic());
    }
}

macro_rules! suite {
    (every engine: { $($case:ident,)* } by its log: { $($log_case:ident,)* } with a real shell: { $($shell_case:ident,)* }) => {
        mod docker {
            suite!(multi_thread, docker: $($case,)* $($shell_case,)*);
            suite!(multi_thread, docker_alone: $($log_case,)*);
        }
        mod podman { suite!(multi_thread, podman: $($case,)* $($log_case,)* $($shell_case,)*); }
        mod simulated { suite!(current_thread, simulated: $($case,)* $($log_case,)*); }
    };
    ($flavor:ident, $engine:ident: $($case:ident,)*) => {
        $(suite!(@$flavor $engine $case);)*
    };
    (@multi_thread $engine:ident $case:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $case() { super::hold(super::Bench::$engine(), super::$case).await }
    };
    (@current_thread $engine:ident $case:ident) => {
        #[tokio::test(start_paused = true)]
        async fn $case() { super::hold(super::Bench::$engine(), super::$case).await }
    };
}

suite! {
    every engine: {
    describe_returns_the_same_identity_each_time,
    create_does_not_start,
    second_create_conflicts_and_keeps_the_first,
    container_is_found_by_id_labels_and_name,
    renamed_container_is_found_by_id_and_labels,
    exited_container_has_exit_code_and_times,
    unknown_command_is_refused_and_never_runs,
    create_with_missing_image_returns_no_such_image,
    has_image_does_not_pull,
    pull_of_unknown_image_has_a_reason,
    inspect_missing_returns_none_and_remove_missing_succeeds,
    removing_a_running_container_conflicts,
    stop_kills_after_the_grace,
    stopping_an_idle_container_succeeds,
    list_shows_only_this_instance,
    events_report_the_end_of_a_container,
    output_is_ordered_by_channel_and_complete,
    followed_output_ends_with_the_container,
    output_of_a_missing_container_is_not_found,
    environment_and_labels_reach_the_container,
    pulls_of_one_image_share_one_answer,
    starting_an_exited_container_runs_it_again,
    }
    by its log: {
    event_log_shows_whether_a_container_ran,
    event_log_shows_creation_and_start_by_engine,
    event_log_shows_removed_attempts_and_its_reach,
    }
    with a real shell: {
    container_that_handles_the_signal_ends_itself,
    followed_output_equals_fetched_up_to_unterminated_line,
    long_line_comes_in_pieces_of_one_size,
    }
}

async fn describe_returns_the_same_identity_each_time(bench: Arc<Bench>) {
    let first = bench.engine.describe().await.expect("an answer");
    assert!(!first.id.0.is_empty() && !first.version.is_empty());
    assert_eq!(bench.engine.describe().await.expect("an answer"), first);
}

async fn create_does_not_start(bench: Arc<Bench>) {
    let (launch, id) = bench.create("true").await;
    let container = bench.look(&launch).await;
    assert_eq!(
        (container.id, container.owner, container.phase),
        (id, Some(launch.owner), Phase::Created { refusal: None })
    );
}

async fn second_create_conflicts_and_keeps_the_first(bench: Arc<Bench>) {
    let (launch, id) = bench.create("true").await;
    assert!(matches!(bench.engine.create(&launch).await, Err(EngineError::Conflict(_))));
    assert_eq!(bench.look(&launch).await.id, id);
}

async fn container_is_found_by_id_labels_and_name(bench: Arc<Bench>) {
    let (launch, id) = bench.create("true").await;
    let (other, _) = bench.create("true").await;
    let by_id = bench.engine.inspect(&id).await.expect("an answer").expect("it is there");
    assert_eq!((&by_id.id, by_id.owner), (&id, Some(launch.owner)));
    assert_eq!(bench.engine.find(&launch.owner).await.expect("an answer"), Some(by_id.clone()));
    assert_eq!(bench.engine.named(&launch.name).await.expect("an answer"), Some(by_id));
    let next = Owner { attempt: Attempt(2), ..other.owner };
    assert_eq!(
        bench.engine.find(&next).await.expect("an answer"),
        None,
        "another attempt is not there"
    );
}

async fn renamed_container_is_found_by_id_and_labels(bench: Arc<Bench>) {
    let (launch, id) = bench.run("sleep 30").await;
    bench.rename(&id).await;
    for seen in [bench.engine.inspect(&id).await, bench.engine.find(&launch.owner).await] {
        let seen = seen.expect("an answer").expect("it is there");
        assert!(seen.id == id && matches!(seen.phase, Phase::Running { .. }), "{seen:?}");
    }
    assert_eq!(
        bench.engine.named(&launch.name).await.expect("an answer"),
        None,
        "its name is free"
    );
    let second = bench.engine.create(&launch).await.expect("the name is free");
    let found = bench.engine.find(&launch.owner).await.expect("an answer").expect("it is there");
    assert!(second != id && found.id == id, "of two, the one that runs is found");
}

async fn exited_container_has_exit_code_and_times(bench: Arc<Bench>) {
    let launch = bench.run_until_let_go(7).await;
    let Phase::Running { started_at } = bench.look(&launch).await.phase else { panic!("it runs") };
    bench.let_go().await;
    let container = bench.ended(&launch).await;
    assert!(container.image_digest.is_some());
    let Phase::Exited { started_at: again, exit } = container.phase else { panic!("it has ended") };
    assert_eq!((again, exit.code, exit.oom_killed), (started_at, 7, false));
    assert!((exit.at - started_at).num_milliseconds() >= 1_900, "{exit:?} {started_at}");
}

async fn unknown_command_is_refused_and_never_runs(bench: Arc<Bench>) {
    let launch = bench.launch(serde_json::json!({"command": ["frobnicate"]}));
    let id = bench.engine.create(&launch).await.expect("it can be created");
    let refused = bench.engine.start(&id).await;
    assert!(
        matches!(refused, Err(EngineError::Refused { reason: Reason::CommandNotFound, .. })),
        "{refused:?}"
    );
    let phase = bench.look(&launch).await.phase;
    assert!(matches!(phase, Phase::Created { .. }), "it never ran: {phase:?}");
}

async fn create_with_missing_image_returns_no_such_image(bench: Arc<Bench>) {
    let launch = bench.launch(serde_json::json!({"image": "no-such-image-here:1"}));
    let created = bench.engine.create(&launch).await;
    assert!(matches!(created, Err(EngineError::NoSuchImage)), "{created:?}");
}

async fn has_image_does_not_pull(bench: Arc<Bench>) {
    let has = async |name: &str| {
        bench.engine.has_image(&name.parse().unwrap()).await.expect("it answers")
    };
    assert!(has("busybox").await && has("busybox:latest").await);
    assert!(
        !has("no-such-image-here").await && !has("no-such-registry.example/no-such-image:1").await
    );
}

async fn pull_of_unknown_image_has_a_reason(bench: Arc<Bench>) {
    let pulled = bench.engine.pull(&"no-such-image-here:1".parse().unwrap(), None, &|_| {}).await;
    assert!(
        matches!(
            pulled,
            Err(EngineError::Refused {
                reason: Reason::ImageNotFound | Reason::PullFailed | Reason::PullDenied,
                ..
            })
        ),
        "{pulled:?}"
    );
}

async fn inspect_missing_returns_none_and_remove_missing_succeeds(bench: Arc<Bench>) {
    let (launch, id) = bench.create("true").await;
    bench.engine.remove(&id).await.expect("it can be removed");
    assert_eq!(bench.engine.inspect(&id).await.expect("an answer"), None);
    assert_eq!(bench.engine.find(&launch.owner).await.expect("an answer"), None);
    assert_eq!(bench.engine.named(&launch.name).await.expect("an answer"), None);
    bench.engine.remove(&id).await.expect("again");
    bench.engine.stop(&id, Duration::from_secs(1)).await.expect("what is gone needs no stop");
    assert!(matches!(bench.engine.start(&id).await, Err(EngineError::NotFound)));
}

async fn removing_a_running_container_conflicts(bench: Arc<Bench>) {
    let (launch, id) = bench.run("sleep 3600").await;
    let removed = bench.engine.remove(&id).await;
    assert!(matches!(removed, Err(EngineError::Conflict(_))), "{removed:?}");
    assert!(matches!(bench.look(&launch).await.phase, Phase::Running { .. }));
}

async fn stop_kills_after_the_grace(bench: Arc<Bench>) {
    let (deaf, id) = bench.run("trap '' TERM; echo ready; sleep 3600; sleep 3600").await;
    bench.until_said(&id, "ready").await;
    bench.engine.stop(&id, Duration::from_secs(1)).await.expect("it can be stopped");
    let Phase::Exited { exit, .. } = bench.ended(&deaf).await.phase else { panic!("it has ended") };
    assert_eq!(exit.code, 137);
}

async fn container_that_handles_the_signal_ends_itself(bench: Arc<Bench>) {
    let (heeds, id) =
        bench.run("trap 'exit 5' TERM; echo ready; while true; do sleep 1; done").await;
    bench.until_said(&id, "ready").await;
    bench.engine.stop(&id, Duration::from_secs(200)).await.expect("it can be stopped");
    let Phase::Exited { exit, .. } = bench.ended(&heeds).await.phase else {
        panic!("it has ended")
    };
    assert_eq!(exit.code, 5);
}

async fn stopping_an_idle_container_succeeds(bench: Arc<Bench>) {
    let (launch, id) = bench.create("exit 3").await;
    bench.engine.stop(&id, Duration::from_secs(1)).await.expect("what never ran needs no stop");
    assert_eq!(bench.look(&launch).await.phase, Phase::Created { refusal: None });
    bench.engine.start(&id).await.expect("it can be started");
    bench.ended(&launch).await;
    bench.engine.stop(&id, Duration::from_secs(1)).await.expect("what has ended needs no stop");
    let Phase::Exited { exit, .. } = bench.look(&launch).await.phase else {
        panic!("it has ended")
    };
    assert_eq!(exit.code, 3);
}

async fn list_shows_only_this_instance(bench: Arc<Bench>) {
    let (created, _) = bench.create("true").await;
    let (running, _) = bench.run("sleep 3600").await;
    let stranger = Bench {
        renamer: bench.renamer.clone(),
        engine: bench.engine.clone(),
        clock: bench.clock.clone(),
        instance: InstanceId::new(bench.rng.bytes()),
        rng: Rng::from_system(),
        folder: None,
        _daemon: None,
    };
    stranger.create("true").await;
    let mut listed = bench.engine.list(bench.instance).await.expect("an answer");
    stranger.clear().await;
    listed.sort_by_key(|listed| listed.running);
    let shown: Vec<_> = listed.iter().map(|l| (l.name.as_str(), l.owner, l.running)).collect();
    assert_eq!(
        shown,
        [
            (created.name.as_str(), Some(created.owner), false),
            (running.name.as_str(), Some(running.owner), true)
        ]
    );
}

async fn events_report_the_end_of_a_container(bench: Arc<Bench>) {
    let mut hints = bench.engine.events(bench.instance).await.expect("a stream");
    let (launch, _) = bench.run("sleep 1").await;
    let ended = async {
        while let Some(hint) = hints.next().await {
            if hint.expect("a hint").job == launch.owner.job
                && matches!(bench.look(&launch).await.phase, Phase::Exited { .. })
            {
                return;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(crate::support::PATIENCE, ended).await.expect("a hint in time");
}

async fn output_is_ordered_by_channel_and_complete(bench: Arc<Bench>) {
    let (launch, id) = bench.run("echo one; sleep 1; echo two >&2; sleep 1; printf 'no end'").await;
    bench.ended(&launch).await;
    let lines = bench.output(&id, false).await;
    let said: Vec<(&[u8], Channel)> =
        lines.iter().map(|line| (&line.text[..], line.channel)).collect();
    assert_eq!(
        said,
        [(&b"one"[..], Channel::Stdout), (b"two", Channel::Stderr), (b"no end", Channel::Stdout)]
    );
    assert!(lines[0].complete && lines[1].complete);
    assert!((lines[1].at - lines[0].at).num_milliseconds() >= 900, "each line has its own time");
}

async fn followed_output_ends_with_the_container(bench: Arc<Bench>) {
    let (_, id) = bench.run("echo one; sleep 1; echo two").await;
    let lines = tokio::time::timeout(crate::support::PATIENCE, bench.output(&id, true))
        .await
        .expect("it ends");
    assert_eq!(lines.iter().map(|line| &line.text[..]).collect::<Vec<_>>(), [b"one", b"two"]);
}

async fn followed_output_equals_fetched_up_to_unterminated_line(bench: Arc<Bench>) {
    let script = "echo a; echo; printf 'b\\r\\n'; printf part; sleep 1; echo ' of a line'; printf '\\303\\274 \\000.\\n'; sleep 1; printf tail";
    let (launch, id) = bench.run(script).await;
    let mut followed = tokio::time::timeout(crate::support::PATIENCE, bench.output(&id, true))
        .await
        .expect("it ends");
    bench.ended(&launch).await;
    let fetched = bench.output(&id, false).await;
    let texts: Vec<&[u8]> = fetched.iter().map(|line| &line.text[..]).collect();
    let expected: [&[u8]; 6] =
        [b"a", b"", b"b\r", b"part of a line", "\u{fc} \0.".as_bytes(), b"tail"];
    assert_eq!(texts, expected);
    // An engine may learn of a last line without a line end only after it has read the whole
    // output.
    followed.retain(|line| line.complete);
    assert_eq!(followed[..], fetched[..5]);
    assert!(!fetched[5].complete);
}

async fn long_line_comes_in_pieces_of_one_size(bench: Arc<Bench>) {
    const PIECE: usize = 16 * 1024;
    let kib = "i=0; while [ $i -lt 20 ]; do printf %01024d 0; i=$((i+1)); done";
    let (launch, id) = bench.run(&format!("{kib}; {kib}; echo; echo short")).await;
    bench.ended(&launch).await;
    for follow in [false, true] {
        let lines = bench.output(&id, follow).await;
        let shape: Vec<(usize, bool)> =
            lines.iter().map(|line| (line.text.len(), line.complete)).collect();
        assert_eq!(
            shape,
            [(PIECE, false), (PIECE, false), (40 * 1024 - 2 * PIECE, true), (5, true)],
            "follow: {follow}"
        );
    }
}

async fn output_of_a_missing_container_is_not_found(bench: Arc<Bench>) {
    let (_, id) = bench.create("true").await;
    bench.engine.remove(&id).await.expect("it can be removed");
    for follow in [false, true] {
        let output = bench.engine.logs(&id, follow).await.err();
        assert!(matches!(output, Some(EngineError::NotFound)), "{output:?}");
    }
}

async fn environment_and_labels_reach_the_container(bench: Arc<Bench>) {
    let launch = bench.launch(serde_json::json!({"command": ["sh", "-c", "echo $K $TIDETABLE_JOB_ID"], "env": {"K": "V"}, "labels": {"team": "a"}}));
    let id = bench.engine.create(&launch).await.expect("it can be created");
    bench.engine.start(&id).await.expect("it can be started");
    assert_eq!(bench.ended(&launch).await.owner, Some(launch.owner));
    assert_eq!(
        bench.output(&id, false).await[0].text,
        format!("V {}", launch.owner.job).into_bytes()
    );
}

async fn event_log_shows_whether_a_container_ran(bench: Arc<Bench>) {
    let (_, never) = bench.create("true").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let since = bench.clock.now();
    let (launch, ran) = bench.run("true").await;
    bench.ended(&launch).await;
    bench.engine.remove(&never).await.expect("it can be removed");
    bench.engine.remove(&ran).await.expect("it can be removed");
    let evidence =
        |id| bench.engine.query_event_log(id, EvidenceQuery::StartedBeforeRemoval, since);
    assert_eq!(evidence(&never).await.expect("an answer"), Evidence::NotSeen);
    assert_eq!(evidence(&ran).await.expect("an answer"), Evidence::Seen);
    let stranger = ContainerId("0".repeat(64));
    let unknown = evidence(&stranger).await.expect("an answer");
    assert_eq!(unknown, Evidence::Inconclusive, "a log without its removal proves nothing");
}

async fn event_log_shows_creation_and_start_by_engine(bench: Arc<Bench>) {
    let (launch, id) = bench.run("exit 3").await;
    let Phase::Exited { started_at, .. } = bench.ended(&launch).await.phase else {
        panic!("it has ended")
    };
    let since = started_at - chrono::Duration::seconds(5);
    let evidence = bench
        .engine
        .query_event_log(&id, EvidenceQuery::StartedByThisEngine, since)
        .await
        .expect("an answer");
    assert_eq!(evidence, Evidence::Seen);
    let evidence = bench
        .engine
        .query_event_log(&id, EvidenceQuery::CreatedByThisEngine, since)
        .await
        .expect("an answer");
    assert_eq!(evidence, Evidence::Seen);
}

async fn event_log_shows_removed_attempts_and_its_reach(bench: Arc<Bench>) {
    let long_ago = bench.clock.now() - chrono::Duration::days(10_000);
    let (never, id) = bench.create("true").await;
    bench.engine.remove(&id).await.expect("it can be removed");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let since = bench.clock.now() - chrono::Duration::seconds(1);
    let (gone, id) = bench.run("true").await;
    bench.ended(&gone).await;
    bench.engine.remove(&id).await.expect("it can be removed");
    let (runs, _) = bench.run("sleep 5").await;
    let started = bench.engine.started(bench.instance, since).await.expect("an answer");
    assert!(started.reaches_back, "a container was made before");
    assert_eq!(
        started.attempts,
        [gone.owner.job, runs.owner.job].map(|job| (job, Attempt(1))).into(),
        "{never:?}"
    );
    let of_nobody = bench
        .engine
        .started(InstanceId::new(bench.rng.bytes()), long_ago)
        .await
        .expect("an answer");
    assert!(of_nobody.attempts.is_empty() && !of_nobody.reaches_back, "{of_nobody:?}");
}

async fn pulls_of_one_image_share_one_answer(bench: Arc<Bench>) {
    let image = "no-such-image-here:1".parse().unwrap();
    let (one, other) = tokio::join!(
        bench.engine.pull(&image, None, &|_| {}),
        bench.engine.pull(&image, None, &|_| {})
    );
    let (one, other) = (one.expect_err("it is nowhere"), other.expect_err("it is nowhere"));
    assert_eq!(one.to_string(), other.to_string());
}

/// Explains the rule of one `start` call for each intent: a second call would run the job twice.
async fn starting_an_exited_container_runs_it_again(bench: Arc<Bench>) {
    let (launch, id) = bench.run("echo ran").await;
    bench.ended(&launch).await;
    bench.engine.start(&id).await.expect("engines do that");
    let end = tokio::time::Instant::now() + crate::support::PATIENCE;
    while bench.output(&id, false).await.len() < 2 && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.ended(&launch).await;
    assert_eq!(bench.output(&id, false).await.len(), 2);
}
