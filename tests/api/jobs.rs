//! The API as a caller sees it, against the binary on the simulated engine: the calls of the
//! original service, the calls added since, and every kind of bad input.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read as _, Write as _};

use crate::support::{Answer, Server};
use serde_json::{Value, json};

fn maps(server: &Server) -> Value {
    server.get("/jobs").json()
}

#[test]
fn root_redirects_to_the_three_maps() {
    let server = Server::simulated();
    let root = server.get("/");
    assert_eq!((root.status, root.header("location")), (307, Some("/jobs")));
    assert_eq!(maps(&server), json!({"running": {}, "scheduled": {}, "history": {}}));
}

#[test]
fn all_three_body_formats_submit_a_job() {
    let server = Server::simulated();
    let multipart = "--x\r\ncontent-disposition: form-data; name=\"job_name\"\r\n\r\n\"JOB_A\"\r\n--x\r\ncontent-disposition: form-data; name=\"date\"\r\n\r\n30s\r\n--x--\r\n";
    for answer in [
        server.call(
            "POST",
            "/job",
            &[("content-type", "multipart/form-data; boundary=x")],
            multipart.as_bytes(),
        ),
        server.post_form("/job", "job_name=JOB_A&date=30s"),
        server.post_json("/job", &json!({"job_name": "JOB_A", "date": "30s"})),
    ] {
        let said = answer.json();
        let id = said["id"].as_str().unwrap();
        assert_eq!(answer.status, 201);
        assert_eq!(
            said["message"],
            format!("job JOB_A with id {id} will be scheduled to run in 30s")
        );
        assert_eq!(answer.header("location"), Some(format!("/job/{id}").as_str()));
        assert!(
            said["warning"].as_str().unwrap().contains("JOB_A"),
            "a name that is neither a definition nor an image is warned of"
        );
        let job = &maps(&server)["scheduled"][id];
        for field in ["id", "job_name", "scheduled_in", "scheduled_to", "status"] {
            assert!(job[field].is_string(), "{field}: {job}");
        }
    }
}

#[test]
fn absolute_date_is_returned_in_classic_format() {
    let server = Server::simulated();
    let said = server.post_form("/job", "job_name=busybox&date=2099-06-20T13:25").json();
    assert!(
        said["message"]
            .as_str()
            .unwrap()
            .ends_with("will be scheduled to run at 20-06-2099 13:25:00"),
        "{said}"
    );
    assert_eq!(said["scheduled_to"], "20-06-2099 13:25:00");
}

/// Changes the date of a job to now.
fn run_now(server: &Server, id: &str) {
    let headers = [("content-type", "application/json")];
    let answer = server.call("PATCH", &format!("/job/{id}"), &headers, br#"{"date": "now"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn job_moves_through_the_three_maps() {
    let server = Server::simulated();
    let submit = |command: &str| {
        server.submit(json!({"job_name": "busybox", "date": "1h", "command": command, "labels": {"team": "a"}}))
    };
    // One job ends by itself at once; the other runs until it is stopped, so the test can look at
    // it.
    let ids = ["true", "sleep 3600"].map(|command| {
        let id = submit(command);
        assert_eq!(maps(&server)["scheduled"][&id]["status"], "scheduled");
        run_now(&server, &id);
        id
    });
    server.until(&ids[1], "running");
    assert!(maps(&server)["running"][&ids[1]].is_object());
    assert_eq!(server.post_form(&format!("/job/{}/stop", ids[1]), "").status, 200);
    for (id, status, code) in [(&ids[0], "succeeded", 0), (&ids[1], "stopped", 143)] {
        let over = server.wait(id);
        assert_eq!(
            (&over["status"], &over["exit_code"], &over["attempt"]),
            (&json!(status), &json!(code), &json!(1))
        );
        assert_eq!(over["labels"]["team"], "a");
        assert!(over["lateness_ms"].as_i64().unwrap() >= 0);
        assert!(over["image_digest"].as_str().unwrap().starts_with("sha256:"));
        let mut alone = server.get(&format!("/job/{id}")).json();
        for field in ["log", "spec", "attempts"] {
            let removed = alone.as_object_mut().unwrap().remove(field);
            assert!(removed.is_some(), "a listing has no `{field}`");
        }
        assert_eq!(maps(&server)["history"][id], alone);
    }
}

#[test]
fn canceled_job_is_in_history_and_stays_canceled() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "1h"}));
    assert_eq!(server.delete(&format!("/job/{id}")).status, 200);
    assert_eq!(maps(&server)["history"][&id]["status"], "canceled");
    server.delete(&format!("/job/{id}")).assert_problem(409, "job_canceled");
}

