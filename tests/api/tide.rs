//! The tide chart and the summary, as a caller sees them.

#![expect(clippy::unwrap_used, reason = "a test may")]

use serde_json::{Value, json};

use crate::support::{Server, eventually};

fn lane<'a>(tide: &'a Value, name: &str) -> &'a Value {
    let lanes = tide["lanes"].as_array().unwrap();
    lanes.iter().find(|lane| lane["name"] == name).unwrap_or_else(|| panic!("{name} in {tide}"))
}

/// Runs a job to its end, and returns its id.
fn ran(server: &Server, command: &str) -> String {
    let job = json!({"job_name": "busybox", "date": "now", "command": ["sh", "-c", command]});
    let id = server.submit(job);
    server.wait(&id);
    id
}

#[test]
fn tide_shows_past_running_and_planned_runs() {
    let server = Server::simulated();
    let (good, bad) = (ran(&server, "exit 0"), ran(&server, "exit 3"));
    let long =
        json!({"job_name": "long", "image": "busybox", "date": "now", "command": ["sleep", "600"]});
    let long = server.submit(long);
    server.until(&long, "running");
    let schedule = json!({"job_name": "busybox", "cron": "*/30 * * * *"});
    let headers = [("content-type", "application/json")];
    let put = server.call("PUT", "/schedule/often", &headers, schedule.to_string().as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());

    let tide = server.get("/tide?from=-1m&to=6h&px=4000").json();
    let ended = lane(&tide, "busybox");
    assert_eq!(ended["kind"], "job");
    let shown = ended["marks"].to_string();
    assert!(shown.contains(&good) || shown.contains("\"many\""), "{shown}");
    assert!(shown.contains("failed") && (shown.contains(&bad) || shown.contains("\"many\"")));
    let running = &lane(&tide, "long")["marks"][0];
    assert_eq!((&running["kind"], &running["job"]), (&json!("running"), &json!(long)));
    assert_eq!(running["to"], tide["now"]);
    let planned = lane(&tide, "often");
    assert_eq!(
        (&planned["kind"], &planned["marks"][0]["kind"]),
        (&json!("schedule"), &json!("planned"))
    );
    assert_eq!(planned["marks"].as_array().unwrap().len(), 12);
    assert_eq!(tide["at_once"]["now"], 1);
    assert_eq!(tide["limit"], 256);
    assert_eq!(tide["zone"], "UTC");

    let only = server.get("/tide?schedule=often").json();
    assert_eq!(only["lanes"].as_array().unwrap().len(), 1);
    let few = server.get("/tide?lanes=1").json();
    assert_eq!((few["lanes"].as_array().unwrap().len(), &few["more_lanes"]), (1, &json!(2)));
}

#[test]
fn tide_shows_ticks_that_a_pause_skipped() {
    let server = Server::simulated();
    let schedule =
        json!({"job_name": "busybox", "every": "1s", "start_at": "2026-01-01T00:00:00Z"});
    let headers = [("content-type", "application/json")];
    server.call("PUT", "/schedule/often", &headers, schedule.to_string().as_bytes());
    server.call("POST", "/schedule/often/pause", &headers, b"{}");
    let skipped = eventually("a skipped tick", || {
        let tide = server.get("/tide?from=-2m&to=1m").json();
        let marks = tide["lanes"][0]["marks"].as_array()?.clone();
        marks.into_iter().find(|mark| mark["says"].as_str().unwrap_or("").contains("skipped"))
    });
    assert!(skipped["job"].is_null());
}

#[test]
fn tide_is_a_picture_for_those_who_ask() {
    let server = Server::simulated();
    let picture = server.call("GET", "/tide", &[("accept", "image/svg+xml,image/*")], b"");
    assert_eq!(picture.header("content-type"), Some("image/svg+xml"));
    assert!(picture.text().starts_with("<svg xmlns="), "{}", picture.text());
    for accept in ["*/*", "application/json", "text/html,image/svg+xml"] {
        let answer = server.call("GET", "/tide", &[("accept", accept)], b"");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.header("vary").unwrap().contains("accept"));
    }
}

#[test]
fn tide_names_the_parameter_at_fault() {
    let server = Server::simulated();
    for (query, field) in [
        ("lanes=0", "lanes"),
        ("lanes=51", "lanes"),
        ("lanes=x", "lanes"),
        ("px=199", "px"),
        ("px=4001", "px"),
        ("from=-32d&to=now", "from"),
        ("from=yesterday", "from"),
        ("from=6", "from"),
        ("from=2026-13-01T00:00:00Z", "from"),
        ("from=9999-12-31T23:59:59Z", "from"),
        ("to=-7h", "to"),
        ("to=-100000000000d", "to"),
        ("from=now&to=now", "to"),
        ("schedule=%20", "schedule"),
        ("hours=3", "hours"),
    ] {
        let problem = server.get(&format!("/tide?{query}")).assert_problem(400, "invalid_query");
        assert_eq!(problem["field"], field, "{query}: {problem}");
    }
    for query in ["from=%2B1h&to=+2h", "from=2026-01-01T00:00:00%2B01:00&to=2026-01-02T00:00:00Z"] {
        assert_eq!(server.get(&format!("/tide?{query}")).status, 200, "{query}");
    }
}

#[test]
fn summary_counts_jobs_by_map_and_status() {
    let server = Server::simulated();
    ran(&server, "exit 0");
    ran(&server, "exit 3");
    server.submit(json!({"job_name": "busybox", "date": "2h"}));
    let summary = server.get("/summary").json();
    assert_eq!(summary["jobs"]["history"], 2);
    assert_eq!(summary["jobs"]["scheduled"], 1);
    assert_eq!(summary["jobs"]["by_status"], json!({"failed": 1, "scheduled": 1, "succeeded": 1}));
    assert_eq!(summary["slots"], json!({"used": 0, "limit": 256}));
    assert_eq!(summary["ended_24h"], json!({"failed": 1, "succeeded": 1}));
    assert!(summary["lateness_ms"]["p50"].as_i64() <= summary["lateness_ms"]["p99"].as_i64());
    assert_eq!(summary["engines"][0]["name"], "simulated");
    assert_eq!(summary["engines"][0]["state"], "up");
    assert_eq!(summary["store"]["jobs"], 3);
    for figure in ["bytes", "disk_free_bytes"] {
        assert!(summary["store"][figure].as_u64().unwrap() > 4_096, "{figure}");
    }
    assert!(summary["next_due_at"].is_string() && summary["config_loaded_at"].is_string());
    assert!(summary["paused"].is_null());
    server.get("/summary?x=1").assert_problem(400, "invalid_query");
}

#[test]
fn summary_of_an_empty_server_has_nulls() {
    let server = Server::simulated();
    let summary = server.get("/summary").json();
    for field in ["next_due_at", "lateness_ms", "paused"] {
        assert!(summary[field].is_null(), "{field}");
    }
    assert!(summary["store"]["oldest_at"].is_null());
    assert_eq!((&summary["backlog"], &summary["ended_24h"]), (&json!(0), &json!({})));
}
