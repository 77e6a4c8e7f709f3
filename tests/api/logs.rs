//! `GET /job/{id}/logs`: the choice of lines, their numbers, attempts, files to save, and the
//! reasons why there is nothing to read.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::{Answer, PATIENCE, Server, eventually};
use serde_json::{Value, json};

/// Submits a job that is due now and runs this script.
fn runs(server: &Server, script: &str) -> String {
    server.submit(json!({"job_name": "busybox", "date": "now", "command": ["sh", "-c", script]}))
}

/// Returns a job with the kept lines `one` to `five`; the third one is on stderr.
fn five_lines(server: &Server) -> String {
    let id = runs(server, "echo one; echo two; echo three >&2; echo four; echo five");
    server.kept(&id);
    id
}

/// Returns a job that waits an hour for its second attempt. The first one wrote two lines.
fn retrying(server: &Server) -> String {
    let script = "echo begin $TIDETABLE_ATTEMPT; echo end $TIDETABLE_ATTEMPT; exit 3";
    let id = server.submit(json!({
        "job_name": "busybox", "date": "now",
        "command": ["sh", "-c", script],
        "retry": {"attempts": 1, "delay": "1h"},
    }));
    server.until(&id, "retrying");
    eventually("the output of the first attempt is kept", || {
        let answer = server.get(&format!("/job/{id}/logs"));
        (answer.header("x-log-state") == Some("complete")).then_some(())
    });
    id
}

/// Changes the date of a job to now.
fn run_now(server: &Server, id: &str) {
    let headers = [("content-type", "application/json")];
    let answer = server.call("PATCH", &format!("/job/{id}"), &headers, br#"{"date": "now"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn logs(server: &Server, id: &str, query: &str) -> Answer {
    server.get(&format!("/job/{id}/logs{query}"))
}

fn text(server: &Server, id: &str, query: &str) -> String {
    let answer = logs(server, id, query);
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.text()
}

/// Returns the lines of an answer in NDJSON.
fn objects(server: &Server, id: &str, query: &str) -> Vec<Value> {
    let accept = [("accept", "application/x-ndjson")];
    let answer = server.call("GET", &format!("/job/{id}/logs{query}"), &accept, b"");
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A reader of an answer that has no end yet.
struct Follower(TcpStream, Vec<u8>);

impl Follower {
    /// Sends the request in HTTP/1.0, so the body comes without chunks.
    fn new(server: &Server, id: &str, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head =
            format!("GET /job/{id}/logs{query} HTTP/1.0\r\nhost: localhost\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        Self(stream, Vec::new())
    }

    /// Reads until the answer, head included, contains this text.
    fn until(mut self, text: &str) -> Self {
        while !String::from_utf8_lossy(&self.1).contains(text) {
            let mut chunk = [0; 4_096];
            let read = self.0.read(&mut chunk).unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&self.1));
            self.1.extend_from_slice(&chunk[..read]);
        }
        self
    }

    /// Reads to the end, and returns the body.
    fn body(mut self) -> String {
        self.0.read_to_end(&mut self.1).unwrap();
        let all = String::from_utf8(self.1).unwrap();
        all.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

#[test]
fn tail_and_follow_go_together() {
    let server = Server::simulated();
    for (tail, first, rest) in [(1, "end 1\n", "end 1\n"), (0, "\r\n\r\n", "")] {
        let id = retrying(&server);
        let query = format!("?follow=true&tail={tail}");
        let follower = Follower::new(&server, &id, &query, "").until(first);
        run_now(&server, &id);
        assert_eq!(follower.body(), format!("{rest}begin 2\nend 2\n"), "tail={tail}");
    }
}

#[test]
fn followed_tail_of_a_running_job_begins_late() {
    let server = Server::simulated();
    let id = runs(&server, "echo one; echo two; echo three; sleep 3600");
    eventually("three lines are written", || {
        (text(&server, &id, "") == "one\ntwo\nthree\n").then_some(())
    });
    let follower =
        Follower::new(&server, &id, "?follow=true&tail=2&numbers=true", "").until("three");
    server.post_form(&format!("/job/{id}/stop"), "");
    assert_eq!(follower.body(), "     2\ttwo\n     3\tthree\n");
}

#[test]
fn follower_of_a_waiting_job_waits() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "1h", "command": "echo hello"}));
    let empty = logs(&server, &id, "");
    assert_eq!((empty.status, empty.text().as_str()), (200, ""));
    assert_eq!(empty.header("x-log-state"), Some("waiting"));
    let follower = Follower::new(&server, &id, "?follow=true&tail=5", "").until("\r\n\r\n");
    run_now(&server, &id);
    assert_eq!(follower.body(), "hello\n");
}