#[test]
fn job_is_canceled_by_path_query_or_form() {
    let server = Server::simulated();
    let id = || server.submit(json!({"job_name": "busybox", "date": "1h"}));
    assert_eq!(server.delete(&format!("/job/{}", id())).status, 200);
    assert_eq!(server.delete(&format!("/job?job_id={}", id())).status, 200);
    let form = |body: String| {
        server.call(
            "DELETE",
            "/job",
            &[("content-type", "application/x-www-form-urlencoded")],
            body.as_bytes(),
        )
    };
    assert_eq!(form(format!("job_id={}", id())).status, 200);
    form(String::new()).assert_problem(400, "missing_field");
    form("job=1".to_owned()).assert_problem(400, "unknown_field");
    form("job_id=a&job_id=b".to_owned()).assert_problem(400, "doubled_field");
}

#[test]
fn deleting_a_running_job_names_the_stop_call() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 3600"}));
    server.until(&id, "running");
    let problem = server.delete(&format!("/job/{id}")).assert_problem(409, "job_running");
    assert!(problem["detail"].as_str().unwrap().contains(&format!("POST /job/{id}/stop")));
    assert_eq!(server.post_form(&format!("/job/{id}/stop"), "").status, 200);
    let over = server.wait(&id);
    assert_eq!((&over["status"], &over["exit_code"]), (&json!("stopped"), &json!(143)));
    server.post_form(&format!("/job/{id}/stop"), "").assert_problem(409, "job_stopped");
}

#[test]
fn stopping_a_waiting_job_is_refused() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "1h"}));
    let problem =
        server.post_form(&format!("/job/{id}/stop"), "").assert_problem(409, "job_scheduled");
    assert!(problem["detail"].as_str().unwrap().contains("DELETE"));
}

#[test]
fn failed_job_has_status_reason_and_exit_code() {
    let server = Server::simulated();
    for (job, status, reason, code) in [
        (
            json!({"job_name": "busybox", "command": "sh -c 'exit 7'"}),
            "failed",
            "exit_nonzero",
            json!(7),
        ),
        (
            json!({"job_name": "busybox", "command": "frobnicate"}),
            "failed",
            "command_not_found",
            Value::Null,
        ),
        (json!({"job_name": "no-such-image:1"}), "failed", "image_not_found", Value::Null),
        (json!({"job_name": "JOB_B"}), "failed", "no_such_job", Value::Null),
        (
            json!({"job_name": "busybox", "command": "sleep 3600", "timeout": "300ms"}),
            "timed_out",
            "timeout",
            json!(143),
        ),
    ] {
        let mut job = job;
        job["date"] = json!("now");
        let over = server.wait(&server.submit(job.clone()));
        assert_eq!(
            (&over["status"], &over["reason"], &over["exit_code"]),
            (&json!(status), &json!(reason), &code),
            "{job}"
        );
        assert!(over["error"].as_str().unwrap().len() > 15, "{over}");
    }
}

#[test]
fn failed_job_is_retried_as_often_as_requested() {
    let server = Server::simulated();
    let id = server.submit(
        json!({"job_name": "busybox", "date": "now", "command": "false", "retry": {"attempts": 2, "delay": "100ms"}}),
    );
    let over = server.wait(&id);
    assert_eq!((&over["status"], &over["attempt"]), (&json!("failed"), &json!(3)));
}

