//! The ways in which a caller writes a spec (over a definition, as a form), and the specs that are
//! refused at once.

use serde_json::{Value, json};

use super::Scene;
use crate::support::{IMAGE, Server};

#[test]
fn job_fields_override_definition_fields() {
    let scene = Scene::docker();
    let id = scene.server.submit(json!({
        "job_name": "JOB_A", "date": "now", "keep_container": true,
        "env": {"L": "job's"}, "user": "2000", "labels": {"team": "b"}, "ulimits": [{"name": "nofile", "soft": 150, "hard": 150}],
    }));
    let over = scene.server.wait(&id);
    assert_eq!(scene.output(&id), "definition's job's a\n/srv\n2000\n150\nsh\n", "{over}");
    assert_eq!(over["labels"], json!({"team": "b", "kept": "yes"}));
    // `keep_container` keeps the container, so the test can inspect it.
    let labels = scene.docker_cli(&[
        "inspect",
        "-f",
        "{{json .Config.Labels}}",
        &format!("tidetable-{id}-1"),
    ]);
    let labels: Value = serde_json::from_str(&labels).unwrap();
    assert_eq!(
        (&labels["team"], &labels["kept"], &labels["tidetable.job"]),
        (&json!("b"), &json!("yes"), &json!(id))
    );
}

#[test]
fn form_supports_the_common_fields() {
    const SCRIPT: &str = "echo \"$A|$B\"; pwd; id -u; hostname; grep -c db /etc/hosts; \
                          grep CapEff /proc/self/status | tr '\\t' ' '; cat /proc/1/comm; (touch /x) 2>/dev/null || echo read-only";
    let fields = [
        ("job_name", IMAGE),
        ("date", "now"),
        ("command", &shell_words::join(["sh", "-c", SCRIPT])),
        ("env", "A=one = 1"),
        ("env", "B=two & more"),
        ("workdir", "/srv"),
        ("user", "1000"),
        ("hostname", "form"),
        ("network", "none"),
        ("extra_hosts", "db:10.1.2.3"),
        ("cap_drop", "ALL"),
        ("init", "true"),
        ("read_only", "true"),
        ("memory", "32m"),
        ("cpus", "0.5"),
        ("pids", "50"),
        ("labels", "team=a"),
        ("timeout", "3m"),
        ("stop_grace", "1s"),
        ("priority", "3"),
        ("pull", "never"),
    ];
    let scene = Scene::docker();
    let urlencoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let part = |(name, value): &(&str, &str)| {
        format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart = fields.iter().map(part).collect::<String>() + "--x--\r\n";
    for (kind, body) in [
        ("application/x-www-form-urlencoded", urlencoded),
        ("multipart/form-data; boundary=x", multipart),
    ] {
        let answer = scene.server.call("POST", "/job", &[("content-type", kind)], body.as_bytes());
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let over = scene.server.wait(&id);
        let says = "one = 1|two & more\n/srv\n1000\nform\n1\nCapEff: 0000000000000000\ndocker-init\nread-only\n";
        assert_eq!(
            (scene.output(&id).as_str(), &over["labels"]["team"]),
            (says, &json!("a")),
            "{kind}: {over}"
        );
    }
}

/// Checks that specs beyond the engine's capabilities are refused: the common cases, and `more`.
fn assert_refused_when_posted(scene: &Scene, more: Vec<(Value, &str)>) {
    crate::support::eventually("the engine is known", || {
        (scene.server.get("/readyz").status == 200).then_some(())
    });
    let mut cases = vec![
        (json!({"network": "no-such-network"}), "network"),
        (json!({"platform": "windows/amd64"}), "platform"),
    ];
    cases.extend(more);
    for (spec, field) in cases {
        let mut job = spec.clone();
        (job["job_name"], job["date"]) = (json!(IMAGE), json!("1h"));
        let problem = scene.server.post_json("/job", &job).assert_problem(422, "cannot_be_run");
        assert_eq!(problem["field"], field, "{spec}: {problem}");
    }
    assert_eq!(scene.server.get("/jobs").json()["scheduled"], json!({}));
}

const ANYTHING: &str = "allow_gpus = true\n";

#[test]
fn docker_refuses_unsupported_fields_at_submission() {
    let scene = Scene::with(crate::support::docker_host(), ANYTHING, &[], &[]);
    let cores =
        f64::from(u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap());
    let mut more = vec![(json!({"cpus": cores + 1000.0}), "cpus")];
    if !scene.docker_cli(&["info", "-f", "{{json .Runtimes}}"]).contains("nvidia") {
        more.push((json!({"gpus": "all"}), "gpus"));
    }
    assert_refused_when_posted(&scene, more);
}

#[test]
fn podman_refuses_unsupported_fields_at_submission() {
    let scene = Scene::with(std::env::var("TIDETABLE_TEST_PODMAN").unwrap(), ANYTHING, &[], &[]);
    assert_refused_when_posted(&scene, vec![(json!({"gpus": "all"}), "gpus")]);
}

#[test]
fn unreachable_engine_accepts_any_spec() {
    let server = Server::start(&[], "", &[("DOCKER_HOST", "unix:///nowhere/engine.sock")]);
    let job = json!({"job_name": IMAGE, "date": "1h", "network": "no-such-network", "cpus": 1000});
    assert_eq!(server.post_json("/job", &job).status, 201);
}
