//! Schedules of the config file as a caller sees them: shown, run and paused by the API, and
//! changed only in the file.

#![expect(clippy::unwrap_used, reason = "a test may")]

use crate::support::{Server, eventually};
use serde_json::{Value, json};

const NIGHTLY: &str =
    "[schedules.nightly]\njob_name = 'busybox'\ncron = '30 2 * * *'\nspec = { command = 'true' }";

fn server(config: &str) -> Server {
    Server::start(&["--engine", "simulated"], config, &[])
}

/// Kills the server, and starts it with this config file.
fn again(server: &mut Server, config: &str) {
    server.kill();
    std::fs::write(server.dir().join("config.toml"), config).unwrap();
    server.up();
}

fn put(server: &Server, name: &str, schedule: &Value) -> crate::support::Answer {
    let headers = [("content-type", "application/json")];
    server.call("PUT", &format!("/schedule/{name}"), &headers, schedule.to_string().as_bytes())
}

/// Waits until the schedule belongs to the config file, and returns it.
fn declared(server: &Server, name: &str) -> Value {
    eventually(&format!("{name} is declared"), || {
        let schedule = server.get(&format!("/schedule/{name}")).json();
        (schedule["source"] == "config").then_some(schedule)
    })
}

#[test]
fn config_schedule_runs_and_is_read_only() {
    let mut server = server(NIGHTLY);
    let seen = declared(&server, "nightly");
    assert_eq!((&seen["time_zone"], &seen["cron"]), (&json!("UTC"), &json!("30 2 * * *")));
    let job = server.get(&format!("/job/{}", seen["next_job"].as_str().unwrap())).json();
    assert_eq!((&job["schedule"], &job["status"]), (&json!("nightly"), &json!("scheduled")));

    let same = json!({"job_name": "busybox", "cron": "30 2 * * *"});
    let problem = put(&server, "nightly", &same).assert_problem(409, "defined_in_config");
    assert!(problem["detail"].as_str().unwrap().contains("config file"));
    server.delete("/schedule/nightly").assert_problem(409, "defined_in_config");
    let triggered = server.post_form("/schedule/nightly/trigger", "").json();
    assert_eq!(server.wait(triggered["id"].as_str().unwrap())["status"], "succeeded");

    again(&mut server, NIGHTLY);
    assert_eq!(declared(&server, "nightly"), seen, "a restart leaves the schedule unchanged");
}

#[test]
fn pause_survives_restart_and_change_starts_new_generation() {
    let mut server = server(NIGHTLY);
    declared(&server, "nightly");
    assert_eq!(server.post_form("/schedule/nightly/pause", "").json()["paused"], true);
    again(&mut server, NIGHTLY);
    assert_eq!(declared(&server, "nightly")["paused"], true);
    assert_eq!(server.post_form("/schedule/nightly/resume", "").json()["paused"], false);
    again(&mut server, &NIGHTLY.replace("30 2", "30 3"));
    let changed = eventually("it is changed", || {
        let answer = server.get("/schedule/nightly");
        (answer.json()["cron"] == "30 3 * * *").then_some(answer)
    });
    assert_eq!(changed.header("etag"), Some("\"4\""));
    again(&mut server, "");
    eventually("it is deleted", || {
        (server.get("/schedules").json() == json!({"schedules": {}})).then_some(())
    });
    assert_eq!(server.get("/jobs").json()["scheduled"], json!({}));
    // The deletion has freed the name.
    assert_eq!(
        put(&server, "nightly", &json!({"job_name": "busybox", "cron": "@daily"})).status,
        201
    );
}

#[test]
fn config_file_takes_over_only_schedules_it_declares() {
    let mut server = server("");
    let mine = json!({"job_name": "busybox", "every": "1h", "spec": {"command": "true"}});
    assert_eq!(put(&server, "nightly", &mine).json()["source"], "api");
    let other = put(&server, "other", &mine).json();
    again(&mut server, NIGHTLY);
    let taken = declared(&server, "nightly");
    assert_eq!((&taken["cron"], &taken["every"]), (&json!("30 2 * * *"), &Value::Null));
    assert_eq!(server.get("/jobs").json()["scheduled"].as_object().unwrap().len(), 2);
    assert_eq!(server.get("/schedule/other").json(), other);
    eventually("it says so", || server.log().contains("it is the file's now").then_some(()));
}

#[test]
fn schedule_with_unrunnable_job_is_logged() {
    let config = "[schedules.a]\njob_name = 'NOBODY'\ncron = '@daily'\n
        [schedules.b]\njob_name = 'busybox'\ncron = '@daily'\nspec = { privileged = true }\n
        [schedules.c]\njob_name = 'busybox'\ncron = '@daily'\nspec = { secrets = ['pw'] }\n
        [policies.default]\nallow_secrets = ['*']";
    let server = server(config);
    for sentence in
        ["`NOBODY` is neither", "`privileged` is not allowed", "there is no secret `pw`"]
    {
        eventually(sentence, || server.log().contains(sentence).then_some(()));
    }
    assert_eq!(server.get("/schedules").json()["schedules"].as_object().unwrap().len(), 3);
}
