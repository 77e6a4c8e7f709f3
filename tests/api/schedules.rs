//! Schedules as a caller sees them, against the binary on the simulated engine.

#![expect(clippy::unwrap_used, reason = "a test may")]

use crate::support::Server;
use serde_json::{Value, json};

#[test]
fn preview_describes_a_recurrence_across_clock_changes() {
    let server = Server::simulated();
    let nightly = json!({"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "from": "2026-03-27T12:00:00Z", "count": 3});
    let preview = server.post_json("/preview", &nightly).json();
    assert_eq!(
        preview["next"],
        json!([
            "2026-03-28T02:30:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-30T02:30:00+02:00"
        ])
    );
    assert!(
        preview["says"].as_str().unwrap().starts_with("at 02:30 every day, Europe/Berlin time"),
        "{preview}"
    );

    let from = "2026-01-01T00:00:00Z";
    let every =
        server.post_json("/preview", &json!({"every": "90m", "from": from, "count": 2})).json();
    assert_eq!(every["next"], json!(["2026-01-01T01:30:00+00:00", "2026-01-01T03:00:00+00:00"]));
    let date = server.post_json("/preview", &json!({"date": "1h", "from": from})).json();
    assert_eq!(date, json!({"says": "in 1h", "next": ["2026-01-01T01:00:00+00:00"]}));
}

#[test]
fn invalid_preview_names_the_field() {
    let server = Server::simulated();
    for (question, field) in [
        (json!({}), "cron"),
        (json!({"cron": "61 * * * *"}), "cron"),
        (json!({"cron": "@daily", "every": "1h"}), "cron"),
        (json!({"cron": "@daily", "time_zone": "Mars/Base"}), "time_zone"),
        (json!({"cron": "@daily", "from": "yesterday"}), "from"),
        (json!({"cron": "@daily", "count": 0}), "count"),
        (json!({"cron": "@daily", "colour": "red"}), "colour"),
        (json!({"date": "the day after"}), "date"),
    ] {
        let answer = server.post_json("/preview", &question);
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (400, &json!(field)),
            "{question}: {}",
            answer.text()
        );
    }
}

fn put(
    server: &Server,
    name: &str,
    schedule: &Value,
    headers: &[(&str, &str)],
) -> crate::support::Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    server.call("PUT", &format!("/schedule/{name}"), &headers, schedule.to_string().as_bytes())
}

#[test]
fn next_tick_is_a_scheduled_job() {
    let server = Server::simulated();
    let answer =
        put(&server, "nightly", &json!({"job_name": "busybox", "cron": "30 2 * * *"}), &[]);
    assert_eq!((answer.status, answer.header("etag")), (201, Some("\"1\"")), "{}", answer.text());
    let said = answer.json();
    let job = server.get(&format!("/job/{}", said["next_job"].as_str().unwrap())).json();
    assert_eq!((&job["schedule"], &job["status"]), (&json!("nightly"), &json!("scheduled")));
    assert_eq!(job["due_at"], said["next_due_at"]);
    assert_eq!(said["time_zone"], "UTC", "the default time zone is filled in");
    assert_eq!(
        server.get("/schedules").json()["schedules"]["nightly"],
        server.get("/schedule/nightly").json()
    );
    assert_eq!(server.get("/schedule/nightly/ledger").json(), json!({"ticks": [], "next": null}));
    assert_eq!(
        server.get("/schedule/nightly/next?n=3").json()["next"].as_array().unwrap().len(),
        3
    );
}