#[test]
fn job_fields_override_the_config_definition() {
    let config = "[definitions.JOB_A]\nimage = 'busybox'\ncommand = ['sh', '-c', 'echo $A $B']\nenv = { A = 'one', B = 'two' }";
    let server = Server::start(&["--engine", "simulated"], config, &[]);
    let id = server.submit(json!({"job_name": "JOB_A", "date": "now", "env": {"B": "three"}}));
    assert_eq!(server.wait(&id)["status"], "succeeded");
    assert_eq!(server.get(&format!("/job/{id}/logs")).text(), "one three\n");
}

#[test]
fn full_slots_queue_jobs_by_priority() {
    let server = Server::start(&["--engine", "simulated", "--max-running", "1"], "", &[]);
    let first =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 3600"}));
    server.until(&first, "running");
    let low = server
        .submit(json!({"job_name": "busybox", "date": "now", "command": "true", "priority": -1}));
    let high = server
        .submit(json!({"job_name": "busybox", "date": "now", "command": "true", "priority": 1}));
    for id in [&low, &high] {
        assert_eq!(server.until(id, "queued")["reason"], "no_slot");
    }
    assert_eq!(server.post_form(&format!("/job/{first}/stop"), "").status, 200);
    let (low, high) = (server.wait(&low), server.wait(&high));
    assert!(high["started_at"].as_str() < low["started_at"].as_str(), "{high} {low}");
}

#[test]
fn job_past_its_start_deadline_is_missed() {
    let server = Server::start(&["--engine", "simulated", "--max-running", "1"], "", &[]);
    let first =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 3600"}));
    server.until(&first, "running");
    let id =
        server.submit(json!({"job_name": "busybox", "date": "now", "start_deadline": "500ms"}));
    let over = server.wait(&id);
    assert_eq!((&over["status"], &over["reason"]), (&json!("missed"), &json!("deadline_passed")));
}

#[test]
fn logs_work_in_all_formats_live_and_stored() {
    let server = Server::simulated();
    // The follower connects before the job starts.
    let id = server.submit(json!({"job_name": "busybox", "date": "1h", "command": ["sh", "-c", "echo one; echo two >&2; sleep 1; printf 'no end'"]}));
    let live = std::thread::scope(|scope| {
        let live = scope.spawn(|| server.get(&format!("/job/{id}/logs?follow=true")));
        run_now(&server, &id);
        live.join().unwrap()
    });
    assert_eq!(
        live.text(),
        "one\ntwo\nno end",
        "a followed stream includes a last line without a line end"
    );
    let kept = |query: &str| server.get(&format!("/job/{id}/logs{query}")).text();
    assert_eq!(kept(""), live.text());
    assert_eq!(kept("?stream=stderr"), "two\n");
    assert_eq!(kept("?tail=1"), "no end");
    assert!(kept("?timestamps=1").starts_with("20"));
    let accept = |kind| server.call("GET", &format!("/job/{id}/logs"), &[("accept", kind)], b"");
    let lines = accept("application/x-ndjson");
    let first: Value = serde_json::from_str(lines.text().lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["stream"], &first["text"], &first["complete"]),
        (&json!("stdout"), &json!("one"), &json!(true))
    );
    let events = accept("text/event-stream").text();
    assert!(
        events.starts_with("event: log\ndata: {")
            && events.trim_end().ends_with("event: end\ndata: {}"),
        "{events}"
    );
}

