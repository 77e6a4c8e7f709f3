//! Bare names that are neither a definition nor an image on the engine: the server warns, and a
//! policy can refuse them.

#![expect(clippy::unwrap_used, reason = "a test may")]

use crate::support::{Answer, Server, eventually};
use serde_json::{Value, json};

fn ready(config: &str) -> Server {
    let server = Server::start(&["--engine", "simulated"], config, &[]);
    eventually("the engine answers", || (server.get("/readyz").status == 200).then_some(()));
    server
}

fn put(server: &Server, path: &str, body: &Value) -> Answer {
    server.call("PUT", path, &[("content-type", "application/json")], body.to_string().as_bytes())
}

fn warns(answer: &Answer) -> bool {
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    let said = answer.json();
    assert_eq!(said["warning"], said["warnings"][0]);
    said["warning"]
        .as_str()
        .is_some_and(|warning| warning.contains("neither a definition nor an image"))
}

#[test]
fn unknown_bare_name_causes_a_warning() {
    let server = ready("");
    let later = |name: &str| json!({"job_name": name, "date": "1h"});
    assert!(warns(&server.post_json("/job", &later("no-such-vacum"))));
    assert!(warns(&server.post_form("/job", "job_name=no-such-vacum&date=1h")));
    let every = json!({"job_name": "no-such-vacum", "cron": "@daily"});
    assert!(warns(&put(&server, "/schedule/s", &every)));
    assert!(warns(&server.call("POST", "/schedule/s/trigger", &[], b"")));
    assert!(warns(&put(&server, "/definition/vacuum", &json!({"image": "no-such-vacum"}))));
    assert!(warns(&server.post_json("/job", &later("vacuum"))));
    let id = server.submit(later("no-such-vacum"));
    assert!(warns(&server.post_form(&format!("/job/{id}/rerun"), "date=1h")));
    let cli = server.cli(&["run", "no-such-vacum", "--in", "1h"], "");
    assert!(String::from_utf8_lossy(&cli.stderr).contains("warning: "), "{cli:?}");
    for name in ["busybox", "no-such-vacum:1", "no-such-vacum:latest", "no-such.example/vacum"] {
        assert!(!warns(&server.post_json("/job", &later(name))), "{name}");
    }
    assert!(
        server.log().lines().any(|line| line.contains("WARN") && line.contains("no-such-vacum"))
    );
}

#[test]
fn unknown_bare_name_in_config_is_logged() {
    let config = "[schedules.s]\njob_name = 'no-such-vacum'\ncron = '@daily'\n[definitions.d]\nimage = 'no-such-d'";
    let server = ready(config);
    for name in ["no-such-vacum", "no-such-d"] {
        eventually("the log says so", || {
            let log = server.log();
            log.lines()
                .any(|line| line.contains("WARN") && line.contains(&format!("`{name}` is neither")))
                .then_some(())
        });
    }
}

#[test]
fn policy_can_require_a_registry_in_names() {
    let server = ready(
        "[policies.default]\nrequire_registry = true\n[definitions.JOB_A]\nimage = 'busybox'",
    );
    let post = |fields: Value| {
        let mut job = json!({"job_name": "JOB_A", "date": "1h"});
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.post_json("/job", &job)
    };
    for name in ["busybox", "busybox:latest", "team/app", "library/busybox"] {
        let problem = post(json!({"job_name": name})).assert_problem(403, "policy_denied");
        assert!(problem["detail"].as_str().unwrap().contains("docker.io/"), "{problem}");
    }
    post(json!({"image": "vacum"})).assert_problem(403, "policy_denied");
    put(&server, "/definition/d", &json!({"image": "busybox"}))
        .assert_problem(403, "policy_denied");
    let every = json!({"job_name": "busybox", "cron": "@daily"});
    put(&server, "/schedule/s", &every).assert_problem(403, "policy_denied");
    for name in
        ["docker.io/library/busybox", "localhost/busybox", "registry.example:5000/a/b:1", "JOB_A"]
    {
        assert_eq!(post(json!({"job_name": name})).status, 201, "{name}");
    }
}