#[test]
fn changed_schedule_replaces_its_next_job() {
    let server = Server::simulated();
    let nightly = json!({"job_name": "busybox", "cron": "30 2 * * *"});
    let first = put(&server, "a", &nightly, &[]).json()["next_job"].clone();
    let same = put(&server, "a", &nightly, &[]);
    assert_eq!(
        (same.status, same.header("etag"), &same.json()["next_job"]),
        (200, Some("\"1\""), &first)
    );
    let changed =
        put(&server, "a", &json!({"job_name": "busybox", "every": "1h"}), &[("if-match", "\"1\"")]);
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"2\"")));
    let gone = server.get(&format!("/job/{}", first.as_str().unwrap())).json();
    assert_eq!(
        (&gone["status"], &gone["reason"]),
        (&json!("canceled"), &json!("schedule_changed"))
    );
    assert_eq!(server.get("/jobs").json()["scheduled"].as_object().unwrap().len(), 1);
    put(&server, "a", &nightly, &[("if-match", "\"1\"")]).assert_problem(412, "changed");
    put(&server, "a", &nightly, &[("if-none-match", "*")]).assert_problem(412, "changed");

    assert_eq!(server.post_form("/schedule/a/pause", "").json()["paused"], true);
    assert_eq!(server.get("/jobs").json()["scheduled"], json!({}));
    let resumed = server.post_form("/schedule/a/resume", "").json();
    assert!(resumed["next_job"].is_string(), "{resumed}");
    assert_eq!(server.delete("/schedule/a").status, 204);
    assert_eq!(server.get("/jobs").json()["scheduled"], json!({}));
    server.delete("/schedule/a").assert_problem(404, "no_such_schedule");
    server.get("/schedule/a/ledger").assert_problem(404, "no_such_schedule");
}

#[test]
fn triggered_job_runs_now_and_is_no_tick() {
    let server = Server::simulated();
    put(
        &server,
        "a",
        &json!({"job_name": "busybox", "cron": "@yearly", "spec": {"command": "true"}}),
        &[],
    );
    let triggered = server.post_form("/schedule/a/trigger", "");
    assert_eq!(triggered.status, 201);
    let over = server.wait(triggered.json()["id"].as_str().unwrap());
    assert_eq!((&over["status"], &over["schedule"]), (&json!("succeeded"), &json!("a")));
    assert_eq!(server.get("/schedule/a/ledger").json()["ticks"], json!([]));
}

#[test]
fn invalid_schedule_is_refused_and_not_stored() {
    let server = Server::simulated();
    for (schedule, field) in [
        (json!({"job_name": "busybox"}), "cron"),
        (json!({"cron": "@daily"}), "job_name"),
        (json!({"job_name": "busybox", "every": "1ms"}), "every"),
        (json!({"job_name": "busybox", "cron": "@daily", "overlap": "maybe"}), "overlap"),
        (
            json!({"job_name": "busybox", "cron": "@daily", "spec": {"env_file": "/etc/passwd"}}),
            "spec",
        ),
    ] {
        let answer = put(&server, "a", &schedule, &[]);
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (400, &json!(field)),
            "{schedule}: {}",
            answer.text()
        );
    }
    assert_eq!(
        put(&server, "-a", &json!({"job_name": "busybox", "cron": "@daily"}), &[]).status,
        400
    );
    assert_eq!(server.get("/schedules").json(), json!({"schedules": {}}));
    assert_eq!(server.get("/schedules?limit=3").json(), json!({"schedules": {}, "next": null}));
}

#[test]
fn schedule_list_is_sorted_paged_and_has_etags() {
    let server = Server::simulated();
    let names: Vec<String> = (0..300).map(|n| format!("s{n:03}")).collect();
    for name in &names {
        put(&server, name, &json!({"job_name": "busybox", "cron": "@yearly"}), &[]);
    }
    let listed =
        |page: &Value| page["schedules"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all = server.get("/schedules");
    assert_eq!(listed(&all.json()), names);
    for limit in [1, 7, 150, 299, 300, 1_000] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("/schedules?limit={limit}{cursor}")).json();
            assert!(listed(&page).len() <= limit && !listed(&page).is_empty());
            seen.extend(listed(&page));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, names, "{limit}");
    }
    for query in ["limit=0", "limit=1001", "cursor=s001", "limit=1&cursor=-", "frobnicate=1"] {
        assert_eq!(server.get(&format!("/schedules?{query}")).status, 400, "{query}");
    }
    let again = |tag: &str| server.call("GET", "/schedules", &[("if-none-match", tag)], b"").status;
    let tag = all.header("etag").unwrap().to_owned();
    assert_eq!(again(&tag), 304);
    // The tag also changes without a new job: a pause removes the next job, and a change during the
    // pause touches only the schedule.
    server.post_form("/schedule/s000/pause", "");
    let paused = server.get("/schedules").header("etag").unwrap().to_owned();
    assert_eq!((again(&tag), again(&paused)), (200, 304));
    put(&server, "s000", &json!({"job_name": "busybox", "cron": "@daily", "paused": true}), &[]);
    assert_eq!(again(&paused), 200);
}