#[test]
fn job_shows_the_state_of_its_output() {
    let server = Server::simulated();
    let submit = |date, command: &str| {
        server.submit(json!({"job_name": "busybox", "date": date, "command": command}))
    };
    let log = |id: &str| server.get(&format!("/job/{id}")).json()["log"].clone();
    let done = server
        .submit(json!({"job_name": "busybox", "date": "now", "command": "printf 'one\\ntwo'", "log_limit": "1KiB"}));
    let cut = server.submit(
        json!({"job_name": "busybox", "date": "now", "command": ["sh", "-c", "echo one; echo two"], "log_limit": "4B"}),
    );
    let (running, waiting) = (submit("now", "sleep 60"), submit("1h", "true"));
    server.until(&running, "running");
    assert_eq!(
        [log(&running), log(&waiting)],
        [
            json!({"complete": false, "kept_until": null}),
            json!({"complete": false, "kept_until": null})
        ]
    );
    let of = |lines, bytes, truncated| json!({"lines": lines, "bytes": bytes, "truncated": truncated, "complete": true, "kept_until": null});
    assert_eq!(server.kept(&done)["log"], of(2, 7, false));
    assert_eq!(server.kept(&cut)["log"], of(1, 4, true));
    let said = server.get(&format!("/job/{cut}/logs")).text();
    assert_eq!(said, "one\ntidetable: the rest is not kept: `log_limit` is 4 bytes\n");
    assert_eq!(server.delete(&format!("/job/{waiting}")).status, 200);
    let never_ran = server.kept(&submit("now", "frobnicate"));
    assert_eq!([log(&waiting), never_ran["log"].clone()], [of(0, 0, false), of(0, 0, false)]);
    assert!(server.get("/jobs").json()["history"][&done].get("log").is_none());
}

#[test]
fn wait_returns_the_unfinished_job_after_its_timeout() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "1h"}));
    let answer = server.get(&format!("/job/{id}/wait?timeout=100ms"));
    assert_eq!((answer.status, answer.json()["status"].clone()), (202, json!("scheduled")));
    server.get(&format!("/job/{id}/wait?timeout=soon")).assert_problem(400, "invalid_timeout");
}

#[test]
fn unique_id_prefix_finds_the_job() {
    let server = Server::simulated();
    let one = server.submit(json!({"job_name": "busybox", "date": "1h"}));
    assert_eq!(server.get(&format!("/job/{}", &one[..20])).json()["id"], one);
    server.submit(json!({"job_name": "busybox", "date": "1h"}));
    server.get(&format!("/job/{}", &one[..4])).assert_problem(409, "ambiguous_id");
    for wrong in ["00000000000000000000000000000000", "zz", "1", "..%2f..", &"a".repeat(10_000)] {
        server.get(&format!("/job/{wrong}")).assert_problem(404, "no_such_job");
    }
}

