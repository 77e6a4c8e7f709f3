//! `GET /events`, the story of one job, and the pause of everything.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Server};

/// An open stream of events, one object a line.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(server: &Server, path: &str, headers: &str) -> Self {
        let address = server.url().strip_prefix("http://").unwrap().to_owned();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let accept = "Accept: application/x-ndjson";
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{accept}\r\n{headers}\r\n")
            .unwrap();
        Self(BufReader::new(stream))
    }

    /// Returns the next object.
    fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            if line.starts_with('{') {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let event = self.next();
            let found = is_it(&event);
            seen.push(event);
            if found {
                return seen;
            }
        }
    }
}

fn ends(event: &Value) -> bool {
    event["to"] == "succeeded"
}

#[test]
fn events_tell_every_change_of_a_job() {
    let server = Server::simulated();
    let mut stream = Stream::open(&server, "/events?kind=job", "");
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    let seen = stream.until(ends);
    assert_eq!(seen[0].get("from"), None);
    assert_eq!(seen[0]["to"], "scheduled");
    assert_eq!(seen[0]["by"], "anonymous");
    let last = seen.last().unwrap();
    assert_eq!(last["job"], id);
    assert_eq!(last["by"], "scheduler");
    assert_eq!(last["says"], "exit code 0");
    assert!(seen.iter().all(|event| event["kind"] == "job" && event["job"] == id));
    let numbers: Vec<u64> = seen.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted());
}

#[test]
fn stream_is_resumed_after_the_last_event() {
    let mut server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    server.wait(&id);
    let all = Stream::open(&server, "/events?since=0&kind=job", "").until(ends);
    server.kill();
    server.up();
    let resumed = format!("Last-Event-ID: {}\r\n", all[1]["seq"]);
    let rest = Stream::open(&server, "/events?kind=job", &resumed).until(ends);
    assert_eq!(rest, all[2..]);
}

#[test]
fn events_tell_changes_of_schedules_and_definitions() {
    let server = Server::simulated();
    let mut stream = Stream::open(&server, "/events?kind=schedule,definition", "");
    let schedule = json!({"job_name": "JOB_A", "cron": "0 0 1 1 *"}).to_string();
    let json = [("content-type", "application/json")];
    server.call("PUT", "/definition/JOB_A", &json, br#"{"image": "busybox"}"#);
    server.call("PUT", "/schedule/nightly", &json, schedule.as_bytes());
    server.post_json("/schedule/nightly/pause", &json!({}));
    server.post_json("/schedule/nightly/resume", &json!({}));
    server.delete("/schedule/nightly");
    let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
    let told: Vec<(String, String)> = stream
        .until(|event| event["change"] == "deleted")
        .iter()
        .map(|event| (text(event, "name"), text(event, "change")))
        .collect();
    let expected = [
        ("JOB_A", "created"),
        ("nightly", "created"),
        ("nightly", "paused"),
        ("nightly", "resumed"),
        ("nightly", "deleted"),
    ];
    assert_eq!(told, expected.map(|(name, change)| (name.to_owned(), change.to_owned())));
}

#[test]
fn filters_restrict_the_events() {
    let server = Server::simulated();
    let one = server.submit(json!({"job_name": "busybox", "date": "now"}));
    let other = server.submit(json!({"job_name": "alpine", "date": "now"}));
    server.wait(&one);
    server.wait(&other);
    for (query, wanted) in [(format!("job={other}"), &other), ("job_name=busybox".into(), &one)] {
        let seen = Stream::open(&server, &format!("/events?since=0&{query}"), "").until(ends);
        assert!(seen.iter().all(|event| event["job"] == **wanted), "{query}: {seen:?}");
    }
}

#[test]
fn bad_stream_requests_are_refused() {
    let server = Server::simulated();
    let problem = server.get("/events?kind=nonsense").assert_problem(400, "invalid_query");
    assert_eq!(problem["field"], "kind");
    server.get("/events?nonsense=1").assert_problem(400, "invalid_query");
    let header = [("last-event-id", "x")];
    server.call("GET", "/events", &header, b"").assert_problem(400, "invalid_header");
}

#[test]
fn story_of_a_job_has_every_change() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    server.wait(&id);
    let story = server.get(&format!("/job/{id}/events")).json();
    let story = story["events"].as_array().unwrap();
    assert_eq!(story[0]["to"], "scheduled");
    assert_eq!(story.last().unwrap()["to"], "succeeded");
    assert!(story.iter().all(|event| !event["says"].as_str().unwrap().is_empty()));
    let page = server.get(&format!("/job/{id}/events?limit=1")).json();
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    let rest = server.get(&format!("/job/{id}/events?since={}", page["next"])).json();
    assert_eq!(rest["events"].as_array().unwrap()[..], story[1..]);
    let nobody = "0".repeat(32);
    server.get(&format!("/job/{nobody}/events")).assert_problem(404, "no_such_job");
}

