//! Problems, request ids, headers of every answer, and dry runs.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Answer, Server, eventually};

fn put(server: &Server, path: &str, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    server.call("PUT", path, &json, body.to_string().as_bytes())
}

#[test]
fn request_id_is_passed_on_or_made() {
    let server = Server::simulated();
    let call = |id: &str| server.call("GET", "/job/ffff", &[("x-request-id", id)], b"");
    let answer = call("trace-1.a_b~c");
    assert_eq!(answer.header("x-request-id"), Some("trace-1.a_b~c"));
    assert_eq!(answer.assert_problem(404, "no_such_job")["instance"], "trace-1.a_b~c");
    for unfit in ["a b", "a/b", "<x>", &"x".repeat(65)] {
        let answer = call(unfit);
        let made = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(made.len(), 36, "{unfit}: {made}");
        assert_eq!(answer.json()["instance"], made.as_str());
    }
    assert!(server.get("/jobs").header("x-request-id").is_some());
}

#[test]
fn log_lines_have_the_request_id() {
    let server = Server::simulated();
    eventually("the engine answers", || (server.get("/readyz").status == 200).then_some(()));
    let job = json!({"job_name": "no-such-vacum", "date": "1h"}).to_string();
    let headers = [("content-type", "application/json"), ("x-request-id", "trace-17")];
    let answer = server.call("POST", "/job", &headers, job.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    let log = server.log();
    let warned = |line: &str| line.contains("no-such-vacum") && line.contains("trace-17");
    assert!(log.lines().any(warned), "{log}");
}

#[test]
fn every_answer_has_security_headers() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    server.wait(&id);
    let logs = format!("/job/{id}/logs");
    for (method, path, status) in [
        ("GET", "/jobs", 200),
        ("GET", "/", 307),
        ("GET", "/nothing", 404),
        ("PUT", "/jobs", 405),
        ("GET", "/jobs?x=1", 400),
        ("GET", logs.as_str(), 200),
    ] {
        let answer = server.call(method, path, &[], b"");
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
    }
    assert_eq!(server.get(&logs).header("content-security-policy"), Some("sandbox"));
}

#[test]
fn all_faults_of_a_body_are_named() {
    let server = Server::simulated();
    let job = json!({
        "job_name": "", "date": "soon", "cpus": 0, "memory": "1KiB", "memory_swap": "1GiB", "pids": 0,
    });
    let problem = server.post_json("/job", &job).assert_problem(400, "invalid_job_name");
    let fields: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["job_name", "cpus", "memory", "pids", "date"], "{problem}");
    assert_eq!(problem["field"], "job_name");
    assert_eq!(problem["type"], "/docs#problem-invalid_job_name");

    let mounts = json!([{"type": "bind", "source": "/a", "target": "/b"}, {"type": "floppy"}]);
    let spec = json!({"mounts": mounts, "frobnicate": 1, "retry": {"delay": "soon"}});
    let schedule = json!({"job_name": "a", "every": "0s", "overlap": "never", "spec": spec});
    let problem = put(&server, "/schedule/s", &schedule).json();
    let pointers: BTreeSet<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    let wanted = ["/every", "/overlap", "/spec/frobnicate", "/spec/retry/delay"];
    assert!(pointers.is_superset(&BTreeSet::from(wanted)), "{problem}");
    assert!(pointers.iter().any(|pointer| pointer.starts_with("/spec/mounts/1")), "{problem}");

    let form = server.post_form("/job", "date=1h&cpus=many&user=a&user=b");
    let problem = form.assert_problem(400, "invalid_field");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
}

#[test]
fn unknown_names_come_with_near_ones() {
    let server = Server::simulated();
    let schedule = json!({"job_name": "busybox", "every": "1h"});
    for name in ["nightly", "nightly-2", "weekly"] {
        assert_eq!(put(&server, &format!("/schedule/{name}"), &schedule).status, 201);
    }
    assert_eq!(put(&server, "/definition/backup", &json!({"image": "busybox"})).status, 201);
    for (method, path, code, similar) in [
        ("GET", "/schedule/nigthly", "no_such_schedule", json!(["nightly"])),
        ("DELETE", "/schedule/weekli", "no_such_schedule", json!(["weekly"])),
        ("POST", "/schedule/NIGHTLY/pause", "no_such_schedule", json!(["nightly", "nightly-2"])),
        ("GET", "/definition/bakup", "no_such_definition", json!(["backup"])),
        ("DELETE", "/definition/backups", "no_such_definition", json!(["backup"])),
    ] {
        let problem = server.call(method, path, &[], b"").assert_problem(404, code);
        assert_eq!(problem["similar"], similar, "{method} {path}");
    }
    let problem = server.get("/schedule/x").assert_problem(404, "no_such_schedule");
    assert_eq!(problem.get("similar"), None);
}

