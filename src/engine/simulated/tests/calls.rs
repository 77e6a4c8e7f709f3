//! Tests of the calls: their effects without faults, and the effect of each fault.

use super::*;

#[tokio::test(start_paused = true)]
async fn container_runs_its_script_at_each_start() {
    let bench = bench();
    let id = bench.run(1, "sleep 2; exit 7").await;
    bench.engine.start(&id).await.expect("one that runs is left alone");
    sleep(ms(1_999)).await;
    assert_eq!(bench.stands(1).await, "running");
    sleep(ms(1)).await;
    assert_eq!(bench.stands(1).await, "exited 7");
    bench.engine.start(&id).await.expect("it runs again");
    sleep(ms(2_000)).await;
    bench.engine.remove(&id).await.expect("it is removed");
    let lasted =
        |run: Run| run.ended.map(|(at, code)| ((at - run.started_at).num_milliseconds(), code));
    assert_eq!(
        bench.engine.runs().into_iter().map(lasted).collect::<Vec<_>>(),
        [Some((2_000, 7)), Some((2_000, 7))]
    );
}

#[tokio::test(start_paused = true)]
async fn stop_signals_first_and_kills_after_the_grace() {
    let bench = bench();
    let listens = bench.run(1, "sleep 60").await;
    let deaf = bench.run(2, "trap '' TERM; sleep 60").await;
    let began = tokio::time::Instant::now();
    bench.engine.stop(&listens, ms(5_000)).await.expect("it stops");
    assert_eq!((bench.stands(1).await.as_str(), began.elapsed() < ms(100)), ("exited 143", true));
    bench.engine.stop(&deaf, ms(5_000)).await.expect("it is killed");
    assert_eq!(
        (bench.stands(2).await.as_str(), began.elapsed() >= ms(5_000)),
        ("exited 137", true)
    );
}

#[tokio::test(start_paused = true)]
async fn lost_answer_does_not_undo_the_call() {
    let created = first(Call::Create, Fault::AnswerLost);
    unanswered(created.engine.create(&launch(1, "true")).await);
    assert_eq!(created.stands(1).await, "created");
    conflicts(created.engine.create(&launch(1, "true")).await);

    let started = first(Call::Start, Fault::AnswerLost);
    let id = started.create(1, "sleep 1").await;
    unanswered(started.engine.start(&id).await);
    assert_eq!(started.stands(1).await, "running");

    let removed = first(Call::Remove, Fault::AnswerLost);
    let id = removed.create(1, "true").await;
    unanswered(removed.engine.remove(&id).await);
    assert_eq!(removed.stands(1).await, "gone");
}

#[tokio::test(start_paused = true)]
async fn call_not_done_or_hung_never_happens_later() {
    for fault in [Fault::NotDone, Fault::Hang(ms(500))] {
        let bench = first(Call::Start, fault);
        let id = bench.create(1, "true").await;
        unanswered(bench.engine.start(&id).await);
        sleep(ms(60_000)).await;
        assert_eq!(bench.stands(1).await, "created");
    }
}

#[tokio::test(start_paused = true)]
async fn done_then_hang_takes_effect_at_once() {
    let bench = first(Call::Start, Fault::DoneThenHang(ms(500)));
    let id = bench.create(1, "sleep 60").await;
    let heard = tokio::time::timeout(ms(100), bench.engine.start(&id)).await;
    assert!(heard.is_err());
    assert_eq!(bench.stands(1).await, "running");
}