#[test]
fn forecast_lists_jobs_and_ticks_and_warns() {
    let server = Server::start(&["--engine", "simulated"], "[limits]\nmax_running = 2\n", &[]);
    let done = server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 1"}));
    server.wait(&done);
    let ids: Vec<String> =
        (0..3).map(|_| server.submit(json!({"job_name": "busybox", "date": "2h"}))).collect();
    put(&server, "a", &json!({"job_name": "other", "every": "20m"}), &[]);
    let forecast = server.get("/forecast?hours=3").json();
    let entries = forecast["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &forecast["truncated"]), (12, &json!(false)), "{forecast}");
    let of_jobs: Vec<&Value> =
        entries.iter().filter(|entry| entry["job_name"] == "busybox").collect();
    assert_eq!(of_jobs.len(), 3);
    assert!(of_jobs.iter().all(|entry| ids.iter().any(|id| entry["job"] == json!(id))));
    let expected = of_jobs[0]["expected_seconds"].as_f64().unwrap();
    assert!((0.9..60.0).contains(&expected), "{expected}");
    assert_eq!(
        (&entries[0]["schedule"], &entries[0]["expected_seconds"]),
        (&json!("a"), &Value::Null)
    );
    assert!(entries[0]["job"].is_string() && entries[1]["job"].is_null());
    let pile = &forecast["pile_ups"][0];
    assert_eq!((&pile["limit"], &pile["most"]), (&json!("max_running"), &json!(2)), "{forecast}");
    assert!(pile["peak"].as_u64().unwrap() >= 3);
    assert_eq!(server.get("/forecast").json()["entries"].as_array().unwrap().len(), 3 + 72);
    for query in ["hours=0", "hours=169", "hours=x", "hours=-1", "days=1"] {
        assert_eq!(server.get(&format!("/forecast?{query}")).status, 400, "{query}");
    }
    let said = server.cli(&["forecast", "--hours", "3"], "");
    let (table, warnings) =
        (String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap());
    assert!(
        said.status.success() && table.lines().count() == 13 && table.contains(&ids[0]),
        "{table}"
    );
    assert!(warnings.contains("max_running is 2"), "{warnings}");
}

#[test]
fn command_line_applies_and_manages_schedules() {
    let server = Server::simulated();
    let said = |arguments: &[&str], input: &str| {
        let output = server.cli(&[&["schedule"], arguments].concat(), input);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let one = r#"{"job_name": "busybox", "cron": "30 2 * * *"}"#;
    assert!(
        said(&["apply", "nightly", "-f", "-"], one)
            .starts_with("schedule nightly: at 02:30 every day")
    );
    let several = "[schedules.a]\njob_name = 'busybox'\nevery = '1s'\n[schedules.b]\njob_name = 'busybox'\ncron = '@daily'";
    assert_eq!(said(&["apply", "-f", "-"], several).lines().count(), 2);
    let listed = said(&["ls"], "");
    let names: Vec<&str> =
        listed.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["a", "b", "nightly"], "{listed}");
    assert_eq!(said(&["next", "b", "-n", "2"], "").lines().count(), 2);
    said(&["trigger", "a"], "");
    crate::support::eventually("a tick of it has run", || {
        said(&["ledger", "a"], "").contains("\tran\t").then_some(())
    });
    assert!(said(&["pause", "a"], "").contains("is paused"));
    assert!(said(&["resume", "a"], "").contains("goes on"));
    said(&["rm", "a"], "");
    let nowhere = server.cli(&["schedule", "next", "a"], "");
    assert!(
        !nowhere.status.success()
            && String::from_utf8(nowhere.stderr).unwrap().contains("there is no schedule `a`")
    );
    let nameless = server.cli(&["schedule", "apply", "-f", "-"], one);
    assert!(!nameless.status.success(), "{nameless:?}");
}