#[test]
fn lines_are_numbered_over_both_streams() {
    let server = Server::simulated();
    let id = five_lines(&server);
    let numbers = |query: &str| -> Vec<u64> {
        objects(&server, &id, query).iter().map(|line| line["line"].as_u64().unwrap()).collect()
    };
    for (query, expected) in [
        ("", &[1, 2, 3, 4, 5][..]),
        ("?stream=stdout", &[1, 2, 4, 5]),
        ("?stream=stdout&tail=2", &[4, 5]),
        ("?tail=2", &[4, 5]),
        ("?tail=9", &[1, 2, 3, 4, 5]),
        ("?tail=0", &[]),
        ("?from_line=4", &[4, 5]),
        ("?from_line=9", &[]),
        ("?from_line=2&limit=3", &[2, 3, 4]),
        ("?from_line=2&tail=3&limit=1", &[3]),
        ("?from_line=5&tail=3", &[5]),
    ] {
        assert_eq!(numbers(query), expected, "{query}");
    }
    assert_eq!(text(&server, &id, "?numbers=true&from_line=5"), "     5\tfive\n");
    assert_eq!(logs(&server, &id, "?tail=1").header("x-total-lines"), Some("5"));
}

#[test]
fn dropped_rest_counts_as_a_line() {
    let server = Server::simulated();
    let id = server.submit(json!({
        "job_name": "busybox", "date": "now",
        "command": ["sh", "-c", "echo one; echo two"], "log_limit": "4B",
    }));
    server.kept(&id);
    assert_eq!(logs(&server, &id, "").header("x-total-lines"), Some("2"));
    assert!(text(&server, &id, "?tail=1").starts_with("tidetable: the rest is not kept"));
}

#[test]
fn grep_finds_text_and_expressions() {
    let server = Server::simulated();
    let id = five_lines(&server);
    for (query, expected) in [
        ("?grep=o", "one\ntwo\nfour\n"),
        ("?grep=f.", ""),
        ("?grep=/^f./", "four\nfive\n"),
        ("?grep=/(%3Fi)FIVE/", "five\n"),
        ("?grep=o&tail=1", "four\n"),
        ("?grep=o&limit=1", "one\n"),
        ("?grep=o&from_line=2&stream=stdout", "two\nfour\n"),
    ] {
        assert_eq!(text(&server, &id, query), expected, "{query}");
    }
    let found = objects(&server, &id, "?grep=three&context=1");
    let found: Vec<_> = found.iter().map(|line| (&line["line"], &line["match"])).collect();
    assert_eq!(
        found,
        [(&json!(2), &json!(false)), (&json!(3), &json!(true)), (&json!(4), &json!(false))]
    );
    assert_eq!(objects(&server, &id, "")[0].get("match"), None);
}

#[test]
fn wrong_query_names_the_parameter() {
    let server = Server::simulated();
    let id = five_lines(&server);
    for (query, field) in [
        ("?grep=", "grep"),
        ("?grep=/a(b/", "grep"),
        ("?grep=/(a%7B999%7D)%7B999%7D/", "grep"),
        ("?context=-1", "context"),
        ("?grep=a&context=11", "context"),
        ("?from_line=0", "from_line"),
        ("?from_line=-1", "from_line"),
        ("?limit=0", "limit"),
        ("?tail=100001", "tail"),
        ("?attempt=0", "attempt"),
        ("?attempt=last", "attempt"),
        ("?download=yes", "download"),
        ("?numbers=yes", "numbers"),
    ] {
        let answer = logs(&server, &id, query);
        answer.assert_problem(400, "invalid_query");
        assert_eq!(answer.json()["field"], field, "{query}");
    }
    let detail = logs(&server, &id, "?grep=/a(b/").json()["detail"].clone();
    assert!(detail.as_str().unwrap().contains("at character 3: unclosed group"), "{detail}");
    logs(&server, &id, "?lines=3").assert_problem(400, "invalid_query");
}

