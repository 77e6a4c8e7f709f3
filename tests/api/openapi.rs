//! The OpenAPI document: complete, true to the answers, and usable by a generated client.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Server;

/// Routes that are not calls of the API: files of the pages.
const NOT_CALLS: &[&str] = &["/assets/"];
/// The seed of the generated requests, so that a run can be repeated.
const SEED: &str = "20211";
/// The number of generated requests for each call and phase.
const EXAMPLES: &str = "5";

/// Returns the methods of every documented path.
fn documented(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let methods = |item: &Value| item.as_object().unwrap().keys().cloned().collect();
    let paths = document["paths"].as_object().unwrap();
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// Returns the paths in the source code of the HTTP module.
fn routed(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // The pages are for people; they stand beside the calls, by `Accept`.
            if path.file_name().unwrap() != "web" {
                found.extend(routed(&path));
            }
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let routes = text.split(".route(").skip(1);
        found.extend(routes.filter_map(|rest| rest.split('"').nth(1)).map(str::to_owned));
    }
    found.retain(|path| !NOT_CALLS.iter().any(|prefix| path.starts_with(prefix)));
    found
}

/// Returns a path with a value for each parameter.
fn filled(path: &str) -> String {
    path.replace("{id}", "0123456789abcdef0123456789abcdef").replace("{name}", "nothing")
}

#[test]
fn document_lists_every_route_and_method() {
    let server = Server::simulated();
    let document = documented(&server.get("/openapi.json").json());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    assert_eq!(document.keys().cloned().collect::<BTreeSet<_>>(), routed(&source));
    for (path, methods) in document {
        let answer = server.call("TRACE", &filled(&path), &[], b"");
        assert_eq!(answer.status, 405, "{path}");
        let allowed = answer.header("allow").unwrap().to_ascii_lowercase();
        let mut allowed: BTreeSet<String> = allowed.split(',').map(str::to_owned).collect();
        allowed.remove("head");
        assert_eq!(allowed, methods, "{path}");
    }
}

#[test]
fn every_call_refuses_unknown_parameters() {
    let server = Server::simulated();
    for (path, methods) in documented(&server.get("/openapi.json").json()) {
        for method in methods {
            let target = format!("{}?frobnicate=1", filled(&path));
            let answer = server.call(&method.to_uppercase(), &target, &[], b"");
            let problem = answer.assert_problem(400, "invalid_query");
            assert_eq!(problem["field"], "frobnicate", "{method} {path}");
        }
    }
}

#[test]
fn spec_fields_of_the_document_are_complete() {
    let document = Server::simulated().get("/openapi.json").json();
    let schema = |name: &str| document["components"]["schemas"][name]["properties"].clone();
    let (job, fields) = (schema("NewJob"), schema("SpecFields"));
    for field in tidetable::domain::spec::SpecFields::REFERENCE {
        let wanted = field.name != "env_file";
        assert_eq!(fields.get(field.name).is_some(), wanted, "{}", field.name);
        assert_eq!(job.get(field.name).is_some(), wanted, "{}", field.name);
        assert!(
            !wanted
                || fields[field.name]["type"] != json!(null)
                || fields[field.name]["oneOf"].is_array(),
            "{} has no type",
            field.name
        );
    }
}

#[test]
fn document_and_page_need_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    fs::write(&tokens, "0123456789abcdef0123456789\n").unwrap();
    let server = Server::start(
        &["--engine", "simulated", "--token-file", tokens.to_str().unwrap()],
        "",
        &[],
    );
    for path in ["/openapi.json", "/docs"] {
        server.get(path).assert_problem(401, "unauthorized");
        let token = ("authorization", "Bearer 0123456789abcdef0123456789");
        assert_eq!(server.call("GET", path, &[token], b"").status, 200, "{path}");
    }
}

#[test]
fn reference_page_shows_calls_and_problems() {
    let server = Server::simulated();
    let page = server.get("/docs");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let text = page.text();
    for part in ["id=\"submitJob\"", "id=\"problem-no_such_job\"", "tidetable run ", "curl "] {
        assert!(text.contains(part), "{part}");
    }
}

/// Returns the path of a Python tool.
fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin").join(name);
    assert!(path.exists(), "{name} is missing: run `scripts/python.sh ensure`");
    path
}

fn python(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(file)
}

fn assert_success(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn generated_requests_find_no_fault() {
    let server = Server::simulated();
    let dir = tempfile::tempdir().unwrap();
    let mut run = Command::new(tool("schemathesis"));
    run.current_dir(dir.path()).env("SCHEMATHESIS_HOOKS", python("hooks.py"));
    run.arg("--config-file").arg(python("schemathesis.toml"));
    run.args(["run", &format!("{}/openapi.json", server.url()), "--checks", "all"]);
    run.args(["--max-examples", EXAMPLES, "--seed", SEED, "--continue-on-failure"]);
    run.args(["--generation-database", "none", "--no-shrink", "--warnings", "off"]);
    assert_success(&mut run);
}

#[test]
fn generated_client_runs_a_job() {
    let server = Server::simulated();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("openapi.json"), server.get("/openapi.json").text()).unwrap();
    let mut generate = Command::new(tool("openapi-python-client"));
    generate.current_dir(dir.path()).args(["generate", "--path", "openapi.json"]);
    generate.args(["--output-path", "tidetable_client", "--meta", "none", "--fail-on-warning"]);
    // The generator formats its code with ruff, which is beside it.
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = tool("python").parent().unwrap().display().to_string();
    generate.env("PATH", format!("{tools}:{path}"));
    assert_success(&mut generate);
    let mut client = Command::new(tool("python"));
    client.current_dir(dir.path()).arg(python("client.py")).arg(server.url());
    assert_success(&mut client);
}