#[test]
fn job_list_supports_filters_pages_and_etags() {
    let server = Server::simulated();
    for n in 0..7 {
        server.submit(json!({"job_name": format!("job-{}", n % 2), "date": "1h", "labels": {"n": n.to_string()}}));
    }
    let count = |query: &str| {
        server.get(&format!("/jobs?{query}")).json()["scheduled"].as_object().unwrap().len()
    };
    assert_eq!(
        (
            count("job_name=job-0"),
            count("label=n=3"),
            count("state=scheduled"),
            count("state=failed")
        ),
        (4, 1, 7, 0)
    );
    let nightly = json!({"job_name": "job-0", "cron": "@yearly"}).to_string();
    let put = server.call(
        "PUT",
        "/schedule/nightly",
        &[("content-type", "application/json")],
        nightly.as_bytes(),
    );
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(
        (count("schedule=nightly"), count("schedule=nightly&job_name=job-1"), count("schedule=x")),
        (1, 0, 0)
    );
    assert_eq!(server.delete("/schedule/nightly").status, 204);
    let mut seen = Vec::new();
    let mut page = server.get("/jobs?limit=3").json();
    loop {
        seen.extend(page["scheduled"].as_object().unwrap().keys().cloned());
        match page["next"].as_str() {
            Some(next) => page = server.get(&format!("/jobs?limit=3&cursor={next}")).json(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 7);
    let oldest = seen.clone();
    let (mut newest, mut query) = (Vec::new(), "order=newest&limit=1".to_owned());
    while newest.len() < 7 {
        let page = server.get(&format!("/jobs?{query}")).json();
        newest.extend(page["scheduled"].as_object().unwrap().keys().cloned());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("order=newest&limit=1&cursor={next}");
    }
    assert!(newest.iter().eq(oldest.iter().rev()), "{newest:?}");
    assert_eq!((count("state=scheduled,failed"), count("state=failed,running")), (7, 0));
    assert_eq!((count("label=n"), count("label=n&label=n=3"), count("label=m")), (7, 1, 0));
    assert_eq!(count("label=n=3&label=n=4"), 0);
    assert_eq!((count("created_since=1h"), count("created_since=2040-01-01T00:00:00Z")), (7, 0));
    assert_eq!(count("created_since=1h&order=newest&job_name=job-0"), 4);
    assert_eq!(count("ended_since=1h"), 0);
    let tag = server.get("/jobs").header("etag").unwrap().to_owned();
    let again =
        |server: &Server| server.call("GET", "/jobs", &[("if-none-match", &tag)], b"").status;
    assert_eq!(again(&server), 304);
    server.submit(json!({"job_name": "busybox", "date": "1h"}));
    assert_eq!(again(&server), 200);
    for query in [
        "order=sideways",
        "created_since=soon",
        "state=scheduled,nonsense",
        "limit=0",
        "limit=x",
        "cursor=x&limit=3",
        "cursor=scheduled-0",
        "state=lost",
        "frobnicate=1",
        "label==x",
    ] {
        assert_eq!(server.get(&format!("/jobs?{query}")).status, 400, "{query}");
    }
}

#[test]
fn job_list_is_compressed_on_request_keeping_etag() {
    let server = Server::simulated();
    for n in 0..300 {
        server.submit(json!({"job_name": "busybox", "date": "1h", "labels": {"n": n.to_string()}}));
    }
    let plain = server.get("/jobs");
    let asked = |with: &str| server.call("GET", "/jobs", &[("accept-encoding", with)], b"");
    for with in ["gzip", "br, GZIP;q=0.5", "identity;q=0, gzip"] {
        let gzip = asked(with);
        assert_eq!((gzip.status, gzip.header("content-encoding")), (200, Some("gzip")), "{with}");
        assert_eq!(gzip.header("vary"), Some("accept-encoding"));
        assert_eq!(gzip.header("etag"), plain.header("etag"));
        assert!(gzip.body.len() * 4 < plain.body.len());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*gzip.body).read_to_string(&mut text).unwrap();
        assert_eq!(text, plain.text());
    }
    for with in ["identity", "gzip;q=0", "br", "identity;q=0", "*;q=0"] {
        let answer = asked(with);
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{with}");
        assert_eq!((answer.header("vary"), answer.text()), (Some("accept-encoding"), plain.text()));
    }
    let tag = plain.header("etag").unwrap();
    let again =
        server.call("GET", "/jobs", &[("accept-encoding", "gzip"), ("if-none-match", tag)], b"");
    assert_eq!(
        (again.status, again.header("vary"), again.body.len()),
        (304, Some("accept-encoding"), 0)
    );
}

#[test]
fn streams_and_strong_etag_answers_are_not_compressed() {
    let server = Server::simulated();
    let id =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": ["sh", "-c", "echo here; sleep 3600"]}));
    server.until(&id, "running");
    for accept in ["text/plain", "text/event-stream", "application/x-ndjson"] {
        // Reads the head and the first lines only: the job is still running.
        let first = first_bytes(&server, &format!("/job/{id}/logs?follow=true"), accept);
        assert!(first.contains("here") && !first.contains("gzip"), "{accept}: {first}");
    }
    let spec = json!({"image": "busybox", "env": {"LONG": "x".repeat(3_000)}});
    let json = [("content-type", "application/json")];
    let put = server.call("PUT", "/definition/a", &json, spec.to_string().as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    let definition = server.call("GET", "/definition/a", &[("accept-encoding", "gzip")], b"");
    assert!(
        definition.body.len() > 2_000
            && definition.header("etag").is_some_and(|tag| tag.starts_with('"'))
    );
    assert_eq!(definition.header("content-encoding"), None);
}

/// Returns the head and the beginning of an endless answer, up to the first line of its body.
fn first_bytes(server: &Server, path: &str, accept: &str) -> String {
    let address = server.url().strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\naccept-encoding: gzip\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut seen, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut chunk).unwrap();
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&seen);
        if read == 0 || text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.contains("here")) {
            return text.into_owned();
        }
    }
}

