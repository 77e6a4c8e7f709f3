//! Definitions as a caller sees them: written, read, run, changed concurrently, and removed. Also
//! the definitions of the config file, which the API shows and refuses to change.

#![expect(clippy::unwrap_used, reason = "a test may")]

use crate::support::{Answer, Server};
use serde_json::{Value, json};

fn put(server: &Server, name: &str, spec: &Value, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    server.call("PUT", &format!("/definition/{name}"), &all, spec.to_string().as_bytes())
}

fn echo(word: &str) -> Value {
    json!({"image": "busybox", "command": ["echo", word]})
}

fn output(server: &Server, id: &str) -> String {
    let over = server.wait(id);
    assert_eq!(over["status"], "succeeded", "{over}");
    server.get(&format!("/job/{id}/logs")).text()
}

/// Starts a server with one slot, and a job that occupies it: later jobs wait until that job is
/// stopped.
fn busy() -> (Server, String) {
    let server = Server::start(&["--engine", "simulated", "--max-running", "1"], "", &[]);
    let first =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": "sleep 600"}));
    server.until(&first, "running");
    (server, first)
}

#[test]
fn definition_is_written_read_run_and_removed() {
    let mut server = Server::simulated();
    let written = put(&server, "JOB_A", &echo("one"), &[]);
    assert_eq!(
        (written.status, written.json()["name"].clone()),
        (201, json!("JOB_A")),
        "{}",
        written.text()
    );
    let tag = written.header("etag").unwrap().to_owned();
    server.kill();
    server.up();
    let seen = server.get("/definition/JOB_A");
    assert_eq!((seen.json(), seen.header("etag")), (echo("one"), Some(tag.as_str())));
    let listed = server.get("/definitions").json()["definitions"]["JOB_A"].clone();
    assert_eq!(
        (&listed["image"], &listed["read_only"], &listed["etag"]),
        (&json!("busybox"), &json!(false), &json!(tag))
    );
    let said = server.post_form("/job", "job_name=JOB_A&date=now").json();
    assert_eq!(said["warning"], Value::Null, "the name is defined");
    assert_eq!(output(&server, said["id"].as_str().unwrap()), "one\n");
    assert_eq!(put(&server, "JOB_A", &echo("two"), &[]).status, 200);
    assert_eq!(server.delete("/definition/JOB_A").status, 200);
    server.delete("/definition/JOB_A").assert_problem(404, "no_such_definition");
    server.get("/definition/JOB_A").assert_problem(404, "no_such_definition");
    assert_eq!(server.get("/definitions").json(), json!({"definitions": {}}));
}

#[test]
fn definition_change_or_removal_keeps_accepted_jobs() {
    let (server, first) = busy();
    put(&server, "JOB_A", &echo("one"), &[]);
    put(&server, "JOB_B", &echo("gone"), &[]);
    let [edited, removed] =
        ["JOB_A", "JOB_B"].map(|name| server.submit(json!({"job_name": name, "date": "now"})));
    put(&server, "JOB_A", &echo("two"), &[]);
    assert_eq!(server.delete("/definition/JOB_B").status, 200);
    assert_eq!(server.post_form(&format!("/job/{first}/stop"), "").status, 200);
    assert_eq!(
        (output(&server, &edited), output(&server, &removed)),
        ("one\n".to_owned(), "gone\n".to_owned())
    );
    let later = server.submit(json!({"job_name": "JOB_A", "date": "now"}));
    assert_eq!(output(&server, &later), "two\n");
}

#[test]
fn name_defined_after_submission_resolves_when_due() {
    let (server, first) = busy();
    let id = server.submit(json!({"job_name": "JOB_A", "date": "now", "env": {"B": "own"}}));
    let spec = json!({"image": "busybox", "command": ["sh", "-c", "echo $A $B"], "env": {"A": "its", "B": "x"}});
    assert_eq!(put(&server, "JOB_A", &spec, &[]).status, 201);
    assert_eq!(server.post_form(&format!("/job/{first}/stop"), "").status, 200);
    assert_eq!(output(&server, &id), "its own\n");
    let id = server.submit(json!({"job_name": "JOB_C", "date": "now"}));
    let over = server.wait(&id);
    assert_eq!(over["reason"], "no_such_job");
    assert!(over["error"].as_str().unwrap().contains("defined are JOB_A"), "{over}");
}

