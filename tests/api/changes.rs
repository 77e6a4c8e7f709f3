//! The changes that a caller may make: a new date for a waiting job, a rerun of a finished one, and
//! a stop. Includes idempotency keys.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::process::Command;

use crate::support::{Answer, Server};
use serde_json::{Value, json};

fn patch(server: &Server, id: &str, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    server.call("PATCH", &format!("/job/{id}"), &json, body.to_string().as_bytes())
}

#[test]
fn waiting_job_gets_a_new_date_and_runs() {
    let mut server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "1h"}));
    let answer = patch(&server, &id, &json!({"date": "20-06-2099 13:25:28"}));
    let said = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(
        said["message"],
        format!("job busybox with id {id} will be scheduled to run at 20-06-2099 13:25:28")
    );
    server.kill();
    server.up();
    let job = server.get(&format!("/job/{id}")).json();
    assert_eq!(
        (&job["scheduled_to"], &job["status"]),
        (&json!("20-06-2099 13:25:28"), &json!("scheduled"))
    );
    assert_eq!(patch(&server, &id, &json!({"date": "now"})).status, 200);
    assert_eq!(server.wait(&id)["status"], "succeeded");
}

#[test]
fn queued_job_can_be_postponed() {
    let server = Server::start(&["--engine", "simulated", "--max-running", "1"], "", &[]);
    let first =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 600"}));
    server.until(&first, "running");
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    server.until(&id, "queued");
    assert_eq!(patch(&server, &id, &json!({"date": "1h"})).json()["status"], "scheduled");
}

#[test]
fn running_or_finished_job_refuses_a_new_date() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 600"}));
    server.until(&id, "running");
    patch(&server, &id, &json!({"date": "1h"})).assert_problem(409, "job_running");
    server.post_form(&format!("/job/{id}/stop"), "");
    server.wait(&id);
    let problem = patch(&server, &id, &json!({"date": "1h"})).assert_problem(409, "job_stopped");
    assert!(
        problem["detail"].as_str().unwrap().contains(&format!("POST /job/{id}/rerun")),
        "{problem}"
    );
}

#[test]
fn invalid_new_date_leaves_the_job_unchanged() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "1h"}));
    let before = server.get(&format!("/job/{id}")).json();
    for (body, code) in [
        (json!({}), "missing_field"),
        (json!({"date": "soonish"}), "invalid_date"),
        (json!({"date": "01-01-2001 00:00:00"}), "invalid_date"),
        (json!({"date": 5}), "invalid_field"),
        (json!({"date": "2h", "job_name": "other"}), "unknown_field"),
        (json!(["2h"]), "invalid_json"),
    ] {
        patch(&server, &id, &body).assert_problem(400, code);
    }
    patch(&server, &"0".repeat(32), &json!({"date": "1h"})).assert_problem(404, "no_such_job");
    assert_eq!(server.get(&format!("/job/{id}")).json(), before);
}

#[test]
fn rerun_uses_the_spec_as_resolved_originally() {
    let server = Server::simulated();
    let put = |word: &str| {
        let spec = json!({"image": "busybox", "command": ["echo", word]}).to_string();
        server.call(
            "PUT",
            "/definition/JOB_A",
            &[("content-type", "application/json")],
            spec.as_bytes(),
        )
    };
    put("one");
    let old = server.submit(json!({"job_name": "JOB_A", "date": "now", "labels": {"team": "a"}}));
    server.wait(&old);
    put("two");
    let again = server.call("POST", &format!("/job/{old}/rerun"), &[], b"");
    let id = again.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (again.status, again.header("location")),
        (201, Some(format!("/job/{id}").as_str()))
    );
    assert_ne!(id, old);
    let over = server.wait(&id);
    assert_eq!(
        (&over["job_name"], &over["labels"]["team"], &over["attempt"]),
        (&json!("JOB_A"), &json!("a"), &json!(1))
    );
    assert_eq!(server.get(&format!("/job/{id}/logs")).text(), "one\n");
    let later = server
        .post_json(&format!("/job/{old}/rerun"), &json!({"date": "20-06-2099 13:25:28"}))
        .json();
    assert_eq!(
        (&later["status"], &later["scheduled_to"]),
        (&json!("scheduled"), &json!("20-06-2099 13:25:28"))
    );
    server
        .post_form(&format!("/job/{old}/rerun"), "date=never")
        .assert_problem(400, "invalid_date");
    server
        .post_form(&format!("/job/{}/rerun", "0".repeat(32)), "")
        .assert_problem(404, "no_such_job");
    let said = Command::new(crate::support::binary())
        .args(["--server", server.url(), "rerun", &old, "--at", "1h"])
        .output();
    let said = said.unwrap();
    assert!(
        said.status.success()
            && String::from_utf8(said.stdout).unwrap().ends_with("to run in 1h\n")
    );
}

fn post(server: &Server, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    server.call("POST", "/job", &headers, body.to_string().as_bytes())
}

fn scheduled(server: &Server) -> usize {
    server.get("/jobs").json()["scheduled"].as_object().unwrap().len()
}