#[test]
fn invalid_job_is_refused_and_not_stored() {
    let server = Server::simulated();
    let json = |body: Value| server.post_json("/job", &body);
    let raw =
        |kind: &str, body: &[u8]| server.call("POST", "/job", &[("content-type", kind)], body);
    let refused: Vec<(Answer, u16, &str)> = vec![
        (json(json!({"date": "1s"})), 400, "missing_field"),
        (json(json!({"job_name": "a"})), 400, "missing_field"),
        (json(json!({"job_name": "", "date": "1s"})), 400, "invalid_job_name"),
        (json(json!({"job_name": "a\u{1b}[2J", "date": "1s"})), 400, "invalid_job_name"),
        (json(json!({"job_name": "x".repeat(10_000), "date": "1s"})), 400, "invalid_job_name"),
        (json(json!({"job_name": "a", "date": ""})), 400, "invalid_date"),
        (json(json!({"job_name": "a", "date": "soonish"})), 400, "invalid_date"),
        (json(json!({"job_name": "a", "date": "31-02-2099 00:00:00"})), 400, "invalid_date"),
        (json(json!({"job_name": "a", "date": "01-01-2001 00:00:00"})), 400, "invalid_date"),
        (json(json!({"job_name": "a", "date": "99999999999999999999s"})), 400, "invalid_date"),
        (json(json!({"job_name": "a", "date": "-5s"})), 400, "invalid_date"),
        (json(json!({"job_name": "a", "date": 5})), 400, "invalid_field"),
        (json(json!({"job_name": "a", "date": "1s", "frobnicate": 1})), 400, "unknown_field"),
        (json(json!({"job_name": "a", "date": "1s", "memory": "many"})), 400, "invalid_field"),
        (json(json!({"job_name": "a", "date": "1s", "privileged": true})), 403, "policy_denied"),
        (json(json!({"job_name": "a", "date": "1s", "network": "host"})), 403, "policy_denied"),
        (
            json(json!({"job_name": "a", "date": "1s", "cap_add": ["SYS_ADMIN"]})),
            403,
            "policy_denied",
        ),
        (
            json(
                json!({"job_name": "a", "date": "1s", "mounts": [{"type": "bind", "source": "/var/run/docker.sock", "target": "/s"}]}),
            ),
            403,
            "policy_denied",
        ),
        (
            raw(
                "application/json",
                b"{\"job_name\": \"a\", \"job_name\": \"b\", \"date\": \"1s\"}",
            ),
            400,
            "invalid_json",
        ),
        (raw("application/json", b"{"), 400, "invalid_json"),
        (raw("application/json", b"\xff\xfe"), 400, "invalid_json"),
        (
            raw("application/x-www-form-urlencoded", b"job_name=a&job_name=b&date=1s"),
            400,
            "doubled_field",
        ),
        (
            raw("application/x-www-form-urlencoded", b"job_name=a&date=1s&job=x"),
            400,
            "unknown_field",
        ),
        (
            raw(
                "multipart/form-data; boundary=x",
                b"--x\r\ncontent-disposition: form-data; name=\"job_name\"\r\n\r\na",
            ),
            400,
            "invalid_body",
        ),
        (raw("multipart/form-data", b"--x--"), 400, "invalid_body"),
        (raw("text/plain", b"hello"), 415, "unsupported_media_type"),
        (raw("application/json", &vec![b' '; 1024 * 1024 + 1]), 413, "body_too_large"),
    ];
    for (answer, status, code) in refused {
        answer.assert_problem(status, code);
    }
    assert_eq!(server.call("POST", "/job", &[], b"").status, 400, "no body at all");
    assert_eq!(maps(&server), json!({"running": {}, "scheduled": {}, "history": {}}));
}

