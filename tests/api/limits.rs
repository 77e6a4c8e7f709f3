//! Queues and limits as callers see them, on the simulated engine and across a restart.

#![expect(clippy::unwrap_used, reason = "a test may")]

use crate::support::Server;
use serde_json::{Value, json};

fn server(config: &str) -> Server {
    Server::start(&["--engine", "simulated"], config, &[])
}

fn later() -> Value {
    json!({"job_name": "busybox", "date": "1h"})
}

#[test]
fn undeclared_queue_is_accepted_with_a_warning() {
    let server = server("[queues.known]\nmax_running = 1");
    for (queue, warned) in [("known", false), ("other", true)] {
        let answer =
            server.post_json("/job", &json!({"job_name": "busybox", "date": "1h", "queue": queue}));
        assert_eq!(answer.status, 201, "{}", answer.text());
        let warning = answer.json()["warning"].as_str().unwrap_or_default().to_owned();
        assert_eq!(warning.contains("[queues.other]"), warned, "{queue}: {warning}");
    }
    let neither = json!({"job_name": "JOB_A", "date": "1h", "queue": "other"});
    let warning = server.post_json("/job", &neither).json()["warning"].as_str().unwrap().to_owned();
    assert!(warning.contains("no_such_job") && warning.contains("no limit"), "{warning}");
}

#[test]
fn queue_outside_the_policy_is_refused() {
    let server = server("[policies.default]\nqueues = ['etl']");
    let problem =
        server.post_json("/job", &json!({"job_name": "busybox", "date": "1h", "queue": "other"}));
    assert_eq!(problem.assert_problem(403, "policy_denied")["field"], "queue");
    assert_eq!(
        server
            .post_json("/job", &json!({"job_name": "busybox", "date": "1h", "queue": "etl"}))
            .status,
        201
    );
}

#[test]
fn invalid_queue_or_limit_names_the_field() {
    let server = server("");
    for (field, value) in
        [("queue", json!("a b")), ("queue", json!("")), ("max_parallel", json!(0))]
    {
        let mut job = later();
        job[field] = value;
        assert_eq!(
            server.post_json("/job", &job).assert_problem(400, "invalid_field")["field"],
            field,
            "{job}"
        );
    }
}

#[test]
fn max_waiting_refuses_more_jobs_even_after_restart() {
    let mut server = server("[policies.default]\nmax_waiting = 2");
    let first = server.submit(later());
    server.submit(later());
    for _ in 0..2 {
        let problem = server.post_json("/job", &later()).assert_problem(429, "too_many_waiting");
        assert!(problem["detail"].as_str().unwrap().contains("max_waiting"), "{problem}");
        server.kill();
        server.up();
    }
    let again = server.call(
        "POST",
        &format!("/job/{first}/rerun"),
        &[("content-type", "application/json")],
        b"{}",
    );
    again.assert_problem(429, "too_many_waiting");
    assert_eq!(server.delete(&format!("/job/{first}")).status, 200);
    server.submit(later());
    server.post_json("/job", &later()).assert_problem(429, "too_many_waiting");
}

#[test]
fn concurrent_submissions_never_exceed_max_waiting() {
    let server = server("[policies.default]\nmax_waiting = 5");
    let accepted: usize = std::thread::scope(|scope| {
        let post = || usize::from(server.post_json("/job", &later()).status == 201);
        let posts: Vec<_> = (0..24).map(|_| scope.spawn(post)).collect();
        posts.into_iter().map(|post| post.join().unwrap()).sum()
    });
    assert!((1..=5).contains(&accepted), "{accepted} were accepted");
    for _ in accepted..5 {
        server.submit(later());
    }
    server.post_json("/job", &later()).assert_problem(429, "too_many_waiting");
}