#[test]
fn refused_jobs_say_when_to_retry() {
    let config = "[policies.default]\nmax_waiting = 1";
    let server = Server::start(&["--engine", "simulated"], config, &[]);
    let job = json!({"job_name": "busybox", "date": "1h"});
    server.submit(job.clone());
    let answer = server.post_json("/job", &job);
    answer.assert_problem(429, "too_many_waiting");
    assert_eq!(answer.header("retry-after"), Some("10"));
    server.post_json("/job?dry_run=true", &job).assert_problem(429, "too_many_waiting");
}

/// Returns everything that a dry run might change.
fn everything(server: &Server) -> Value {
    let paths = ["/jobs", "/schedules", "/definitions", "/schedule/s/ledger"];
    paths.iter().map(|path| server.get(path).json()).collect()
}

#[test]
fn dry_runs_answer_and_store_nothing() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "1h"}));
    let schedule = json!({"job_name": "busybox", "every": "1h"});
    assert_eq!(put(&server, "/schedule/s", &schedule).status, 201);
    assert_eq!(put(&server, "/definition/d", &json!({"image": "busybox"})).status, 201);
    let before = everything(&server);
    let job = json!({"job_name": "busybox", "date": "1h"});
    for (method, path, body) in [
        ("POST", "/job".to_owned(), job.clone()),
        ("POST", format!("/job/{id}/rerun"), json!({"date": "2h"})),
        ("PATCH", format!("/job/{id}"), json!({"date": "2h"})),
        ("DELETE", format!("/job/{id}"), json!({})),
        ("PUT", "/schedule/s".to_owned(), json!({"job_name": "busybox", "every": "2h"})),
        ("PUT", "/schedule/t".to_owned(), schedule.clone()),
        ("DELETE", "/schedule/s".to_owned(), json!({})),
        ("POST", "/schedule/s/pause".to_owned(), json!({})),
        ("POST", "/schedule/s/resume".to_owned(), json!({})),
        ("POST", "/schedule/s/trigger".to_owned(), json!({})),
        ("PUT", "/definition/d".to_owned(), json!({"image": "alpine"})),
        ("PUT", "/definition/e".to_owned(), json!({"image": "alpine"})),
        ("DELETE", "/definition/d".to_owned(), json!({})),
    ] {
        let path = format!("{path}?dry_run=true");
        let headers = [("content-type", "application/json")];
        let answer = server.call(method, &path, &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        let would = answer.json()["would"].as_str().unwrap_or_default().to_owned();
        assert!(would.contains("would"), "{method} {path}: {}", answer.text());
    }
    assert_eq!(everything(&server), before);
    assert_eq!(server.delete(&format!("/job?job_id={id}&dry_run=1")).status, 200);
    assert_eq!(everything(&server), before);
}

#[test]
fn dry_run_refuses_what_the_call_refuses() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    server.wait(&id);
    for (method, path, status) in [
        ("DELETE", format!("/job/{id}"), 409),
        ("POST", format!("/job/{id}/stop"), 409),
        ("DELETE", "/schedule/none".to_owned(), 404),
        ("POST", "/schedule/none/trigger".to_owned(), 404),
        ("DELETE", "/definition/none".to_owned(), 404),
    ] {
        let answer = server.call(method, &format!("{path}?dry_run=true"), &[], b"");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    server.post_json("/job?dry_run=true", &json!({})).assert_problem(400, "missing_field");
    server.post_json("/job?dry_run=maybe", &json!({})).assert_problem(400, "invalid_query");
}

#[test]
fn every_code_has_a_heading_and_a_row() {
    let page = Server::simulated().get("/docs").text();
    let manual =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap();
    let (_, table) = manual.split_once("\n## Error codes").unwrap();
    let rows: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|code| *code != "job_STATUS")
        .collect();
    let headings: BTreeSet<&str> = page
        .split("id=\"problem-")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|code| !code.starts_with("job_"))
        .collect();
    assert_eq!(rows, headings);
}