#[test]
fn unknown_path_or_method_returns_a_problem() {
    let server = Server::simulated();
    server.get("/nowhere").assert_problem(404, "no_such_path");
    let answer = server.call("PUT", "/jobs", &[], b"");
    answer.assert_problem(405, "method_not_allowed");
    assert!(answer.json()["detail"].as_str().unwrap().ends_with("allowed: GET,HEAD"));
    assert!(answer.header("allow").unwrap().contains("GET"));
    assert!(server.call("GET", "/job", &[], b"").header("allow").unwrap().contains("POST"));
}

#[test]
fn cross_site_requests_are_refused() {
    let server = Server::simulated();
    let form = |headers: &[(&str, &str)]| {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        server.call("POST", "/job", &all, b"job_name=busybox&date=1h")
    };
    form(&[("origin", "http://evil.example")]).assert_problem(403, "cross_site");
    form(&[("sec-fetch-site", "cross-site")]).assert_problem(403, "cross_site");
    form(&[("host", "evil.example")]).assert_problem(403, "host_not_allowed");
    assert_eq!(form(&[("origin", server.url())]).status, 201);
}

#[test]
fn token_file_makes_a_token_mandatory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, "# ours\n0123456789abcdef0123456789abcdef\n").unwrap();
    let server =
        Server::start(&["--engine", "simulated", "--token-file", file.to_str().unwrap()], "", &[]);
    let answer = server.get("/jobs");
    answer.assert_problem(401, "unauthorized");
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    let with = |token: &str| {
        server
            .call("GET", "/jobs", &[("authorization", token), ("host", "anything.example")], b"")
            .status
    };
    assert_eq!(
        (
            with("Bearer 0123456789abcdef0123456789abcdef"),
            with("Bearer 0123456789abcdef0123456789abcdee")
        ),
        (200, 401)
    );
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn health_version_and_readiness_are_served() {
    let server = Server::simulated();
    assert_eq!(server.get("/healthz").json(), json!({"status": "ok"}));
    assert_eq!(server.get("/version").json()["name"], "tidetable");
    crate::support::eventually("it is ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
}

#[test]
fn highest_priority_of_simultaneous_jobs_starts_first() {
    let server = Server::start(&["--engine", "simulated", "--max-running", "1"], "", &[]);
    // A job that holds the only slot keeps the others waiting, however long their submission takes.
    let before =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 600"}));
    server.until(&before, "running");
    // A date in the past is refused, so a due time that passes during the submission was too early:
    // try a later one.
    let urgent = [3, 15, 60, 240].into_iter().find_map(|seconds| {
        let due = chrono::Utc::now() + chrono::Duration::seconds(seconds);
        let job = |priority: i32| json!({"job_name": "busybox", "date": due.to_rfc3339(), "priority": priority});
        let ids: Vec<String> = (0..=300)
            .map_while(|n| {
                let answer = server.post_json("/job", &job(i32::from(n == 300)));
                (answer.status == 201).then(|| answer.json()["id"].as_str().unwrap().to_owned())
            })
            .collect();
        if ids.len() == 301 {
            return ids.last().cloned();
        }
        ids.iter().for_each(|id| assert_eq!(server.delete(&format!("/job/{id}")).status, 200));
        None
    });
    let urgent = urgent.expect("300 jobs can be submitted in four minutes");
    server.until(&urgent, "queued");
    server.post_form(&format!("/job/{before}/stop"), "");
    let first = server.wait(&urgent)["started_at"].as_str().unwrap().to_owned();
    let mut maps = maps(&server);
    maps["history"].as_object_mut().unwrap().remove(&before);
    let started = |map: &str| {
        maps[map]
            .as_object()
            .unwrap()
            .values()
            .filter_map(|job| job["started_at"].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    for other in started("running").into_iter().chain(started("history")) {
        assert!(other >= first, "{other} was before {first}");
    }
}