#[test]
fn repeated_idempotency_key_replays_answer_after_crash() {
    let mut server = Server::simulated();
    let body = json!({"job_name": "JOB_A", "date": "1h", "env": {"A": "1", "B": "2"}});
    let first = post(&server, "k", &body);
    assert_eq!(first.status, 201);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(patch(&server, &id, &json!({"date": "2h"})).status, 200);
    server.kill();
    server.up();
    let form = [("content-type", "application/x-www-form-urlencoded"), ("idempotency-key", "k")];
    let as_form = server.call("POST", "/job", &form, b"date=1h&env=B=2&job_name=JOB_A&env=A=1");
    for again in [post(&server, "k", &body), as_form] {
        assert_eq!(
            (again.status, again.header("location")),
            (201, first.header("location")),
            "{}",
            again.text()
        );
        assert_eq!(again.json(), first.json());
    }
    post(&server, "k", &json!({"job_name": "JOB_A", "date": "2h"}))
        .assert_problem(422, "idempotency_key_reused");
    assert_eq!(scheduled(&server), 1);
    assert_eq!(post(&server, "other", &body).status, 201);
    assert_eq!(scheduled(&server), 2);
}

#[test]
fn concurrent_requests_with_one_key_create_one_job() {
    let server = Server::simulated();
    let body = json!({"job_name": "busybox", "date": "1h"});
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..16).map(|_| scope.spawn(|| post(&server, "k", &body))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!(
            (answer.status, answer.json()["id"].clone()),
            (201, answers[0].json()["id"].clone())
        );
    }
    assert_eq!(scheduled(&server), 1);
}

#[test]
fn keys_are_per_caller_and_survive_refused_requests() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    let tokens = ["a".repeat(32), "b".repeat(32)];
    std::fs::write(&file, tokens.join("\n")).unwrap();
    let server =
        Server::start(&["--engine", "simulated", "--token-file", file.to_str().unwrap()], "", &[]);
    let post = |token: &str, date: &str| {
        let bearer = format!("Bearer {token}");
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k"), kind];
        server.call("POST", "/job", &headers, format!("job_name=busybox&date={date}").as_bytes())
    };
    post(&tokens[0], "never").assert_problem(400, "invalid_date");
    let ids = tokens.each_ref().map(|token| post(token, "1h").json()["id"].clone());
    assert!(ids[0].is_string() && ids[0] != ids[1], "{ids:?}");
    assert_eq!(post(&tokens[0], "1h").json()["id"], ids[0]);
}

#[test]
fn invalid_idempotency_key_is_refused() {
    let server = Server::simulated();
    let body = json!({"job_name": "busybox", "date": "1h"});
    for key in ["", &"x".repeat(256), "ü"] {
        post(&server, key, &body).assert_problem(400, "invalid_header");
    }
    assert_eq!(scheduled(&server), 0);
}

/// Starts a job that ignores SIGTERM for its whole `stop_grace`.
fn deaf(server: &Server) -> String {
    let command = json!(["sh", "-c", "trap '' TERM; sleep 3600"]);
    let id = server.submit(
        json!({"job_name": "busybox", "date": "now", "command": command, "stop_grace": "10m"}),
    );
    server.until(&id, "running");
    id
}

#[test]
fn second_stop_or_short_grace_kills_at_once() {
    let server = Server::simulated();
    let stop =
        |id: &str, query: &str| server.call("POST", &format!("/job/{id}/stop{query}"), &[], b"");
    let twice = deaf(&server);
    assert_eq!(stop(&twice, "").json()["status"], "stopping");
    assert_eq!(stop(&twice, "").status, 200);
    let at_once = deaf(&server);
    assert_eq!(stop(&at_once, "?grace=0s").status, 200);
    let by_command = deaf(&server);
    assert!(server.cli(&["stop", "--grace", "0s", &by_command], "").status.success());
    for id in [twice, at_once, by_command] {
        let job = server.wait(&id);
        assert_eq!((&job["status"], &job["exit_code"]), (&json!("stopped"), &json!(137)));
    }
}

#[test]
fn stop_grace_beyond_policy_is_refused() {
    let server = Server::start(
        &["--engine", "simulated"],
        "[policies.default]\nmax_stop_grace = '15m'",
        &[],
    );
    let job = json!({"job_name": "busybox", "date": "1h", "stop_grace": "30d"});
    let problem = server.post_json("/job", &job).assert_problem(403, "policy_denied");
    assert!(problem["detail"].as_str().unwrap().contains("15m"), "{problem}");
    let schedule =
        json!({"job_name": "busybox", "every": "1h", "spec": {"stop_grace": "30d"}}).to_string();
    let json_body = [("content-type", "application/json")];
    for path in ["/schedule/s", "/definition/d"] {
        let body = if path == "/definition/d" {
            r#"{"image": "busybox", "stop_grace": "30d"}"#
        } else {
            &schedule
        };
        server.call("PUT", path, &json_body, body.as_bytes()).assert_problem(403, "policy_denied");
    }
    let id = deaf(&server);
    let stop = |query: &str| server.call("POST", &format!("/job/{id}/stop?{query}"), &[], b"");
    stop("grace=1d").assert_problem(403, "policy_denied");
    stop("grace=soon").assert_problem(400, "invalid_grace");
    stop("force=true").assert_problem(400, "invalid_query");
    assert_eq!(server.get(&format!("/job/{id}")).json()["status"], "running");
}