#[tokio::test(start_paused = true)]
async fn dropped_caller_does_not_cancel_its_call() {
    for fault in [Fault::Late(ms(400)), Fault::LostAndLate(ms(400))] {
        let bench = first(Call::Start, fault);
        let id = bench.create(1, "sleep 60").await;
        let sent_at = bench.clock.now();
        let _gone = tokio::time::timeout(ms(100), bench.engine.start(&id)).await;
        assert_eq!((bench.stands(1).await.as_str(), bench.engine.on_their_way()), ("created", 1));
        sleep(ms(60_000)).await;
        // Nothing accessed the engine when the call was due; its date is right all the same.
        assert_eq!(
            bench.engine.recorded_events()[1].at - sent_at,
            chrono::Duration::milliseconds(400)
        );
        assert_eq!(bench.engine.on_their_way(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn late_call_answers_by_the_later_state() {
    let bench = first(Call::Remove, Fault::Late(ms(50)));
    let id = bench.run(1, "sleep 60").await;
    conflicts(bench.engine.remove(&id).await);

    let bench = with(Settings {
        faults: Some(nth(Call::Create, 1, Fault::Late(ms(50)))),
        ..Settings::default()
    });
    bench.create(1, "true").await;
    conflicts(bench.engine.create(&launch(1, "true")).await);

    let bench = first(Call::Start, Fault::Late(ms(50)));
    let unknown = bench.engine.start(&ContainerId("x".to_owned())).await;
    assert!(matches!(unknown, Err(EngineError::NotFound)), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn late_start_of_a_removed_container_starts_nothing() {
    let bench = first(Call::Start, Fault::LostAndLate(ms(400)));
    let id = bench.create(1, "true").await;
    unanswered(bench.engine.start(&id).await);
    bench.engine.remove(&id).await.expect("it does not run yet");
    sleep(ms(1_000)).await;
    assert_eq!(bench.happened(), [EventKind::Create, EventKind::Destroy]);
}

#[tokio::test(start_paused = true)]
async fn phantom_takes_a_name_no_inspection_shows() {
    let bench = first(Call::Create, Fault::Phantom(ms(300)));
    for _ in 0..2 {
        conflicts(bench.engine.create(&launch(1, "true")).await);
        assert_eq!(bench.stands(1).await, "gone");
    }
    sleep(ms(300)).await;
    bench.create(1, "true").await;
}

#[tokio::test(start_paused = true)]
async fn full_disk_refuses_and_marks_the_container() {
    let created = first(Call::Create, Fault::DiskFull);
    refused(created.engine.create(&launch(1, "true")).await, Reason::CreateFailed);
    let started = first(Call::Start, Fault::DiskFull);
    let id = started.create(1, "true").await;
    refused(started.engine.start(&id).await, Reason::StartFailed);
    assert_eq!(started.stands(1).await, "refused 128");
    let removed = first(Call::Remove, Fault::DiskFull);
    let id = removed.create(1, "true").await;
    removed.engine.remove(&id).await.expect("a full disk keeps nobody from removing");
}

#[tokio::test(start_paused = true)]
async fn image_exists_after_all_layers_are_pulled() {
    let image = "team/pull-me:1".parse().expect("an image");
    let launch = Launch { image, ..launch(1, "true") };
    let pull = async |bench: &Bench| bench.engine.pull(&launch.image, None, &|_| {}).await;

    let well = bench();
    assert!(matches!(well.engine.create(&launch).await, Err(EngineError::NoSuchImage)));
    let began = tokio::time::Instant::now();
    pull(&well).await.expect("it comes");
    assert_eq!(began.elapsed(), ms(1_000));
    well.engine.create(&launch).await.expect("it is there");

    let half =
        with(Settings { faults: Some(nth(Call::Layer, 2, Fault::Ends)), ..Settings::default() });
    refused(pull(&half).await, Reason::PullFailed);
    assert!(matches!(half.engine.create(&launch).await, Err(EngineError::NoSuchImage)));
    pull(&half).await.expect("the second time it comes");

    let stalls = first(Call::Layer, Fault::Late(ms(5_000)));
    let began = tokio::time::Instant::now();
    pull(&stalls).await.expect("it comes");
    assert_eq!(began.elapsed(), ms(6_000));

    let lost = first(Call::Pull, Fault::AnswerLost);
    unanswered(pull(&lost).await);
    lost.engine.create(&launch).await.expect("it is there");
}

#[tokio::test(start_paused = true)]
async fn container_events_can_be_lost_doubled_or_late() {
    for (fault, said) in [
        (Fault::None, vec![1, 1, 1, 2]),
        (Fault::NotDone, vec![1, 1, 2]),
        (Fault::Twice, vec![1, 1, 1, 1, 2]),
        (Fault::Ends, vec![]),
    ] {
        let bench = first(Call::ContainerEvent, fault);
        let mut hints = bench.engine.events(ours()).await.expect("a stream");
        bench.run(1, "true").await;
        bench.create(2, "true").await;
        assert_eq!(bench.hints_within_a_second(&mut hints).await, said, "{fault:?}");
    }
    let bench = first(Call::ContainerEvent, Fault::Late(ms(500)));
    let mut hints = bench.engine.events(ours()).await.expect("a stream");
    bench.create(1, "true").await;
    bench.create(2, "true").await;
    assert_eq!(bench.hints_within_a_second(&mut hints).await, [2, 1], "others overtake it");
}

#[tokio::test(start_paused = true)]
async fn process_end_is_reported_on_time_without_access() {
    let bench = bench();
    bench.run(1, "sleep 3600").await;
    let mut hints = bench.engine.events(ours()).await.expect("a stream");
    let began = tokio::time::Instant::now();
    hints.next().await.expect("one").expect("a hint");
    assert_eq!(began.elapsed(), ms(3_600_000));
}

#[tokio::test(start_paused = true)]
async fn followed_lines_come_on_time_except_unfinished_last() {
    let bench = bench();
    let id = bench.run(1, "echo one; sleep 1; echo two; sleep 1; printf three").await;
    let began = tokio::time::Instant::now();
    let mut followed = bench.engine.logs(&id, true).await.expect("a stream");
    let mut said = Vec::new();
    while let Some(lines) = followed.next().await {
        for line in lines.expect("lines").iter() {
            said.push((String::from_utf8_lossy(line.text).into_owned(), began.elapsed().as_secs()));
        }
    }
    assert_eq!(said, [("one".to_owned(), 0), ("two".to_owned(), 1)]);
    assert_eq!(began.elapsed(), ms(2_000));
    let all = bench
        .engine
        .logs(&id, false)
        .await
        .expect("output")
        .next()
        .await
        .expect("all")
        .expect("lines");
    let last = all.iter().next_back().expect("a line");
    assert_eq!((all.len(), last.text, last.complete), (3, &b"three"[..], false));
}

#[tokio::test(start_paused = true)]
async fn costs_set_the_time_of_calls() {
    let costs = Costs { start: ms(100), look: ms(5), ..Costs::default() };
    let bench = with(Settings { costs, ..Settings::default() });
    let id = bench.create(1, "sleep 1").await;
    let began = tokio::time::Instant::now();
    bench.engine.start(&id).await.expect("it is started");
    assert_eq!(began.elapsed(), ms(100));
    bench.stands(1).await;
    assert_eq!(began.elapsed(), ms(105));
}