#[test]
fn job_shows_its_spec_attempts_and_submitter() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now", "env": {"K": "V"},
        "command": ["exit", "3"], "retry": {"attempts": 1, "delay": "1s"}}));
    let job = server.wait(&id);
    assert_eq!(job["says"], "exit code 3 after 2 of 2 attempts");
    let job = server.get(&format!("/job/{id}")).json();
    assert_eq!(job["submitted_by"], "anonymous");
    assert_eq!(job["engine"], "simulated");
    assert_eq!(job["spec"]["env"]["K"], "V");
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    for (attempt, number) in attempts.iter().zip(1..) {
        assert_eq!(attempt["attempt"], number);
        assert_eq!(attempt["exit_code"], 3);
        assert_eq!(attempt["reason"], "exit_nonzero");
        assert!(attempt["started_at"].is_string() && attempt["finished_at"].is_string());
    }
    let listed = &server.get("/jobs").json()["history"][&id];
    assert_eq!(listed["says"], job["says"]);
    assert_eq!(listed.get("spec"), None);
}

#[test]
fn nothing_starts_while_everything_is_paused() {
    let mut server = Server::simulated();
    let pause = server.post_json("/pause", &json!({"why": "maintenance"})).json();
    assert_eq!((pause["paused"].as_bool(), pause["by"].as_str()), (Some(true), Some("anonymous")));
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    let job = server.until(&id, "queued");
    assert_eq!(job["reason"], "paused");
    assert_eq!(job["says"], "waits: starts are paused");
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.json()["warnings"][0].as_str().unwrap().contains("maintenance"));
    server.kill();
    server.up();
    assert_eq!(server.until(&id, "queued")["reason"], "paused", "a restart keeps the pause");
    assert_eq!(server.post_json("/resume", &json!({})).json()["paused"], false);
    assert_eq!(server.wait(&id)["status"], "succeeded");
}

#[test]
fn pause_ends_at_its_time() {
    let server = Server::simulated();
    let mut stream = Stream::open(&server, "/events?kind=server", "");
    let pause = server.post_json("/pause", &json!({"until": "1s"})).json();
    assert!(pause["paused_until"].is_string());
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    assert_eq!(server.wait(&id)["status"], "succeeded");
    let told = stream.until(|event| event["change"] == "resumed");
    assert_eq!(told.last().unwrap()["by"], "scheduler");
    assert_eq!(server.get("/readyz").json().get("warnings"), None);
}

#[test]
fn bad_pauses_are_refused() {
    let server = Server::simulated();
    let past = json!({"until": "2020-01-01T00:00:00Z"});
    let problem = server.post_json("/pause", &past).assert_problem(400, "invalid_date");
    assert_eq!(problem["field"], "until");
    server.post_json("/pause", &json!({"untill": "2h"})).assert_problem(400, "unknown_field");
    let would = server.post_json("/pause?dry_run=true", &json!({})).json();
    assert_eq!(would["would"], "nothing new would be started");
    let id = server.submit(json!({"job_name": "busybox", "date": "now"}));
    assert_eq!(server.wait(&id)["status"], "succeeded", "a dry run pauses nothing");
}