#[test]
fn output_of_each_attempt_is_readable() {
    let server = Server::simulated();
    let id = retrying(&server);
    logs(&server, &id, "?attempt=2").assert_problem(404, "no_such_attempt");
    run_now(&server, &id);
    server.kept(&id);
    for (query, expected, attempt) in [
        ("", "begin 2\nend 2\n", "2"),
        ("?attempt=1", "begin 1\nend 1\n", "1"),
        ("?attempt=2&tail=1", "end 2\n", "2"),
        ("?attempt=1&follow=true&tail=1", "end 1\n", "1"),
    ] {
        let answer = logs(&server, &id, query);
        assert_eq!(
            (answer.text().as_str(), answer.header("x-log-attempt")),
            (expected, Some(attempt))
        );
    }
    let missing = logs(&server, &id, "?attempt=3");
    missing.assert_problem(404, "no_such_attempt");
    let detail = missing.json()["detail"].clone();
    assert_eq!(
        detail,
        "there is no attempt 3: the job has had 2 attempts; there is output of attempts 1, 2"
    );
}

#[test]
fn attempt_that_did_not_run_has_no_output() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now", "command": "frobnicate"}));
    server.wait(&id);
    for query in ["", "?tail=1", "?follow=true", "?follow=true&tail=1"] {
        let answer = logs(&server, &id, query);
        assert_eq!((answer.text().as_str(), answer.header("x-log-state")), ("", Some("none")));
    }
    logs(&server, &id, "?attempt=1").assert_problem(404, "no_such_attempt");
}

#[test]
fn reader_goes_on_after_the_last_event() {
    let server = Server::simulated();
    let id = retrying(&server);
    run_now(&server, &id);
    server.kept(&id);
    let events = |last: &str| {
        let headers = [("accept", "text/event-stream"), ("last-event-id", last)];
        let path = format!("/job/{id}/logs?follow=true&tail=1");
        let answer = server.call("GET", &path, &headers, b"").text();
        let ids: Vec<String> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("id: ").map(str::to_owned))
            .collect();
        ids.join(" ")
    };
    assert_eq!(events("1-1"), "1-2 2-1 2-2");
    assert_eq!(events("2-2"), "");
    assert_eq!(events("nonsense"), "2-2");
}

#[test]
fn download_is_a_file_with_a_safe_name() {
    let server = Server::simulated();
    let id = server.submit(json!({
        "job_name": "localhost:5000/a/b:1", "date": "now", "command": "echo <script>",
    }));
    server.kept(&id);
    let get = |query: &str, accept: &str| {
        let path = format!("/job/{id}/logs{query}");
        server.call("GET", &path, &[("accept", accept)], b"")
    };
    for (query, accept, ending) in [
        ("?download=true", "text/html", "log"),
        ("?download=true", "application/x-ndjson", "ndjson"),
        ("?download=ndjson", "text/html", "ndjson"),
        ("?download=text", "application/x-ndjson", "log"),
        ("?download=true", "text/event-stream", "log"),
    ] {
        let answer = get(query, accept);
        let name = format!("localhost-5000-a-b-1-{}.{ending}", &id[24..]);
        assert_eq!(
            answer.header("content-disposition"),
            Some(format!("attachment; filename=\"{name}\"").as_str()),
            "{query} {accept}"
        );
    }
    let shown = get("", "text/html,*/*");
    assert_eq!(shown.text(), "<script>\n");
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox"),
    ] {
        assert_eq!(shown.header(name), Some(value));
    }
    assert_eq!(shown.header("content-disposition"), None);
}

#[test]
fn deleted_output_is_gone() {
    let server = Server::simulated();
    let id = retrying(&server);
    run_now(&server, &id);
    server.kept(&id);
    let shelf = server.data_dir().join("logs").join(&id[30..]);
    std::fs::remove_file(shelf.join(format!("{id}-2.log.zst"))).unwrap();
    for query in ["", "?attempt=2", "?tail=1", "?follow=true"] {
        logs(&server, &id, query).assert_problem(410, "log_gone");
    }
    assert_eq!(text(&server, &id, "?attempt=1"), "begin 1\nend 1\n");
    std::fs::remove_dir_all(server.data_dir().join("logs")).unwrap();
    logs(&server, &id, "?attempt=1").assert_problem(410, "log_gone");
    let log = server.get(&format!("/job/{id}")).json()["log"].clone();
    assert_eq!(log, json!({"complete": true, "kept_until": null}));
}