#[test]
fn stale_precondition_refuses_definition_change() {
    let server = Server::simulated();
    let spec = echo("x");
    put(&server, "a", &spec, &[("if-match", "*")]).assert_problem(412, "definition_changed");
    let first = put(&server, "a", &spec, &[("if-none-match", "*")]);
    assert_eq!(first.status, 201);
    put(&server, "a", &spec, &[("if-none-match", "*")]).assert_problem(412, "definition_changed");
    let tag = first.header("etag").unwrap().to_owned();
    let second = put(&server, "a", &spec, &[("if-match", &tag)]);
    assert_eq!(second.status, 200);
    for stale in [tag.as_str(), "\"0\"", "\"x\"", "1", ""] {
        put(&server, "a", &spec, &[("if-match", stale)]).assert_problem(412, "definition_changed");
    }
    let delete = |tag: &str| server.call("DELETE", "/definition/a", &[("if-match", tag)], b"");
    delete(&tag).assert_problem(412, "definition_changed");
    let tag = second.header("etag").unwrap();
    put(&server, "a", &spec, &[("if-match", tag), ("if-none-match", "*")])
        .assert_problem(400, "invalid_header");
    put(&server, "a", &spec, &[("if-none-match", tag)]).assert_problem(400, "invalid_header");
    assert_eq!(delete(&format!("\"0\", {tag}")).status, 200);
}

#[test]
fn config_definition_is_shown_and_read_only() {
    let config = "[definitions.JOB_A]\nimage = 'busybox'\ncommand = ['echo', 'config']";
    let server = Server::start(&["--engine", "simulated"], config, &[]);
    let seen = server.get("/definition/JOB_A");
    assert_eq!((seen.json(), seen.header("etag")), (echo("config"), None));
    assert_eq!(server.get("/definitions").json()["definitions"]["JOB_A"]["read_only"], true);
    let problem = put(&server, "JOB_A", &echo("x"), &[]).assert_problem(409, "defined_in_config");
    assert!(problem["detail"].as_str().unwrap().contains("config file"));
    server.delete("/definition/JOB_A").assert_problem(409, "defined_in_config");
    let id = server.submit(json!({"job_name": "JOB_A", "date": "now"}));
    assert_eq!(output(&server, &id), "config\n");
}

#[test]
fn invalid_definition_is_refused_and_not_stored() {
    let config = "[policies.default]\nallow_users = ['1000']\nallow_networks = ['inner']";
    let server = Server::start(&["--engine", "simulated"], config, &[]);
    for (spec, status, code) in [
        (json!({}), 400, "missing_field"),
        (json!({"image": "UPPER"}), 400, "invalid_field"),
        (json!({"image": "a", "date": "1s"}), 400, "unknown_field"),
        (json!({"image": "a", "env_file": ["/etc/passwd"]}), 400, "config_only"),
        (json!({"image": "a", "privileged": true}), 403, "policy_denied"),
        (json!({"image": "a", "user": "0"}), 403, "policy_denied"),
        (json!({"image": "a", "network": "host"}), 403, "policy_denied"),
        (json!([]), 400, "invalid_json"),
    ] {
        let problem = put(&server, "JOB_A", &spec, &[]).assert_problem(status, code);
        assert!(!problem["detail"].as_str().unwrap().contains("`job_name`"), "{problem}");
    }
    let raw = |path: &str, kind: &str, body: &[u8]| {
        server.call("PUT", path, &[("content-type", kind)], body)
    };
    raw("/definition/a", "application/json", br#"{"image":"a","image":"b"}"#)
        .assert_problem(400, "invalid_json");
    raw("/definition/a", "text/plain", b"image=a").assert_problem(415, "unsupported_media_type");
    raw("/definition/a%1b", "application/json", b"{}").assert_problem(400, "invalid_name");
    assert_eq!(server.get("/definitions").json(), json!({"definitions": {}}));
    // A definition may leave out the user and the network: the policy checks them when a job is
    // submitted.
    assert_eq!(put(&server, "a", &json!({"image": "a"}), &[]).status, 201);
    server.post_form("/job", "job_name=a&date=1h").assert_problem(403, "policy_denied");
    assert_eq!(server.post_form("/job", "job_name=a&date=1h&user=1000&network=inner").status, 201);
}

#[test]
fn command_line_manages_definitions_of_any_name() {
    let server = Server::simulated();
    let name = "team/app 100%+?";
    let applied = server.cli(&["definition", "apply", name, "-f", "-"], &echo("x").to_string());
    assert!(applied.status.success(), "{applied:?}");
    assert_eq!(String::from_utf8(applied.stdout).unwrap(), format!("definition {name} is kept\n"));
    let listed = String::from_utf8(server.cli(&["definition", "ls"], "").stdout).unwrap();
    assert!(
        listed.lines().nth(1).unwrap().starts_with(&format!("{name}\tbusybox\t20")),
        "{listed}"
    );
    assert!(server.cli(&["definition", "rm", name], "").status.success());
    let again = server.cli(&["definition", "rm", name], "");
    assert!(
        !again.status.success()
            && String::from_utf8(again.stderr).unwrap().contains("there is no definition")
    );
}
