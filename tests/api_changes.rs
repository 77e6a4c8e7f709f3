//! What a caller may change about a job that is there: its date, while it waits; and one that was, run once more.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::process::Command;

use common::{Answer, Server};
use serde_json::{Value, json};

fn patch(server: &Server, id: &str, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    server.call("PATCH", &format!("/job/{id}"), &json, body.to_string().as_bytes())
}

#[test]
fn a_job_that_waits_is_given_another_date_and_runs_then() {
    let mut server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "1h"}));
    let answer = patch(&server, &id, &json!({"date": "20-06-2099 13:25:28"}));
    let said = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(said["message"], format!("job busybox with id {id} will be scheduled to run at 20-06-2099 13:25:28"));
    server.kill();
    server.up();
    let job = server.get(&format!("/job/{id}")).json();
    assert_eq!((&job["scheduled_to"], &job["status"]), (&json!("20-06-2099 13:25:28"), &json!("scheduled")));
    assert_eq!(patch(&server, &id, &json!({"date": "now"})).status, 200);
    assert_eq!(server.wait(&id)["status"], "succeeded");
}

#[test]
fn a_job_that_waits_for_a_slot_is_put_off() {
    let server = Server::start(&["--engine", "simulated", "--max-running", "1"], "", &[]);
    let first = server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 600"}));
    server.until(&first, "running");
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    server.until(&id, "queued");
    assert_eq!(patch(&server, &id, &json!({"date": "1h"})).json()["status"], "scheduled");
}

#[test]
fn a_job_that_runs_or_is_over_keeps_its_date() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 600"}));
    server.until(&id, "running");
    patch(&server, &id, &json!({"date": "1h"})).assert_problem(409, "job_running");
    server.post_form(&format!("/job/{id}/stop"), "");
    server.wait(&id);
    let problem = patch(&server, &id, &json!({"date": "1h"})).assert_problem(409, "job_stopped");
    assert!(problem["detail"].as_str().unwrap().contains(&format!("POST /job/{id}/rerun")), "{problem}");
}

#[test]
fn what_is_wrong_with_a_new_date_is_said_and_the_old_one_stays() {
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
fn a_job_is_run_once_more_as_it_was_resolved_whatever_became_of_its_definition() {
    let server = Server::simulated();
    let put = |word: &str| {
        let spec = json!({"image": "busybox", "command": ["echo", word]}).to_string();
        server.call("PUT", "/definition/JOB_A", &[("content-type", "application/json")], spec.as_bytes())
    };
    put("one");
    let old = server.submit(json!({"job_name": "JOB_A", "date": "now", "labels": {"team": "a"}}));
    server.wait(&old);
    put("two");
    let again = server.call("POST", &format!("/job/{old}/rerun"), &[], b"");
    let id = again.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((again.status, again.header("location")), (201, Some(format!("/job/{id}").as_str())));
    assert_ne!(id, old);
    let over = server.wait(&id);
    assert_eq!(
        (&over["job_name"], &over["labels"]["team"], &over["attempt"]),
        (&json!("JOB_A"), &json!("a"), &json!(1))
    );
    assert_eq!(server.get(&format!("/job/{id}/logs")).text(), "one\n");
    let later = server.post_json(&format!("/job/{old}/rerun"), &json!({"date": "20-06-2099 13:25:28"})).json();
    assert_eq!((&later["status"], &later["scheduled_to"]), (&json!("scheduled"), &json!("20-06-2099 13:25:28")));
    server.post_form(&format!("/job/{old}/rerun"), "date=never").assert_problem(400, "invalid_date");
    server.post_form(&format!("/job/{}/rerun", "0".repeat(32)), "").assert_problem(404, "no_such_job");
    let said = Command::new(common::binary()).args(["--server", server.url(), "rerun", &old, "--at", "1h"]).output();
    let said = said.unwrap();
    assert!(said.status.success() && String::from_utf8(said.stdout).unwrap().ends_with("to run in 1h\n"));
}
