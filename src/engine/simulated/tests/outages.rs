//! Tests of outages and interference, and that one seed gives one run.

use super::*;

#[tokio::test(start_paused = true)]
async fn going_down_keeps_ends_or_loses_processes() {
    for (toll, then) in [
        (RestartEffect::Kept, "running"),
        (RestartEffect::Ended, "exited 137"),
        (RestartEffect::Lost, "exited 255"),
    ] {
        let bench = bench();
        bench.run(1, "sleep 60").await;
        let mut hints = bench.engine.events(ours()).await.expect("a stream");
        bench.engine.go_down(toll);
        let down_at = bench.clock.now();
        assert!(hints.next().await.is_none(), "its streams end");
        unanswered(bench.engine.describe().await);
        unanswered(bench.engine.create(&launch(2, "true")).await);
        sleep(ms(5_000)).await;
        bench.engine.come_up();
        assert_eq!(bench.stands(1).await, then);
        let dead_for = match bench.phase(1).await {
            Some(Phase::Exited { exit, .. }) => Some((exit.at - down_at).num_seconds()),
            _ => None,
        };
        let dated = match toll {
            RestartEffect::Kept => None,
            RestartEffect::Ended => Some(0),
            RestartEffect::Lost => Some(5),
        };
        assert_eq!(dead_for, dated, "{toll:?}");
        let ended = bench
            .engine
            .recorded_events()
            .last()
            .map(|e| (e.at, e.what != EventKind::Start))
            .expect("evidence");
        assert_eq!(
            ended.1,
            toll != RestartEffect::Kept,
            "the evidence has what the engine did not see"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn restart_keeps_containers_and_empties_event_log() {
    let bench = bench();
    let since = bench.clock.now();
    let id = bench.run(1, "sleep 60").await;
    let asked = async |bench: &Bench, question| {
        bench.engine.query_event_log(&id, question, since).await.expect("an answer")
    };
    assert_eq!(asked(&bench, EvidenceQuery::StartedByThisEngine).await, Evidence::Seen);
    assert_eq!(asked(&bench, EvidenceQuery::CreatedByThisEngine).await, Evidence::Seen);
    bench.engine.restart(true);
    assert_eq!(asked(&bench, EvidenceQuery::StartedByThisEngine).await, Evidence::NotSeen);
    assert_eq!(asked(&bench, EvidenceQuery::CreatedByThisEngine).await, Evidence::NotSeen);
    let before_removal = bench
        .engine
        .query_event_log(&id, EvidenceQuery::StartedBeforeRemoval, since)
        .await
        .expect("an answer");
    assert_eq!(before_removal, Evidence::Inconclusive);
}

#[tokio::test(start_paused = true)]
async fn overrun_event_log_is_inconclusive() {
    let bench = bench();
    let since = bench.clock.now();
    let id = bench.run(1, "true").await;
    sleep(ms(10)).await;
    for job in 2..=250 {
        let other = bench.create(job, "true").await;
        bench.engine.remove(&other).await.expect("it is removed");
    }
    let told = bench
        .engine
        .query_event_log(&id, EvidenceQuery::StartedByThisEngine, since)
        .await
        .expect("an answer");
    assert_eq!(told, Evidence::Inconclusive);
}

#[tokio::test(start_paused = true)]
async fn log_with_removal_must_reach_back_to_since() {
    let bench = bench();
    let id = bench.create(1, "true").await;
    sleep(ms(1_000)).await;
    let since = bench.clock.now();
    sleep(ms(1_000)).await;
    bench.engine.restart(false);
    bench.engine.remove(&id).await.expect("it is removed");
    let asked = bench
        .engine
        .query_event_log(&id, EvidenceQuery::StartedBeforeRemoval, since)
        .await
        .expect("an answer");
    assert_eq!(
        asked,
        Evidence::Inconclusive,
        "the log begins after the instant that is asked about"
    );

    let bench = self::bench();
    let id = bench.create(1, "true").await;
    sleep(ms(1_000)).await;
    let since = bench.clock.now();
    bench.engine.remove(&id).await.expect("it is removed");
    let asked = bench
        .engine
        .query_event_log(&id, EvidenceQuery::StartedBeforeRemoval, since)
        .await
        .expect("an answer");
    assert_eq!(asked, Evidence::NotSeen);
}

#[tokio::test(start_paused = true)]
async fn calls_sent_before_outage_happen_then_or_never() {
    let mut ran = Vec::new();
    for seed in 0..16 {
        let faults = Some(nth(Call::Start, 0, Fault::Late(ms(400))));
        let bench = with(Settings { seed, faults, ..Settings::default() });
        let id = bench.create(1, "sleep 60").await;
        let (started, ()) = tokio::join!(bench.engine.start(&id), async {
            sleep(ms(100)).await;
            bench.engine.go_down(RestartEffect::Kept);
            bench.engine.come_up();
        });
        unanswered(started);
        let stood = bench.stands(1).await;
        sleep(ms(1_000)).await;
        assert_eq!(bench.stands(1).await, stood, "not later");
        ran.push(stood);
    }
    assert!(ran.contains(&"created".to_owned()) && ran.contains(&"running".to_owned()), "{ran:?}");
}

#[tokio::test(start_paused = true)]
async fn thawed_engine_performs_calls_of_gone_callers() {
    let bench = bench();
    let id = bench.create(1, "sleep 60").await;
    bench.engine.pause();
    assert!(tokio::time::timeout(ms(1_000), bench.engine.describe()).await.is_err());
    assert!(tokio::time::timeout(ms(1_000), bench.engine.start(&id)).await.is_err());
    let name = launch(1, "").name;
    let (answered, ()) = tokio::join!(bench.engine.named(&name), async {
        sleep(ms(1_000)).await;
        bench.engine.resume();
    });
    let phase = answered.expect("an answer").map(|container| container.phase);
    let thawed_at = bench.clock.now();
    assert_eq!(phase, Some(Phase::Running { started_at: thawed_at }));
}

#[tokio::test(start_paused = true)]
async fn process_ends_on_time_while_engine_is_frozen() {
    let bench = bench();
    bench.run(1, "sleep 1").await;
    bench.engine.pause();
    sleep(ms(5_000)).await;
    bench.engine.resume();
    let lasted = bench.engine.runs()[0].ended.map(|(at, _)| at - bench.engine.runs()[0].started_at);
    assert_eq!(lasted, Some(chrono::Duration::seconds(1)));
}

#[tokio::test(start_paused = true)]
async fn cut_breaks_calls_and_streams_but_no_container() {
    let costs = Costs { start: ms(200), ..Costs::default() };
    let bench = with(Settings { costs, ..Settings::default() });
    let id = bench.create(1, "sleep 60").await;
    let mut hints = bench.engine.events(ours()).await.expect("a stream");
    let (started, ()) = tokio::join!(bench.engine.start(&id), async {
        sleep(ms(100)).await;
        bench.engine.cut(true);
    });
    unanswered(started);
    assert!(hints.next().await.is_none());
    unanswered(bench.engine.list(ours()).await);
    sleep(ms(1_000)).await;
    bench.engine.cut(false);
    assert_eq!(bench.stands(1).await, "running", "it was sent before the cut");
}

#[tokio::test(start_paused = true)]
async fn followed_output_fails_when_the_connection_breaks() {
    let bench = bench();
    let id = bench.run(1, "sleep 60").await;
    let mut followed = bench.engine.logs(&id, true).await.expect("a stream");
    let (line, ()) = tokio::join!(followed.next(), async { bench.engine.cut(true) });
    assert!(matches!(line, Some(Err(EngineError::NoAnswer(_)))));
    assert!(followed.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn swapped_engine_has_another_id_and_no_containers() {
    let bench = bench();
    bench.run(1, "sleep 2").await;
    let id = bench.engine.describe().await.expect("an answer").id;
    bench.engine.swap();
    assert_ne!(bench.engine.describe().await.expect("an answer").id, id);
    assert_eq!(bench.stands(1).await, "gone");
    sleep(ms(5_000)).await;
    assert_eq!(bench.happened().last(), Some(&EventKind::Die(0)), "it goes on out of reach");
    bench.engine.swap_back();
    assert_eq!(bench.engine.describe().await.expect("an answer").id, id);
    assert_eq!(bench.stands(1).await, "exited 0");
}

#[tokio::test(start_paused = true)]
async fn record_marks_events_caused_by_others() {
    let bench = bench();
    let started = bench.create(1, "true").await;
    bench.engine.start_behind_back(&started).expect("it starts");
    bench.run(2, "sleep 60").await;
    bench.create(3, "true").await;
    let removed = bench.engine.container_of(JobId::from_bytes([2; 16])).expect("it is there");
    bench.engine.remove_behind_back(&removed);
    let renamed = bench.engine.container_of(JobId::from_bytes([3; 16])).expect("it is there");
    bench.engine.rename(&renamed, "something-else").expect("it is renamed");
    assert_eq!((bench.stands(2).await.as_str(), bench.stands(3).await.as_str()), ("gone", "gone"));
    assert_eq!(bench.engine.prune(), 2);
    assert!(bench.engine.containers().is_empty());
    let by_others = bench.engine.recorded_events().into_iter().filter(|e| e.by_somebody_else);
    assert_eq!(
        by_others.map(|e| (e.owner.map(|o| o.job.as_bytes()[0]), e.what)).collect::<Vec<_>>(),
        [
            (Some(1), EventKind::Start),
            (Some(2), EventKind::Die(137)),
            (Some(2), EventKind::Destroy),
            (Some(3), EventKind::Destroy),
            (Some(1), EventKind::Destroy)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn container_without_labels_has_no_owner() {
    let bench = bench();
    bench.engine.create_behind_back(&launch(1, "true"), false).expect("it is created");
    let container =
        bench.engine.named(&launch(1, "").name).await.expect("an answer").expect("it is there");
    assert_eq!(container.owner, None);
    assert!(bench.engine.list(ours()).await.expect("an answer").is_empty());
    conflicts(bench.engine.create(&launch(1, "true")).await);
}

#[tokio::test(start_paused = true)]
async fn setting_the_clock_moves_no_process_end() {
    let bench = bench();
    bench.run(1, "sleep 1").await;
    bench.run(2, "sleep 10").await;
    sleep(ms(2_000)).await;
    assert_eq!(bench.stands(1).await, "exited 0");
    bench.clock.set_by_seconds.store(-3_600, Ordering::Relaxed);
    assert_eq!(
        (bench.stands(1).await.as_str(), bench.stands(2).await.as_str()),
        ("exited 0", "running")
    );
    bench.clock.set_by_seconds.store(3_600, Ordering::Relaxed);
    assert_eq!(bench.stands(2).await, "running");
    sleep(ms(8_000)).await;
    assert_eq!(bench.stands(2).await, "exited 0");
    let Some(Phase::Exited { exit, .. }) = bench.phase(2).await else { panic!("it has ended") };
    assert_eq!(exit.at, bench.clock.now(), "dated by the clock as it was when it ended");
}

#[tokio::test(start_paused = true)]
async fn container_events_come_without_a_kept_record() {
    let bench = with(Settings { keep_record: false, ..Settings::default() });
    let mut hints = bench.engine.events(ours()).await.expect("a stream");
    bench.run(1, "true").await;
    assert_eq!(bench.hints_within_a_second(&mut hints).await, [1, 1, 1]);
    assert!(bench.engine.recorded_events().is_empty());
}

/// Runs three callers at once on an engine on which a third of everything fails.
async fn story(seed: u64) -> Vec<String> {
    let faults = Some(seeded(seed, Odds { per_mille: 333, longest: ms(3_000) }));
    let bench = with(Settings { seed, faults, ..Settings::default() });
    let caller = async |job: u8| {
        let mut told = Vec::new();
        for _ in 0..4 {
            let created = bench.engine.create(&launch(job, "echo hi; sleep 0.5; exit 3")).await;
            told.push(format!("{job} {created:?}"));
            if let Some(id) = bench.engine.container_of(JobId::from_bytes([job; 16])) {
                told.push(format!("{:?}", bench.engine.start(&id).await));
                sleep(ms(u64::from(job) * 100)).await;
                told.push(format!("{:?}", bench.engine.named(&launch(job, "").name).await));
                told.push(format!("{:?}", bench.engine.stop(&id, ms(100)).await));
                told.push(format!("{:?}", bench.engine.remove(&id).await));
            }
        }
        told
    };
    let told = tokio::join!(caller(1), caller(2), caller(3), async {
        sleep(ms(1_500)).await;
        bench.engine.restart(true);
    });
    sleep(bench.engine.quiet_in()).await;
    assert_eq!(bench.engine.on_their_way(), 0);
    let evidence =
        bench.engine.recorded_events().into_iter().map(|evidence| format!("{evidence:?}"));
    [told.0, told.1, told.2].concat().into_iter().chain(evidence).collect()
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_run() {
    for seed in 0..20 {
        assert_eq!(story(seed).await, story(seed).await, "seed {seed}");
    }
    assert_ne!(story(1).await, story(2).await);
}
